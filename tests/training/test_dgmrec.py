"""DGMRec: generation, item graphs and their refreshes, and who learns from what."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from training.dataset import Dataset
from training.models import configure
from training.models.dgmrec import DGMRec, Settings
from training.prepared import prepare_data

MakeBoard = Callable[..., Dataset]
CONTENT = ["reconstruction", "generation", "disentangling", "general", "preference"]
TERMS = ["ranking", *CONTENT, "interaction", "behaviour", "norm"]


@pytest.fixture
def board(make_board: MakeBoard) -> Dataset:
    """A board with two new items, a bare one and incomplete ones."""
    return make_board(24, 20, new=[0, 1], bare=[3], missing=0.3)


def make(dataset: Dataset, **settings: float) -> DGMRec:
    """An untrained model with few neighbours."""
    config = configure("dgmrec", d=6, device="cpu")
    return DGMRec(
        prepare_data(dataset, 0).data, config, torch.device("cpu"), Settings(**({"neighbours": 3} | settings))
    )


def epochs(model: DGMRec, n: int) -> None:
    """Some training."""
    optimizer = torch.optim.Adam([p for p in model.network.parameters() if p.requires_grad], lr=0.01)
    rng = np.random.default_rng(0)
    for batch in (batch for _ in range(n) for batch in model.batches(rng)):
        optimizer.zero_grad()
        torch.stack(list(model.loss(batch, 0.0).values())).sum().backward()
        optimizer.step()


def club_parameters(model: DGMRec) -> list[Tensor]:
    """White-box: the parameters of CLUB's networks."""
    return [p for club in model._clubs for p in club.network.parameters()]


def test_club_networks_get_no_gradient_from_the_main_loss(board: Dataset) -> None:
    """They are no part of the network; the loss gives them nothing, while the parts they ask about are moved."""
    model = make(board)
    batch = next(iter(model.batches(np.random.default_rng(0))))
    before = [p.clone() for p in club_parameters(model)]

    terms = model.loss(batch, 0.0)
    own = model.network.content.own[0].weight
    (gradient,) = torch.autograd.grad(terms["disentangling"], own, retain_graph=True)
    torch.stack(list(terms.values())).sum().backward()

    assert list(terms) == TERMS
    assert gradient.any()
    assert not {id(p) for p in model.network.parameters()} & {id(p) for p in club_parameters(model)}
    assert all(p.grad is None or not p.requires_grad for p in club_parameters(model))
    assert all(torch.equal(p, old) for p, old in zip(club_parameters(model), before, strict=True))


def test_what_is_there_stays_and_what_is_not_is_generated(board: Dataset) -> None:
    """Standardised features where a modality is present; else the decoder's output, which is not zero."""
    model = make(board)
    encoder, content = model._encoder, model._content

    rows = encoder.standardise(*content)
    completed = encoder.complete(*content, model._item_preferences())

    for m, (x, filled) in enumerate(zip(rows, completed, strict=True)):
        known = content.present[:, m]
        assert torch.equal(filled[known], x[known])
        assert not x[~known].any()
        assert filled[~known].any(dim=1).all()


def test_general_part_is_generated_from_the_others(make_board: MakeBoard) -> None:
    """White-box: generators replaced by the identity, general parts 1, 2 and 6.

    What they are given is the mean of the other modalities that are there, and zero where none is.
    """
    encoder = make(make_board(12, 10, modalities={"a": 3, "b": 4, "c": 5})).network.content
    encoder.generate_general = torch.nn.ModuleList([torch.nn.Identity() for _ in range(3)])
    present = torch.tensor([[True, True, True], [True, True, False], [False, True, False], [False, False, False]])
    general = torch.tensor([1.0, 2.0, 6.0])[:, None, None].expand(3, 4, 6)

    generated = encoder.generate(general, present, torch.zeros(3, 4, 6)).general

    assert generated[:, :, 0].T.tolist() == [[4, 3.5, 1.5], [2, 1, 1.5], [2, 0, 2], [0, 0, 0]]


def test_generators_learn_from_what_is_known(board: Dataset) -> None:
    """Their targets get no gradient from them: with generation alone, only generators, preferences and inputs move."""
    model = make(board)
    batch = next(iter(model.batches(np.random.default_rng(0))))
    encoder = model.network.content

    generation = model.loss(batch, 0.0)["generation"]

    generators = [encoder.generate_general[0][0].weight, encoder.generate_specific[1][0].weight]
    given = [*generators, model.network.preferences.weight]
    assert all(g.any() for g in torch.autograd.grad(generation, given, retain_graph=True))
    (target,) = torch.autograd.grad(generation, encoder.own[0].weight, allow_unused=True)
    assert target is None


def test_item_graphs_begin_with_known_neighbours_and_self_loops(board: Dataset) -> None:
    """Complete warm items have three known neighbours, incomplete ones themselves, new items nothing."""
    model = make(board)

    for m, graph in enumerate(model.network.graphs):
        known = board.present[:, m]
        dense = graph.toarray()
        for row in range(2, 20):
            neighbours = np.flatnonzero(dense[row]).tolist()
            if known[row]:
                assert len(neighbours) == 3
                assert row not in neighbours
                assert known[neighbours].all()
            else:
                assert neighbours == [row]
        assert not dense[:2].any()
        assert not dense[:, :2].any()
        np.testing.assert_allclose(dense[2:].sum(axis=1), 1)


def test_refresh_moves_incomplete_rows_alone(board: Dataset) -> None:
    """By 40 %: what was a self loop of 1 is one of 0.6 and three neighbours of 0.4/3; after another, of 0.36."""
    model = make(board, refresh_share=0.4)
    before = [graph.toarray() for graph in model.network.graphs]

    model._refresh_graphs()
    once = [graph.toarray() for graph in model.network.graphs]
    model._refresh_graphs()

    for m, (old, new, newer) in enumerate(zip(before, once, model.network.graphs, strict=True)):
        known = board.present[:, m]
        lacking = np.flatnonzero(~known & (np.arange(20) >= 2))
        assert np.array_equal(old[known], new[known])
        np.testing.assert_allclose(new[lacking, lacking], 0.6)
        np.testing.assert_allclose(newer.toarray()[lacking, lacking], 0.36)
        np.testing.assert_allclose(new[2:].sum(axis=1), 1)


def test_graphs_are_refreshed_every_fifth_epoch(board: Dataset) -> None:
    """After five epochs, before the sixth."""
    model = make(board)
    first = model.network.graphs

    epochs(model, 5)
    assert model.network.graphs is first
    epochs(model, 1)
    assert model.network.graphs is not first


def test_checkpoint_holds_the_graphs(board: Dataset) -> None:
    """Loading an earlier state gives back its tables bit for bit, refreshes in between notwithstanding."""
    model = make(board, refresh_every=1)
    epochs(model, 3)
    state, tables = copy.deepcopy(model.network.state_dict()), model.embeddings()

    epochs(model, 3)
    later = model.embeddings()
    model.network.load_state_dict(state)

    restored = model.embeddings()
    assert not np.array_equal(later.items, tables.items)
    assert np.array_equal(restored.items, tables.items)
    assert np.array_equal(restored.users, tables.users)


def test_preference_is_the_mean_of_an_items_users(board: Dataset) -> None:
    """``mean_u tanh(W e_u)``; new items, which have no users, have none."""
    model = make(board)
    preferences = model._item_preferences()
    data = model._data
    fans = np.repeat(np.arange(24), np.diff(data.indptr))[data.indices == 5]

    assert not preferences[:, :2].any()
    of_users = torch.tanh(model.network.users @ model.network.preferences.weight.T)
    expected = of_users[torch.from_numpy(fans)].mean(dim=0).view(2, 6)
    torch.testing.assert_close(preferences[:, 5], expected)


def test_items_are_ids_and_content(board: Dataset) -> None:
    """White-box: tables are the sums of both, new items content alone."""
    model = make(board)

    view = model._look(*model._prepare(model._content))

    tables = model.embeddings()
    content = (view.items.specific.sum(dim=0) + view.items.general.mean(dim=0)) / 3
    np.testing.assert_allclose(tables.items[2:], (view.item_ids + content).detach()[2:], rtol=1e-5, atol=1e-7)
    user = np.unique(model._data.indices[model._data.indptr[4] : model._data.indptr[5]])
    expected = view.user_ids[4] + content[torch.from_numpy(user.astype(np.int64))].mean(dim=0)
    np.testing.assert_allclose(tables.users[4], expected.detach(), rtol=1e-4, atol=1e-6)
    assert np.array_equal(tables.items[:2], model.as_new()[:2])


def test_expected_preferences_learn_without_moving_the_rest(board: Dataset) -> None:
    """Their error teaches the network that predicts them, and neither the parts they are read off nor the target."""
    model = make(board)
    batch = next(iter(model.batches(np.random.default_rng(0))))
    encoder, users = model.network.content, model.network.users

    error = model.loss(batch, 0.0)["preference"]

    gradients = torch.autograd.grad(
        error, (encoder.expect[0][0].weight, encoder.shared.weight, users), allow_unused=True
    )
    assert gradients[0].any()
    assert gradients[1:] == (None, None)
