"""The next catalogue: the items of a data set, as changed by what the journal says of each."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from model_store import IdMap
from model_store.files import sha256_of
from training.dataset import Dataset
from training.features import LARGEST, ModalityFeatures
from training.journal_records import ItemRecord

_OWN_COLUMNS = ("title", "categories")
_TAKEN = frozenset({"item", *_OWN_COLUMNS})
_NO_CELL = re.compile(r"[\t\n\r]+")
_SEPARATOR = "|"  # between categories
Vectors = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Collected:
    """A catalogue that was collected.

    Attributes:
        items: those of the base in their order, without the deleted ones; then the new ones as the journal has them.
        columns: names of the metadata columns.
        rows: (n_items) tuples of metadata.
        features: modality → features of all items.
        moved: (n_items of the base,) int64, the row of each item of the base; -1 where it was deleted.
        deleted: ids that the journal deletes, known to the base or not.
        n_new: items that the base has not.
        n_described: items of the base that the journal describes anew.
        n_resting: items that are not shown for now: hidden, unavailable or expired.
        ignored: what cannot be learned from, and why → how often.
    """

    items: IdMap
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    features: dict[str, ModalityFeatures]
    moved: NDArray[np.int64]
    deleted: frozenset[str]
    n_new: int
    n_described: int
    n_resting: int
    ignored: Counter[str]


@dataclass(slots=True)
class _Online:
    """What the journal says of the items, gathered."""

    cells: dict[str, dict[str, str]] = field(default_factory=dict)
    vectors: dict[str, Vectors] = field(default_factory=dict)  # of those whose features the base has not
    deleted: set[str] = field(default_factory=set)
    resting: int = 0
    ignored: Counter[str] = field(default_factory=Counter)


def collect_items(
    base: Dataset, records: Iterable[tuple[str, ItemRecord | None]], now: datetime, journal: str
) -> Collected:
    """The items of ``base`` as the journal's latest records leave them.

    A record repeats the features that its item had. Where they are not later than the base, the base has them, too, or
    better ones: those of another featurizer, or of a modality that has come since.

    Args:
        base: the data set to start from.
        records: id → latest record, None where it deletes the item; each id once.
        now: the time by which items count as expired.
        journal: the identity of the journal that they are of.

    Raises:
        InvalidId: the journal names an item by what is no id.
        CorruptBundle: a featurizer of the base cannot be read.
    """
    checksums = {name: sha256_of(path) for name, path in base.featurizers.items()}
    reached = base.journal.seq if base.journal and base.journal.identity == journal else 0
    online = _Online()
    for item_id, record in records:
        if record is None:
            online.deleted.add(item_id)
            continue
        online.cells[item_id] = _cells(record, online.ignored)
        if item_id not in base.items or record.since > reached:
            online.vectors[item_id] = _vectors(base, record, checksums, online.ignored)
        expired = record.expires_at is not None and record.expires_at <= now
        online.resting += expired or not record.shown
    return _merge(base, online)


def _merge(base: Dataset, online: _Online) -> Collected:
    kept = [row for row, item_id in enumerate(base.items) if item_id not in online.deleted]
    new = [item_id for item_id in online.cells if item_id not in base.items]
    items = IdMap([*(base.items.id(row) for row in kept), *new])
    moved = np.full(base.n_items, -1, np.int64)
    moved[kept] = np.arange(len(kept))
    columns = _columns(base, online.cells.values())
    return Collected(
        items=items,
        columns=columns,
        rows=_rows(base, items, columns, online.cells),
        features=_features(base, items, np.array(kept, np.int64), online.vectors),
        moved=moved,
        deleted=frozenset(online.deleted),
        n_new=len(new),
        n_described=len(online.cells) - len(new),
        n_resting=online.resting,
        ignored=online.ignored,
    )


def _cells(record: ItemRecord, ignored: Counter[str]) -> dict[str, str]:
    """Column → text of what a record says in words; what is empty is left out."""
    categories = (name.replace(_SEPARATOR, " ") for name in record.categories)
    cells = {"title": record.title or "", "categories": _SEPARATOR.join(categories)}
    for name, value in record.attributes.items():
        column = _clean(name)
        if column in _TAKEN:
            ignored[f"attributes called {column!r}: the name is taken"] += 1
        else:
            cells[column] = _text(value)
    return {column: _clean(text) for column, text in cells.items() if text}


def _text(value: str | float | bool) -> str:
    """A value as the service finds it again among the texts of a bundle: numbers without exponent."""
    if isinstance(value, bool):
        return str(value).lower()
    return np.format_float_positional(value, trim="0") if isinstance(value, float) else str(value)


def _clean(text: str) -> str:
    """A text without tabs and line ends, which no TSV can carry."""
    return _NO_CELL.sub(" ", text)


def _vectors(base: Dataset, record: ItemRecord, checksums: Mapping[str, str], ignored: Counter[str]) -> Vectors:
    """The features of a record that fit the base's."""
    fitting: Vectors = {}
    for name, vector in record.modalities.items():
        if name not in base.features:
            ignored[f"features {name!r}: unknown to the base"] += 1
        elif len(vector) != base.features[name].dim:
            ignored[f"features {name!r}: {len(vector)} numbers in place of {base.features[name].dim}"] += 1
        elif not np.isfinite(vector).all():
            ignored[f"features {name!r}: not finite"] += 1
        elif np.abs(vector).max(initial=0) > LARGEST:
            ignored[f"features {name!r}: larger than {LARGEST:g}"] += 1
        elif name in record.made_by and record.made_by[name] != checksums.get(name):
            ignored[f"features {name!r}: made by another featurizer than the base's"] += 1
        else:
            fitting[name] = vector
    return fitting


def _columns(base: Dataset, described: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    """The base's columns; then title and categories if they are new, then new attributes by name."""
    used = {column for cells in described for column in cells}.difference(base.item_columns)
    own = [column for column in _OWN_COLUMNS if column in used]
    return (*base.item_columns, *own, *sorted(used.difference(own)))


def _rows(
    base: Dataset, items: IdMap, columns: tuple[str, ...], described: Mapping[str, Mapping[str, str]]
) -> tuple[tuple[str, ...], ...]:
    if not columns:
        return ()
    rows = base.item_rows or ((),) * base.n_items
    padding = ("",) * (len(columns) - len(base.item_columns))

    def row_of(item_id: str) -> tuple[str, ...]:
        cells = described.get(item_id)
        if cells is None:
            return (*rows[base.items.row(item_id)], *padding)
        return tuple(cells.get(column, "") for column in columns)

    return tuple(map(row_of, items))


def _features(
    base: Dataset, items: IdMap, kept: NDArray[np.int64], described: Mapping[str, Vectors]
) -> dict[str, ModalityFeatures]:
    """The base's features, but for the items that got others since."""
    features = {}
    described_rows = items.rows(list(described))
    for name, before in base.features.items():
        matrix = np.zeros((len(items), before.dim), np.float32)
        present = np.zeros(len(items), np.bool_)
        matrix[: len(kept)], present[: len(kept)] = before.matrix[kept], before.present[kept]
        matrix[described_rows], present[described_rows] = 0, False
        for row, vectors in zip(described_rows, described.values(), strict=True):
            if name in vectors:
                matrix[row], present[row] = vectors[name], True
        features[name] = ModalityFeatures(matrix, present)
    return features
