"""What is known of a user: vectors folded in by the manifest's rule, and what was seen."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_store import HistoryRule, LeastSquaresRule, ModelStore
from service.adapters.memory import MemoryIndex
from service.domain import DeleteItem, Encoding, Item, PutItem, Record, Vector
from service.servable import Servable
from service.users import find_user, session_user

Rule = HistoryRule | LeastSquaresRule
DIAGONAL = (1.0, 2.0, 3.0, 4.0, 5.0)
RULES: list[Rule] = [
    HistoryRule(),
    HistoryRule(alpha=1.0, max_items=3),
    LeastSquaresRule(DIAGONAL, ridge=0.5),
    LeastSquaresRule(DIAGONAL, max_items=2),
]
NOW = datetime(2026, 6, 1, tzinfo=UTC)
every_rule = pytest.mark.parametrize("rule", RULES, ids=["sum", "mean of 3", "least squares", "least squares of 2"])


def servable_of(store: ModelStore, encoder: Any, rule: Rule | None, **arrays: object) -> Servable:
    """The published version as if it had another rule; without one it has no history rows either."""
    bundle = store.load()
    if rule is None:
        arrays["history_embeddings"] = None
    bundle = replace(bundle, manifest=replace(bundle.manifest, history=rule), **arrays)  # type: ignore[arg-type]
    return Servable(bundle, encoder, MemoryIndex(list(bundle.items), bundle.item_embeddings))


def put(servable: Servable, seq: int, item_id: str, history: float | None) -> None:
    """Puts an item whose history row is ``history`` everywhere."""
    row = None if history is None else np.full(5, history, np.float32)
    encoding = Encoding(np.ones(5, np.float32), row, 0.5, (), (), "v1")
    servable.apply(Record(seq, NOW, PutItem(Item(item_id))), encoding)


def rows_of(servable: Servable, item_ids: list[str]) -> np.ndarray:
    """The trained history rows of items, (n, d) float64."""
    table = servable.bundle.history_embeddings
    return np.array([table[int(item_id[1:])] for item_id in item_ids], dtype=np.float64)


def folded(rule: Rule, rows: np.ndarray) -> Any:
    """The user of these rows as the bundle format defines it, up to float32."""
    n = len(rows)
    if isinstance(rule, HistoryRule):
        vector = rows.sum(axis=0) / n**rule.alpha
    else:
        vector = np.linalg.solve(np.diag(np.array(rule.diagonal) + rule.ridge * n) + rows.T @ rows, rows.sum(axis=0))
    return pytest.approx(vector, rel=1e-5, abs=1e-6)


def vector_of(found: Any) -> Vector:
    """The vector of a user who has one."""
    assert found is not None
    assert found.vector is not None
    return found.vector


@every_rule
def test_user_without_interactions_has_the_trained_vector(
    published_store: ModelStore, fake_encoder: Any, rule: Rule
) -> None:
    """Whoever did nothing since the training is the row of the model, whatever the rule."""
    servable = servable_of(published_store, fake_encoder, rule)

    user = find_user(servable, "u4", [])

    assert vector_of(user).tolist() == servable.bundle.user_embeddings[4].tolist()
    assert user is not None
    assert user.seen == {"i04", "i05"}


@every_rule
def test_interactions_are_folded_in_after_the_training(
    published_store: ModelStore, fake_encoder: Any, rule: Rule
) -> None:
    """A user's vector is the rule of all they did, training first, each item once at its latest place."""
    servable = servable_of(published_store, fake_encoder, rule)

    user = find_user(servable, "u2", ["i07", "i02", "i07"])

    order = ["i03", "i02", "i07"]
    assert vector_of(user) == folded(rule, rows_of(servable, order)[-rule.max_items :])
    assert vector_of(user).dtype == np.float32
    assert user is not None
    assert user.seen == set(order)


@every_rule
def test_interactions_that_were_trained_on_leave_the_trained_vector(
    published_store: ModelStore, fake_encoder: Any, rule: Rule
) -> None:
    """Of users whom the model has learned as rows it knows more than a rule; what it saw already tells nothing new."""
    servable = servable_of(published_store, fake_encoder, rule)

    known, grown = (find_user(servable, "u2", items) for items in (["i03", "i02", "i03"], ["i02", "i09"]))

    assert vector_of(known).tolist() == servable.bundle.user_embeddings[2].tolist()
    assert vector_of(grown) == folded(rule, rows_of(servable, ["i03", "i02", "i09"])[-rule.max_items :])


@given(history=st.lists(st.sampled_from([*(f"i{n:02}" for n in range(12)), "x", "y"]), max_size=12), rule=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_session_is_the_rule_of_its_latest_distinct_items(
    published_store: ModelStore, fake_encoder: Any, history: list[str], rule: st.DataObject
) -> None:
    """For any history: repetitions count once, at their latest place, unknown items not at all, then the bound cuts."""
    drawn = rule.draw(st.sampled_from(RULES))
    servable = servable_of(published_store, fake_encoder, drawn)
    known: list[str] = []
    for item_id in reversed(history):
        if item_id in servable.bundle.items and item_id not in known:
            known.insert(0, item_id)

    user = session_user(servable, history)

    assert user.seen == set(history)
    assert user.history == tuple(known[-drawn.max_items :])
    if known:
        assert vector_of(user) == folded(drawn, rows_of(servable, known)[-drawn.max_items :])
    else:
        assert user.vector is None


def test_histories_beyond_single_precision_tell_nothing(published_store: ModelStore, fake_encoder: Any) -> None:
    """Rows that are each finite may add up to what is not, and all scores to no numbers."""
    servable = servable_of(published_store, fake_encoder, HistoryRule(alpha=0.0))
    for seq, item_id in enumerate(("a", "b"), start=1):
        put(servable, seq, item_id, 3e38)

    assert session_user(servable, ["a"]).vector is not None
    assert session_user(servable, ["a", "b"]).vector is None


@every_rule
def test_user_the_model_never_met_is_their_interactions(
    published_store: ModelStore, fake_encoder: Any, rule: Rule
) -> None:
    """An unknown user with interactions is found, with the vector of a session that did the same."""
    servable = servable_of(published_store, fake_encoder, rule)

    user = find_user(servable, "stranger", ["i09", "i01"])

    assert vector_of(user) == folded(rule, rows_of(servable, ["i09", "i01"]))
    assert user is not None
    assert user.seen == {"i09", "i01"}


def test_user_nobody_knows_is_not_found(published_store: ModelStore, fake_encoder: Any) -> None:
    """Neither in the model nor in the journal: there is no such user."""
    servable = servable_of(published_store, fake_encoder, HistoryRule())

    assert find_user(servable, "stranger", []) is None


def test_unknown_items_are_seen_but_say_nothing(published_store: ModelStore, fake_encoder: Any) -> None:
    """A user of items nobody knows is known, has seen them, and has no vector; a trained user keeps their taste."""
    servable = servable_of(published_store, fake_encoder, HistoryRule())

    stranger, trained = find_user(servable, "stranger", ["x"]), find_user(servable, "u1", ["x"])

    assert stranger is not None
    assert (stranger.vector, stranger.seen) == (None, {"x"})
    assert vector_of(trained).tolist() == servable.bundle.user_embeddings[1].tolist()
    assert trained is not None
    assert trained.seen == {"i01", "i02", "x"}


def test_model_without_rule_knows_users_as_rows_only(published_store: ModelStore, fake_encoder: Any) -> None:
    """Where histories cannot be encoded, trained users keep their vector, others have none; all have seen things."""
    servable = servable_of(published_store, fake_encoder, None)

    trained, stranger = find_user(servable, "u1", ["i09"]), find_user(servable, "stranger", ["i09"])

    assert vector_of(trained).tolist() == servable.bundle.user_embeddings[1].tolist()
    assert trained is not None
    assert trained.seen == {"i01", "i02", "i09"}
    assert stranger is not None
    assert (stranger.vector, stranger.seen) == (None, {"i09"})
    assert session_user(servable, ["i09"]).vector is None


@every_rule
def test_zero_vectors_are_no_taste(published_store: ModelStore, fake_encoder: Any, rule: Rule) -> None:
    """A history of zero rows says nothing: a trained user falls back to their row, and where it is zero, to none."""
    bundle = published_store.load()
    zeros = np.zeros_like(bundle.history_embeddings)
    users = np.array(bundle.user_embeddings)
    users[1] = 0
    servable = servable_of(published_store, fake_encoder, rule, history_embeddings=zeros, user_embeddings=users)

    with_row, without = find_user(servable, "u0", ["i09"]), find_user(servable, "u1", ["i09"])

    assert session_user(servable, ["i09"]).vector is None
    assert vector_of(with_row).tolist() == users[0].tolist()
    assert without is not None
    assert without.vector is None
    unchanged = find_user(servable, "u1", [])
    assert unchanged is not None
    assert (unchanged.vector, unchanged.seen) == (None, {"i01", "i02"})


def test_items_of_the_model_count_as_in_training_for_ever(published_store: ModelStore, fake_encoder: Any) -> None:
    """Deleted or described anew: what an item of the model adds to histories stays its trained row."""
    servable = servable_of(published_store, fake_encoder, HistoryRule())
    put(servable, 1, "i07", history=9.0)
    servable.apply(Record(2, NOW, DeleteItem("i08")))

    user = session_user(servable, ["i07", "i08"])

    assert vector_of(user) == folded(HistoryRule(), rows_of(servable, ["i07", "i08"]))


@every_rule
def test_online_items_count_by_their_encoding(published_store: ModelStore, fake_encoder: Any, rule: Rule) -> None:
    """An item written online adds its encoder's history row; without one, or once deleted, it adds nothing."""
    servable = servable_of(published_store, fake_encoder, rule)
    put(servable, 1, "new", history=3.0)
    put(servable, 2, "mute", history=None)
    put(servable, 3, "gone", history=5.0)
    servable.apply(Record(4, NOW, DeleteItem("gone")))

    user = session_user(servable, ["i07", "gone", "new", "mute"])

    rows = np.vstack([rows_of(servable, ["i07"]), np.full((1, 5), 3.0)])
    assert vector_of(user) == folded(rule, rows)
    assert user.seen == {"i07", "gone", "new", "mute"}
