"""From what an item came with to what the model can encode of it."""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from service.domain import Item, Vector
from service.errors import DimensionMismatch, InvalidItem, NotFinite, UnknownModality, json_pointer
from service.queueing import give_up_if_late
from service.servable import Servable

logger = logging.getLogger(__name__)


def check_modalities(modalities: Mapping[str, Vector], known: Mapping[str, int]) -> None:
    """Checks vectors against a model's modalities (name → d_m).

    Raises:
        UnknownModality: the model has no modality of that name.
        DimensionMismatch: a vector is of another length than d_m.
        NotFinite: a vector holds NaN, infinity, or what float32 cannot hold.
    """
    for name, vector in modalities.items():
        if name not in known:
            raise UnknownModality(json_pointer("modalities", name), name, tuple(known))
        if vector.shape != (known[name],):
            raise DimensionMismatch(json_pointer("modalities", name), known[name], vector.size)
        finite = np.isfinite(vector)
        if not finite.all():
            raise NotFinite(json_pointer("modalities", name, int(np.argmin(finite))))


def all_fit(items: Sequence[Item], known: Mapping[str, int]) -> bool:
    """Whether items came with nothing but vectors, which all pass ``check_modalities``; looks at them in one go."""
    vectors = [(known.get(name), vector) for item in items for name, vector in item.modalities.items()]
    if any(vector.shape != (d_m,) for d_m, vector in vectors) or any(item.raw for item in items):
        return False
    return not vectors or bool(np.isfinite(np.concatenate([vector for _, vector in vectors])).all())


def featurized(servable: Servable, item: Item) -> Item:
    """The item with features in place of its raw texts and images; made no further where nobody waits for it any more.

    Raises:
        UnknownModality: the model has no modality of that name.
        InvalidItem: the model has no featurizer of that kind for the modality, or the featurizer cannot read it.
        EncodingFailed: the featurizer failed.
    """
    if not item.raw:
        return item
    modalities, made_by = dict(item.modalities), dict(item.made_by)
    for name, raw in item.raw.items():
        give_up_if_late()  # one may take a second, and a batch has hundreds
        known = servable.bundle.manifest.modalities
        if name not in known:
            raise UnknownModality(json_pointer("modalities", name), name, tuple(known))
        made_by[name] = _featurizer_of(servable, name) or ""
        if servable.featurizer is None or not made_by[name]:
            pointer = json_pointer("modalities", name)
            raise InvalidItem(pointer, f"the model makes no features of its own here: expected {known[name]} numbers")
        modalities[name] = servable.featurizer.features(name, raw)
    return item._replace(raw={}, modalities=modalities, made_by=made_by)


def _featurizer_of(servable: Servable, modality: str) -> str | None:
    """What tells the featurizer of a modality from all others; None where the model has none."""
    manifest = servable.bundle.manifest
    return manifest.checksums[f"featurizer_{modality}.onnx"] if modality in manifest.featurizers else None


def usable(servable: Servable, item: Item) -> Item:
    """What this model can encode of an item that another one took; what it cannot is logged.

    Features that a featurizer made mean something only to models that have the same one.
    """

    def log(reason: str) -> None:
        facts = {"item_id": item.item_id, "version": servable.version, "reason": reason}
        logger.warning("modality_ignored", extra=facts)

    return item._replace(modalities=fitting(servable, item, log))


def fitting(servable: Servable, item: Item, on_other: Callable[[str], object] = lambda _: None) -> dict[str, Vector]:
    """The features of an item that mean something to this model; ``on_other`` is told why any other does not."""
    kept = {}
    for name, vector in item.modalities.items():
        reason = _obstacle(servable, item, name, vector)
        if reason is None:
            kept[name] = vector
        else:
            on_other(reason)
    return kept


def _obstacle(servable: Servable, item: Item, name: str, vector: Vector) -> str | None:
    try:
        check_modalities({name: vector}, servable.bundle.manifest.modalities)
    except InvalidItem as exc:
        return str(exc)
    if name in item.made_by and item.made_by[name] != _featurizer_of(servable, name):
        return f"{json_pointer('modalities', name)}: made by the featurizer of another model"
    return None
