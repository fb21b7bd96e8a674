"""I³-MRec as released: its forward pass against the formulas, and who learns from what."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training.dataset import Dataset
from training.environments import subsets
from training.models import configure
from training.models.i3mrec_paper import I3MRecPaper, Settings
from training.prepared import prepare_data
from training.sampling import PairBatch

MakeBoard = Callable[..., Dataset]
MakeModel = Callable[..., I3MRecPaper]
N_USERS, N_ITEMS, D = 12, 10, 6


@pytest.fixture
def fresh(make_board: MakeBoard) -> MakeModel:
    """Makes an untrained model of a board with a new and a bare item: ``fresh(settings, dataset)``."""

    def make(settings: Settings | None = None, dataset: Dataset | None = None) -> I3MRecPaper:
        board = dataset or make_board(N_USERS, N_ITEMS, new=[0], bare=[3])
        config = configure("i3mrec-paper", d=D, device="cpu")
        return I3MRecPaper(prepare_data(board, 0).data, config, torch.device("cpu"), settings)

    return make


def first_batch(model: I3MRecPaper) -> PairBatch:
    """One batch."""
    return next(iter(model.batches(np.random.default_rng(0))))


def club_parameters(model: I3MRecPaper) -> list[Tensor]:
    """White-box: the parameters of CLUB's networks."""
    return [p for club in model._clubs for p in club.network.parameters()]


def test_subsets_are_all_but_the_empty_one() -> None:
    """Three for two modalities, the full one first; seven for three."""
    assert subsets(2).tolist() == [[True, True], [True, False], [False, True]]
    assert subsets(1).tolist() == [[True]]
    assert len({tuple(row) for row in subsets(3).tolist()}) == 7
    assert subsets(3)[0].all()
    assert subsets(3).any(dim=1).all()


def test_club_networks_get_no_gradient_from_the_main_loss(fresh: MakeModel) -> None:
    """They are no part of the network, a step of the main optimiser leaves them, and an epoch's start moves them."""
    model = fresh()
    batch = first_batch(model)
    fitted = [p.clone() for p in club_parameters(model)]
    optimizer = torch.optim.Adam([p for p in model.network.parameters() if p.requires_grad], lr=0.1)

    torch.stack(list(model.loss(batch, 0.0).values())).sum().backward()
    optimizer.step()

    learned = {id(p) for p in model.network.parameters()}
    assert fitted
    assert not learned & {id(p) for p in club_parameters(model)}
    assert all(p.grad is None or not p.requires_grad for p in club_parameters(model))
    assert all(torch.equal(p, before) for p, before in zip(club_parameters(model), fitted, strict=True))
    first_batch(model)
    assert any(not torch.equal(p, before) for p, before in zip(club_parameters(model), fitted, strict=True))


def test_fitting_club_leaves_the_network(fresh: MakeModel) -> None:
    """An epoch's start changes no parameter of the model, and leaves no gradient behind."""
    model = fresh()
    before = {name: p.clone() for name, p in model.network.named_parameters()}

    first_batch(model)

    assert all(torch.equal(p, before[name]) for name, p in model.network.named_parameters())
    assert all(p.grad is None for p in model.network.parameters())


def test_item_states_are_cut_off_before_the_fusion(fresh: MakeModel) -> None:
    """Agreement and compression teach the fusion alone; the ranking risk reaches projections through users, as said."""
    model = fresh()
    terms = model.loss(first_batch(model), 0.0)
    network = model.network
    projection = network.content.projections.maps[0].weight
    fusion = network.content.fusion.weight

    for term in ("agreement", "compression"):
        gradients = torch.autograd.grad(
            terms[term], (fusion, network.users, projection), retain_graph=True, allow_unused=True
        )
        assert gradients[0].any()
        assert gradients[1:] == (None, None)
    assert all(g.any() for g in torch.autograd.grad(terms["ranking"], (fusion, network.users, projection)))


def test_tables_are_those_of_the_formulas(fresh: MakeModel) -> None:
    """An independent, dense computation: unit rows, the mean of Â^0 … Â^3, F at the identity, E_U added to users."""
    model = fresh()
    data = prepare_data_of(model)
    R = np.zeros((N_USERS, N_ITEMS))
    R[np.repeat(np.arange(N_USERS), np.diff(data.indptr)), data.indices] = 1
    A = np.block([[np.zeros((N_USERS, N_USERS)), R], [R.T, np.zeros((N_ITEMS, N_ITEMS))]])
    scale = np.maximum(A.sum(axis=1), 1) ** -0.5
    A = scale[:, None] * A * scale
    filter_ = sum(np.linalg.matrix_power(A, power) for power in range(4)) / 4
    table = model.network.users.detach().numpy().astype(np.float64)

    def unit(x: Any) -> Any:
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)

    states = []
    for layer, features in zip(model.network.content.projections.maps, data.features.values(), strict=True):
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        states.append(filter_ @ np.vstack([unit(table), unit(unit(features.matrix) @ weight.T + bias)]))
    mean = np.mean(states, axis=0)

    tables = model.embeddings()

    np.testing.assert_allclose(tables.users, table + mean[:N_USERS], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(tables.items, np.tanh(mean[N_USERS:]), rtol=1e-4, atol=1e-6)


def test_new_item_is_a_quarter_of_its_content(fresh: MakeModel) -> None:
    """Without edges three of four layers are zero: tanh of a quarter of the mean of unit vectors, norm at most 1/4."""
    model = fresh()
    content = model.network.content
    data = prepare_data_of(model)
    inputs = [torch.from_numpy(f.matrix[:1]) for f in data.features.values()]
    present = torch.from_numpy(np.array([[f.present[0] for f in data.features.values()]]))

    with torch.no_grad():
        expected = torch.tanh(content.projections(inputs, present).mean(dim=0) / 4)

    row = model.embeddings().items[0]
    np.testing.assert_allclose(row, expected[0], rtol=1e-5, atol=1e-7)
    assert np.linalg.norm(row) <= 0.25


def test_weights_scale_their_terms(fresh: MakeModel) -> None:
    """Twice the weight is twice the term; the risks have none."""
    weighted = {"invariance": "variance", "agreement": "agreement", "compression": "compression", "norm": "norm"}
    doubled = Settings(**{name: 2 * getattr(Settings(), name) for name in weighted.values()})

    single, double = ((m := fresh(settings)).loss(first_batch(m), 0.0) for settings in (None, doubled))

    assert set(single) == {"ranking", "environments", *weighted}
    assert all(double[t].item() == pytest.approx((1 + (t in weighted)) * single[t].item(), rel=1e-5) for t in single)


def test_variance_is_that_of_the_environments(fresh: MakeModel) -> None:
    """Two environments: (L_1 - L_2)²/2, by white-box access to the risks."""
    model = fresh(Settings(variance=2.0))
    batch = first_batch(model)
    rows = [torch.from_numpy(x) for x in (batch.users, batch.positives, batch.negatives)]

    risks = model._environment_risks(model._states(model._content), *rows)
    terms = model.loss(batch, 0.0)

    assert terms["environments"].item() == pytest.approx(risks.sum().item(), rel=1e-6)
    assert terms["invariance"].item() == pytest.approx((risks[0] - risks[1]).item() ** 2, rel=1e-4)


def test_agreement_sums_all_ordered_pairs(make_board: MakeBoard, fresh: MakeModel) -> None:
    """Without dropout and with one item in the batch every InfoNCE is 0; with copies it is log of their number.

    Each of 6 ordered pairs (two modalities) or 42 (three) then gives log 4, times 7/6.
    """
    for modalities, pairs in (({"a": 3, "b": 4}, 6), ({"a": 3, "b": 4, "c": 5}, 42)):
        board = make_board(N_USERS, N_ITEMS, modalities=modalities)
        model = fresh(Settings(dropout=0.0), board)
        items = model._states(model._content).items.detach()

        assert model._agreement(items, torch.tensor([5])).item() == pytest.approx(0, abs=1e-4)
        copies = model._agreement(items, torch.tensor([5, 5, 5, 5])).item()
        assert copies == pytest.approx(7 / 6 * pairs * np.log(4), rel=1e-4)


def test_one_modality_has_no_variance_and_no_agreement(make_board: MakeBoard, fresh: MakeModel) -> None:
    """Nothing to vary, nothing to agree with."""
    model = fresh(None, make_board(N_USERS, N_ITEMS, modalities={"text": 5}))

    terms = model.loss(first_batch(model), 0.0)

    assert terms["invariance"].item() == terms["agreement"].item() == 0


def prepare_data_of(model: I3MRecPaper) -> Any:
    """White-box: what the model was given."""
    return model._data
