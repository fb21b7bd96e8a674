"""MRdIB: codes, what they are told, and critics that keep to themselves."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from training.dataset import Dataset
from training.models import configure
from training.models.mrdib import MRdIB, Settings, fuse
from training.prepared import prepare_data

MakeBoard = Callable[..., Dataset]


def make(dataset: Dataset, settings: Settings | None = None) -> MRdIB:
    """An untrained model."""
    config = configure("mrdib", d=6, device="cpu")
    return MRdIB(prepare_data(dataset, 0).data, config, torch.device("cpu"), settings)


@pytest.fixture
def model(make_board: MakeBoard) -> MRdIB:
    """An untrained model of a board with a new and a bare item."""
    return make(make_board(20, 16, new=[0], bare=[3], missing=0.2))


def critic_parameters(model: MRdIB) -> list[Tensor]:
    """White-box: the critics' parameters."""
    return [p for critic in model._critics for p in critic.network.parameters()]


def changed(before: list[Tensor], after: list[Tensor]) -> bool:
    """Whether any of them moved."""
    return any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_fusion_is_the_mean_of_what_is_present() -> None:
    """Codes 1 and 5: both present 3, one alone itself; with none present both count again."""
    codes = torch.tensor([[[1.0]] * 4, [[5.0]] * 4])
    present = torch.tensor([[True, True], [True, False], [False, True], [False, False]])

    assert fuse(codes, present).squeeze(1).tolist() == [3, 1, 5, 3]


def test_critics_get_no_gradient_from_the_main_loss(model: MRdIB) -> None:
    """They are no part of the network, the loss neither moves them nor gives them gradients."""
    batch = next(iter(model.batches(np.random.default_rng(0))))
    before = [p.clone() for p in critic_parameters(model)]
    optimizer = torch.optim.Adam([p for p in model.network.parameters() if p.requires_grad], lr=0.1)

    torch.stack(list(model.loss(batch, 0.0).values())).sum().backward()
    optimizer.step()

    assert before
    assert not {id(p) for p in model.network.parameters()} & {id(p) for p in critic_parameters(model)}
    assert all(p.grad is None for p in critic_parameters(model))
    assert not changed(before, critic_parameters(model))


def test_critics_learn_between_batches_and_the_network_does_not(model: MRdIB) -> None:
    """Asking for the next batch moves the critics, by what the last loss was about, and nothing else."""
    batches = iter(model.batches(np.random.default_rng(0)))
    model.loss(next(batches), 0.0)
    critics, learned = ([p.clone() for p in ps] for ps in (critic_parameters(model), model.network.parameters()))

    next(batches)

    assert changed(critics, critic_parameters(model))
    assert not changed(learned, list(model.network.parameters()))
    assert all(p.grad is None for p in model.network.parameters())


def test_redundancy_reaches_the_codes(model: MRdIB) -> None:
    """Nearly noiseless codes, which a critic can tell from broken pairs: the bound has a gradient for either's head."""
    heads = [head.weight for head in model.network.content.mean]
    with torch.no_grad():
        for head, log_variance in zip(heads, model.network.content.log_variance, strict=True):
            head.copy_(10 * torch.eye(6))
            log_variance.bias.fill_(-8)
    batch = next(iter(model.batches(np.random.default_rng(0))))
    model.loss(batch, 0.0)
    for _ in range(200):
        model._critics[0].fit(*model._judged[0], model._generator)

    terms = model.loss(batch, 0.0)

    assert terms["redundancy"].item() > 0
    assert all(gradient.any() for gradient in torch.autograd.grad(terms["redundancy"], heads))


def test_training_draws_codes_and_inference_does_not(model: MRdIB) -> None:
    """Two losses of one batch differ; two looks at the tables do not."""
    batch = next(iter(model.batches(np.random.default_rng(0))))

    assert model.loss(batch, 0.0)["ranking"].item() != model.loss(batch, 0.0)["ranking"].item()
    assert np.array_equal(model.embeddings().items, model.embeddings().items)


def test_compression_of_a_hand_worked_posterior(model: MRdIB) -> None:
    """White-box: all codes are N(2, 1) in six dimensions of two modalities: 2 · 6 · ½ · 2² = 24, weight 0.005."""
    with torch.no_grad():
        for mean, log_variance in zip(model._encoder.mean, model._encoder.log_variance, strict=True):
            mean.weight.zero_()
            mean.bias.fill_(2)
            log_variance.weight.zero_()
    batch = next(iter(model.batches(np.random.default_rng(0))))

    assert model.loss(batch, 0.0)["compression"].item() == pytest.approx(0.005 * 24, rel=1e-5)


def test_three_modalities_have_three_critics(make_board: MakeBoard) -> None:
    """One for each pair; with one modality there is none, and no redundancy."""
    three, one = (make(make_board(12, 10, modalities=m)) for m in ({"a": 3, "b": 4, "c": 5}, {"a": 3}))

    batch = next(iter(one.batches(np.random.default_rng(0))))

    assert (len(three._critics), len(one._critics)) == (3, 0)
    assert one.loss(batch, 0.0)["redundancy"].item() == 0
