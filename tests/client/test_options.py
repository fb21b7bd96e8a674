"""What a list is to be like: conditions on attributes, and the model that is to answer."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3rec_client import AsyncClient, Conflict, InvalidRequest, Item, ModelNotServing, NotFound, Range, UnexpectedAnswer
from i3rec_client.options import option_contents, query_of
from service.facets import key_of

LIST = {
    "user_id": "u",
    "strategy": "popular",
    "model_version": "v1",
    "index_seq": 0,
    "degraded": [],
    "items": [],
    "next_cursor": None,
}
FILMS = {"f1": 1994, "f2": 1999.0, "f3": "2001", "f4": 2010}


@pytest.fixture
async def films(client: AsyncClient) -> AsyncClient:
    """A client of a service with some films."""
    for n, (item_id, year) in enumerate(FILMS.items()):
        await client.put_item(Item(item_id, attributes={"year": year, "colour": bool(n % 2), "a:b": "x"}))
    return client


CONDITIONS: dict[str, tuple[Any, set[str]]] = {
    "a value": ({"year": 1999}, {"f2"}),
    "a value as text": ({"year": "2001"}, {"f3"}),
    "a float": ({"year": 2010.0}, {"f4"}),
    "values": ({"year": [1994, 2001, 7]}, {"f1", "f3"}),
    "a set": ({"year": {1994}}, {"f1"}),
    "true": ({"colour": True}, {"f2", "f4"}),
    "several": ({"colour": False, "year": (1994, 1999)}, {"f1"}),
    "at least": ({"year": Range(gte=1999, lt=2010)}, {"f2", "f3"}),
    "greater": ({"year": Range(gt=1999), "colour": True}, {"f4"}),
    "a name with a colon": ({"a:b": "x", "year": Range(lte=1994)}, {"f1"}),
    "no value at all": ({"year": []}, set()),
    "nothing": ({}, None),
}


@pytest.mark.anyio
@pytest.mark.parametrize(("attributes", "expected"), CONDITIONS.values(), ids=CONDITIONS)
async def test_attributes_filter_every_list(films: AsyncClient, attributes: Any, expected: Any) -> None:
    """A condition means the same wherever it is asked, also where the route of a user has no word for it."""
    (several,) = await films.recommend_batch(["nobody"], k=500, attributes=attributes)
    lists = [
        await films.recommend("nobody", k=500, attributes=attributes),
        await films.recommend_session(["i00"], k=500, attributes=attributes),
        several,
    ]
    if query_of({"attributes": attributes}) is not None:
        lists.append(await films.similar("i00", k=500, attributes=attributes))

    for found in lists:
        ids = {place.item_id for place in found.items}
        assert ids == expected if expected is not None else ids > FILMS.keys()


@pytest.mark.anyio
async def test_users_lists_with_ranges_are_like_others(films: AsyncClient) -> None:
    """The detour shows in nothing: whom the list is for, its id, its pages, and that nobody knows the user."""
    years = {"year": Range(gte=1990)}

    found = await films.recommend("u0", attributes=years, k=2, explain=True, request_id="mine")
    pages = [page async for page in films.pages("u0", attributes=years, k=2)]

    assert (found.user_id, found.strategy, found.request_id) == ("u0", "personal", "mine")
    assert [place.item_id for place in found.items] == [place.item_id for place in pages[0].items]
    assert {place.item_id for page in pages for place in page.items} == set(FILMS)
    with pytest.raises(NotFound):
        await films.recommend("nobody", attributes=years, strict=True)


@pytest.mark.anyio
async def test_similar_says_that_it_has_no_ranges(client: AsyncClient) -> None:
    """Nothing is asked in silence that is less than what was meant, and the error names the way round."""
    for attributes in ({"year": Range(gte=1)}, {"year": []}, {"a:b": 1}, {"year": float("nan")}, {"year": range(40)}):
        with pytest.raises(ValueError, match=r"similar cannot ask.*recommend_session"):
            await client.similar("i00", attributes=attributes)


@pytest.mark.anyio
async def test_model_is_the_one_that_answers(client: AsyncClient) -> None:
    """The version that serves answers; where another is asked for, the error is one of its own, and a Conflict."""

    async def lists(model: str) -> list[Any]:
        return [
            lambda: client.recommend("u0", model=model),
            lambda: client.recommend("u0", model=model, attributes={"year": Range(gt=0)}),
            lambda: client.recommend_session(["i00"], model=model),
            lambda: client.recommend_batch(["u0"], model=model),
            lambda: client.similar("i00", model=model),
        ]

    for ask in await lists("v1"):
        await ask()
    for ask in await lists("v2"):
        with pytest.raises(ModelNotServing, match="'v2' does not serve") as caught:
            await ask()
        assert isinstance(caught.value, Conflict)
        assert caught.value.status == 409


@pytest.mark.anyio
async def test_too_many_values_are_pointed_at(client: AsyncClient) -> None:
    """The service's limits come through as they are."""
    with pytest.raises(InvalidRequest) as caught:
        await client.recommend("u0", attributes={"year": range(2000)})
    assert caught.value.errors[0].pointer == "/attributes"


def test_conditions_go_the_shorter_way(scripted: Any) -> None:
    """As a query where one can say it; otherwise in the body of a batch with this user alone."""
    service = scripted(httpx.Response(200, json=LIST | {"request_id": "r"}))
    batch = scripted(httpx.Response(200, json={"request_id": "r", "results": [LIST]}))
    with service.client() as client:
        client.recommend("u", k=3, attributes={"year": [1999, 2.5], "brand": "a:b", "used": True}, model="v1")
    with batch.client() as client:
        client.recommend("u", k=3, attributes={"year": Range(gte=1999, lt=2000.5), "brand": ("a", "b")})

    (request,), (detour,) = service.requests, batch.requests
    assert list(request.url.params.multi_items()) == [
        ("k", "3"),
        ("model", "v1"),
        ("attribute", "year:1999"),
        ("attribute", "year:2.5"),
        ("attribute", "brand:a:b"),
        ("attribute", "used:true"),
    ]
    assert (detour.method, detour.url.path) == ("POST", "/recommend/batch")
    assert json.loads(detour.content) == {
        "users": ["u"],
        "k": 3,
        "attributes": {"year": {"gte": 1999, "lt": 2000.5}, "brand": ["a", "b"]},
    }


@pytest.mark.parametrize(
    "options",
    [{"attributes": {"year": range(33)}}, {"attributes": {"s": "x" * 511}}, {"exclude": ["é" * 256] * 20}],
    ids=["many values", "a long value", "a long query"],
)
def test_what_no_query_holds_goes_the_longer_way(scripted: Any, options: Any) -> None:
    """The service takes it in a body, where more fits."""
    batch = scripted(httpx.Response(200, json={"request_id": "r", "results": [LIST]}))
    with batch.client() as client:
        client.recommend("u", **options)

    assert [request.url.path for request in batch.requests] == ["/recommend/batch"]


def test_detour_that_gives_another_number_of_lists_is_noticed(scripted: Any) -> None:
    """One user has one list."""
    service = scripted(httpx.Response(200, json={"request_id": "r", "results": []}))

    with service.client() as client, pytest.raises(UnexpectedAnswer, match="expected one list"):
        client.recommend("u", attributes={"year": Range(gt=1)})


@given(st.one_of(st.text(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)))
def test_values_mean_the_same_in_a_query(value: Any) -> None:
    """What the service compares by is the same, whichever way a value came; or it does not go as a query."""
    query = query_of({"attributes": {"n": value}})

    if query is None:
        assert value in {float("inf"), float("-inf")}
    else:
        ((_, text),) = query
        assert key_of(text.removeprefix("n:")) == key_of(value)


@pytest.mark.parametrize("wanted", [None, {"gte": 3}, object(), 1j])
def test_other_things_are_no_conditions(wanted: Any) -> None:
    """A mapping above all, of which only the names would be looked at."""
    with pytest.raises(TypeError, match="'year'"):
        option_contents({"attributes": {"year": wanted}})


def test_ranges_have_a_bound() -> None:
    """An empty one would be a slip; zero is a bound like any other."""
    with pytest.raises(ValueError, match="at least one"):
        Range()
    assert Range(lt=0).content() == {"lt": 0}
