"""The losses of models that learn from pairs, against numbers worked out by hand."""

import math

import pytest
import torch

from training.losses import (
    alignment,
    bpr_risk,
    club_bound,
    donsker_varadhan,
    donsker_varadhan_ascent,
    gaussian_log_likelihood,
    mean_square_norm,
    mutual_info_nce,
)


def test_bpr_of_hand_worked_scores() -> None:
    """Differences -log 3 and 0: softplus gives log(4/3) and log 2, mean ½ log(8/3)."""
    risk = bpr_risk(torch.tensor([math.log(3), 1.0]), torch.tensor([0.0, 1.0]))

    assert risk.item() == pytest.approx(0.5 * math.log(8 / 3), abs=1e-6)


def test_mean_square_norm_of_hand_worked_tables() -> None:
    """Rows (3, 4) and (0, 1): (25 + 1)/2 = 13; rows (1, 0) and (0, 1): 1. Sum 14."""
    assert mean_square_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.eye(2)).item() == 14


def test_info_nce_of_hand_worked_views() -> None:
    """Cosines ((1, 0), (0, 1)) at τ = ½: logits ((2, 0), (0, 2)), each way log(1 + e^-2); lengths do not matter."""
    loss = mutual_info_nce(3 * torch.eye(2), 0.1 * torch.eye(2), 0.5)

    assert loss.item() == pytest.approx(2 * math.log(1 + math.exp(-2)), abs=1e-6)


def test_info_nce_goes_both_ways() -> None:
    """A = (e1, e1), b = (e1, e2), τ = 1: logits ((1, 0), (1, 0)).

    From a to b: log(e + 1) - 1 and log(e + 1) - 0; from b to a: log(2e) - 1 = log 2 and log(2) - 0.
    """
    a, b = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.eye(2)

    forth = math.log(math.e + 1) - 0.5
    assert mutual_info_nce(a, b, 1.0).item() == pytest.approx(forth + math.log(2), abs=1e-6)


def test_counted_rows_are_repeated_rows() -> None:
    """Two copies of a row and one with count 2 give the same value, and in sum the same gradient."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(4, 3, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
    copies = torch.tensor([0, 1, 1, 2, 3, 3, 3])

    repeated = mutual_info_nce(a[copies], b[copies], 0.4)
    counted = mutual_info_nce(a, b, 0.4, torch.bincount(copies))

    assert counted.item() == pytest.approx(repeated.item(), abs=1e-12)
    for one, other in zip(torch.autograd.grad(repeated, (a, b)), torch.autograd.grad(counted, (a, b)), strict=True):
        torch.testing.assert_close(one, other)


def test_info_nce_is_finite_at_small_temperatures() -> None:
    """At τ = 0.03 the worst views, opposite ones, cost 2/τ more than the best of two, each way."""
    loss = mutual_info_nce(torch.tensor([[1.0], [-1.0]]), torch.tensor([[-1.0], [1.0]]), 0.03)

    assert loss.item() == pytest.approx(2 * 2 / 0.03, rel=1e-5)


def test_club_of_a_hand_worked_pair() -> None:
    """μ = (0, 2), y = (1, 2), variances 1 and ½, order swapped.

    Row 0: (0 - 2)² - (0 - 1)² = 3, times 1; row 1: (2 - 1)² - (2 - 2)² = 1, times 2. ½ · mean(3, 2) = 1.25.
    """
    mean, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [2.0]])
    log_variance = torch.tensor([[0.0], [-math.log(2)]])

    assert club_bound(mean, log_variance, y, torch.tensor([1, 0])).item() == pytest.approx(1.25)
    assert club_bound(mean, log_variance, y, torch.tensor([0, 1])).item() == 0


def test_likelihood_of_a_hand_worked_row() -> None:
    """Residuals 1 and 2, log-variances 0 and log 4: -1 - 0 - 4/4 - log 4."""
    value = gaussian_log_likelihood(torch.zeros(1, 2), torch.tensor([[0.0, math.log(4)]]), torch.tensor([[1.0, 2.0]]))

    assert value.item() == pytest.approx(-2 - math.log(4), abs=1e-6)


def test_donsker_varadhan_of_hand_worked_values() -> None:
    """Mean of 1 and 3 less log of the mean of e^0 and e^log 3: 2 - log 2."""
    value = donsker_varadhan(torch.tensor([1.0, 3.0]), torch.tensor([0.0, math.log(3)]))

    assert value.item() == pytest.approx(2 - math.log(2), abs=1e-6)


def test_ascent_has_the_bounds_gradient_where_the_average_is_the_batch() -> None:
    """With the batch's own mean as the average both gradients agree; with twice that the marginal's halves."""
    joint, marginal = torch.tensor([0.5, -1.0]), torch.tensor([0.3, 2.0], requires_grad=True)

    def gradient(value: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(value, marginal)[0]

    exact = gradient(donsker_varadhan(joint, marginal))
    average = marginal.detach().exp().mean()

    torch.testing.assert_close(gradient(donsker_varadhan_ascent(joint, marginal, average)), exact)
    torch.testing.assert_close(gradient(donsker_varadhan_ascent(joint, marginal, 2 * average)), exact / 2)


def test_alignment_counts_rows_that_exist_on_either_side() -> None:
    """Row 0 differs by (1, 3), mean square 5; row 1 by 0; row 2 is not there and may hold anything. Mean 2.5."""
    a = torch.tensor([[1.0, 3.0], [2.0, 2.0], [math.nan, 1e30]], requires_grad=True)
    b = torch.tensor([[0.0, 0.0], [2.0, 2.0], [5.0, 5.0]])
    both = torch.tensor([True, True, False])

    loss = alignment(a, b, both)

    assert loss.item() == 2.5
    assert torch.isfinite(torch.autograd.grad(loss, a)[0]).all()
    assert alignment(a, b, torch.zeros(3, dtype=torch.bool)).item() == 0
