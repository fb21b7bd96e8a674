"""Synthetic dataset directories of any size: communities of users who share a taste, and popular items.

python -m benchmarks.catalogue --interactions 1e6 --out DIR
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from training.interactions import SPLIT_NAMES, TRAIN, VAL

USERS_PER_INTERACTION, ITEMS_PER_INTERACTION = 1 / 10, 1 / 20
MODALITIES = {"image": 64, "text": 64}
_COMMUNITIES = 32
_STRAY = 0.2  # share of the interactions with an item of any community
_SKEW = 2  # an item's place in its community is a uniform draw to this power: the first places are the popular ones
_MISSING = 0.2  # share of (item, modality) rows that are absent
_NOISE = 1.0  # of features, relative to a community's direction
_SURPLUS = 1.3  # drawn for each interaction wanted, as pairs that come twice count once
# A validation ranks all items for each of its users: with a tenth of all users its time would grow with the square of
# the interactions, and would say nothing about training.
_VALIDATION_USERS = 10_000


def write_catalogue(directory: Path, n_interactions: int, seed: int = 0) -> None:
    """Writes ``interactions.parquet`` with a split column and ``features_<modality>.npy``.

    Args:
        directory: new or empty.
        n_interactions: wanted at most; n / 10 users and n / 20 items.
        seed: of every draw.
    """
    rng = np.random.default_rng(seed)
    directory.mkdir(parents=True, exist_ok=True)
    n_users = max(2, round(n_interactions * USERS_PER_INTERACTION))
    n_items = max(2 * _COMMUNITIES, round(n_interactions * ITEMS_PER_INTERACTION))
    users, items = _draw_pairs(n_interactions, n_users, n_items, rng)
    split = pa.array(SPLIT_NAMES).take(pa.array(_split(users, n_users, rng)))
    table = pa.table({"user": users, "item": items, "split": split})
    pa.parquet.write_table(table, directory / "interactions.parquet")
    for name, d_m in MODALITIES.items():
        np.save(directory / f"features_{name}.npy", _features(n_items, d_m, rng), allow_pickle=False)


def _draw_pairs(
    wanted: int, n_users: int, n_items: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct pairs of a user and an item row in random order, (n,) each; rows belong to community row % 32."""
    drawn = round(_SURPLUS * wanted)
    users = rng.integers(n_users, size=drawn)
    community = np.where(rng.random(drawn) < _STRAY, rng.integers(_COMMUNITIES, size=drawn), users % _COMMUNITIES)
    place = (n_items // _COMMUNITIES * rng.random(drawn) ** _SKEW).astype(np.int64)
    pairs = np.unique(users * n_items + place * _COMMUNITIES + community)
    users, items = np.divmod(rng.permutation(pairs)[:wanted], n_items)
    return users, items


def _split(users: NDArray[np.int64], n_users: int, rng: np.random.Generator) -> NDArray[np.int8]:
    """Codes (n,): one interaction of some users validates, all others train."""
    chosen, first = np.unique(users, return_index=True)
    some = rng.permutation(len(chosen))[: min(_VALIDATION_USERS, n_users // 10)]
    codes = np.full(len(users), TRAIN, np.int8)
    codes[first[some]] = VAL
    return codes


def _features(n_items: int, d_m: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A community's direction plus noise, (n_items, d_m), NaN where an item lacks the modality."""
    directions = rng.standard_normal((_COMMUNITIES, d_m), dtype=np.float32)
    rows = rng.standard_normal((n_items, d_m), dtype=np.float32)
    rows *= _NOISE
    rows += directions[np.arange(n_items) % _COMMUNITIES]
    rows[rng.random(n_items) < _MISSING] = np.nan
    return rows


def main() -> int:
    """Writes one directory; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catalogue", description=__doc__)
    parser.add_argument("--interactions", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    write_catalogue(args.out, int(args.interactions))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
