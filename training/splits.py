"""Which interactions are learned from, which select a model and which judge it."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.dataset import Dataset
from training.interactions import TEST, TRAIN, VAL, Interactions

DROPPED = -1  # the code of an interaction that a protocol withholds from everything
_NEW_ITEM_SEED = 11
_NEW_ITEM_SHARE = 0.2
_SMALLEST_SPLIT = 3  # one interaction each for train, val and test


@dataclass(frozen=True, slots=True)
class Split:
    """The three parts as binary (n_users, n_items) float32 CSR matrices with sorted indices."""

    train: csr_matrix
    val: csr_matrix
    test: csr_matrix


def split_from_codes(dataset: Dataset, codes: NDArray[np.int8]) -> Split:
    """The matrices of given split codes, (n,) int8 aligned with ``dataset.interactions``."""
    return Split(*(_matrix(dataset, codes == code) for code in (TRAIN, VAL, TEST)))


def split_codes(
    dataset: Dataset, rng: np.random.Generator, val_share: float = 0.1, test_share: float = 0.1
) -> NDArray[np.int8]:
    """Gives each interaction a split code, (n,) int8.

    The split column of the data decides where there is one. Otherwise each user's latest interactions go to test and
    the latest of the rest to val (random ones where there are no timestamps): the rounded share, but at least one, and
    at least one stays in train. Users with fewer than three interactions stay in train altogether.

    Raises:
        ValueError: the shares are negative or leave nothing to learn from.
    """
    if min(val_share, test_share) < 0 or val_share + test_share >= 1:
        raise ValueError(f"expected shares of at least 0 and a sum below 1, found {val_share} and {test_share}")
    interactions = dataset.interactions
    if interactions.split is not None:
        return interactions.split.copy()
    times = interactions.timestamps if interactions.timestamps is not None else rng.random(len(interactions))
    order = np.lexsort((times, interactions.users))
    counts = np.bincount(interactions.users, minlength=dataset.n_users)
    ends = np.cumsum(counts)
    users = interactions.users[order]
    from_end = ends[users] - np.arange(len(order))  # 1 for a user's latest interaction
    n_test = _part(counts, test_share, counts - (2 if val_share else 1))
    n_val = _part(counts, val_share, counts - n_test - 1)
    codes = np.full(len(order), TRAIN, np.int8)
    codes[order[from_end <= (n_test + n_val)[users]]] = VAL
    codes[order[from_end <= n_test[users]]] = TEST
    return codes


def ordered_history(
    dataset: Dataset, codes: NDArray[np.int8], keep: Collection[int] = (TRAIN,)
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Each user's item rows, oldest first: by timestamp where there are any, and by file order.

    Args:
        dataset: the data.
        codes: (n,) int8 split codes of its interactions.
        keep: the codes whose interactions count.

    Returns:
        CSR arrays by user: indptr (n_users + 1,) int64 and indices (nnz,) int32.
    """
    kept = dataset.interactions.take(np.flatnonzero(np.isin(codes, list(keep))))
    keys = (kept.users,) if kept.timestamps is None else (kept.timestamps, kept.users)
    indptr = np.zeros(dataset.n_users + 1, np.int64)
    np.cumsum(np.bincount(kept.users, minlength=dataset.n_users), out=indptr[1:])
    return indptr, kept.items[np.lexsort(keys)]


def new_item_rows(n_items: int) -> NDArray[np.int64]:
    """The item rows that the ``new-items`` protocol calls new."""
    return np.random.default_rng(_NEW_ITEM_SEED).permutation(n_items)[: int(_NEW_ITEM_SHARE * n_items)]


def hold_out_items(codes: NDArray[np.int8], interactions: Interactions, items: NDArray[np.integer]) -> NDArray[np.int8]:
    """New codes in which the train and val interactions of ``items`` (item rows) are DROPPED; test ones stay."""
    held_out = np.isin(interactions.items, items) & np.isin(codes, (TRAIN, VAL))
    return np.where(held_out, np.int8(DROPPED), codes)


def _part(counts: NDArray[np.int64], share: float, room: NDArray[np.int64]) -> NDArray[np.int64]:
    if not share:
        return np.zeros_like(counts)
    wanted = np.maximum(np.rint(counts * share).astype(np.int64), 1)
    return np.where(counts < _SMALLEST_SPLIT, 0, np.minimum(wanted, room))


def _matrix(dataset: Dataset, chosen: NDArray[np.bool_]) -> csr_matrix:
    users, items = dataset.interactions.users[chosen], dataset.interactions.items[chosen]
    matrix = csr_matrix((np.ones(len(users), np.float32), (users, items)), shape=(dataset.n_users, dataset.n_items))
    matrix.sort_indices()
    return matrix
