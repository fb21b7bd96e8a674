"""The product of experts against hand-worked numbers, and what it promises of absent modalities."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.fusion import Posterior, product_of_experts


def experts(n_modalities: int, b: int, d: int, seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Random means and precisions (b, d), one of either per modality."""
    generator = torch.Generator().manual_seed(seed)
    means = [torch.randn(b, d, generator=generator) for _ in range(n_modalities)]
    return means, [torch.rand(b, d, generator=generator) * 3 + 0.1 for _ in range(n_modalities)]


def test_product_of_a_hand_worked_item() -> None:
    """Prior N(1, 1); experts N(4, 1/2) and N(-2, 1/3).

    Both: precision 1 + 2 + 3 = 6, mean (1 + 2·4 + 3·(-2)) / 6 = 3/6. First alone: 1 + 2 = 3 and (1 + 8) / 3 = 3.
    Second alone: 1 + 3 = 4 and (1 - 6) / 4 = -5/4. None: the prior, 1 and 1.
    """
    present = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
    means = [torch.full((4, 1), 4.0), torch.full((4, 1), -2.0)]
    precisions = [torch.full((4, 1), 2.0), torch.full((4, 1), 3.0)]

    posterior = product_of_experts(means, precisions, present, torch.tensor([1.0]))

    assert posterior.precision[:, 0].tolist() == [6, 3, 4, 1]
    assert posterior.mean[:, 0].tolist() == [0.5, 3, -1.25, 1]


def test_weight_scales_an_experts_precision() -> None:
    """The prior N(1, 1) with half of N(4, 1/2) and a quarter of N(-2, 1/4).

    Precision 1 + 1 + 1 = 3, mean (1 + 4 - 2) / 3; with the first at 3/2 alone 1 + 3 = 4 and (1 + 12) / 4.
    """
    means = [torch.full((2, 1), 4.0), torch.full((2, 1), -2.0)]
    precisions = [torch.full((2, 1), 2.0), torch.full((2, 1), 4.0)]

    weights = torch.tensor([[0.5, 0.25], [1.5, 0.0]])
    posterior = product_of_experts(means, precisions, weights, torch.tensor([1.0]))

    assert posterior.precision[:, 0].tolist() == [3, 4]
    assert posterior.mean[:, 0].tolist() == [1, 3.25]


def test_weight_one_half_is_half_the_precision_to_the_bit() -> None:
    """Weighting an expert and asking one that is half as sure are the same; 0 and 1 are absence and presence."""
    means, precisions = experts(3, b=4, d=5)
    prior = torch.linspace(-1, 1, 5)

    weighted = product_of_experts(means, precisions, torch.tensor([[0.5, 1.0, 0.0]] * 4), prior)
    halved = [precisions[0] / 2, *precisions[1:]]
    unsure = product_of_experts(means, halved, torch.tensor([[True, True, False]] * 4), prior)

    assert torch.equal(weighted.mean, unsure.mean)
    assert torch.equal(weighted.precision, unsure.precision)


@settings(deadline=None)  # torch takes its time on first calls
@given(
    said=st.floats(-(2.0**60), 2.0**60, width=32),
    precision=st.floats(2.0**-20, 2.0**60, width=32),
    column=st.integers(0, 2),
    seed=st.integers(0, 99),
)
def test_absent_modality_drops_out_to_the_bit(said: float, precision: float, column: int, seed: int) -> None:
    """Whatever the expert of an absent modality says, huge values included, the posterior is the same."""
    means, precisions = experts(3, b=4, d=5, seed=seed)
    present = torch.ones(4, 3, dtype=torch.bool)
    present[:, column] = False
    prior = torch.linspace(-1, 1, 5)

    before = product_of_experts(means, precisions, present, prior)
    means[column], precisions[column] = torch.full((4, 5), said), torch.full((4, 5), precision)
    after = product_of_experts(means, precisions, present, prior)

    assert torch.equal(before.mean, after.mean)
    assert torch.equal(before.precision, after.precision)


def test_absent_modality_is_as_if_it_did_not_exist() -> None:
    """With the second of two modalities absent, the first alone gives the same posterior to the bit."""
    means, precisions = experts(2, b=3, d=4)
    prior = torch.linspace(-1, 1, 4)

    both = product_of_experts(means, precisions, torch.tensor([[True, False]] * 3), prior)
    alone = product_of_experts(means[:1], precisions[:1], torch.ones(3, 1, dtype=torch.bool), prior)

    assert torch.equal(both.mean, alone.mean)
    assert torch.equal(both.precision, alone.precision)


def test_nothing_present_is_the_prior() -> None:
    """An item without any modality has the prior's mean, variance 1."""
    prior = torch.linspace(-2, 2, 5)

    posterior = product_of_experts(*experts(3, b=2, d=5), torch.zeros(2, 3, dtype=torch.bool), prior)

    assert torch.equal(posterior.mean, prior.expand(2, -1))
    assert torch.equal(posterior.precision, torch.ones(2, 5))


@settings(deadline=None)  # torch takes its time on first calls
@given(order=st.permutations(range(4)), seed=st.integers(0, 99))
def test_order_of_modalities_does_not_matter(order: list[int], seed: int) -> None:
    """Permuted experts give the same posterior, but for the rounding of sums in another order."""
    means, precisions = experts(4, b=6, d=3, seed=seed)
    present = torch.rand(6, 4, generator=torch.Generator().manual_seed(seed)) < 0.6
    prior = torch.linspace(-1, 1, 3)

    given_order = product_of_experts(means, precisions, present, prior)
    permuted = product_of_experts([means[m] for m in order], [precisions[m] for m in order], present[:, order], prior)

    torch.testing.assert_close(permuted.mean, given_order.mean)
    torch.testing.assert_close(permuted.precision, given_order.precision)


def test_samples_have_the_posteriors_moments() -> None:
    """20,000 draws of N(3, 1/4): the mean's standard error is 0.5/√20000 = 0.0035, the variance's 0.25·√(2/20000)."""
    posterior = Posterior(torch.full((20_000, 1), 3.0), torch.full((20_000, 1), 4.0))

    drawn = posterior.sample(torch.Generator().manual_seed(0))

    assert drawn.mean().item() == pytest.approx(3, abs=5 * 0.0035)
    assert drawn.var().item() == pytest.approx(0.25, abs=5 * 0.25 * math.sqrt(2 / 20_000))


def test_sample_depends_on_the_generator_alone_and_carries_gradients() -> None:
    """The same state gives the same code; dz/dμ = 1 and dz/dp = -(z - μ) / (2p), the reparameterisation."""
    mean = torch.zeros(2, 3, requires_grad=True)
    precision = torch.full((2, 3), 4.0, requires_grad=True)
    posterior = Posterior(mean, precision)

    one, same, other = (posterior.sample(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    one.sum().backward()

    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert mean.grad is not None
    assert torch.equal(mean.grad, torch.ones(2, 3))
    torch.testing.assert_close(precision.grad, -one.detach() / 8)
