"""Mixed precision: losses in bfloat16 where there is a GPU, and nothing of it where there is none."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training.dataset import Dataset
from training.loop import Outcome, train
from training.models import PRESETS, configure
from training.models.milk import Milk
from training.prepared import prepare_data
from training.sampling import PairBatch

MakeBoard = Callable[..., Dataset]
SMALL = {"d": 8, "lr": 0.02, "epochs": 2, "evaluate_every": 2}


class Watched(Milk):
    """Writes down whether losses are asked for under autocast, by the kind of device."""

    def loss(self, batch: PairBatch, progress: float) -> dict[str, Tensor]:
        """As ever."""
        self.precisions = {kind: torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")}
        return super().loss(batch, progress)


def fit(dataset: Dataset, device: str, **options: Any) -> tuple[Watched, Outcome]:
    """Trains two epochs."""
    config = configure("milk", device=device, **SMALL)
    prepared = prepare_data(dataset, 0)
    model = Watched(prepared.data, config, torch.device(device))
    return model, train(model, prepared.split, config, lambda _: None, **options)


@pytest.fixture(scope="module")
def board(make_board: MakeBoard) -> Dataset:
    """New, bare and incomplete items."""
    return make_board(40, 24, communities=4, new=[0, 1], bare=[4], missing=0.3, validation=True)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_learns_under_autocast(board: Dataset, preset: str) -> None:
    """On the CPU's autocast, which stands in for the GPU's: losses near those of float32, gradients in float32."""
    totals = {}
    for mixed in (False, True):
        config = configure(preset, device="cpu", **SMALL)
        model = PRESETS[preset](prepare_data(board, 0).data, config, torch.device("cpu"))
        batches = model.batches(np.random.default_rng(0))
        for _, batch in zip(range(2), batches, strict=False):  # what is done between two batches is seen too
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
                terms = model.loss(batch, 0.5)
            total = torch.stack([term.float() for term in terms.values()]).sum()
            total.backward()
        next(batches, None)
        totals[mixed] = total.item()
        gradients = [p.grad for p in model.network.parameters() if p.grad is not None]
        assert gradients
        assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in gradients)

    assert totals[True] == pytest.approx(totals[False], rel=0.05)


def test_nothing_changes_on_the_cpu(board: Dataset) -> None:
    """Whatever is asked for, losses are not computed under autocast, and are the same numbers."""
    (one, asked), (other, declined) = (fit(board, "cpu", mixed_precision=mixed) for mixed in (True, False))

    assert one.precisions == other.precisions == {"cpu": False, "cuda": False}
    assert [p.losses for p in asked.history] == [p.losses for p in declined.history]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("mixed", [True, False])
def test_gpu_computes_losses_as_asked(board: Dataset, mixed: bool) -> None:
    """Under autocast or not; parameters stay float32 and losses finite either way."""
    model, outcome = fit(board, "cuda", mixed_precision=mixed)

    assert model.precisions == {"cpu": False, "cuda": mixed}
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}
    assert np.isfinite([progress.loss for progress in outcome.history]).all()
