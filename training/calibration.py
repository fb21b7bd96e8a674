"""How far new items are pushed: one number, by norms or by what it costs."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.evaluation import validated_part
from training.metrics import Scorer, result_of_hits, top_items
from training.models.contract import Embeddings
from training.splits import Split

GAINS = tuple(float(gain) for gain in np.round(np.geomspace(0.5, 4, 91), 4))
_K = 20
_FEWEST = 30
"""Finds without which a share of them says nothing: a hundredth, the usual budget, is less than one of them."""
_BLOCK_CELLS = 1 << 23  # bounds the scores held at once


def new_item_gain(items: NDArray[np.float32], as_new: NDArray[np.float32], warm: NDArray[np.bool_]) -> float:
    """The factor that gives items placed from content alone the norm of items placed from content and clicks.

    Softmax training answers uncertainty with short vectors: without the factor hardly any new item surfaces beside the
    warm ones. It is read off warm items, seen once as they are and once as if they were new.

    Args:
        items: (n_items, d) float32, the trained table.
        as_new: (n_items, d) float32, the same items as the encoder alone places them, gain 1.
        warm: (n_items,) bool, items with training interactions.

    Returns:
        The ratio of mean norms; 1 where either is zero.
    """
    known, content = (float(np.linalg.norm(table[warm], axis=1).mean()) for table in (items, as_new))
    return known / content if known and content else 1.0


def gain_within_budget(
    tables: Embeddings, new: NDArray[np.bool_], split: Split, judged: NDArray[np.int64], budget: float
) -> float | None:
    """The largest of ``GAINS`` that costs at most ``budget`` of the best recall@20 and of the best ndcg@20.

    Both are those of ``validated_part`` over the ``judged`` items. Recall alone would let new items crowd the top of
    the lists.

    Args:
        tables: with new items' rows of gain 1.
        new: (n_items,), whose rows a gain would scale.
        split: validation positives are to be found, train positives are left out.
        judged: rows of the items that compete.
        budget: a share.

    Returns:
        One of ``GAINS``; 1 where hardly anything is found, as chance would then make any gain seem to cost nothing, the
        largest included; None where no judged item is new: no gain costs anything then.
    """
    if not new[judged].any():
        return None
    scores, most_found = _scores(tables, new, split, judged)
    if most_found < _FEWEST:
        return 1.0
    enough = (scores >= (1 - budget) * scores.max(axis=0)).all(axis=1)
    # There may be no gain that serves both: then the one whose worse share of its best is best.
    shares = (scores / scores.max(axis=0)).min(axis=1)
    chosen = np.flatnonzero(enough)[-1] if enough.any() else shares.argmax()
    return GAINS[int(chosen)]


class _Lists(NamedTuple):
    """The best new and the best known items of each user: all that can stand in a list, whatever the gain.

    Attributes:
        scores: (m, 2·_K) float32 with gain 1, in the order of the items' rows; -inf where a list is short.
        pushed, wanted: (m, 2·_K) bool, whether the item plays new and whether it was held out.
    """

    scores: NDArray[np.float32]
    pushed: NDArray[np.bool_]
    wanted: NDArray[np.bool_]


def _scores(
    tables: Embeddings, new: NDArray[np.bool_], split: Split, judged: NDArray[np.int64]
) -> tuple[NDArray[np.float64], int]:
    """Recall@20 and ndcg@20 over the ``judged`` items for each of ``GAINS``, (n_gains, 2); the most that one finds."""
    held_out, seen = validated_part(split)[:, judged], split.train[:, judged]
    users = np.flatnonzero(np.diff(held_out.indptr))
    step = max(1, _BLOCK_CELLS // max(len(judged), 1))
    blocks = [users[start : start + step] for start in range(0, len(users), step)]
    scorer = Scorer(tables.items[judged])
    parts = [_best_of_both(scorer(tables.users[block]), new[judged], held_out[block], seen[block]) for block in blocks]
    lists = _Lists(*(np.concatenate(column) for column in zip(*parts, strict=True))) if parts else None
    sizes = np.diff(held_out.indptr)[users]
    scores: list[tuple[float, float]] = []
    most_found = 0
    for gain in GAINS:  # each is reduced to its means before the next: hits of all gains at once fill the memory
        hits = np.zeros((0, _K), bool) if lists is None else _hits(lists, gain)
        mean = result_of_hits((_K,), users, hits, sizes).mean()
        scores.append((mean[f"recall@{_K}"], mean[f"ndcg@{_K}"]))
        most_found = max(most_found, int(hits.sum()))
    return np.array(scores), most_found


def _best_of_both(
    scores: NDArray[np.float32], new: NDArray[np.bool_], held_out: csr_matrix, seen: csr_matrix
) -> _Lists:
    """The two best lists of each user, from scores (b, n)."""
    best = [top_items(np.where(side, scores, -np.inf), seen, _K) for side in (new, ~new)]
    found = np.concatenate(best, axis=1)
    found = np.sort(np.where(found < 0, len(new), found), axis=1)  # ties go to the lower row, gaps to the end
    gap, found = found == len(new), np.minimum(found, len(new) - 1)
    wanted = np.take_along_axis(held_out.toarray() > 0, found, axis=1)
    kept = np.where(gap, np.float32(-np.inf), np.take_along_axis(scores, found, axis=1))
    return _Lists(kept, new[found], wanted)


def _hits(lists: _Lists, gain: float) -> NDArray[np.bool_]:
    """Where the lists for a gain, which moves new items among known ones but keeps their order, have a hit."""
    scores = np.where(lists.pushed, np.float32(gain) * lists.scores, lists.scores)
    top = top_items(scores, csr_matrix(scores.shape), _K)
    return np.take_along_axis(lists.wanted, np.maximum(top, 0), axis=1) & (top >= 0)
