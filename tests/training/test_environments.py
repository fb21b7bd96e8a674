"""Environments: the masks under which a model sees its items."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.environments import simulate_missing, single_modality


def random_presence(b: int, n_modalities: int, seed: int) -> torch.Tensor:
    """Presence masks in which all patterns are likely."""
    return torch.rand(b, n_modalities, generator=torch.Generator().manual_seed(seed)) < 0.7


def test_single_modality_environments_of_hand_worked_items() -> None:
    """A complete item is in both, one with text alone only in the second, a bare one in none."""
    present = torch.tensor([[True, True], [False, True], [False, False]])

    image, text = single_modality(present)

    assert image.tolist() == [[True, False], [False, False], [False, False]]
    assert text.tolist() == [[False, True], [False, True], [False, False]]


def test_single_modality_environments_partition_what_is_present() -> None:
    """Each environment has its own column, and together they are the items as they are."""
    present = random_presence(50, 4, seed=0)

    environments = single_modality(present)

    assert len(environments) == 4
    assert torch.equal(torch.stack(environments).sum(dim=0), present.long())
    for column, environment in enumerate(environments):
        assert torch.equal(environment.any(dim=1), present[:, column])


@settings(deadline=None)  # torch takes its time on first calls
@given(rate=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_missing_never_adds(rate: float, seed: int) -> None:
    """What an item lacks it does not gain; the mask that came in is as it was."""
    present = random_presence(20, 3, seed)
    before = present.clone()

    seen = simulate_missing(present, rate, torch.Generator().manual_seed(seed))

    assert not (seen & ~present).any()
    assert torch.equal(present, before)


@settings(deadline=None)  # torch takes its time on first calls
@given(seed=st.integers(0, 2**32))
def test_rate_zero_hides_nothing(seed: int) -> None:
    """Without simulated absence items are seen as they are."""
    present = random_presence(20, 3, seed)

    assert torch.equal(simulate_missing(present, 0.0, torch.Generator().manual_seed(seed)), present)


@pytest.mark.parametrize(("rate", "mean"), [(0.1, 0.1), (0.3, 0.3), (0.5, 0.5), (1.0, 0.75)])
def test_mean_hidden_share_is_the_rate(rate: float, mean: float) -> None:
    """Over 2,000 steps; the severity's deviation is at most 2·0.5/√12 = 0.29, five standard errors 0.032.

    At rate 1 the severity is min(1, 2u): half the steps hide all, the others half on average, 0.75 together.
    """
    present = torch.ones(200, 2, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)

    shares = torch.stack([1 - simulate_missing(present, rate, generator).float().mean() for _ in range(2000)])

    assert shares.mean().item() == pytest.approx(mean, abs=0.035)


def test_severity_varies_from_step_to_step() -> None:
    """At rate 0.5 it is uniform: near 1/10 of 500 steps hide below 10 %, and as many above 90 %, of 1,000 rows."""
    present = torch.ones(1000, 1, dtype=torch.bool)
    generator = torch.Generator().manual_seed(1)

    shares = torch.stack([1 - simulate_missing(present, 0.5, generator).float().mean() for _ in range(500)])

    assert 20 < (shares < 0.1).sum() < 80
    assert 20 < (shares > 0.9).sum() < 80


def test_same_generator_state_hides_the_same() -> None:
    """The generator is the only source of randomness."""
    present = torch.ones(100, 3, dtype=torch.bool)

    one, same, other = (simulate_missing(present, 0.4, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))

    assert torch.equal(one, same)
    assert not torch.equal(one, other)
