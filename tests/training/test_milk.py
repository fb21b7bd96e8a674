"""MILK: mixtures, means in place of what is missing, and the sum of risks."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from training.dataset import Dataset
from training.environments import cyclic_mixup
from training.models import configure
from training.models.milk import Milk, Settings
from training.prepared import prepare_data
from training.sampling import PairBatch

MakeBoard = Callable[..., Dataset]


def make(dataset: Dataset, settings: Settings | None = None) -> Milk:
    """An untrained model."""
    config = configure("milk", d=6, device="cpu")
    return Milk(prepare_data(dataset, 0).data, config, torch.device("cpu"), settings)


def first_batch(model: Milk) -> PairBatch:
    """One batch."""
    return next(iter(model.batches(np.random.default_rng(0))))


@pytest.mark.parametrize("n_modalities", [1, 2, 3, 5])
def test_mixup_lets_every_modality_dominate_once(n_modalities: int) -> None:
    """The even mixture first, then the shifts of one draw: each modality has each share once; rows sum to 1."""
    mixtures = cyclic_mixup(n_modalities, 0.3, np.random.default_rng(0))

    assert mixtures.shape == (n_modalities + 1, n_modalities)
    torch.testing.assert_close(mixtures.sum(dim=1), torch.ones(n_modalities + 1))
    torch.testing.assert_close(mixtures[0], torch.full((n_modalities,), 1 / n_modalities))
    for column in mixtures[1:].T:
        torch.testing.assert_close(column.sort().values, mixtures[1].sort().values)
    assert sorted(mixtures[1:].argmax(dim=1).tolist()) == list(range(n_modalities))


def test_mixup_of_two_is_a_draw_and_its_mirror() -> None:
    """(l1, l2) and (l2, l1), drawn anew each time."""
    rng = np.random.default_rng(1)
    one, other = cyclic_mixup(2, 1.0, rng), cyclic_mixup(2, 1.0, rng)

    assert one[1].tolist() == one[2].flip(0).tolist()
    assert one[1].tolist() != other[1].tolist()


def test_concentration_shapes_the_mixtures() -> None:
    """Tiny α: one modality nearly alone, and never NaN; large α: nearly even."""
    rng = np.random.default_rng(2)
    extreme = torch.stack([cyclic_mixup(3, 0.01, rng)[1] for _ in range(200)])
    even = torch.stack([cyclic_mixup(3, 1e4, rng)[1] for _ in range(200)])

    assert torch.isfinite(extreme).all()
    assert extreme.max(dim=1).values.median() > 0.99
    assert (even - 1 / 3).abs().max() < 0.05


def test_missing_modality_is_the_mean_of_warm_items(make_board: MakeBoard) -> None:
    """An item without an image is placed like one whose image is the mean of those that warm items have."""
    board = make_board(12, 10, new=[0], missing=0.4)
    model = make(board)
    image, text = board.features["image"], board.features["text"]
    known = image.present.copy()
    known[0] = False
    mean = torch.from_numpy(image.matrix[known].mean(axis=0, dtype=np.float64).astype(np.float32))
    texts = torch.from_numpy(text.matrix[:3])

    with torch.no_grad():
        missing, _ = model.encoder()(torch.zeros(3, image.dim), texts, torch.tensor([[False, True]] * 3))
        filled, _ = model.encoder()(mean.expand(3, -1), texts, torch.tensor([[True, True]] * 3))

    torch.testing.assert_close(missing, filled)


def test_items_without_anything_tie(make_board: MakeBoard) -> None:
    """They are made of means alone."""
    items = make(make_board(12, 10, bare=[3, 5])).embeddings().items

    assert np.array_equal(items[3], items[5])
    assert not np.array_equal(items[3], items[4])


def test_even_mixtures_are_one_environment_three_times(make_board: MakeBoard) -> None:
    """α → ∞: every environment is the even one, so that the risks are three times that of the tables, without variance.

    The risk is computed from the published tables, which are what MILK serves.
    """
    model = make(make_board(12, 10), Settings(concentration=1e12, variance=1.0))
    batch = first_batch(model)
    tables = model.embeddings()

    terms = model.loss(batch, 0.0)

    users = tables.users[batch.users]
    gaps = (users * (tables.items[batch.negatives] - tables.items[batch.positives])).sum(axis=1)
    assert terms["ranking"].item() == pytest.approx(3 * np.log1p(np.exp(gaps)).mean(), rel=1e-5)
    assert terms["invariance"].item() == pytest.approx(0, abs=1e-9)


def test_uneven_mixtures_vary(make_board: MakeBoard) -> None:
    """Nearly one modality alone: the risks differ, and the weight counts."""
    board = make_board(12, 10)

    single, double = (make(board, Settings(0.01, variance)) for variance in (1.0, 2.0))

    one, two = (model.loss(first_batch(model), 0.0)["invariance"].item() for model in (single, double))
    assert one > 0
    assert two == pytest.approx(2 * one)


def test_alignment_asks_items_with_both(make_board: MakeBoard) -> None:
    """Where no item has both modalities there is nothing to align; else it is the distance of the codes."""
    board = make_board(12, 10, missing=0.0)
    halves = np.arange(10) % 2 == 0
    features = board.features
    parted = Dataset(
        board.users,
        board.items,
        board.interactions,
        {"image": features["image"].masked(halves), "text": features["text"].masked(~halves)},
    )

    apart, together = (make(dataset, Settings(alignment=1.0)) for dataset in (parted, board))

    assert apart.loss(first_batch(apart), 0.0)["alignment"].item() == 0
    batch = first_batch(together)
    rows = np.unique(batch.positives)
    with torch.no_grad():
        codes = together._encoder.extract(*together._content)[:, rows]
    expected = ((codes[0] - codes[1]) ** 2).mean().item()
    assert together.loss(batch, 0.0)["alignment"].item() == pytest.approx(expected, rel=1e-5)


def test_features_may_be_learned(make_board: MakeBoard) -> None:
    """A step moves the features of known items, which places them anew; as new items all stay as they are."""
    board = make_board(12, 10, missing=0.0)
    model = make(board, Settings(learn_features=1))
    measured, placed = model.as_new(), model.embeddings().items
    optimiser = torch.optim.SGD(model.network.features.parameters(), lr=10.0)

    sum(model.loss(first_batch(model), 0.0).values()).backward()
    optimiser.step()

    moved = (model.embeddings().items != placed).any(axis=1)
    assert moved[np.unique(first_batch(model).positives)].all()
    assert np.array_equal(model.as_new(), measured)
    assert np.array_equal(placed, measured)
    assert not list(make(board).network.features.parameters())
