"""Estimators of mutual information: right where it is known, and no door for a loss."""

import math

import pytest
import torch
from torch import Tensor, nn

from training.critics import ClubEstimator, MineEstimator
from training.losses import gaussian_log_likelihood

CPU = torch.device("cpu")


def correlated(n: int, rho: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pairs of standard Gaussians of correlation ``rho``: I = -½ log(1 - ρ²) nats."""
    generator = torch.Generator().manual_seed(seed)
    x, noise = (torch.randn(n, 1, generator=generator) for _ in range(2))
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def parameters(network: nn.Module) -> list[Tensor]:
    """Copies of all parameters."""
    return [p.detach().clone() for p in network.parameters()]


def make(kind: str, seed: int = 0) -> ClubEstimator | MineEstimator:
    """An estimator for one-dimensional pairs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ClubEstimator(1, 1, CPU, lr=0.01) if kind == "club" else MineEstimator(1, CPU, lr=0.01)


def fit(estimator: ClubEstimator | MineEstimator, x: Tensor, y: Tensor, steps: int) -> None:
    """Some ascent steps."""
    if isinstance(estimator, ClubEstimator):
        estimator.fit(x, y, steps)
    else:
        generator = torch.Generator().manual_seed(1)
        for _ in range(steps):
            estimator.fit(x, y, generator)


@pytest.mark.parametrize("kind", ["club", "mine"])
def test_bound_sends_gradients_through_but_not_into_the_critic(kind: str) -> None:
    """Main loss: the inputs get gradients, the critic's parameters none, neither before nor after it was fitted."""
    estimator = make(kind)
    x, y = correlated(64, 0.9)
    fit(estimator, x, y, 20)
    x, y = x.requires_grad_(), y.requires_grad_()

    estimator.bound(x, y, torch.Generator().manual_seed(0)).backward()

    assert x.grad is not None
    assert y.grad is not None
    assert x.grad.any()
    assert y.grad.any()
    assert all(not p.requires_grad for p in estimator.network.parameters())


@pytest.mark.parametrize("kind", ["club", "mine"])
def test_fitting_sends_no_gradient_to_its_inputs(kind: str) -> None:
    """Critic step: its parameters move, what it was shown gets no gradient; also where gradients are off outside."""
    estimator = make(kind)
    x, y = (side.requires_grad_() for side in correlated(64, 0.9))
    before = parameters(estimator.network)

    with torch.no_grad():
        fit(estimator, x, y, 2)

    assert x.grad is None
    assert y.grad is None
    assert any(not torch.equal(one, other) for one, other in zip(before, parameters(estimator.network), strict=True))


def test_mine_approaches_the_known_information() -> None:
    """ρ = 0.9 is 0.83 nats, a little more for a critic that knows the sample; independent pairs stay near 0."""
    generator = torch.Generator().manual_seed(2)
    values = {}
    for rho in (0.0, 0.9):
        estimator = make("mine")
        x, y = correlated(2000, rho)
        fit(estimator, x, y, 300)
        values[rho] = estimator.bound(x, y, generator).item()

    assert 0 <= values[0.0] < 0.05
    assert 0.7 < values[0.9] < 1


def test_mine_is_never_negative() -> None:
    """Asked about pairs its critic takes for broken ones, it says 0."""
    estimator = make("mine")
    x, y = correlated(500, 0.95)
    fit(estimator, x, y, 200)

    assert estimator.bound(x, -y, torch.Generator().manual_seed(0)).item() == 0


def test_club_lies_above_the_known_information() -> None:
    """ρ = 0.8 is 0.51 nats; with the fitted Gaussian, the right family, CLUB's is an upper bound."""
    estimator = make("club")
    x, y = correlated(4000, 0.8)
    fit(estimator, x, y, 400)

    assert estimator.bound(x, y, torch.Generator().manual_seed(0)).item() > 0.5


def test_club_fits_its_likelihood() -> None:
    """More steps, more likelihood."""
    estimator = ClubEstimator(1, 1, CPU, lr=0.01)
    x, y = correlated(500, 0.9)

    likelihoods = []
    for steps in (1, 100):
        estimator.fit(x, y, steps)
        likelihoods.append(gaussian_log_likelihood(*estimator.predict(x), y).item())

    assert likelihoods[0] < likelihoods[1]
