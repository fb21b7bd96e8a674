"""The next interactions: those of a data set, and what users did online since."""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from model_store import IdMap
from training.collected_items import Collected
from training.dataset import Dataset, user_order
from training.interactions import TRAIN, Interactions
from training.journal import OnlineInteractions

ERASED = "of users who were erased"
DELETED = "with items that were deleted"
UNDESCRIBED = "with items that nobody described"
REPEATED = "repeated: of the same user and item the latest is kept"
# By the base's timestamps: beyond it, they can only be in a finer unit. Seconds reach 1e11 in the year 5138.
_UNITS_A_SECOND = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (np.inf, 1e9))


def collect_interactions(
    base: Dataset, online: OnlineInteractions, erased: Collection[str], catalogue: Collected
) -> tuple[IdMap, Interactions, Counter[str]]:
    """The users, the interactions of both, and how many were dropped, by reason.

    Of one user and item the latest interaction is kept, in the split that the base has it in; what is new trains.

    Args:
        base: the data set to start from.
        online: what users did since; of erased users only what they did afterwards.
        erased: ids of users of whom the base is to be forgotten.
        catalogue: the items of the result.
    """
    dropped: Counter[str] = Counter()
    old = _old(base, erased, catalogue, dropped)
    new, new_users = _new(online, catalogue, dropped)
    old_users = [base.users.id(int(row)) for row in np.unique(old.users)]
    users = IdMap(user_order({*old_users, *(new_users[code] for code in np.unique(new.users))}))
    renumbered = np.full(base.n_users, -1, np.int32)
    renumbered[np.unique(old.users)] = users.rows(old_users)
    row_of = np.array([-1 if (row := users.get(value)) is None else row for value in new_users], np.int32)
    both = _join(replace(old, users=renumbered[old.users]), replace(new, users=row_of[new.users]))
    merged = _latest(both, len(catalogue.items))
    if repeated := len(both) - len(merged):
        dropped[REPEATED] = repeated
    return users, merged, dropped


def _old(base: Dataset, erased: Collection[str], catalogue: Collected, dropped: Counter[str]) -> Interactions:
    """What stays of the base, with the rows of its users and of the new catalogue's items; without ratings."""
    interactions = base.interactions
    forgotten = np.array([row for value in erased if (row := base.users.get(value)) is not None], np.int64)
    gone = np.isin(interactions.users, forgotten)
    items = catalogue.moved[interactions.items].astype(np.int32)
    _count(dropped, ERASED, gone)
    _count(dropped, DELETED, ~gone & (items < 0))
    # What happens online has no rating, and a made-up one would be worse than none.
    return replace(interactions, items=items, ratings=None).take(~gone & (items >= 0))


def _new(online: OnlineInteractions, catalogue: Collected, dropped: Counter[str]) -> tuple[Interactions, list[str]]:
    """What was done online, oldest first, its users as codes; and the ids of the codes."""
    user_ids, users = _encode(online.users)
    item_ids, codes = _encode(online.items)
    rows = np.array([-1 if (row := catalogue.items.get(value)) is None else row for value in item_ids], np.int32)
    deleted = np.array([value in catalogue.deleted for value in item_ids], np.bool_)
    items = rows[codes]
    _count(dropped, DELETED, deleted[codes])
    _count(dropped, UNDESCRIBED, (items < 0) & ~deleted[codes])
    order = np.argsort(online.times, kind="stable")
    order = order[items[order] >= 0]
    return Interactions(users[order], items[order], timestamps=online.times[order]), user_ids


def _encode(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int32]]:
    """The distinct texts of a column, and for each row the position of its text."""
    encoded = column.dictionary_encode().unify_dictionaries()
    if not encoded.num_chunks:
        return [], np.empty(0, np.int32)
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks]).astype(np.int32, copy=False)
    return encoded.chunk(0).dictionary.to_pylist(), codes


def _join(old: Interactions, new: Interactions) -> Interactions:
    """The old ones, then the new ones, with times and splits where the old ones have them."""
    times, split = None, None
    if old.timestamps is not None and new.timestamps is not None:
        times = np.concatenate([old.timestamps, new.timestamps * _units_a_second(old.timestamps)])
    if old.split is not None:
        split = np.concatenate([old.split, np.full(len(new), TRAIN, np.int8)])
    return Interactions(
        np.concatenate([old.users, new.users]), np.concatenate([old.items, new.items]), timestamps=times, split=split
    )


def _units_a_second(timestamps: NDArray[np.float64]) -> float:
    """What times since 1970 are counted in; most of them decide, as single ones are often wrong."""
    middle = float(np.median(timestamps)) if len(timestamps) else 0.0
    return next(scale for bound, scale in _UNITS_A_SECOND if middle < bound)


def _latest(interactions: Interactions, n_items: int) -> Interactions:
    """The latest interaction of each pair, in the split of the first that stands there: the base's, if it has one."""
    pairs = interactions.users.astype(np.int64) * n_items + interactions.items
    if not len(pairs):
        return interactions
    times = interactions.timestamps
    by_place = np.argsort(pairs, kind="stable")
    by_time = by_place if times is None else np.lexsort((times, pairs))
    differs = pairs[by_place][1:] != pairs[by_place][:-1]
    first, last = by_place[np.append(True, differs)], by_time[np.append(differs, True)]
    if interactions.split is not None:
        split = interactions.split.copy()
        split[last] = interactions.split[first]
        interactions = replace(interactions, split=split)
    return interactions.take(np.sort(last))


def _count(dropped: Counter[str], reason: str, chosen: NDArray[np.bool_]) -> None:
    if count := int(chosen.sum()):
        dropped[reason] += count
