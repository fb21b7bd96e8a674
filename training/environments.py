"""Environments: the same items seen through different subsets or mixtures of their modalities."""

import numpy as np
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

    The severity is uniform in [0, 2·rate] and capped at 1, so that complete and nearly bare items are both met.

    Args:
        present: (b, n_modalities) bool.
        rate: mean probability that a present modality is hidden; above 1/2 the cap lowers the mean to 1 - 1/(4·rate).
        generator: source of the randomness.
    """
    severity = (2 * rate * torch.rand((), generator=generator, device=present.device)).clamp(max=1)
    hidden = torch.rand(present.shape, generator=generator, device=present.device) < severity
    return present & ~hidden


def cyclic_mixup(n_modalities: int, alpha: float, rng: np.random.Generator) -> Tensor:
    """Mixtures in which every modality dominates once (MILK's cyclic mixup), behind the even one of inference.

    One mixture is drawn from a symmetric Dirichlet distribution, the others are its shifts by one position each.

    Args:
        n_modalities: modalities that are mixed.
        alpha: concentration; small values give nearly one modality alone, large ones nearly the even mixture.
        rng: source of the randomness.

    Returns:
        (n_modalities + 1, n_modalities) float32 shares; every row sums to 1.
    """
    drawn = rng.dirichlet(np.full(n_modalities, alpha))
    shifts = [np.roll(drawn, shift) for shift in range(n_modalities)]
    return torch.from_numpy(np.stack([np.full(n_modalities, 1 / n_modalities), *shifts]).astype(np.float32))


def subsets(n_modalities: int) -> Tensor:
    """All non-empty subsets of the modalities, the full one first, (2^n_modalities - 1, n_modalities) bool."""
    codes = torch.arange(2**n_modalities - 1, 0, -1)
    return (codes[:, None] >> torch.arange(n_modalities - 1, -1, -1)) % 2 == 1
