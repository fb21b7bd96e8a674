"""Every route as a call: the request, whether it may be repeated, and how its answer is read. Nothing is sent here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from i3rec_client.answers import Models, Promotion, Readiness, Taken
from i3rec_client.bodies import (
    Event,
    ItemLike,
    ListOptions,
    UserOptions,
    encoded,
    event_contents,
    item_content,
    option_contents,
    patch_content,
    query_of,
)
from i3rec_client.documents import Document
from i3rec_client.item_answers import BatchAnswer, CatalogItem, Result, Written
from i3rec_client.lists import ItemList
from i3rec_client.parts import Part, read_results
from i3rec_client.replies import Reply, refusal

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Tag = int | Literal["*"] | None
"""For If-Match and If-None-Match: an item's ``index_seq``, "*" for any item at all, None for no condition."""

_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """A request and what to make of its answer.

    Attributes:
        path: percent-encoded.
        read: makes a value of an answer, or raises what it says.
        repeatable: whether doing it twice is as good as doing it once.
        patient: whether to try again at all; otherwise that the service is away is the answer.
    """

    method: str
    path: str
    read: Callable[[Reply], T_co]
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    repeatable: bool = False
    patient: bool = True


def put_item(item: ItemLike, if_match: Tag = None, if_none_match: Tag = None) -> Call[Written]:
    """Replacing an item twice is harmless; only that there was none before is not true the second time."""
    headers = {"Content-Type": _JSON} | _conditions(if_match, if_none_match)
    content, repeatable = encoded(item_content(item)), if_none_match is None
    return Call("POST", "/items", _written, headers=headers, content=content, repeatable=repeatable)


def patch_item(item_id: str, patch: Mapping[str, Any], if_match: Tag = None) -> Call[Written]:
    """A patch repeated after somebody else's would undo theirs, unless If-Match forbids it."""
    headers = {"Content-Type": "application/merge-patch+json"} | _conditions(if_match)
    content, repeatable = encoded(patch_content(patch)), if_match not in {None, "*"}
    return Call("PATCH", _item(item_id), _written, headers=headers, content=content, repeatable=repeatable)


def get_item(item_id: str) -> Call[CatalogItem]:
    """An item as it stands."""
    return Call("GET", _item(item_id), _reader(CatalogItem.read), repeatable=True)


def delete_item(item_id: str, if_match: Tag = None) -> Call[None]:
    """Where an earlier attempt may have deleted the item, that it is gone is as it should be."""
    headers = _conditions(if_match)
    return Call("DELETE", _item(item_id), _gone, headers=headers, repeatable=True)


def put_items(items: Iterable[ItemLike]) -> Call[BatchAnswer]:
    """Many items at once, as an array."""
    content = encoded([item_content(item) for item in items])
    read, headers = _reader(BatchAnswer.read), {"Content-Type": _JSON}
    return Call("POST", "/items/batch", read, headers=headers, content=content, repeatable=True)


def load(part: Part) -> Call[tuple[Result, ...]]:
    """Many items at once, as lines."""

    def read(reply: Reply) -> tuple[Result, ...]:
        return reply.made(lambda text: read_results(text, part))

    headers = {"Content-Type": "application/x-ndjson"}
    return Call("POST", "/items/batch", read, headers=headers, content=part.content, repeatable=True)


def interact(events: Event | Iterable[Event], *, make_ids: bool) -> Call[Taken]:
    """Interactions; repeatable where all of them have ids, by which the service knows them again."""
    contents = event_contents([events] if isinstance(events, Event) else events, make_ids=make_ids)
    given = [{name: value for name, value in content.items() if value is not None} for content in contents]
    repeatable = all("event_id" in content for content in given)
    return _post("/interactions", given, _reader(Taken.read), repeatable=repeatable)


def recommend(user_id: str, options: UserOptions) -> Call[ItemList]:
    """A list for a user."""
    path = f"/recommend/{_quoted(user_id)}"
    return Call("GET", path, _reader(ItemList.read), query=query_of(options), repeatable=True)


def recommend_session(history: Iterable[str], options: ListOptions) -> Call[ItemList]:
    """A list for a session; asking changes nothing."""
    body = {"history": list(history), **option_contents(options)}
    return _post("/recommend", body, _reader(ItemList.read), repeatable=True)


def recommend_batch(users: Iterable[str], options: UserOptions) -> Call[tuple[ItemList, ...]]:
    """Lists for several users; asking changes nothing."""
    body = {"users": list(users), **option_contents(options)}
    return _post("/recommend/batch", body, _reader(ItemList.read_several), repeatable=True)


def similar(item_id: str, options: ListOptions) -> Call[ItemList]:
    """A list for fans of an item."""
    return Call("GET", f"{_item(item_id)}/similar", _reader(ItemList.read), query=query_of(options), repeatable=True)


def erase_user(user_id: str) -> Call[None]:
    """Forgetting a user, who may be unknown."""
    return Call("DELETE", f"/users/{_quoted(user_id)}", _nothing, repeatable=True)


def models() -> Call[Models]:
    """Which versions there are."""
    return Call("GET", "/models", _reader(Models.read), repeatable=True)


def activate(version: str) -> Call[Promotion]:
    """Promoting a version; repeated after somebody else's promotion it would undo theirs."""
    return Call("POST", f"/models/{_quoted(version)}/activate", _reader(Promotion.read))


def rollback() -> Call[Promotion]:
    """Going back by one version; repeated it would go back by two."""
    return Call("POST", "/models/rollback", _reader(Promotion.read))


def ready() -> Call[Readiness]:
    """Whether a model serves."""
    return Call("GET", "/readyz", _reader(Readiness.read), repeatable=True, patient=False)


def _post(path: str, body: object, read: Callable[[Reply], T], *, repeatable: bool) -> Call[T]:
    return Call("POST", path, read, headers={"Content-Type": _JSON}, content=encoded(body), repeatable=repeatable)


def _item(item_id: str) -> str:
    return f"/items/{_quoted(item_id)}"


def _quoted(name: str) -> str:
    # Dots too: a path that ends in "/.." would be shortened on the way.
    return quote(name, safe="").replace(".", "%2E")


def _conditions(if_match: Tag = None, if_none_match: Tag = None) -> dict[str, str]:
    tags = {"If-Match": if_match, "If-None-Match": if_none_match}
    return {name: "*" if tag == "*" else f'"{tag}"' for name, tag in tags.items() if tag is not None}


def _reader(make: Callable[[Document], T]) -> Callable[[Reply], T]:
    return lambda reply: reply.made(lambda text: make(Document.parse(text)))


def _written(reply: Reply) -> Written:
    return reply.made(lambda text: Written.read(Document.parse(text), created=reply.status == 201))  # noqa: PLR2004


def _nothing(reply: Reply) -> None:
    if not reply.is_success:
        raise refusal(reply)


def _gone(reply: Reply) -> None:
    if not (reply.status == 404 and reply.repeated):  # noqa: PLR2004
        _nothing(reply)
