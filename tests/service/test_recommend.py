"""The read use case: strategies, the filter, and the popular list."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from anyio import CapacityLimiter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_store import ModelStore
from service.adapters.memory import MemoryCache, MemoryIndex, MemoryJournal
from service.domain import DeleteItem, Encoding, EraseUser, Interact, Item, PutItem, Recommendation, Record
from service.errors import ModelUnavailable, StorageUnavailable, UnknownItem, UnknownUser
from service.exploration import Exploration
from service.filters import make_filter
from service.handle import ServableHandle
from service.histories import Histories
from service.impressions import Impressions
from service.lists import Wish
from service.making import Making, Reading
from service.metrics import Metrics
from service.ranked import Popular
from service.recommend import Recommender
from service.servable import Servable
from service.shadow import Shadow
from service.users import find_user

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 6, 1, tzinfo=UTC)


ITEMS = [f"i{n:02}" for n in range(12)]


class WatchedJournal(MemoryJournal):
    """A journal that says when a history is asked for, and can be made unreadable."""

    def __init__(self) -> None:
        super().__init__()
        self.on_history: Callable[[], object] = lambda: None
        self.readable = True

    def history(self, user_id: str, limit: int) -> list[str]:
        """The items of a user's latest interactions."""
        self.on_history()
        if not self.readable:
            raise StorageUnavailable("the disk is gone")
        return super().history(user_id, limit)


def recommender_of(handle: ServableHandle, journal: MemoryJournal, reading: Reading) -> Recommender:
    """A Recommender that makes every list, and asks the journal about every user."""
    metrics = Metrics()
    making = Making(Histories(journal, users=0), journal, MemoryCache(1), metrics, reading)
    return Recommender(handle, making, Impressions(handle, metrics, Shadow(handle, making.for_user, metrics)))


class Scene:
    """A Servable, and a Recommender on it at a fixed time."""

    def __init__(self, store: ModelStore, encoder: Any, explore_every: int = 5) -> None:
        bundle = store.load()
        self.servable = Servable(bundle, encoder, MemoryIndex(list(bundle.items), bundle.item_embeddings))
        self.now = NOW
        self.handle = ServableHandle()
        self.handle.exchange(self.servable)
        self.journal = WatchedJournal()
        reading = Reading(CapacityLimiter(1), Exploration(explore_every), clock=lambda: self.now)
        self.recommender = recommender_of(self.handle, self.journal, reading)
        self.seq = 0

    def put(self, item_id: str, value: float = 100.0, **facts: object) -> None:
        """Puts an item whose vector and history row are ``value`` everywhere."""
        self.seq += 1
        vector = np.full(5, value, np.float32)
        encoding = Encoding(vector, vector, 0.5, (), (), "v1")
        self.servable.apply(Record(self.seq, NOW, PutItem(Item(item_id, **facts))), encoding)  # type: ignore[arg-type]

    def delete(self, item_id: str) -> None:
        """Deletes an item."""
        self.seq += 1
        self.servable.apply(Record(self.seq, NOW, DeleteItem(item_id)))

    def note(self, user_id: str, *item_ids: str) -> None:
        """Journals interactions."""
        for item_id in item_ids:
            self.journal.append(Interact(user_id, item_id))

    def best(self, vector: np.ndarray, item_ids: Iterable[str] = ITEMS) -> list[str]:
        """Items of the model by inner product with a vector."""
        table = self.servable.bundle.item_embeddings.astype(np.float64)
        return sorted(item_ids, key=lambda item_id: -float(table[int(item_id[1:])] @ vector))

    def row(self, item_id: str) -> np.ndarray:
        """What an item of the model adds to histories, (d,) float64."""
        rows = self.servable.bundle.history_embeddings
        assert rows is not None
        return np.array(rows[int(item_id[1:])], dtype=np.float64)

    async def ask(self, user_id: str, k: int = 50, **options: object) -> Recommendation:
        """Recommends."""
        strict = bool(options.pop("strict", False))
        return await self.recommender.for_user(user_id, Wish(k, **options), strict=strict)  # type: ignore[arg-type]

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
    user = find_user(scene.servable, "u3", [])

    assert user is not None
    assert user.seen == {"i03", "i04"}
    assert user.vector.tolist() == scene.servable.bundle.user_embeddings[3].tolist()
    assert find_user(scene.servable, "nobody", []) is None


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
    scene = Scene(published_store, fake_encoder, every)
    for name in data.draw(st.lists(st.sampled_from(["a", "b", "c", "i00", "i05"]))):
        if data.draw(st.booleans()):
            scene.put(name, hidden=data.draw(st.booleans()))
        else:
            scene.delete(name)
    blocked = data.draw(st.frozensets(st.sampled_from(["a", "i01", "i02"])))
    allowed = make_filter(scene.servable, seen=(), exclude=blocked, now=NOW)

    everything = list(Popular(allowed, Exploration(every), 100).more(()))
    ids, scores = [hit.item_id for hit in everything], [hit.score for hit in everything]

    assert len(ids) == len(set(ids)) == len([i for i in scene.servable.index._vectors if i not in blocked])
    assert scores == sorted(scores, reverse=True)
    assert list(Popular(allowed, Exploration(every), k).more(())) == everything[:k]


async def test_nothing_served_is_an_error() -> None:
    """Without a model there is no answer."""
    reading = Reading(CapacityLimiter(1), Exploration())
    recommender = recommender_of(ServableHandle(), MemoryJournal(), reading)

    with pytest.raises(ModelUnavailable):
        await recommender.for_user("u0", Wish(5))


async def test_interactions_move_the_very_next_list(scene: Scene) -> None:
    """What a user did since the training is out of their list, and their vector is the rule of all they did."""
    before = await scene.ids("u1")
    scene.note("u1", "i07")

    answer = await scene.ask("u1")

    taste = (scene.row("i01") + scene.row("i02") + scene.row("i07")) / np.sqrt(3)
    assert "i07" in before
    assert [item.item_id for item in answer.items] == scene.best(taste, set(ITEMS) - {"i01", "i02", "i07"})
    assert answer.strategy == "personal"


async def test_user_known_by_interactions_alone_is_served_personally(scene: Scene) -> None:
    """Someone the model never met has a personal list as soon as they did something it knows."""
    scene.note("stranger", "x", "i03")

    answer = await scene.ask("stranger", strict=True)

    assert answer.strategy == "personal"
    assert [item.item_id for item in answer.items] == scene.best(scene.row("i03"), set(ITEMS) - {"i03"})


async def test_user_of_unknown_items_alone_is_known_all_the_same(scene: Scene) -> None:
    """Such a user is served what is popular, and once the item is described, personally and without it."""
    scene.note("stranger", "later")
    before = await scene.ask("stranger", strict=True)
    scene.put("later")

    answer = await scene.ask("stranger", strict=True)

    assert before.strategy == "popular"
    assert answer.strategy == "personal"
    assert sorted(item.item_id for item in answer.items) == ITEMS


async def test_seen_items_come_back_on_demand(scene: Scene) -> None:
    """With include_seen the list may hold what was consumed, in training and online; the vector stays the same."""
    scene.note("u1", "i07")

    including, without = await scene.ask("u1", include_seen=True), await scene.ask("u1")

    scores = {item.item_id: item.score for item in including.items}
    assert set(scores) == set(ITEMS)
    assert {item.item_id: item.score for item in without.items} == {
        item_id: score for item_id, score in scores.items() if item_id not in {"i01", "i02", "i07"}
    }


async def test_erased_user_is_as_the_training_left_them(scene: Scene) -> None:
    """Erased interactions neither block nor move a list; items of the training data stay blocked."""
    before = await scene.ask("u1")
    scene.note("u1", "i07", "i08")
    during = await scene.ask("u1")
    scene.journal.append(EraseUser("u1"))

    assert during.items != before.items
    assert (await scene.ask("u1")).items == before.items


@pytest.mark.parametrize("user_id", ["u2", "nobody"])
async def test_categories_restrict_either_list(scene: Scene, user_id: str) -> None:
    """Only items of one of the categories, in the order of the full list; an unknown category has none."""
    odd = [item_id for item_id in await scene.ids(user_id) if int(item_id[1:]) % 2]

    assert await scene.ids(user_id, categories=frozenset({"a"})) == odd
    assert await scene.ids(user_id, categories=frozenset({"b", "nope"})) == odd
    assert await scene.ids(user_id, 2, categories=frozenset({"b"})) == odd[:2]
    assert await scene.ids(user_id, categories=frozenset({"a|b"})) == []


@pytest.mark.parametrize("user_id", ["u2", "nobody"])
async def test_items_move_between_categories(scene: Scene, user_id: str) -> None:
    """A put with other categories takes an item out of those it had; a delete takes it out of all; ids stay whole."""
    scene.put("i05", categories=("z", "y", "z"))
    scene.put("new", categories=("a", "z"))
    scene.put("i07")

    def in_category(name: str) -> Any:
        return scene.ids(user_id, categories=frozenset({name}))

    assert set(await in_category("z")) == {"i05", "new"}
    assert await in_category("y") == ["i05"]
    assert {"i05", "i07"}.isdisjoint(await in_category("a"))
    assert "new" in await in_category("a")
    scene.put("new", categories=("b",))
    assert await in_category("z") == ["i05"]
    assert "new" in await in_category("b")
    scene.delete("i05")
    scene.delete("new")
    scene.delete("i09")
    assert await in_category("z") == []
    assert {"i05", "i07", "i09", "new"}.isdisjoint(await in_category("b"))
    scene.put("i09", categories=("b",))
    assert "i09" in await in_category("b")


@given(least=st.floats(-20, 20), k=st.integers(1, 14), user_id=st.sampled_from(["u0", "nobody"]))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_min_score_cuts_the_list(
    published_store: ModelStore, fake_encoder: Any, least: float, k: int, user_id: str
) -> None:
    """What scores less is left out, what scores as much stays; nothing else changes."""
    scene = Scene(published_store, fake_encoder)
    scene.put("new")
    full = list((await scene.ask(user_id, k)).items)

    cut = (await scene.ask(user_id, k, min_score=least)).items
    exact = (await scene.ask(user_id, k, min_score=full[-1].score)).items

    assert cut == [item for item in full if item.score >= least]
    assert exact == full


async def test_session_is_served_by_its_history(scene: Scene) -> None:
    """A session's list is that of the rule over its items, without them, for nobody in particular."""
    answer = await scene.recommender.for_session(["i05", "x", "i03", "i05"], Wish(4))

    taste = (scene.row("i03") + scene.row("i05")) / np.sqrt(2)
    best = scene.best(taste, set(ITEMS) - {"i03", "i05"})[:4]
    table = scene.servable.bundle.item_embeddings.astype(np.float64)
    assert (answer.user_id, answer.strategy, answer.model_version) == (None, "session", "v1")
    assert [item.item_id for item in answer.items] == best
    assert [item.score for item in answer.items] == pytest.approx([table[int(i[1:])] @ taste for i in best], rel=1e-5)


async def test_session_that_says_nothing_gets_the_popular_list(scene: Scene) -> None:
    """An empty history, or one of unknown items, is served what is popular; known items would be left out."""
    for history in ([], ["x", "y"]):
        answer = await scene.recommender.for_session(history, Wish(2))

        assert answer.strategy == "popular"
        assert [item.item_id for item in answer.items] == ["i00", "i01"]


async def test_similar_items_are_those_of_a_fan(scene: Scene) -> None:
    """The list beside an item is that of a session of it alone; also for a hidden item."""
    scene.put("i04", hidden=True)
    scene.put("i06", hidden=True, value=7.0)

    for item_id in ("i03", "i04"):
        answer = await scene.recommender.similar(item_id, Wish(50))

        visible = set(ITEMS) - {item_id, "i04", "i06"}
        assert (answer.user_id, answer.strategy) == (None, "session")
        assert [item.item_id for item in answer.items] == scene.best(scene.row(item_id), visible)


async def test_similar_leaves_out_the_item_itself_whatever_is_asked(scene: Scene) -> None:
    """An item is never similar to itself, also where seen items are wanted."""
    answer = await scene.recommender.similar("i03", Wish(50, include_seen=True))

    assert {item.item_id for item in answer.items} == set(ITEMS) - {"i03"}


async def test_similar_without_rule_compares_the_vectors_of_items(
    published_store: ModelStore, fake_encoder: Any
) -> None:
    """Where histories cannot be encoded, items are compared by what they are found by."""
    scene = Scene(published_store, fake_encoder)
    bundle = scene.servable.bundle
    manifest = replace(bundle.manifest, history=None)
    scene.servable.bundle = replace(bundle, manifest=manifest, history_embeddings=None)

    answer = await scene.recommender.similar("i03", Wish(3))

    assert [item.item_id for item in answer.items] == scene.best(
        bundle.item_embeddings[3].astype(np.float64), set(ITEMS) - {"i03"}
    )[:3]


async def test_similar_to_what_is_like_all_is_what_is_popular(scene: Scene) -> None:
    """An item whose vectors are zero tells nothing: a session of it alone gets the popular list, and so does this."""
    scene.put("zero", 0.0)

    answer = await scene.recommender.similar("zero", Wish(3))

    assert answer.strategy == "popular"


async def test_similar_refuses_what_is_not_there(scene: Scene) -> None:
    """Beside an item that never was, or is deleted, there is nothing."""
    scene.delete("i03")

    for item_id in ("nothing", "i03"):
        with pytest.raises(UnknownItem):
            await scene.recommender.similar(item_id, Wish(3))


async def test_unreadable_history_degrades_lists(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """Without the journal, users of the model are served from their trained vector, others what is popular."""
    trained = await scene.ask("u1")
    scene.note("u1", "i07")
    scene.note("stranger", "i07")
    scene.journal.readable = False

    known, stranger = await scene.ask("u1", strict=True), await scene.ask("stranger")

    assert (known.strategy, known.degraded) == ("personal", ("history",))
    assert known.items == trained.items
    assert (stranger.strategy, stranger.degraded) == ("popular", ("history",))
    assert [record.msg for record in caplog.records] == ["history_unavailable"] * 2


async def test_strict_query_does_not_deny_whom_it_cannot_look_up(scene: Scene) -> None:
    """Where the journal cannot be read, a strict query for someone the model lacks fails; it is no "unknown user"."""
    scene.note("stranger", "i07")
    scene.journal.readable = False

    with pytest.raises(StorageUnavailable):
        await scene.ask("stranger", strict=True)


async def test_several_users_are_served_by_one_version(
    scene: Scene, published_store: ModelStore, fake_encoder: Any
) -> None:
    """The lists of one request are those of each user alone, in order, though another version takes over meanwhile."""
    scene.note("u1", "i07")
    users = ["u1", "nobody", "u0", "u1"]
    alone = [await scene.ask(user_id, 3) for user_id in users]
    other = Scene(published_store, fake_encoder).servable
    other.bundle = replace(other.bundle, manifest=replace(other.bundle.manifest, model_version="v2"))
    scene.journal.on_history = lambda: scene.handle.exchange(other)

    together = await scene.recommender.for_users(users, Wish(3))

    assert together == alone
    assert scene.handle.current.version == "v2"


async def test_one_unknown_user_fails_a_strict_query_for_several(scene: Scene) -> None:
    """Strictness holds for each user of a request."""
    with pytest.raises(UnknownUser):
        await scene.recommender.for_users(["u0", "nobody"], Wish(3), strict=True)


NEW = ["a", "b", "c"]
USERS = {"u0": {"i00", "i01"}, "u1": {"i01", "i02"}, "nobody": set[str]()}
an_item = st.sampled_from([*ITEMS[:6], *NEW])
a_user = st.sampled_from(sorted(USERS))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), an_item, st.sampled_from(["", "hidden", "unavailable", "expired"])),
        st.tuples(st.just("delete"), an_item),
        st.tuples(st.just("interact"), a_user, an_item),
        st.tuples(st.just("erase"), a_user),
    ),
    max_size=25,
)


class Ledger:
    """What may be shown after some steps, in plain sets."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.visible = set(ITEMS)
        self.existing = set(ITEMS)
        self.consumed: dict[str, set[str]] = {user: set() for user in USERS}

    def take(self, kind: str, *facts: str) -> None:
        """Carries out a step."""
        getattr(self, f"_{kind}")(*facts)

    def allowed(self, user_id: str) -> set[str]:
        """What a user may be shown."""
        return self.visible - USERS[user_id] - self.consumed[user_id]

    def _put(self, item_id: str, withheld: str) -> None:
        flags: dict[str, object] = {
            "": {},
            "hidden": {"hidden": True},
            "unavailable": {"available": False},
            "expired": {"expires_at": NOW},
        }[withheld]
        self._scene.put(item_id, value=float(len(item_id)), **flags)
        self.existing.add(item_id)
        (self.visible.discard if withheld else self.visible.add)(item_id)

    def _delete(self, item_id: str) -> None:
        self._scene.delete(item_id)
        self.visible.discard(item_id)
        self.existing.discard(item_id)

    def _interact(self, user_id: str, item_id: str) -> None:
        self._scene.note(user_id, item_id)
        self.consumed[user_id].add(item_id)

    def _erase(self, user_id: str) -> None:
        self._scene.journal.append(EraseUser(user_id))
        self.consumed[user_id].clear()


@given(taken=steps, history=st.lists(an_item, max_size=4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_list_ever_shows_what_it_must_not(
    published_store: ModelStore, fake_encoder: Any, taken: list[tuple[str, ...]], history: list[str]
) -> None:
    """After any puts, deletes, interactions and erasures every list of every route holds what it may, nothing else."""
    scene = Scene(published_store, fake_encoder)
    ledger = Ledger(scene)
    for kind, *facts in taken:
        ledger.take(kind, *facts)

    personal = await scene.recommender.for_users(sorted(USERS), Wish(50))
    including = await scene.recommender.for_users(sorted(USERS), Wish(50, include_seen=True))
    session = await scene.recommender.for_session(history, Wish(50))
    similar = {item_id: await scene.recommender.similar(item_id, Wish(50)) for item_id in sorted(ledger.existing)}

    for user_id, answer, everything in zip(sorted(USERS), personal, including, strict=True):
        assert shown(answer) == sorted(ledger.allowed(user_id))
        assert shown(await scene.ask(user_id)) == shown(answer)
        assert shown(everything) == sorted(ledger.visible)
    assert shown(session) == sorted(ledger.visible - set(history))
    for item_id, answer in similar.items():
        assert shown(answer) == sorted(ledger.visible - {item_id})


def shown(answer: Recommendation) -> list[str]:
    """The ids of a list, in the order of the alphabet."""
    return sorted(item.item_id for item in answer.items)
