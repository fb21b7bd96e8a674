"""How far new items are pushed: what the rehearsal hides, and what it chooses."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.calibration import GAINS, new_item_gain
from training.confidence import Confidence
from training.config import TrainConfig
from training.dataset import Dataset
from training.features import ModalityFeatures
from training.fitting import fit
from training.interactions import TEST, TRAIN, VAL
from training.loop import Progress
from training.models import PRESETS, Embeddings, Model
from training.models.i3mrec import I3MRec
from training.prepared import Prepared, prepare_codes, prepare_data
from training.rehearsal import rehearse, without_some_items
from training.splits import DROPPED

MakeBoard = Callable[..., Dataset]
NOBODYS = range(30)  # more than a list of 20 holds
WARM_ELSEWHERE = 0.5  # what a user gives to known items of the other community; 1 to those of the own


@pytest.fixture(scope="module")
def prepared(make_board: MakeBoard) -> Prepared:
    """Two communities of 40 items, a validation item each."""
    return prepare_data(make_board(80, 80, validation=True), 0)


@pytest.fixture(scope="module")
def with_nobodys(make_board: MakeBoard) -> Prepared:
    """The same and 30 items more that nobody has in training or validation."""
    board = make_board(80, 110, validation=True)
    codes = prepare_data(board, 0).codes
    return prepare_codes(board, np.where(np.isin(board.interactions.items, NOBODYS), np.int8(DROPPED), codes))


class Placed:
    """Fits ``Model`` as far as a rehearsal goes: knows communities, and places new items by a rule of the test.

    Before it is calibrated it pushes new items far too hard.
    """

    history_rule = None

    def __init__(self, stage: Prepared, own: float, other: float, nobodys: Collection[int] = ()) -> None:
        side = np.eye(2, dtype=np.float32)
        users, items = (side[np.arange(n) % 2] for n in (stage.dataset.n_users, stage.dataset.n_items))
        self.new = stage.data.popularity() == 0
        self.users = users + np.float32(WARM_ELSEWHERE) * users[:, ::-1]
        self.items = np.where(self.new[:, None], own * items + other * items[:, ::-1], items).astype(np.float32)
        self.items[list(nobodys)] = 0.6
        self.gain = 100.0
        self.network: nn.Module = nn.Identity()

    def calibrate(self, gain: float) -> None:
        """As any model."""
        self.gain = gain

    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:
        """With new items pushed."""
        assert features is None
        return Embeddings(self.users, self.items * np.where(self.new, self.gain, 1)[:, None].astype(np.float32), None)

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """Not asked for in a rehearsal."""
        raise NotImplementedError

    def batches(self, rng: np.random.Generator) -> Iterator[Any]:
        """Not asked for in a rehearsal."""
        raise NotImplementedError

    def loss(self, batch: Any, progress: float) -> Mapping[str, Tensor]:
        """Not asked for in a rehearsal."""
        raise NotImplementedError

    def as_new(self) -> NDArray[np.float32]:
        """Not asked for in a rehearsal."""
        raise NotImplementedError

    def encoder(self) -> nn.Module:
        """Not asked for in a rehearsal."""
        raise NotImplementedError


def rehearsed_gain(prepared: Prepared, seed: int, train: Callable[[Prepared], Model]) -> float:
    """The gain that a rehearsal finds."""
    found = rehearse(prepared, seed, train)
    assert found.confidence is None  # ``Placed`` has no codes to ask
    assert found.gain is not None
    return found.gain


@pytest.mark.parametrize("seed", [0, 1])
def test_a_fifth_of_the_known_items_play_new(with_nobodys: Prepared, seed: int) -> None:
    """Of 80 known items 16 lose their training interactions, all of them; validation and test stay."""
    before, codes = with_nobodys, with_nobodys.codes

    stage = without_some_items(before, np.random.default_rng(seed))

    gone = codes != stage.codes
    items = before.dataset.interactions.items
    assert set(codes[gone].tolist()) == {TRAIN}
    assert set(stage.codes[gone].tolist()) == {DROPPED}
    assert len(np.unique(items[gone])) == 16
    assert not np.isin(items[gone], items[stage.codes == TRAIN]).any()
    assert all(np.array_equal(stage.codes == code, codes == code) for code in (VAL, TEST))
    assert (stage.data.popularity() == 0).sum() == 16 + len(NOBODYS)
    assert stage.split.train.nnz == (stage.codes == TRAIN).sum() == len(stage.data.indices)
    assert (stage.split.val != before.split.val).nnz == 0


def test_other_items_play_new_with_another_seed(prepared: Prepared) -> None:
    """The draw is the caller's; the data it was made from stay as they are."""
    codes = prepared.codes.copy()

    one, same, other = (without_some_items(prepared, np.random.default_rng(seed)).codes for seed in (0, 0, 1))

    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert np.array_equal(prepared.codes, codes)


@pytest.mark.parametrize("strength", [0.3, 0.5, 0.9])
def test_items_placed_right_but_too_weakly_are_pushed(prepared: Prepared, strength: float) -> None:
    """Known items score 1: new ones are pushed as far as they go without standing before them.

    Up to 20 known items of the other community score 0.5, so that too weak a push leaves wanted new items out.
    """
    gain = rehearsed_gain(prepared, 0, lambda stage: Placed(stage, strength, 0))

    assert gain == max(gain for gain in GAINS if gain * strength < 1)
    assert gain * strength > WARM_ELSEWHERE


def test_items_placed_wrong_are_not_pushed(prepared: Prepared) -> None:
    """New items that only the wrong users like would stand before known ones at any gain but the smallest."""
    gain = rehearsed_gain(prepared, 0, lambda stage: Placed(stage, -3.95, 3.95))

    assert 3.95 * (1 - WARM_ELSEWHERE) * GAINS[0] < 1 < 3.95 * (1 - WARM_ELSEWHERE) * GAINS[1]
    assert gain == GAINS[0]


def test_items_nobody_can_want_have_no_say(with_nobodys: Prepared) -> None:
    """Everybody likes 30 items without any interaction; pushed they would fill all lists, but they are not judged."""
    without, beside = (
        rehearsed_gain(with_nobodys, 0, lambda stage, nobodys=nobodys: Placed(stage, 0.3, 0, nobodys))
        for nobodys in ((), NOBODYS)
    )

    assert without == beside > 1 / (0.6 * (1 + WARM_ELSEWHERE))


def test_rehearsal_trains_on_what_it_judges_by(prepared: Prepared) -> None:
    """One training, without the items that play new, which are another choice than that of the data's own seed."""
    stages: list[Prepared] = []

    def train(stage: Prepared) -> Placed:
        stages.append(stage)
        return Placed(stage, 0.5, 0)

    for seed in (0, 0, 1):
        rehearsed_gain(prepared, seed, train)

    one, same, other = ((stage.data.popularity() == 0) for stage in stages)
    assert one.sum() == 16
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def fitted_gain(dataset: Dataset) -> tuple[float, float]:
    """The gain of a fitted model, and the one that matches norms."""
    prepared = prepare_data(dataset, 0)
    config = TrainConfig(d=8, hidden=8, sweeps=2, epochs=2, evaluate_every=2, device="cpu")
    model, _ = fit(prepared, config, lambda _: None)
    found = float(model.encoder().new_item_gain)
    matching = new_item_gain(model.embeddings().items, model.as_new() / found, prepared.data.popularity() > 0)
    return found, matching


def test_without_validation_norms_are_matched(make_board: MakeBoard) -> None:
    """There is nothing to rehearse for: known items seen as new get the norm they have."""
    state = torch.random.get_rng_state()

    found, matching = fitted_gain(make_board(12, 10))

    assert found == pytest.approx(matching, rel=1e-5)
    assert min(abs(found - gain) for gain in GAINS) > 1e-5
    assert torch.equal(torch.random.get_rng_state(), state)


def test_with_too_few_items_to_play_new_norms_are_matched(make_board: MakeBoard) -> None:
    """A fifth of four items is none: whatever the gain, it would have cost nothing."""
    found, matching = fitted_gain(make_board(12, 10, new=range(4, 10), validation=True))

    assert found == pytest.approx(matching, rel=1e-5)


def test_with_validation_the_gain_is_rehearsed(make_board: MakeBoard) -> None:
    """It is one of those that were tried, whatever the norms."""
    found, matching = fitted_gain(make_board(30, 24, validation=True))

    assert min(abs(found - gain) for gain in GAINS) < 1e-6
    assert found != pytest.approx(matching, rel=1e-5)


@pytest.mark.parametrize("telling", [True, False])
def test_confidence_is_what_content_was_worth(make_board: MakeBoard, telling: bool) -> None:
    """Where content tells the community of an item the encoder may be sure; where it is noise, it may not."""
    board = make_board(60, 60, validation=True)
    if not telling:
        rng = np.random.default_rng(0)
        noise = {name: rng.permutation(feature.matrix) for name, feature in board.features.items()}
        features = {name: replace(board.features[name], matrix=matrix) for name, matrix in noise.items()}
        board = replace(board, features=features)
    config = TrainConfig(d=8, hidden=8, sweeps=4, epochs=20, evaluate_every=20, device="cpu")

    model, outcome = fit(prepare_data(board, 0), config, lambda _: None)

    found, encoder = outcome.confidence, model.encoder()
    assert found is not None
    assert float(encoder.confidence_scale) == pytest.approx(found.scale)
    assert float(encoder.confidence_ceiling) == pytest.approx(found.ceiling)
    assert (found.ceiling > 0.6) == telling


class Rounding(Placed):
    """Says of items without anything that their code is an unknown item's, but for the rounding."""

    def deviations(self, features: Mapping[str, ModalityFeatures]) -> NDArray[np.float32]:
        """As ``CalibratesConfidence``."""
        present = np.any([feature.present for feature in features.values()], axis=0)
        return np.where(present[:, None], self.items, np.float32(1e-8))

    def calibrate_confidence(self, confidence: Confidence) -> None:
        """Not asked for in a rehearsal."""
        raise NotImplementedError


def test_items_of_which_nothing_is_known_do_not_calibrate_confidence(make_board: MakeBoard) -> None:
    """A distance that is rounding alone says nothing, and where there is no other, nothing is found."""
    dressed, bare = (prepare_data(make_board(80, 80, validation=True, bare=rows), 0) for rows in ((), range(80)))

    found, nothing = (rehearse(data, 0, lambda stage: Rounding(stage, 1, 0)) for data in (dressed, bare))

    assert found.confidence is not None
    assert nothing.confidence is None


def test_run_that_was_stopped_is_not_rehearsed_for_longer(
    make_board: MakeBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C in the second of 30 epochs there is no rehearsal of more than these two."""
    epochs: list[I3MRec] = []

    class Counted(I3MRec):
        """Writes down its epochs."""

        def batches(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
            """As ever."""
            epochs.append(self)
            return super().batches(rng)

    def press(progress: Progress) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setitem(PRESETS, "i3mrec", Counted)
    config = TrainConfig(d=8, hidden=8, sweeps=2, epochs=30, evaluate_every=1, device="cpu")

    _, outcome = fit(prepare_data(make_board(30, 24, validation=True), 0), config, press)

    assert outcome.ended == "interrupted"
    assert len(epochs) <= 4
