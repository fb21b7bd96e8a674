"""Environments: the same items seen through different subsets of their modalities."""

import torch
from torch import Tensor


def single_modality(present: Tensor) -> list[Tensor]:
    """One environment per modality, in which nothing else of an item exists (I³-MRec's c_v, c_t, c_a).

    Args:
        present: (b, n_modalities) bool.

    Returns:
        n_modalities masks (b, n_modalities) bool.
    """
    eye = torch.eye(present.shape[1], dtype=torch.bool, device=present.device)
    return [present & row for row in eye]


def simulate_missing(present: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Hides present modalities at random, with a severity that itself varies from step to step.

    The severity is uniform in [0, 2·rate] (at most 1), so that complete and nearly bare items are both met.

    Args:
        present: (b, n_modalities) bool.
        rate: mean probability that a present modality is hidden.
        generator: source of the randomness.
    """
    severity = (2 * rate * torch.rand((), generator=generator, device=present.device)).clamp(max=1)
    hidden = torch.rand(present.shape, generator=generator, device=present.device) < severity
    return present & ~hidden
