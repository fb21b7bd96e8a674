"""The read use case: strategies, the filter, and the popular list."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from anyio import CapacityLimiter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_store import ModelStore
from service.adapters.memory import MemoryCache, MemoryIndex
from service.domain import DeleteItem, Encoding, Item, PutItem, Recommendation, Record
from service.errors import ModelUnavailable, UnknownUser
from service.filters import make_filter
from service.observability import Metrics
from service.recommend import Query, Recommender
from service.servable import Servable, ServableHandle
from service.users import find_user

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 6, 1, tzinfo=UTC)


class Scene:
    """A Servable, and a Recommender on it at a fixed time."""

    def __init__(self, store: ModelStore, encoder: Any, explore_every: int = 5) -> None:
        bundle = store.load()
        self.servable = Servable(bundle, encoder, MemoryIndex(list(bundle.items), bundle.item_embeddings))
        self.now = NOW
        handle = ServableHandle()
        handle.exchange(self.servable)
        self.recommender = Recommender(
            handle, MemoryCache(1), Metrics(), CapacityLimiter(1), explore_every=explore_every, clock=lambda: self.now
        )
        self.seq = 0

    def put(self, item_id: str, value: float = 100.0, **facts: object) -> None:
        """Puts an item whose vector is ``value`` everywhere."""
        self.seq += 1
        encoding = Encoding(np.full(5, value, np.float32), None, 0.5, (), (), "v1")
        self.servable.apply(Record(self.seq, NOW, PutItem(Item(item_id, **facts))), encoding)  # type: ignore[arg-type]

    def delete(self, item_id: str) -> None:
        """Deletes an item."""
        self.seq += 1
        self.servable.apply(Record(self.seq, NOW, DeleteItem(item_id)))

    async def ask(self, user_id: str, k: int = 50, **options: object) -> Recommendation:
        """Recommends."""
        return await self.recommender.recommend(Query(user_id, k, **options))  # type: ignore[arg-type]

    async def ids(self, user_id: str, k: int = 50, **options: object) -> list[str]:
        """The ids recommended."""
        return [item.item_id for item in (await self.ask(user_id, k, **options)).items]


@pytest.fixture
def scene(published_store: ModelStore, fake_encoder: Any) -> Scene:
    """A scene on the published version."""
    return Scene(published_store, fake_encoder)


async def test_personal_list_is_the_inner_product(scene: Scene) -> None:
    """Scores are user row times item rows, seen items left out."""
    bundle = scene.servable.bundle
    scores = bundle.item_embeddings.astype(np.float64) @ bundle.user_embeddings[1].astype(np.float64)
    order = [f"i{n:02}" for n in np.argsort(-scores) if n not in {1, 2}]

    answer = await scene.ask("u1", 4)

    assert answer.strategy == "personal"
    assert [item.item_id for item in answer.items] == order[:4]
    assert [item.score for item in answer.items] == pytest.approx(
        np.sort(scores[[int(i[1:]) for i in order[:4]]])[::-1]
    )


def test_find_user_knows_the_users_of_the_model(scene: Scene) -> None:
    """A user's vector and seen items are those of the bundle; others are not known."""
    user = find_user(scene.servable, "u3")

    assert user is not None
    assert user.seen == {"i03", "i04"}
    assert user.vector.tolist() == scene.servable.bundle.user_embeddings[3].tolist()
    assert find_user(scene.servable, "nobody") is None


@pytest.mark.parametrize("user_id", ["u0", "nobody"])
async def test_nothing_withheld_is_ever_shown(scene: Scene, user_id: str) -> None:
    """Hidden, unavailable, expired, deleted, excluded: none of them is in either kind of list."""
    scene.put("hidden", hidden=True)
    scene.put("unavailable", available=False)
    scene.put("expired", expires_at=NOW)
    scene.put("deleted")
    scene.delete("deleted")
    scene.put("excluded")
    scene.put("fine", expires_at=NOW + timedelta(seconds=1))
    scene.delete("i05")
    scene.put("i06", hidden=True)

    ids = await scene.ids(user_id, exclude=frozenset({"excluded", "i07"}))

    assert "fine" in ids
    assert not {"hidden", "unavailable", "expired", "deleted", "excluded", "i05", "i06", "i07"} & set(ids)
    scene.now += timedelta(seconds=1)
    assert "fine" not in await scene.ids(user_id)


async def test_user_without_history_gets_the_popular_list(scene: Scene) -> None:
    """A zero vector likes everything alike: such a user is served what is popular, less what they have seen."""
    bundle = scene.servable.bundle
    scene.servable.bundle = replace(bundle, user_embeddings=np.zeros_like(bundle.user_embeddings))

    answer = await scene.ask("u2", 3, strict=True)

    assert answer.strategy == "popular"
    assert [item.item_id for item in answer.items] == ["i00", "i01", "i04"]


async def test_strict_queries_refuse_unknown_users(scene: Scene) -> None:
    """A strict query for a user nobody knows is an error, for a known one it is not."""
    with pytest.raises(UnknownUser):
        await scene.ask("nobody", strict=True)

    assert (await scene.ask("u0", strict=True)).strategy == "personal"


async def test_popular_list_gives_each_fifth_place_to_a_new_item(scene: Scene) -> None:
    """The latest new items take places 5, 10, …; what remains of them follows when the trained ones are used up."""
    for name in ("n1", "n2", "n3", "n4"):
        scene.put(name)
    scene.put("n2")

    answer = await scene.ask("nobody")

    ids = [item.item_id for item in answer.items]
    assert ids == [
        "i00",
        "i01",
        "i02",
        "i03",
        "n2",
        "i04",
        "i05",
        "i06",
        "i07",
        "n4",
        "i08",
        "i09",
        "i10",
        "i11",
        "n3",
        "n1",
    ]
    assert [item.score for item in answer.items][3:6] == [9, 9, 8]


async def test_popular_list_without_exploration_puts_new_items_last(
    published_store: ModelStore, fake_encoder: Any
) -> None:
    """With explore_every = 0 new items come after all trained ones."""
    scene = Scene(published_store, fake_encoder, explore_every=0)
    scene.put("n1")

    assert (await scene.ids("nobody"))[-2:] == ["i11", "n1"]


async def test_popular_list_of_new_items_first(published_store: ModelStore, fake_encoder: Any) -> None:
    """With explore_every = 1 new items lead, with the score of the item they lead."""
    scene = Scene(published_store, fake_encoder, explore_every=1)
    scene.put("n1")
    scene.put("n2")

    answer = await scene.ask("nobody", 3)

    assert [(item.item_id, item.score) for item in answer.items] == [("n2", 12.0), ("n1", 12.0), ("i00", 12.0)]


@given(data=st.data(), every=st.integers(0, 4), k=st.integers(1, 20))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_popular_lists_are_beginnings_of_longer_ones(
    published_store: ModelStore, fake_encoder: Any, data: st.DataObject, every: int, k: int
) -> None:
    """For any catalogue: no id twice, all there is in the long list, scores never rise, short lists are prefixes."""
    from service.recommend import _popular  # noqa: PLC0415 - white box: the list without the thread around it

    scene = Scene(published_store, fake_encoder, every)
    for name in data.draw(st.lists(st.sampled_from(["a", "b", "c", "i00", "i05"]))):
        if data.draw(st.booleans()):
            scene.put(name, hidden=data.draw(st.booleans()))
        else:
            scene.delete(name)
    blocked = data.draw(st.frozensets(st.sampled_from(["a", "i01", "i02"])))
    allowed = make_filter(scene.servable, seen=(), exclude=blocked, now=NOW)

    everything = _popular(allowed, 100, every)
    ids, scores = [hit.item_id for hit in everything], [hit.score for hit in everything]

    assert len(ids) == len(set(ids)) == len([i for i in scene.servable.index._vectors if i not in blocked])
    assert scores == sorted(scores, reverse=True)
    assert _popular(allowed, k, every) == everything[:k]


async def test_nothing_served_is_an_error() -> None:
    """Without a model there is no answer."""
    recommender = Recommender(ServableHandle(), MemoryCache(1), Metrics(), CapacityLimiter(1), explore_every=5)

    with pytest.raises(ModelUnavailable):
        await recommender.recommend(Query("u0", 5))
