"""Missing-aware fusion: a product of Gaussian experts over the modalities that are present."""

from typing import NamedTuple

import torch
from torch import Tensor


class Posterior(NamedTuple):
    """A diagonal Gaussian per item.

    Attributes:
        mean: (b, d).
        precision: (b, d), inverse variances; ≥ 1 where the prior is one of the experts.
    """

    mean: Tensor
    precision: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draws a code by the reparameterisation trick, (b, d)."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
        return self.mean + noise * self.precision.rsqrt()


def product_of_experts(means: list[Tensor], precisions: list[Tensor], present: Tensor, prior_mean: Tensor) -> Posterior:
    """Fuses one expert per modality with a prior expert N(prior_mean, I) (Hinton 2002; Wu & Goodman 2018).

    ``precision = 1 + Σ_m a_m p_m`` and ``mean = (prior_mean + Σ_m a_m p_m μ_m) / precision``: an absent modality
    (a_m = 0) drops out exactly, and an item without any falls back to the prior.

    Args:
        means: per modality (b, d); finite also where the modality is absent.
        precisions: per modality (b, d), positive.
        present: (b, n_modalities) bool, or float weights by which the experts' precisions count.
        prior_mean: (d,).
    """
    weights = present.to(prior_mean.dtype)
    precision = torch.ones_like(prior_mean).expand(len(present), -1)
    weighted = prior_mean.expand(len(present), -1)
    for m, (mean, expert) in enumerate(zip(means, precisions, strict=True)):
        weight = weights[:, m : m + 1] * expert
        precision = precision + weight
        weighted = weighted + weight * mean
    return Posterior(weighted / precision, precision)
