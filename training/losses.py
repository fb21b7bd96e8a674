"""Losses as free functions of predictions. Each returns what its name says: no hidden weights, no hidden terms."""

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

from training.fusion import Posterior

LEAST_TEMPERATURE = 0.03
"""Of InfoNCE. Exponentials are taken relative to the largest possible logit, 1/τ: the smallest is exp(-2/τ), which
float32 does not hold where τ is below .023."""


def risk_variance(risks: Tensor) -> Tensor:
    """V-REx: the unbiased variance of the risks over environments, (e,) → scalar (Krueger et al. 2021).

    I³-MRec's ``L_irm = Var_m(L_m)``; for two environments ``(L_1 - L_2)² / 2``. 0 with fewer than two.
    """
    return risks.var(unbiased=True) if len(risks) > 1 else torch.zeros_like(risks).sum()


def gradient_penalty(means: list[Tensor], errors: list[Tensor]) -> Tensor:
    """IRMv1 (Arjovsky et al. 2019): how much each environment would like to scale the predictions, mean of squares.

    The gradient of ``mean (w·mean - target)²`` at w = 1 is ``2 mean (mean · error)``; the square is the product of the
    gradients of two halves of a batch, which is unbiased.

    Args:
        means: per environment (b_e, d) predictions.
        errors: per environment (b_e, d) predictions minus targets.
    """
    products = []
    for mean, error in zip(means, errors, strict=True):
        slopes = 2 * (mean * error).mean(dim=1)
        products.append(slopes[::2].mean() * slopes[1::2].mean() if len(slopes) > 1 else slopes.sum() * 0)
    return torch.stack(products).mean()


def bottleneck_kl(posterior: Posterior, prior_mean: Tensor, free_bits: float) -> Tensor:
    """KL(N(mean, 1/precision) ‖ N(prior_mean, I)): per dimension the mean over items, at least ``free_bits``, summed.

    The compression term of the information bottleneck; the floor (Kingma et al. 2016) keeps dimensions from collapsing.
    """
    variance = posterior.precision.reciprocal()
    kl = 0.5 * (variance + (posterior.mean - prior_mean) ** 2 - 1 + posterior.precision.log())
    return kl.mean(dim=0).clamp(min=free_bits).sum()


def bpr_risk(positive: Tensor, negative: Tensor) -> Tensor:
    """``mean softplus(negative - positive)``, the negative log-likelihood of a pair's order (Rendle et al. 2009).

    Args:
        positive: (b,) scores of a user's item.
        negative: (b,) scores of one drawn for comparison.
    """
    return softplus(negative - positive).mean()


def mean_square_norm(*tables: Tensor) -> Tensor:
    """``Σ_tables mean_B ‖row‖²`` of (b, d) tables."""
    return torch.stack([(table**2).sum(dim=1).mean() for table in tables]).sum()


def mutual_info_nce(a: Tensor, b: Tensor, temperature: float, counts: Tensor | None = None) -> Tensor:
    """InfoNCE from a to b plus InfoNCE from b to a, over one matrix of cosines (van den Oord et al. 2018).

    ``InfoNCE(a, b) = - mean_i log [ exp(cos(a_i, b_i)/τ) / Σ_j exp(cos(a_i, b_j)/τ) ]``.

    Args:
        a: (n, d), one view of n things.
        b: (n, d), another view of them.
        temperature: τ, at least ``LEAST_TEMPERATURE``.
        counts: (n,) how often each stands in the batch, in place of its copies: the value is that of the repeated rows.
    """
    a, b = normalize(a, dim=1), normalize(b, dim=1)
    weight = a.new_ones(len(a)) if counts is None else counts.to(a.dtype)
    # One exponential of the matrix serves both directions; a logsumexp for each took three times as long.
    exponentials = torch.exp((a / temperature) @ b.T - 1 / temperature)
    partition = (exponentials @ weight).log() + (weight @ exponentials).log()
    agreement = ((a * b).sum(dim=1) - 1) / temperature
    return (weight * (partition - 2 * agreement)).sum() / weight.sum()


def club_bound(mean: Tensor, log_variance: Tensor, y: Tensor, order: Tensor) -> Tensor:
    """CLUB, an upper bound of I(X; Y) where q(y | x) is right (Cheng et al. 2020); the pairing is broken by ``order``.

    ``½ mean_i Σ_k [(μ_ik - y_π(i)k)² - (μ_ik - y_ik)²] exp(-logvar_ik)``.

    Args:
        mean: (b, d) of q for each x.
        log_variance: (b, d), likewise.
        y: (b, d).
        order: (b,) the permutation π.
    """
    squares = (mean - y[order]) ** 2 - (mean - y) ** 2
    return 0.5 * (squares * (-log_variance).exp()).sum(dim=1).mean()


def gaussian_log_likelihood(mean: Tensor, log_variance: Tensor, y: Tensor) -> Tensor:
    """``mean_i Σ_k [-(μ_ik - y_ik)² exp(-logvar_ik) - logvar_ik]``: twice the log-likelihood, without its constant."""
    return (-((mean - y) ** 2) * (-log_variance).exp() - log_variance).sum(dim=1).mean()


def donsker_varadhan(joint: Tensor, marginal: Tensor) -> Tensor:
    """``mean f(joint) - log mean exp f(marginal)``: for any critic f a lower bound of mutual information.

    Args:
        joint: (b,) critic values of true pairs.
        marginal: (b,) critic values of broken pairs.
    """
    return joint.mean() - (torch.logsumexp(marginal, dim=0) - math.log(len(marginal)))


def donsker_varadhan_ascent(joint: Tensor, marginal: Tensor, average: Tensor) -> Tensor:
    """What a critic ascends: the bound's gradient with the partition function replaced by its moving average.

    ``mean f(joint) - mean exp f(marginal) / average``; with the batch's own mean as ``average`` the gradient is that of
    ``donsker_varadhan``, which a small batch biases (Belghazi et al. 2018, section 3.2).
    """
    return joint.mean() - marginal.exp().mean() / average


def alignment(a: Tensor, b: Tensor, both: Tensor) -> Tensor:
    """The mean squared difference of the rows (n, d) that exist on either side, ``both`` (n,) bool; 0 with none."""
    squares = (torch.where(both[:, None], a - b, 0.0) ** 2).mean(dim=1)
    return squares.sum() / both.sum().clamp(min=1)
