"""What a bundle says of its items, in the service's own terms."""

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from model_store import Bundle
from service.chosen import Chosen
from service.domain import EncodingReport, Item, Matrix, ModelIdentity, Vector
from service.postings import ItemRows, Key, Postings, post

Rows = NDArray[np.int64]

_SOME = 1000


def trained_item(bundle: Bundle, row: int) -> Item:
    """An item as the training data describes it, without its features."""
    columns = bundle.metadata(row)
    title = columns.pop("title", None)
    categories = categories_in(columns.pop("categories", ""))
    return Item(bundle.items.id(row), title=title, categories=categories, attributes=columns)


def categories_in(cell: str) -> tuple[str, ...]:
    """The categories of an item by what stands in the column of that name."""
    return tuple(name for name in cell.split("|") if name)


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


class TrainedFacets:
    """Categories and attributes of a bundle's items, turned round; only those count that were not written since.

    Attributes:
        categories: from each to the rows that are of it.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._stands = np.ones(len(bundle.items), dtype=np.bool_)
        self.categories = post(bundle.column("categories") or (), categories_in)

    def attribute(self, name: str, key_of: Callable[[str], Key]) -> Postings:
        """An attribute, from the key of each value to the rows that have it."""
        cells = None if name in {"title", "categories"} else self._bundle.column(name)
        return post(cells or (), lambda cell: [key_of(cell)] if cell else [])

    def leave(self, row: int) -> None:
        """Notes that an item was written, and that the bundle's words count no more."""
        self._stands[row] = False

    def chosen(self, ids: frozenset[str], rows: ItemRows) -> Chosen:
        """These items, and of the rows those that count."""
        return Chosen(ids, rows[self._stands[rows]], self._bundle.items)


def rows_by_id(bundle: Bundle) -> Rows:
    """The rows of the item table in the order of their ids."""
    ids = list(bundle.items)
    return np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)


def rows_by_popularity(bundle: Bundle, by_id: Rows) -> Rows:
    """The rows of the item table, the most popular first, ties by id."""
    return by_id[np.argsort(-bundle.popularity[by_id], kind="stable")]


def typical_length(bundle: Bundle) -> float:
    """The mean length of the items' trained vectors, looked at in some of them; 0 where there are none."""
    return mean_length(bundle.item_embeddings)


def mean_length(vectors: Matrix) -> float:
    """The mean length of vectors (n, d), looked at in some of them; 0 where there are none."""
    n = len(vectors)
    some = np.array(vectors[:: max(1, n // _SOME)], dtype=np.float64)
    return float(np.linalg.norm(some, axis=1).mean()) if n else 0.0


def identity_of(bundle: Bundle) -> ModelIdentity:
    """What tells a bundle from all others."""
    return ModelIdentity(bundle.version, hashlib.sha256(bundle.manifest.to_json().encode()).hexdigest())
