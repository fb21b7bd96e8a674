"""``python -m training train``: from a dataset directory to a published version, or to an error."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from model_store import Bundle, ModelStore
from model_store.__main__ import main as store_main
from training.calibration import GAINS
from training.commands import main
from training.config import TrainConfig
from training.dataset import Dataset, read_dataset
from training.interactions import TEST, TRAIN, VAL
from training.metrics import ranking_metrics
from training.models import PRESETS
from training.models.i3mrec import I3MRec
from training.prepared import prepare_data
from training.splits import DROPPED, new_item_rows
from training.text_featurizer import learn_featurizer
from training.writing import write_dataset

SMALL = ["--d", "8", "--hidden", "16", "--epochs", "4", "--evaluate-every", "2", "--device", "cpu"]
NEW = [0, 1]  # items with test interactions only
MakeBoard = Callable[..., Dataset]


class Published(NamedTuple):
    """One run of the command."""

    data: Path
    store: ModelStore
    report: dict[str, Any]

    @property
    def bundle(self) -> Bundle:
        """The version it promoted."""
        return self.store.load()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, make_board: MakeBoard) -> Path:
    """A dataset directory with a split column, a featurizer, incomplete items, a bare one and two new ones."""
    directory = tmp_path_factory.mktemp("data") / "board"
    write_dataset(directory, make_board(30, 24, new=NEW, bare=[4], missing=0.3, validation=True))
    words = [f"word{n}" for n in range(12)]
    (directory / "featurizer_text.onnx").write_bytes(learn_featurizer([*words, *words], 12, 12).content)
    return directory


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """The same interactions without a split column."""
    directory = tmp_path_factory.mktemp("data") / "shop"
    dataset = read_dataset(data)
    write_dataset(directory, replace(dataset, interactions=replace(dataset.interactions, split=None)))
    return directory


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Published:
    """The directory trained on, published and promoted; tests leave the store as it is."""
    root = tmp_path_factory.mktemp("run")
    assert train(data, "--store", root / "store", "--promote", "--report", root / "deep" / "report.json") == 0
    return Published(data, ModelStore(root / "store"), read(root / "deep" / "report.json"))


def train(directory: Path, *arguments: object) -> int:
    """Runs the command in this process."""
    return main(["train", "--data", str(directory), *SMALL, *map(str, arguments)])


def read(path: Path) -> dict[str, Any]:
    """A report, which holds finite numbers only."""

    def refuse(constant: str) -> None:
        pytest.fail(f"the report holds {constant}")

    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    return report


def errors(capsys: pytest.CaptureFixture[str]) -> str:
    """What stands on stderr, which is one line without a traceback."""
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


def test_report_is_complete(published: Published) -> None:
    """Configuration, course, outcome, metrics of each part, and what was published."""
    report = published.report

    assert set(report) == {
        "data", "protocol", "config", "outcome", "epochs", "metrics", "model_version", "history"
    }  # fmt: skip
    assert report["data"] == str(published.data)
    assert report["protocol"] == "static"
    assert set(report["config"]) == {option.name for option in fields(TrainConfig)}
    assert (report["config"]["d"], report["config"]["epochs"], report["config"]["seed"]) == (8, 4, 0)
    assert set(report["outcome"]) == {"best_epoch", "best_recall", "ended", "seconds", "new_item_gain", "confidence"}
    assert [epoch["epoch"] for epoch in report["epochs"]] == [1, 2, 3, 4]
    assert set(report["epochs"][0]["losses"]) == {"risk", "environments", "invariance", "bottleneck"}
    assert report["outcome"]["best_recall"] == max(epoch["recall"] or 0 for epoch in report["epochs"])
    assert {name: (values or {}).get("users") for name, values in report["metrics"].items()} == {
        "all": 30, "warm": 26, "new": 4, "new_among_new": 4
    }  # fmt: skip
    assert report["history"] == "train"


def test_published_version_is_sound_and_serves(published: Published, capsys: pytest.CaptureFixture[str]) -> None:
    """It is promoted, every byte checks, and its manifest tells what the report tells."""
    assert store_main(["--store", str(published.store.root), "verify"]) == 0

    assert "sound" in capsys.readouterr().out
    manifest = published.bundle.manifest
    assert published.store.current() == published.report["model_version"] == manifest.model_version
    assert dict(manifest.metrics) == published.report["metrics"]
    outcome = published.report["outcome"]
    assert dict(manifest.training) == published.report["config"] | {
        "new_item_gain": outcome["new_item_gain"],
        "confidence_scale": outcome["confidence"]["scale"],
        "confidence_ceiling": outcome["confidence"]["ceiling"],
    }
    assert (manifest.n_users, manifest.n_items, manifest.d) == (30, 24, 8)
    assert manifest.modalities == {"image": 8, "text": 12}
    assert published.bundle.metadata(1) == {"community": "1"}


def test_published_version_has_the_featurizers_of_the_data(published: Published) -> None:
    """What the data directory says how to make of raw texts, the service can make of them too."""
    bundle = published.bundle

    assert bundle.manifest.featurizers == {"text": "text"}
    assert bundle.featurizer_path("text").read_bytes() == (published.data / "featurizer_text.onnx").read_bytes()


def test_tables_reproduce_the_reported_metrics(published: Published) -> None:
    """Inner products of the published rows give the reported numbers: what was measured is what is served."""
    bundle = published.bundle
    split = prepare_data(read_dataset(published.data), 0).split

    result = ranking_metrics(bundle.user_embeddings, bundle.item_embeddings, split.test, split.train)

    assert result.mean() == pytest.approx(published.report["metrics"]["all"])
    assert result.mean()["recall@20"] > 0.5
    assert (
        0 < result.mean()["ndcg@20"] < 1
    )  # not all first, as validation items compete: an equality that says something


def test_published_users_are_their_seen_lists(published: Published) -> None:
    """The manifest's rule gives the user table from the seen lists, which is how the service encodes users anew."""
    bundle = published.bundle
    assert bundle.manifest.history is not None
    assert bundle.history_embeddings is not None

    for user, row in enumerate(bundle.user_embeddings):
        folded = bundle.manifest.history.encode(bundle.history_embeddings[bundle.seen(user)])
        np.testing.assert_allclose(row, folded, rtol=1e-5, atol=1e-6)


def test_published_encoder_gives_the_rows_of_new_items(published: Published) -> None:
    """Items without training interactions stand where the ONNX encoder places them; the others do not."""
    bundle = published.bundle
    session = onnxruntime.InferenceSession(bundle.encoder_path, providers=["CPUExecutionProvider"])
    inputs = {f"features_{name}": np.array(matrix) for name, matrix in bundle.features.items()}
    present = np.stack([~np.isnan(matrix).all(axis=1) for matrix in inputs.values()], axis=1)

    rows, history, confidence = session.run(
        ["embedding", "history_embedding", "confidence"], inputs | {"present": present}
    )

    assert bundle.history_embeddings is not None
    assert np.flatnonzero(bundle.popularity == 0).tolist() == NEW
    np.testing.assert_allclose(rows[NEW], bundle.item_embeddings[NEW], rtol=0, atol=1e-4)
    np.testing.assert_allclose(history[NEW], bundle.history_embeddings[NEW], rtol=0, atol=1e-4)
    assert np.abs(rows - bundle.item_embeddings)[2:].max(axis=1).min() > 1e-3
    gain = published.report["outcome"]["new_item_gain"]
    assert gain in GAINS
    along = np.linalg.norm(rows, axis=1) / np.linalg.norm(history, axis=1)
    np.testing.assert_allclose(rows, along[:, None] * history, rtol=1e-5, atol=1e-6)
    known = np.linalg.norm(np.delete(bundle.item_embeddings, NEW, axis=0), axis=1).mean()
    matching = (known / np.linalg.norm(history, axis=1)) ** published.report["config"]["new_item_evenness"]
    np.testing.assert_allclose(along, gain * matching, rtol=1e-4)
    assert confidence[4] == 0
    assert np.isfinite(rows).all()


def test_history_decides_what_counts_as_seen(published: Published, tmp_path: Path) -> None:
    """With 'all' seen lists, popularity, users and items hold validation and test items too; the metrics stay."""
    dataset = read_dataset(published.data)
    parts = dataset.interactions.split
    assert parts is not None

    assert train(published.data, "--store", tmp_path / "s", "--promote", "--history", "all") == 0

    by_train, by_all = published.bundle, ModelStore(tmp_path / "s").load()
    assert by_train.popularity.sum() == len(by_train.seen_indices) == (parts == TRAIN).sum()
    assert by_all.popularity.sum() == len(by_all.seen_indices) == len(parts)
    mine = dataset.interactions.users == 7
    held_out = set(dataset.interactions.items[mine & (parts != TRAIN)].tolist())
    assert set(by_all.seen(7).tolist()) - set(by_train.seen(7).tolist()) == held_out
    assert by_all.seen(7)[-1] == dataset.interactions.items[mine & (parts == TEST)][0]  # the latest
    assert not np.allclose(by_all.item_embeddings, by_train.item_embeddings)
    assert not np.allclose(by_all.user_embeddings, by_train.user_embeddings)
    assert by_all.manifest.metrics == by_train.manifest.metrics


def test_history_of_a_shop_is_all_by_itself(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a split column everything that happened is seen, and without --promote nothing serves yet."""
    assert train(shop, "--store", tmp_path / "s", "--report", tmp_path / "report.json") == 0

    report, store = read(tmp_path / "report.json"), ModelStore(tmp_path / "s")
    bundle = store.load(report["model_version"])
    assert report["history"] == "all"
    assert len(bundle.seen_indices) == len(read_dataset(shop).interactions)
    assert store.current() is None
    assert f"{report['model_version']}: published in {tmp_path / 's'}\n" in capsys.readouterr().out


def test_same_seed_reports_the_same(data: Path, tmp_path: Path) -> None:
    """Two runs agree in every loss and metric; another seed gives another course."""
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        assert train(data, "--seed", seed, "--report", tmp_path / name) == 0

    one, same, other = (read(tmp_path / name) for name in ("one", "same", "other"))
    assert one["metrics"] == same["metrics"]
    assert [epoch["losses"] for epoch in one["epochs"]] == [epoch["losses"] for epoch in same["epochs"]]
    assert one["epochs"][0]["losses"] != other["epochs"][0]["losses"]


def test_without_store_nothing_is_published(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The metrics are shown, the report names no version, and no file but the report appears anywhere near."""
    monkeypatch.chdir(tmp_path)

    assert train(data, "--report", "report.json") == 0

    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    assert not {"model_version", "history"} & set(read(tmp_path / "report.json"))
    out = capsys.readouterr().out
    assert "30 users, 24 items, " in out
    assert "best: epoch" in out
    for column in ("recall@20", "ndcg@10", "hr@50", "new items, among new"):
        assert column in out


def test_new_items_protocol_holds_items_out(data: Path, tmp_path: Path) -> None:
    """20 % of the items lose their training and validation interactions; the report is on these, as the protocol is."""
    dataset = read_dataset(data)
    rows = new_item_rows(24)
    prepared = prepare_data(dataset, 0, new_items=True)

    assert train(data, "--new-items", "--report", tmp_path / "report.json") == 0

    report = read(tmp_path / "report.json")
    assert report["protocol"] == "new-items"
    tested = dataset.interactions.take(np.isin(dataset.interactions.items, rows) & (prepared.codes == TEST))
    assert not set(NEW) <= set(rows.tolist())  # nobody ever had these: other items than those held out
    assert report["metrics"]["new"]["users"] == len(set(tested.users.tolist()))
    assert report["metrics"]["new_among_new"]["users"] == len(set(tested.users.tolist()))
    assert not prepared.data.popularity()[rows].any()
    assert set(prepared.codes[np.isin(dataset.interactions.items, rows)].tolist()) == {DROPPED, TEST}
    assert set(prepared.codes[~np.isin(dataset.interactions.items, rows)].tolist()) == {TRAIN, VAL, TEST}


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("epochs", "0"),
        ("patience", "-1"),
        ("dropout", "1.5"),
        ("missing-rate", "nan"),
        ("lr", "0"),
        ("lr", "nan"),
        ("seed", "-1"),
        ("seed", "99999999999999999999"),
        ("unobserved", "inf"),
        ("penalty", "absolute"),
        ("device", "abacus"),
        pytest.param("device", "cuda", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")),
    ],
)
def test_flag_that_cannot_be_meant_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str], flag: str, value: str
) -> None:
    """Status 1 and one line that names the setting, not a traceback."""
    assert train(data, f"--{flag}", value) == 1

    assert errors(capsys).startswith(f"error: {flag.replace('-', '_')}: expected ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "i3mrec-paper", "--dropout", "0.9"], "dropout: expected --setting dropout=… in its place, as"),
        (["--preset", "milk", "--ridge", "0.1"], "ridge: expected nothing, as the preset milk does not heed it"),
        (["--batch-pairs", "64"], "batch_pairs: expected nothing, as the preset i3mrec does not heed it"),
    ],
)
def test_flag_without_effect_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """It would stand in the manifest as if the model had heeded it."""
    assert main(["train", "--data", str(data), *arguments]) == 1

    assert errors(capsys).startswith(f"error: {message}")


@pytest.mark.parametrize("arguments", [["--preset", "nobody"], ["--epochs", "many"], ["--history", "some"]])
def test_unknown_choice_is_a_usage_error(data: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """As for any command line, status 2 and the usage."""
    with pytest.raises(SystemExit) as caught:
        train(data, *arguments)

    assert caught.value.code == 2
    assert "usage: python -m training train" in capsys.readouterr().err


def test_defective_data_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No directory, or one that is no data set: status 1, one line, no store."""
    for directory in (tmp_path / "nowhere", tmp_path):
        assert train(directory, "--store", tmp_path / "store") == 1

        assert str(directory) in errors(capsys)
    assert not (tmp_path / "store").exists()


def test_data_without_anything_to_learn_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where every interaction is one to be tested by, the data is sound but useless."""
    rows = "user\titem\tsplit\na\t0\ttest\nb\t1\ttest\n"
    (tmp_path / "interactions.tsv").write_text(rows, encoding="utf-8")
    np.save(tmp_path / "features_text.npy", np.eye(3, dtype=np.float32))

    assert train(tmp_path) == 1

    assert "expected at least one training interaction, found none" in errors(capsys)


def test_data_without_validation_keeps_the_last_epoch(
    make_board: MakeBoard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A split column may give nothing to validate: the run goes on to its end instead of back to its start."""
    write_dataset(tmp_path / "data", make_board(12, 10))

    assert train(tmp_path / "data", "--report", tmp_path / "report.json", "--patience", 3) == 0

    assert "all epochs done" in capsys.readouterr().out
    assert read(tmp_path / "report.json")["outcome"]["best_epoch"] == 4


def test_store_that_cannot_be_written_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file stands where the store should be."""
    (tmp_path / "file").write_text("x", encoding="utf-8")

    assert train(data, "--store", tmp_path / "file") == 1

    assert str(tmp_path / "file") in errors(capsys)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--promote"], "promote"), (["--report", "."], "report"), (["--store", "/dev/null/x"], "null")],
)
def test_what_could_not_be_written_is_refused_before_the_training(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], named: str
) -> None:
    """A promotion of nothing, a report that is a directory, a store that cannot be."""
    monkeypatch.setitem(PRESETS, "i3mrec", Interrupted)  # whatever is trained would fail otherwise

    assert train(data, *arguments) == 1

    assert named in errors(capsys)


class Leaky(nn.Module):
    """An encoder that takes every modality for present."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """As the encoder."""
        *features, present = inputs
        outputs: tuple[Tensor, ...] = self.encoder(*features, torch.ones_like(present))
        return outputs


class Unfaithful(I3MRec):
    """A preset whose encoder cannot be published."""

    def encoder(self) -> nn.Module:
        """Leaks what stands in absent rows."""
        return Leaky(super().encoder())


class Interrupted(I3MRec):
    """A preset whose user presses Ctrl-C in the first step."""

    def loss(self, *_: Any) -> dict[str, Tensor]:
        """Never comes to be."""
        raise KeyboardInterrupt


@pytest.fixture
def untouched(published: Published) -> Iterator[ModelStore]:
    """The store, which must afterwards be as it was, byte for byte."""

    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in published.store.root.rglob("*") if path.is_file()}

    before = contents()
    yield published.store
    assert contents() == before


@pytest.mark.parametrize(("preset", "message"), [(Unfaithful, "garbage in absent rows"), (Interrupted, "no model yet")])
def test_failed_run_leaves_the_store_unchanged(
    data: Path,
    tmp_path: Path,
    untouched: ModelStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    preset: type[I3MRec],
    message: str,
) -> None:
    """An unfaithful export, or Ctrl-C before there is a model: nothing is published, and what served still serves."""
    monkeypatch.setitem(PRESETS, "i3mrec", preset)

    assert train(data, "--store", untouched.root, "--promote", "--report", tmp_path / "report.json") == 1

    assert message in errors(capsys)
    assert not (tmp_path / "report.json").exists()


def test_ctrl_c_publishes_the_best_so_far(data: Path, tmp_path: Path) -> None:
    """SIGINT after the first validation of a run that would take hours: status 0, a sound version, no traceback."""
    forever = ["--epochs", "1000000", "--patience", "1000000", "--evaluate-every", "1"]
    out = ["--store", str(tmp_path / "s"), "--promote", "--report", str(tmp_path / "report.json")]
    process = subprocess.Popen(
        [sys.executable, "-m", "training", "train", "--data", str(data), *SMALL, *forever, *out],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        shown = next(line for line in process.stdout if line.startswith("epoch "))
        process.send_signal(signal.SIGINT)
        rest, complaints = process.communicate(timeout=300)
    finally:
        process.kill()

    assert process.returncode == 0, complaints
    assert "Traceback" not in complaints
    assert "epoch 1/1000000 " in shown
    assert "interrupted after" in rest
    report = read(tmp_path / "report.json")
    assert report["outcome"]["ended"] == "interrupted"
    assert report["outcome"]["best_epoch"] >= 1
    bundle = ModelStore(tmp_path / "s").load()
    assert bundle.version == report["model_version"]
    assert (bundle.item_embeddings != 0).any()


def test_every_flag_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """In the words of the configuration's documentation, with its default."""
    with pytest.raises(SystemExit):
        main(["train", "--help"])

    text = " ".join(capsys.readouterr().out.split())
    assert "share of validation recall@20 and ndcg@20 over all items that pushing new items may cost; default" in text
    for option in fields(TrainConfig):
        if option.name != "settings":
            assert not re.search(rf"\b{option.name}; default", text)  # its bare name, for want of words
