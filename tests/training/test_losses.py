"""The terms of the loss against hand-worked numbers."""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.fusion import Posterior
from training.losses import bottleneck_kl, risk_variance, sampling_correction, softmax_risk

SCORES = st.lists(st.floats(-5, 5), min_size=2, max_size=6)


def test_softmax_risk_of_two_hand_worked_users() -> None:
    """Scores are logs of 1, 2, 1 (sum 4) and of 1, 1, 2 (sum 4).

    User 0 has the target 1: -log(2/4) = log 2, weight √1. User 1 has 0 and 2: the mean of -log(1/4) and -log(2/4) is
    1.5 log 2, weight √2. Together (log 2 + √2 · 1.5 log 2) / (1 + √2) = 0.89617.
    """
    scores = torch.tensor([[1.0, 2.0, 1.0], [1.0, 1.0, 2.0]]).log()
    targets = torch.tensor([[False, True, False], [True, False, True]])

    risk = softmax_risk(scores, targets)

    assert risk.item() == pytest.approx((1 + math.sqrt(2) * 1.5) * math.log(2) / (1 + math.sqrt(2)), abs=1e-6)
    assert risk.item() == pytest.approx(0.89617, abs=1e-5)


def test_softmax_risk_leaves_out_what_is_not_allowed() -> None:
    """Of logs of 1, 5, 3 the 5 does not compete: the target's share is 1/4, the risk log 4."""
    scores = torch.tensor([[1.0, 5.0, 3.0]]).log()

    risk = softmax_risk(scores, torch.tensor([[True, False, False]]), torch.tensor([[True, False, True]]))

    assert risk.item() == pytest.approx(math.log(4))


def test_softmax_risk_gives_what_is_not_allowed_no_gradient() -> None:
    """The gradient is softmax - target over the allowed: (1/4 - 1, 0, 3/4)."""
    scores = torch.tensor([[1.0, 5.0, 3.0]]).log().requires_grad_()

    softmax_risk(scores, torch.tensor([[True, False, False]]), torch.tensor([[True, False, True]])).backward()

    torch.testing.assert_close(scores.grad, torch.tensor([[-0.75, 0, 0.75]]))


def test_softmax_risk_ignores_users_without_targets() -> None:
    """Beside a user with a target such a user has weight √0; among themselves the risk is 0, with a gradient of 0."""
    scores = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = torch.tensor([[False, True, False, False], [False] * 4])

    alone = softmax_risk(scores[:1], targets[:1])
    nothing = softmax_risk(scores, torch.zeros(2, 4, dtype=torch.bool))
    nothing.backward()

    assert softmax_risk(scores, targets).item() == alone.item()
    assert nothing.item() == 0
    assert scores.grad is not None
    assert not scores.grad.any()


def test_softmax_risk_survives_large_scores() -> None:
    """Logits of ±10,000 neither overflow nor vanish: a target 20,000 below the best costs 20,000."""
    scores = torch.tensor([[10_000.0, -10_000.0]])

    assert softmax_risk(scores, torch.tensor([[False, True]])).item() == 20_000
    assert softmax_risk(scores, torch.tensor([[True, False]])).item() == 0


@settings(deadline=None)  # torch takes its time on first calls
@given(scores=SCORES, data=st.data())
def test_sampled_partition_sum_is_unbiased(scores: list[float], data: st.DataObject) -> None:
    """Over all C(N, n) samples of n negatives the corrected partition sum is on average that over all N."""
    n_sampled = data.draw(st.integers(1, len(scores)))
    correction = sampling_correction(len(scores), n_sampled)

    sums = [math.fsum(math.exp(s + correction) for s in drawn) for drawn in combinations(scores, n_sampled)]

    assert math.fsum(sums) / len(sums) == pytest.approx(math.fsum(map(math.exp, scores)))


def test_everything_sampled_needs_no_correction() -> None:
    """N of N stand for themselves; one of four stands for four, which adds log 4."""
    assert sampling_correction(7, 7) == 0
    assert sampling_correction(4, 1) == pytest.approx(math.log(4))


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


def test_softmax_risk_has_the_gradient_of_finite_differences() -> None:
    """With several targets, a user without any, and items that do not compete."""
    scores = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    targets = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0]], dtype=torch.bool)
    allowed = torch.tensor([[1, 1, 1, 0, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0]], dtype=torch.bool)

    assert torch.autograd.gradcheck(lambda s: softmax_risk(s, targets, allowed), (scores,))


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
