"""Features as tensors, and what every content encoder does with them first."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from training.features import ModalityFeatures, varying


class Content(NamedTuple):
    """The features of all items on a device.

    Attributes:
        features: per modality, in alphabetical order, (n_items, d_m) float32; finite, zero where absent.
        present: (n_items, n_modalities) bool.
    """

    features: list[Tensor]
    present: Tensor


def content_of(features: Mapping[str, ModalityFeatures], device: torch.device) -> Content:
    """The features as tensors."""
    present = np.stack([modality.present for modality in features.values()], axis=1)
    tensors = [torch.from_numpy(modality.matrix).to(device) for modality in features.values()]
    return Content(tensors, torch.from_numpy(present).to(device))


def unit_rows(features: list[Tensor], present: Tensor) -> list[Tensor]:
    """Rows of unit norm, zero where the modality is absent; what stands in an absent row never matters.

    Args:
        features: per modality (b, d_m).
        present: (b, n_modalities) bool.
    """
    shown = [torch.where(present[:, m : m + 1], raw, 0.0) for m, raw in enumerate(features)]
    return [normalize(x, dim=1) for x in shown]


@torch.no_grad()
def encode(encoder: nn.Module, content: Content) -> NDArray[np.float32]:
    """Every item as an encoder (``Model.encoder``) places it from its features alone, (n_items, d)."""
    return np.asarray(encoder(*content.features, content.present)[0].cpu().numpy())


def set_gain(gain: nn.Parameter, value: float) -> None:
    """Sets the factor by which an encoder pushes new items."""
    with torch.no_grad():
        gain.fill_(value)


def share_present(present: Tensor) -> Tensor:
    """The confidence of a model without a posterior: the share of modalities that an item has, (b,) in [0, 1]."""
    return present.float().mean(dim=1)


def standardisation(modality: ModalityFeatures, warm: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Mean and scale of each column over what is available in training, (d_m,) each; 0 and 1 where nothing is.

    A column that is constant there keeps the scale it has.
    """
    rows = modality.matrix[modality.present & warm]
    if not len(rows):
        return torch.zeros(modality.dim), torch.ones(modality.dim)
    center, scale = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    scale = np.where(varying(rows), scale, 1)
    return torch.from_numpy(center.astype(np.float32)), torch.from_numpy(scale.astype(np.float32))
