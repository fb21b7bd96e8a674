"""Full-ranking evaluation: Recall, NDCG and HR at K over all candidates, with exact ties."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.errors import NotFinite

_BLOCK_CELLS = 1 << 24  # bounds the scores held at once, whatever the catalogue's size


@dataclass(frozen=True, slots=True)
class RankingResult:
    """Metrics of each evaluated user.

    Attributes:
        ks: the list lengths, one per column of the arrays.
        users: (m,) int64, rows of the users with a held-out candidate, ascending.
        recall: (m, len(ks)) float64, hits / |T_u|.
        ndcg: (m, len(ks)) float64, binary gain; the ideal list is cut at min(K, |T_u|).
        hr: (m, len(ks)) float64, hits / min(K, |T_u|).
    """

    ks: tuple[int, ...]
    users: NDArray[np.int64]
    recall: NDArray[np.float64]
    ndcg: NDArray[np.float64]
    hr: NDArray[np.float64]

    def per_user(self, name: str) -> NDArray[np.float64]:
        """The (m,) values of one metric, named as in :meth:`mean`, say ``recall@20``.

        Raises:
            KeyError: there is no such metric.
        """
        return self._columns()[name]

    def of(self, users: NDArray[np.integer]) -> "RankingResult":
        """The part of it that is of these users."""
        kept = np.isin(self.users, users)
        return RankingResult(self.ks, self.users[kept], self.recall[kept], self.ndcg[kept], self.hr[kept])

    def mean(self) -> dict[str, float]:
        """Means over the evaluated users (0 where there are none), and their number as ``users``."""
        n = len(self.users)
        means = {name: float(values.mean()) if n else 0.0 for name, values in self._columns().items()}
        return {**means, "users": n}

    def _columns(self) -> dict[str, NDArray[np.float64]]:
        tables = {"recall": self.recall, "ndcg": self.ndcg, "hr": self.hr}
        return {f"{name}@{k}": table[:, j] for name, table in tables.items() for j, k in enumerate(self.ks)}


def ranking_metrics(
    user_embeddings: NDArray[np.float32],
    item_embeddings: NDArray[np.float32],
    held_out: csr_matrix,
    seen: csr_matrix,
    ks: Sequence[int] = (10, 20, 50),
    candidates: NDArray[np.integer] | None = None,
    block: int = 1024,
) -> RankingResult:
    """Ranks the candidates of each user with a held-out one by inner product, ties by lower item row.

    Args:
        user_embeddings: (n_users, d) float32.
        item_embeddings: (n_items, d) float32.
        held_out: (n_users, n_items), the items to be found; nonzero = held out.
        seen: (n_users, n_items), the items that never count and take no place in the list (train positives).
        ks: list lengths.
        candidates: item rows that compete; None = all.
        block: users scored at once; fewer where the catalogue is large.

    Raises:
        NotFinite: an embedding is not finite.
        ValueError: a list length is not positive.
    """
    if not ks or min(ks) < 1:
        raise ValueError(f"expected positive list lengths, found {tuple(ks)}")
    if not (np.isfinite(user_embeddings).all() and np.isfinite(item_embeddings).all()):
        raise NotFinite("embeddings", "settings nearer to the defaults, such as a smaller --lr")
    if candidates is not None:
        rows = np.unique(candidates)
        item_embeddings, held_out, seen = item_embeddings[rows], held_out[:, rows], seen[:, rows]
    held_out, seen = _binary(held_out), _binary(seen)
    users = np.flatnonzero(np.diff(held_out.indptr)).astype(np.int64)
    step = max(1, min(block, _BLOCK_CELLS // max(len(item_embeddings), 1)))
    hits = np.zeros((len(users), max(ks)), bool)
    scorer = Scorer(item_embeddings)
    for start in range(0, len(users), step):
        chosen = users[start : start + step]
        hits[start : start + step] = _hits(scorer(user_embeddings[chosen]), held_out[chosen], seen[chosen], max(ks))
    return result_of_hits(ks, users, hits, np.diff(held_out.indptr)[users])


class Scorer:
    """Inner products of users with items; items of equal rows get equal scores.

    A matrix product alone does not see to that: it adds in another order at the edges of a matrix. New items about
    which nothing is known share a row, and would be in an order of chance.

    Args:
        item_embeddings: (n, d).
    """

    def __init__(self, item_embeddings: NDArray[np.floating[Any]]) -> None:
        rows = np.ascontiguousarray(item_embeddings, dtype=np.float32) + np.float32(0.0)  # no -0.0: told apart by bytes
        whole = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()
        _, first, places = np.unique(whole, return_index=True, return_inverse=True)
        some_equal = len(first) < len(rows)
        self._rows = np.ascontiguousarray((rows[first] if some_equal else rows).T)
        self._places = places if some_equal else None

    def __call__(self, user_embeddings: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """(b, d) → (b, n) float32, writable."""
        scores: NDArray[np.float32] = user_embeddings.astype(np.float32, copy=False) @ self._rows
        return scores if self._places is None else np.take(scores, self._places, axis=1)


def top_items(scores: NDArray[np.float32], seen: csr_matrix, k: int) -> NDArray[np.int64]:
    """The ``k`` best columns of each row, best first, equal scores by lower column.

    Args:
        scores: (b, n) float32, finite; overwritten.
        seen: (b, n), columns that are left out.
        k: list length.

    Returns:
        (b, k) int64; -1 where fewer than ``k`` columns remain.
    """
    b, n = scores.shape
    scores[np.repeat(np.arange(b), np.diff(seen.indptr)), seen.indices] = -np.inf
    # Everything that reaches the k-th best score competes, so that ties at the boundary are all there to be ordered.
    bar = np.partition(scores, n - k, axis=1)[:, n - k, None] if k < n else np.float32(-np.inf)
    flat = np.flatnonzero(scores >= bar)
    rows, columns = np.divmod(flat, n)
    values = scores.ravel()[flat]
    order = np.lexsort((-values, rows))  # stable: equal scores stay in the order of their columns
    starts = np.cumsum(np.bincount(rows, minlength=b)) - np.bincount(rows, minlength=b)
    rank = np.arange(len(flat)) - starts[rows]
    kept = (rank < k) & np.isfinite(values[order])
    found = np.full((b, k), -1, np.int64)
    found[rows[kept], rank[kept]] = columns[order][kept]
    return found


def _hits(scores: NDArray[np.float32], held_out: csr_matrix, seen: csr_matrix, k: int) -> NDArray[np.bool_]:
    top = top_items(scores, seen, k)
    relevant = np.zeros(scores.shape, bool)
    relevant[np.repeat(np.arange(len(scores)), np.diff(held_out.indptr)), held_out.indices] = True
    return np.take_along_axis(relevant, np.maximum(top, 0), axis=1) & (top >= 0)


def result_of_hits(
    ks: Sequence[int], users: NDArray[np.int64], hits: NDArray[np.bool_], sizes: NDArray[np.integer]
) -> RankingResult:
    """The metrics of lists.

    Args:
        ks: list lengths.
        users: (m,) rows of the users.
        hits: (m, max(ks)), whether what stands there in a user's list was held out.
        sizes: (m,) how many were held out, at least 1.
    """
    cut = np.asarray(ks) - 1
    discounts = 1 / np.log2(np.arange(2, max(ks) + 2))
    found = np.cumsum(hits, axis=1)[:, cut]
    gain = np.cumsum(hits * discounts, axis=1)[:, cut]
    reachable = np.minimum(sizes[:, None], np.asarray(ks))
    ideal = np.cumsum(discounts)[reachable - 1]
    return RankingResult(tuple(ks), users, found / sizes[:, None], gain / ideal, found / reachable)


def _binary(matrix: csr_matrix) -> csr_matrix:
    matrix = csr_matrix(matrix, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix
