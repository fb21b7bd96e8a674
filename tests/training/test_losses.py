"""The terms of the loss against hand-worked numbers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.fusion import Posterior
from training.losses import bottleneck_kl, gradient_penalty, risk_variance


@settings(deadline=None)  # torch takes its time on first calls
@given(one=st.floats(-100, 100), other=st.floats(-100, 100))
def test_risk_variance_of_two_environments(one: float, other: float) -> None:
    """For two it is (L1 - L2)² / 2."""
    variance = risk_variance(torch.tensor([one, other], dtype=torch.float64))

    assert variance.item() == pytest.approx((one - other) ** 2 / 2, rel=1e-9, abs=1e-12)


def test_risk_variance_of_three_environments() -> None:
    """Risks 1, 2, 6 have the mean 3: (4 + 1 + 9) / (3 - 1) = 7."""
    assert risk_variance(torch.tensor([1.0, 2.0, 6.0])).item() == 7


def test_risk_variance_of_one_environment_is_zero() -> None:
    """One environment is invariant to itself; no division by e - 1 = 0."""
    assert risk_variance(torch.tensor([3.0])).item() == 0


@pytest.mark.parametrize("e", [2, 4])
def test_risk_variance_has_the_gradient_of_finite_differences(e: int) -> None:
    """In float64, for two and for more environments."""
    risks = torch.linspace(0.5, 2, e, dtype=torch.float64).requires_grad_()

    assert torch.autograd.gradcheck(risk_variance, (risks,))


def test_gradient_penalty_of_a_hand_worked_environment() -> None:
    """Means 1, 2, 3 and errors 1, -1, 2: slopes 2, -4, 12; the halves' means 7 and -4 multiply to -28."""
    means, errors = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[1.0], [-1.0], [2.0]])

    assert gradient_penalty([means], [errors]).item() == -28


@settings(deadline=None)  # torch takes its time on first calls
@given(sizes=st.lists(st.integers(2, 9), min_size=1, max_size=4), seed=st.integers(0, 999))
def test_gradient_penalty_multiplies_the_gradients_of_halves(sizes: list[int], seed: int) -> None:
    """Of ``mean (w·mean - target)²`` at w = 1, by autograd for every other row and for the rest; mean of products."""
    generator = torch.Generator().manual_seed(seed)
    means, targets = ([torch.randn(b, 3, generator=generator, dtype=torch.float64) for b in sizes] for _ in range(2))
    errors = [mean - target for mean, target in zip(means, targets, strict=True)]

    def gradient(mean: Tensor, target: Tensor) -> float:
        w = torch.ones((), dtype=torch.float64, requires_grad=True)
        return float(torch.autograd.grad(((w * mean - target) ** 2).mean(), w)[0])

    products = [
        gradient(mean[::2], target[::2]) * gradient(mean[1::2], target[1::2])
        for mean, target in zip(means, targets, strict=True)
    ]
    assert gradient_penalty(means, errors).item() == pytest.approx(sum(products) / len(products), abs=1e-9)


def test_gradient_penalty_is_zero_where_errors_are_orthogonal() -> None:
    """Errors that no scaling of the predictions would lessen: nothing to gain for any environment."""
    means = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.0, 4.0]])
    errors = 5 * torch.stack([-means[:, 1], means[:, 0]], dim=1)

    assert gradient_penalty([means, means], [errors, -errors]).item() == 0


@pytest.mark.parametrize(("scale", "penalty"), [(1.0, 0.0), (2.0, 256.0)])
def test_gradient_penalty_is_zero_at_the_best_scale(scale: float, penalty: float) -> None:
    """Each half has the targets 3 and 1, so that 2 is best: slopes 2·2·(-1) and 2·2·1 cancel.

    At 4 they are 2·4·1 and 2·4·3, mean 16 in either half, product 256.
    """
    targets = torch.tensor([[3.0], [3.0], [1.0], [1.0]])
    means = torch.full((4, 1), 2 * scale)

    assert gradient_penalty([means], [means - targets]).item() == penalty


def test_gradient_penalty_of_a_single_row_is_zero_with_a_graph() -> None:
    """One row has no halves: it adds 0 to the mean, and training can still go back through it."""
    mean = torch.tensor([[1.0, 2.0]], requires_grad=True)

    penalty = gradient_penalty([mean], [mean - 5])
    penalty.backward()

    assert penalty.item() == 0
    assert mean.grad is not None
    assert not mean.grad.any()


def test_gradient_penalty_has_the_gradient_of_finite_differences() -> None:
    """In float64, environments of several rows and of one together."""
    generator = torch.Generator().manual_seed(0)
    means = [torch.randn(b, 2, generator=generator, dtype=torch.float64).requires_grad_() for b in (4, 3, 1)]

    assert torch.autograd.gradcheck(lambda *m: gradient_penalty(list(m), [mean - 1 for mean in m]), means)


def test_bottleneck_of_a_hand_worked_posterior() -> None:
    """Two items, two dimensions, prior mean (1, 0).

    KL = ½ (v + (μ - μ₀)² - 1 + log p). Dimension 0: N(3, 1/2) and N(1, 1) give ½ (½ + 4 - 1 + log 2) = 2.09657 and 0,
    mean 1.04829. Dimension 1: N(2, 1) and N(-1, 1/4) give ½ (1 + 4 - 1) = 2 and ½ (¼ + 1 - 1 + log 4) = 0.81815, mean
    1.40907. Sum 2.45736.
    """
    posterior = Posterior(torch.tensor([[3.0, 2.0], [1.0, -1.0]]), torch.tensor([[2.0, 1.0], [1.0, 4.0]]))

    assert bottleneck_kl(posterior, torch.tensor([1.0, 0.0]), 0.0).item() == pytest.approx(2.45736, abs=1e-5)


def test_bottleneck_at_the_prior_is_the_floor() -> None:
    """There the KL is 0 in each of three dimensions, and the floor of 0.02 nats remains: 0.06."""
    prior = torch.tensor([0.5, -1.0, 2.0])
    posterior = Posterior(prior.expand(4, -1), torch.ones(4, 3))

    assert bottleneck_kl(posterior, prior, 0.0).item() == 0
    assert bottleneck_kl(posterior, prior, 0.02).item() == pytest.approx(0.06)


def test_bottleneck_leaves_dimensions_below_the_floor_alone() -> None:
    """KL ½·0.2² = 0.02 lies below 0.1 and gets no gradient; ½·2² = 2 lies above and gets (μ - μ₀) = 2."""
    mean = torch.tensor([[0.2, 2.0]], requires_grad=True)

    loss = bottleneck_kl(Posterior(mean, torch.ones(1, 2)), torch.zeros(2), 0.1)
    loss.backward()

    assert loss.item() == pytest.approx(2.1)
    assert mean.grad is not None
    assert mean.grad.tolist() == [[0, 2]]


def test_bottleneck_has_the_gradient_of_finite_differences() -> None:
    """With respect to means, precisions and the prior's mean, in float64."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    precision = (1 + torch.rand(3, 4, generator=generator, dtype=torch.float64)).requires_grad_()
    prior = torch.randn(4, generator=generator, dtype=torch.float64).requires_grad_()

    assert torch.autograd.gradcheck(lambda m, p, c: bottleneck_kl(Posterior(m, p), c, 1e-3), (mean, precision, prior))
