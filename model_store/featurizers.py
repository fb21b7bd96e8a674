"""Featurizers: the models that a bundle names for turning raw texts and images into features."""

from collections.abc import Mapping
from pathlib import Path

from model_store.errors import CorruptBundle

FEATURIZER_KINDS = ("image", "text")


def featurizer_file(modality: str) -> str:
    """Name of the file that holds a modality's featurizer, in a bundle as in a dataset directory."""
    return f"featurizer_{modality}.onnx"


def check_featurizers(path: Path, featurizers: Mapping[str, str], modalities: Mapping[str, int]) -> None:
    """Checks that each featurizer is one of a modality of the model, and of a known kind.

    Args:
        path: the file or directory that errors name.
        featurizers: modality → kind.
        modalities: modality → d_m.

    Raises:
        CorruptBundle: one is not.
    """
    for name, kind in featurizers.items():
        if name not in modalities:
            raise CorruptBundle(path, f"featurizers: expected some of {sorted(modalities)}, found {name!r}")
        if kind not in FEATURIZER_KINDS:
            expected = " or ".join(map(repr, FEATURIZER_KINDS))
            raise CorruptBundle(path, f"featurizers.{name}: expected {expected}, found {kind!r}")
