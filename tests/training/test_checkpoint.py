"""Checkpoints: a run that is stopped and resumed is the run that is not, and nothing else is taken for it."""

import pickle
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from training import models
from training.checkpoint import Checkpoint, identity_of
from training.config import TrainConfig
from training.dataset import Dataset
from training.errors import UnusableCheckpoint
from training.features import ModalityFeatures
from training.loop import Outcome, Progress, train
from training.models import PRESETS, Embeddings, Model, configure
from training.models.contract import Resumable
from training.models.milk import Milk
from training.prepared import Prepared, prepare_data
from training.sampling import PairBatch

MakeBoard = Callable[..., Dataset]
# Validations in epochs 3, 6, 9 and 12; DGMRec refreshes its graphs in 6 and 11.
SMALL = {"d": 8, "lr": 0.02, "epochs": 12, "evaluate_every": 3, "patience": 100, "device": "cpu"}


class Killed(Exception):
    """What ends a run without its knowing."""


class Setup(NamedTuple):
    """An untrained model, what it is to be trained on, and its checkpoint."""

    model: Model
    prepared: Prepared
    config: TrainConfig
    checkpoint: Checkpoint

    def train(self, *, kill_in: int | None = None, seen: list[Progress] | None = None) -> Outcome:
        """Trains with the checkpoint; is killed in the report of epoch ``kill_in``."""

        def report(progress: Progress) -> None:
            if seen is not None:
                seen.append(progress)
            if progress.epoch == kill_in:
                raise Killed

        return train(self.model, self.prepared.split, self.config, report, checkpoint=self.checkpoint)


def set_up(path: Path, dataset: Dataset, preset: str = "milk", **options: Any) -> Setup:
    """A new run of a preset, small."""
    config = configure(preset, **(SMALL | options))
    prepared = prepare_data(dataset, 0)
    model = PRESETS[preset](prepared.data, config, torch.device("cpu"))
    checkpoint = Checkpoint(path, identity_of(model, config, prepared.data, prepared.split))
    return Setup(model, prepared, config, checkpoint)


def courses(*outcomes: Outcome) -> list[list[Progress]]:
    """The histories, without the seconds."""
    return [[replace(progress, seconds=0) for progress in outcome.history] for outcome in outcomes]


def tables(model: Model) -> list[bytes]:
    """Everything learned, and what would be published, bit by bit."""
    users, items, _ = model.embeddings()
    learned = [value.detach().numpy().tobytes() for value in model.network.parameters()]
    return [*learned, users.tobytes(), items.tobytes()]


@pytest.fixture(scope="module")
def board(make_board: MakeBoard) -> Dataset:
    """New, bare and incomplete items, more than a list of 20 holds, and something to validate by."""
    return make_board(40, 36, communities=4, new=[0, 1], bare=[4], missing=0.3, validation=True)


@pytest.fixture
def stopped(tmp_path: Path, board: Dataset) -> Path:
    """The checkpoint of a run that was killed after epoch 7."""
    path = tmp_path / "run.checkpoint"
    with pytest.raises(Killed):
        set_up(path, board).train(kill_in=7)
    return path


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_resumed_run_is_the_run_that_was_not_stopped(tmp_path: Path, board: Dataset, preset: str) -> None:
    """Killed after epoch 8, resumed after 6: each loss and recall, each parameter and table is the same, bit by bit."""
    whole = set_up(tmp_path / "whole", board, preset)
    if not isinstance(whole.model, Resumable):
        pytest.skip(f"{preset} is not Resumable: what it keeps for itself begins anew")
    expected = whole.train()

    with pytest.raises(Killed):
        set_up(tmp_path / "run", board, preset).train(kill_in=8)
    resumed = set_up(tmp_path / "run", board, preset)
    seen: list[Progress] = []
    outcome = resumed.train(seen=seen)

    assert [progress.epoch for progress in seen] == [6, 7, 8, 9, 10, 11, 12]
    assert courses(outcome) == courses(expected)
    assert (outcome.best_epoch, outcome.best_recall) == (expected.best_epoch, expected.best_recall)
    assert tables(resumed.model) == tables(whole.model)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_goes_on(tmp_path: Path, board: Dataset, preset: str) -> None:
    """Whatever a preset keeps for itself, its checkpoint can be written and read, and the run comes to its end."""
    with pytest.raises(Killed):
        set_up(tmp_path / "run", board, preset).train(kill_in=3)

    outcome = set_up(tmp_path / "run", board, preset).train()

    assert (outcome.ended, [progress.epoch for progress in outcome.history]) == ("epochs", list(range(1, 13)))
    assert outcome.best_recall >= outcome.history[2].best_recall


def test_run_may_be_stopped_any_number_of_times(tmp_path: Path, board: Dataset) -> None:
    """Killed after each validation, or in between, before the first one too."""
    whole = set_up(tmp_path / "whole", board)
    expected = whole.train()

    for epoch in (2, 3, 5, 6, 9, 11):
        with pytest.raises(Killed):
            set_up(tmp_path / "run", board).train(kill_in=epoch)
    last = set_up(tmp_path / "run", board)

    assert courses(last.train()) == courses(expected)
    assert tables(last.model) == tables(whole.model)


class Fading(Milk):
    """Recommends the opposite of what it has learned from epoch 4 on."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.age = 0

    def batches(self, rng: np.random.Generator) -> Iterator[PairBatch]:
        """Ages with each epoch."""
        self.age += 1
        return super().batches(rng)

    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:
        """Users who like what they do not like."""
        users, items, _ = super().embeddings(features)
        return Embeddings(users if self.age < 4 else -users, items, None)

    def hidden_state(self) -> dict[str, Any]:
        """With the age."""
        return {**super().hidden_state(), "age": self.age}

    def load_hidden_state(self, state: Mapping[str, Any]) -> None:
        """With the age."""
        super().load_hidden_state(state)
        self.age = state["age"]


def test_best_state_is_kept_where_it_was_before_the_stop(
    tmp_path: Path, board: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epoch 3 stays the best, and patience, which ends the run in epoch 9, is counted across the stop."""
    monkeypatch.setitem(PRESETS, "milk", Fading)
    whole = set_up(tmp_path / "whole", board, patience=6)
    expected = whole.train()

    with pytest.raises(Killed):
        set_up(tmp_path / "run", board, patience=6).train(kill_in=7)
    resumed = set_up(tmp_path / "run", board, patience=6)
    outcome = resumed.train()

    assert (expected.best_epoch, expected.ended) == (outcome.best_epoch, outcome.ended) == (3, "patience")
    assert courses(outcome) == courses(expected)
    assert len(outcome.history) == 9
    assert tables(resumed.model) == tables(whole.model)


def test_finished_run_is_not_trained_again(tmp_path: Path, board: Dataset) -> None:
    """Its checkpoint gives the model back at once: an export that failed can be tried again."""
    first = set_up(tmp_path / "run", board)
    outcome = first.train()

    again = set_up(tmp_path / "run", board)
    seen: list[Progress] = []
    repeated = again.train(seen=seen)

    assert [progress.epoch for progress in seen] == [12]
    assert (repeated.ended, repeated.best_epoch, repeated.history) == ("epochs", outcome.best_epoch, outcome.history)
    assert tables(again.model) == tables(first.model)


def test_seconds_add_up(stopped: Path, board: Dataset) -> None:
    """The time before the stop counts; the time in between does not."""
    seen: list[Progress] = []

    outcome = set_up(stopped, board).train(seen=seen)

    seconds = [progress.seconds for progress in outcome.history]
    assert seen[0].epoch == 6
    assert 0 < seen[0].seconds == seconds[5] < seconds[6] < outcome.seconds
    assert seconds == sorted(seconds)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lr": 0.01}, "lr 0.02 in place of 0.01"),
        ({"seed": 1}, "seed 0 in place of 1"),
        ({"epochs": 24}, "epochs 12 in place of 24"),
        ({"preset": "mrdib"}, "preset 'milk' in place of 'mrdib'"),
    ],
)
def test_run_with_another_configuration_is_refused(
    stopped: Path, board: Dataset, change: dict[str, Any], named: str
) -> None:
    """The error says what differs; file and model stay as they were."""
    other = set_up(stopped, board, **change)
    content, before = stopped.read_bytes(), tables(other.model)

    with pytest.raises(UnusableCheckpoint, match=r"expected a checkpoint of this very run, found ") as caught:
        other.train()

    assert named in caught.value.found
    assert caught.value.path == stopped
    assert stopped.read_bytes() == content
    assert tables(other.model) == before


def test_run_of_another_revision_is_refused(stopped: Path, board: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shapes may be the same and the numbers not."""
    monkeypatch.setattr(models, "REVISIONS", {"milk": 2})

    with pytest.raises(UnusableCheckpoint) as caught:
        set_up(stopped, board).train()

    assert caught.value.found == "revision 1 in place of 2"


def test_order_of_the_settings_does_not_matter(tmp_path: Path, board: Dataset) -> None:
    """The same flags in another order are the same run; other values are not."""
    with pytest.raises(Killed):
        set_up(tmp_path / "run", board, settings={"variance": 1.0, "norm": 0.1}).train(kill_in=7)

    with pytest.raises(UnusableCheckpoint, match="settings "):
        set_up(tmp_path / "run", board, settings={"variance": 0.1, "norm": 1.0}).train()
    outcome = set_up(tmp_path / "run", board, settings={"norm": 0.1, "variance": 1.0}).train()

    assert len(outcome.history) == 12


def test_run_on_other_data_is_refused(stopped: Path, board: Dataset) -> None:
    """One interaction less, or one feature changed, is another data set."""
    fewer = replace(board, interactions=board.interactions.take(np.arange(len(board.interactions)) != 30))
    image = board.features["image"]
    moved = {**board.features, "image": replace(image, matrix=image.matrix + image.present[:, None])}

    for dataset, named in ((fewer, "interactions"), (replace(board, features=moved), "features")):
        with pytest.raises(UnusableCheckpoint) as caught:
            set_up(stopped, dataset).train()
        assert named in caught.value.found


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused(stopped: Path, board: Dataset, share: float) -> None:
    """Wherever it breaks off; it stays as it is."""
    content = stopped.read_bytes()
    stopped.write_bytes(content[: int(share * len(content))])

    with pytest.raises(UnusableCheckpoint, match=r"expected a checkpoint .*, found a damaged or other file"):
        set_up(stopped, board).train()

    assert stopped.stat().st_size == int(share * len(content))


def test_flipped_bits_are_refused(stopped: Path, board: Dataset) -> None:
    """A changed number would pass for a number: each member's checksum is looked at."""
    content = bytearray(stopped.read_bytes())
    with zipfile.ZipFile(stopped) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    content[largest.header_offset + largest.file_size // 2] ^= 1
    stopped.write_bytes(content)

    with pytest.raises(UnusableCheckpoint):
        set_up(stopped, board).train()


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_other_files_are_refused_and_never_run(tmp_path: Path, board: Dataset) -> None:
    """Text, an archive, tensors, and pickles that would run code."""
    path, trace = tmp_path / "run", tmp_path / "trace"

    def archive() -> None:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("a", "b")

    for write in (
        lambda: path.write_text("not a checkpoint", encoding="utf-8"),
        archive,
        lambda: torch.save({"a": torch.ones(3)}, path),
        lambda: torch.save({"identity": {}, "state": Evil(trace)}, path),
        lambda: path.write_bytes(pickle.dumps(Evil(trace))),
    ):
        write()
        with pytest.raises(UnusableCheckpoint):
            set_up(path, board).train()
    assert not trace.exists()


def test_state_of_another_version_of_the_code_is_refused(stopped: Path, board: Dataset) -> None:
    """The same run by its identity, but with something missing."""
    setup = set_up(stopped, board)
    state = setup.checkpoint.load()
    assert state is not None
    del state["optimizer"]
    setup.checkpoint.save(state)

    with pytest.raises(UnusableCheckpoint, match="a state that does not fit"):
        setup.train()


def test_save_that_fails_leaves_the_one_before(stopped: Path, board: Dataset) -> None:
    """Nothing half written takes its place, or stays beside it."""
    content = stopped.read_bytes()

    with pytest.raises(TypeError):
        set_up(stopped, board).checkpoint.save({"network": torch.ones(1000), "lock": threading.Lock()})

    assert stopped.read_bytes() == content
    assert list(stopped.parent.iterdir()) == [stopped]


def test_full_disk_is_an_error_of_the_disk(stopped: Path, board: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's writer makes another error of it."""

    def fails(*_: object) -> None:
        raise RuntimeError("unexpected pos 5568 vs 5462\nand a trace")

    content = stopped.read_bytes()
    monkeypatch.setattr(torch, "save", fails)

    with pytest.raises(OSError, match=r"expected room for a checkpoint, found unexpected pos 5568 vs 5462$"):
        set_up(stopped, board).checkpoint.save({"network": torch.ones(1000)})

    assert stopped.read_bytes() == content
    assert list(stopped.parent.iterdir()) == [stopped]


def test_directory_of_the_file_is_made(tmp_path: Path, board: Dataset) -> None:
    """As that of a report is; the checkpoint is all that is in it."""
    path = tmp_path / "deep" / "er" / "run"

    set_up(path, board).train()

    assert list(path.parent.iterdir()) == [path]


def test_ctrl_c_keeps_the_checkpoint_and_the_best_model(tmp_path: Path, board: Dataset) -> None:
    """The model is at its best as ever, and the same run goes on afterwards as if nothing had been."""
    whole = set_up(tmp_path / "whole", board)
    expected = whole.train()
    run = set_up(tmp_path / "run", board)

    def press(progress: Progress) -> None:
        if progress.epoch == 7:
            raise KeyboardInterrupt

    outcome = train(run.model, run.prepared.split, run.config, press, checkpoint=run.checkpoint)
    resumed = set_up(tmp_path / "run", board)

    assert (outcome.ended, len(outcome.history)) == ("interrupted", 7)
    assert courses(resumed.train()) == courses(expected)
    assert tables(resumed.model) == tables(whole.model)
