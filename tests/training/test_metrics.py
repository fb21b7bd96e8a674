"""Ranking metrics against hand-worked numbers and a slow, obvious formulation."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.errors import NotFinite
from training.metrics import RankingResult, Scorer, ranking_metrics, top_items


def ranked(
    scores: list[list[float]], held_out: list[list[int]], seen: list[list[int]], **options: Any
) -> RankingResult:
    """Metrics of given scores: users are the score rows, items the unit vectors."""
    users = np.array(scores, np.float32)
    items = np.eye(users.shape[1], dtype=np.float32)
    return ranking_metrics(users, items, csr_matrix(held_out), csr_matrix(seen), **options)


def test_metrics_of_a_hand_worked_list() -> None:
    """One user, five items, scores 5 4 3 2 1; item 0 is seen, items 1 and 4 are held out.

    The list is 1, 2, 3, 4. At K = 1: one hit of two; recall 1/2, HR 1/min(1, 2) = 1, DCG 1/log2(2) = 1 and the ideal
    list of min(1, 2) = 1 also 1, so NDCG 1. At K = 3: still one hit; recall 1/2, HR 1/2, DCG 1, ideal
    1 + 1/log2(3) = 1.63093, NDCG 0.61315. At K = 4: both; recall 1, HR 1, DCG 1 + 1/log2(5) = 1.43068, NDCG 0.87721.
    """
    result = ranked([[5, 4, 3, 2, 1]], [[0, 1, 0, 0, 1]], [[1, 0, 0, 0, 0]], ks=(1, 3, 4))

    assert result.recall[0].tolist() == [0.5, 0.5, 1]
    assert result.hr[0].tolist() == [1, 0.5, 1]
    assert result.ndcg[0] == pytest.approx([1, 0.61315, 0.87721], abs=1e-5)


def test_mean_counts_only_users_with_something_to_find() -> None:
    """User 1 has no held-out item and is left out; user 0 hits, user 2 misses: mean recall 1/2 over two users."""
    result = ranked([[2, 1], [2, 1], [2, 1]], held_out=[[1, 0], [0, 0], [0, 1]], seen=[[0, 0], [0, 0], [0, 0]], ks=(1,))

    assert result.users.tolist() == [0, 2]
    assert result.mean() == {"recall@1": 0.5, "ndcg@1": 0.5, "hr@1": 0.5, "users": 2}
    assert result.per_user("recall@1").tolist() == [1, 0]
    with pytest.raises(KeyError):
        result.per_user("recall@2")


def test_equal_scores_rank_by_item_row() -> None:
    """All four items tie; at the boundary K = 2 items 0 and 1 are in, 2 and 3 are not, and -0.0 equals 0.0."""
    result = ranked([[0.0, -0.0, 0.0, 0.0]], [[0, 1, 1, 0]], [[0, 0, 0, 0]], ks=(1, 2, 3))

    assert result.recall[0].tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("n", [3, 97, 1425])
def test_items_of_equal_rows_are_equal(n: int) -> None:
    """A matrix product alone gives them scores of different last bits; all lists are the first rows."""
    rng = np.random.default_rng(0)
    users = rng.normal(size=(200, 64)).astype(np.float32)
    items = np.tile(rng.normal(size=64).astype(np.float32), (n, 1))
    items[1] = -items[1]  # one unlike them
    held_out = csr_matrix(np.eye(1, n, dtype=np.float32).repeat(200, axis=0))

    scores = Scorer(items)(users)
    result = ranking_metrics(users, items, held_out, csr_matrix(held_out.shape), (1,))

    like = np.delete(np.arange(n), 1)
    assert (scores[:, like] == scores[:, :1]).all()
    assert np.allclose(scores, users @ items.T, atol=1e-4)
    assert result.recall[:, 0].tolist() == (scores[:, 0] > scores[:, 1]).tolist()


def test_candidates_restrict_the_list_and_what_counts() -> None:
    """Among candidates 3 and 1, item 3 (score 2) leads item 1 (score 1); held-out item 0 is no candidate."""
    result = ranked([[9, 1, 8, 2]], [[1, 1, 0, 0]], [[0, 0, 0, 0]], ks=(1, 2), candidates=np.array([3, 1]), block=1)

    assert result.recall[0].tolist() == [0, 1]
    assert result.ndcg[0, 1] == pytest.approx(1 / math.log2(3))


def test_user_without_held_out_candidate_is_left_out() -> None:
    """Nothing among the candidates can be found, so there is nobody to average over."""
    result = ranked([[9, 1]], [[1, 0]], [[0, 0]], ks=(1,), candidates=np.array([1]))

    assert result.mean() == {"recall@1": 0.0, "ndcg@1": 0.0, "hr@1": 0.0, "users": 0}


def test_masked_items_never_hit_however_few_remain() -> None:
    """Three of four items are seen, one of them (wrongly) also held out: the list has one item, at any K."""
    result = ranked([[4, 3, 2, 1]], [[1, 0, 0, 1]], [[1, 1, 1, 0]], ks=(2, 4, 10))

    assert result.recall[0].tolist() == [0.5, 0.5, 0.5]


def test_explicit_zeros_and_duplicates_of_the_matrices_do_not_count() -> None:
    """A stored zero is no held-out item, and one stored twice is one."""
    held_out = csr_matrix((np.array([0.0, 1.0, 1.0]), np.array([0, 1, 1]), np.array([0, 3])), shape=(1, 2))

    result = ranking_metrics(
        np.ones((1, 1), np.float32), np.ones((2, 1), np.float32), held_out, csr_matrix((1, 2)), ks=(1, 2)
    )

    assert result.recall[0].tolist() == [0, 1]
    assert held_out.nnz == 3


@pytest.mark.parametrize("ks", [(), (0, 10)])
def test_impossible_list_lengths_are_refused(ks: tuple[int, ...]) -> None:
    """A list has at least one place."""
    with pytest.raises(ValueError, match="expected positive list lengths"):
        ranked([[1, 2]], [[1, 0]], [[0, 0]], ks=ks)


def test_embeddings_that_are_not_finite_are_refused() -> None:
    """A NaN would otherwise rank somewhere."""
    with pytest.raises(NotFinite, match="embeddings: expected finite numbers"):
        ranked([[1, float("nan")]], [[1, 0]], [[0, 0]])


def test_top_items_fills_up_with_minus_one() -> None:
    """Where fewer than K columns remain, the places stay empty."""
    scores = np.array([[1, 3, 2]], np.float32)

    assert top_items(scores, csr_matrix([[0, 1, 0]]), 3).tolist() == [[2, 0, -1]]
    assert top_items(scores, csr_matrix([[0, 1, 0]]), 5).tolist() == [[2, 0, -1, -1, -1]]


def slow_metrics(
    scores: NDArray[np.float32], held_out: NDArray[np.int64], seen: NDArray[np.int64], candidates: list[int], k: int
) -> dict[int, tuple[float, float, float]]:
    """Recall, NDCG and HR at K of each user, straight from their definitions."""
    found = {}
    for user, row in enumerate(scores):
        relevant = {item for item in candidates if held_out[user, item]}
        if not relevant:
            continue
        order = sorted((item for item in candidates if not seen[user, item]), key=lambda item: (-row[item], item))
        hits = [item in relevant for item in order[:k]]
        reachable = min(k, len(relevant))
        dcg = sum(1 / math.log2(rank + 2) for rank, hit in enumerate(hits) if hit)
        ideal = sum(1 / math.log2(rank + 2) for rank in range(reachable))
        found[user] = (sum(hits) / len(relevant), dcg / ideal, sum(hits) / reachable)
    return found


@settings(max_examples=200)
@given(data=st.data(), n_users=st.integers(1, 6), n_items=st.integers(1, 12), block=st.integers(1, 7))
def test_metrics_equal_the_slow_definition(data: st.DataObject, n_users: int, n_items: int, block: int) -> None:
    """Small integer embeddings make exact scores with many ties, at the boundary and beyond."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    users = rng.integers(-1, 2, (n_users, 2)).astype(np.float32)
    items = rng.integers(-1, 2, (n_items, 2)).astype(np.float32)
    held_out = rng.integers(0, 2, (n_users, n_items))
    seen = rng.integers(0, 2, (n_users, n_items))
    candidates = data.draw(st.none() | st.lists(st.integers(0, n_items - 1), min_size=1))
    ks = data.draw(st.lists(st.integers(1, 15), min_size=1, max_size=3))

    result = ranking_metrics(
        users,
        items,
        csr_matrix(held_out),
        csr_matrix(seen),
        ks,
        None if candidates is None else np.array(candidates),
        block,
    )

    for column, k in enumerate(ks):
        rows = sorted(set(range(n_items) if candidates is None else candidates))
        expected = slow_metrics(users @ items.T, held_out, seen, rows, k)
        assert result.users.tolist() == list(expected)
        for position, user in enumerate(expected):
            found = (result.recall[position, column], result.ndcg[position, column], result.hr[position, column])
            assert found == pytest.approx(expected[user])


def test_block_size_does_not_matter() -> None:
    """Users are judged alike whoever is scored beside them."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(-9, 9, (50, 4)), rng.integers(-9, 9, (80, 4))
    held_out, seen = (csr_matrix(rng.random((50, 80)) < 0.1) for _ in range(2))

    results = [
        ranking_metrics(users.astype(np.float32), items.astype(np.float32), held_out, seen, block=block)
        for block in (1, 7, 1024)
    ]

    for result in results[1:]:
        np.testing.assert_array_equal(result.ndcg, results[0].ndcg)


def test_part_of_some_users_is_theirs() -> None:
    """In their order; who was not judged is not there."""
    result = ranked([[1, 2], [2, 1], [1, 2]], [[1, 0], [0, 1], [0, 1]], [[0, 0]] * 3, ks=(1,))

    part = result.of(np.array([2, 0, 7]))

    assert part.users.tolist() == [0, 2]
    assert part.recall[:, 0].tolist() == part.hr[:, 0].tolist() == part.ndcg[:, 0].tolist() == [0, 1]
