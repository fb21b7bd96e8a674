"""Losses as free functions of predictions. Each returns what its name says: no hidden weights, no hidden terms."""

import math

import torch
from torch import Tensor

from training.fusion import Posterior

_NEGLIGIBLE = -1e9


def softmax_risk(scores: Tensor, targets: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Negative log-likelihood of a user's targets under a softmax over candidates.

    Per user the mean over its T targets, users weighted by √T: heavy users teach more, but do not drown the light ones.

    Args:
        scores: (b, c) logits.
        targets: (b, c) bool.
        allowed: (b, c) bool, candidates that compete; None = all. Targets must be allowed.

    Returns:
        A scalar; 0 where there is no target at all.
    """
    if allowed is not None:
        scores = scores.masked_fill(~allowed, _NEGLIGIBLE)
    log_likelihood = torch.log_softmax(scores, dim=1)
    count = targets.sum(dim=1)
    weight = count.sqrt()
    per_user = -(log_likelihood * targets).sum(dim=1) / count.clamp(min=1)
    return (per_user * weight).sum() / weight.sum().clamp(min=1)


def sampling_correction(n_items: int, n_sampled: int) -> float:
    """What a uniformly sampled negative's logit is raised by, so that the sampled softmax's partition sum is unbiased.

    Each of ``n_sampled`` stands for ``n_items / n_sampled`` items (Bengio & Senécal 2008, uniform proposal).
    """
    return math.log(n_items / n_sampled)


def risk_variance(risks: Tensor) -> Tensor:
    """V-REx: the unbiased variance of the risks over environments, (e,) → scalar (Krueger et al. 2021).

    I³-MRec's ``L_irm = Var_m(L_m)``; for two environments ``(L_1 - L_2)² / 2``. 0 with fewer than two.
    """
    return risks.var(unbiased=True) if len(risks) > 1 else torch.zeros_like(risks).sum()


def bottleneck_kl(posterior: Posterior, prior_mean: Tensor, free_bits: float) -> Tensor:
    """KL(N(mean, 1/precision) ‖ N(prior_mean, I)): per dimension the mean over items, at least ``free_bits``, summed.

    The compression term of the information bottleneck; the floor (Kingma et al. 2016) keeps dimensions from collapsing.
    """
    variance = posterior.precision.reciprocal()
    kl = 0.5 * (variance + (posterior.mean - prior_mean) ** 2 - 1 + posterior.precision.log())
    return kl.mean(dim=0).clamp(min=free_bits).sum()
