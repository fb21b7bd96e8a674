"""What a bundle says of its items, in the service's own terms."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from model_store import Bundle
from service.domain import EncodingReport, Item, Vector

Rows = NDArray[np.int64]

_SOME = 1000


def trained_item(bundle: Bundle, row: int) -> Item:
    """An item as the training data describes it, without its features."""
    columns = bundle.metadata(row)
    title = columns.pop("title", None)
    categories = tuple(name for name in columns.pop("categories", "").split("|") if name)
    return Item(bundle.items.id(row), title=title, categories=categories, attributes=columns)


def trained_features(bundle: Bundle, row: int) -> dict[str, Vector]:
    """The features an item was trained with, by modality; what it lacks is left out."""
    rows = {name: np.array(table[row], dtype=np.float32) for name, table in bundle.features.items()}
    return {name: vector for name, vector in rows.items() if not np.isnan(vector).any()}


def trained_report(bundle: Bundle, row: int) -> EncodingReport:
    """What is told of an item whose vector was trained."""
    names = bundle.manifest.modality_names
    present = tuple(name for name in names if not np.isnan(bundle.features[name][row, :1]).any())
    missing = tuple(name for name in names if name not in present)
    return EncodingReport(present, missing, None, bundle.version)


def same_features(one: Mapping[str, Vector], other: Mapping[str, Vector]) -> bool:
    """Whether two items have the same modalities and in each the same numbers."""
    return one.keys() == other.keys() and all(np.array_equal(vector, other[name]) for name, vector in one.items())


def rows_by_id(bundle: Bundle) -> Rows:
    """The rows of the item table in the order of their ids."""
    ids = list(bundle.items)
    return np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)


def rows_by_popularity(bundle: Bundle, by_id: Rows) -> Rows:
    """The rows of the item table, the most popular first, ties by id."""
    return by_id[np.argsort(-bundle.popularity[by_id], kind="stable")]


def typical_length(bundle: Bundle) -> float:
    """The mean length of the items' trained vectors, looked at in some of them; 0 where there are none."""
    n = len(bundle.items)
    some = np.array(bundle.item_embeddings[:: max(1, n // _SOME)], dtype=np.float64)
    return float(np.linalg.norm(some, axis=1).mean()) if n else 0.0
