"""``python -m training evaluate``: from a dataset directory to tables, pictures and runs that are kept."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from training.baselines import BASELINES, REVISIONS
from training.baselines.popularity import Popularity
from training.commands import main
from training.contestants import Contestant, contestants
from training.dataset import Dataset, read_dataset
from training.errors import Diverged
from training.models import PRESETS, Embeddings, TrainingData
from training.protocols import PROTOCOLS, prepare, rate_pattern
from training.run_store import RunStore
from training.runs import fingerprint
from training.writing import write_dataset

TINY = ["--epochs", "2", "--evaluate-every", "1", "--d", "8", "--device", "cpu"]
MakeBoard = Callable[..., Dataset]


class Report(NamedTuple):
    """A report directory and the data it is about."""

    data: Path
    directory: Path

    @property
    def results(self) -> dict[str, Any]:
        """What programs read."""
        found: dict[str, Any] = json.loads((self.directory / "results.json").read_text(encoding="utf-8"))
        return found

    def run(self, key: str) -> dict[str, Any]:
        """The record of one run."""
        found: dict[str, Any] = json.loads((self.directory / "runs" / f"{key}.json").read_text(encoding="utf-8"))
        return found

    def table(self, protocol: str, pattern: str) -> dict[str, Any]:
        """One table, models by name."""
        (table,) = [t for t in self.results["tables"] if (t["protocol"], t["pattern"]) == (protocol, pattern)]
        return {model["model"]: model for model in table["models"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, make_board: MakeBoard) -> Path:
    """30 users and 24 items in two communities; visual and acoustic features, a fifth absent."""
    directory = tmp_path_factory.mktemp("data") / "board"
    board = make_board(30, 24, modalities={"visual": 6, "acoustic": 5}, validation=True)
    write_dataset(directory, board)
    return directory


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Report:
    """Two presets and a baseline under every protocol, two rates, a published mask and two seeds."""
    root = tmp_path_factory.mktemp("report")
    (root / "published.tsv").write_text("item\tmissing\n0\tva\n1\tv\n2\ttv\n")
    arguments = ["--presets", "i3mrec,i3mrec-paper,popularity", "--protocol", ",".join(PROTOCOLS), "--rates", "0,0.5"]
    masks = ["--masks", root / "published.tsv"]
    assert evaluate(data, root / "report", *arguments, *masks, "--seeds", 2) == 0
    return Report(data, root / "report")


def evaluate(data: Path, report: Path, *arguments: object) -> int:
    """Runs the command in this process, with presets that are small."""
    given = [str(argument) for argument in arguments]
    names = given[given.index("--presets") + 1] if "--presets" in given else "i3mrec"
    tiny = TINY if set(names.split(",")) & set(PRESETS) else []  # baselines alone heed none of it
    if "i3mrec" in names.split(","):
        tiny = [*tiny, "--hidden", "8"]
    return main(["evaluate", "--data", str(data), "--report", str(report), *tiny, *given])


def times(report: Path) -> dict[str, int]:
    """When each run was written."""
    return {path.stem: path.stat().st_mtime_ns for path in (report / "runs").glob("*.json")}


def test_every_run_is_kept_with_all_that_matters(report: Report) -> None:
    """Configuration, fingerprint, cost, metrics; two seeds of each preset, one run of the baseline for all."""
    keys = set(times(report.directory))
    record = report.run("i3mrec_static_0.5_seed-1")

    patterns = {"static": 2, "static-dgmrec": 1, "full-train": 3, "new-items": 3, "mixed": 3, "fold-in": 2}
    assert len(keys) == sum(patterns.values()) * (2 + 2 + 1)
    assert "popularity_mixed_published_any-seed" in keys
    assert (record["config"]["d"], record["config"]["epochs"], record["config"]["seed"]) == (8, 2, 1)
    assert record["data_sha256"] == fingerprint(report.data)
    assert record["d"] == 8
    assert record["encoder_parameters"] > 0
    assert record["best_epoch"] in {1, 2}
    assert record["seconds"] > 0
    assert set(record["metrics"]["all"]) == {
        "users", *(f"{name}@{k}" for name in ("recall", "ndcg", "hr") for k in (10, 20, 50))
    }  # fmt: skip
    assert report.run("popularity_static_0_any-seed")["encoder_parameters"] is None


def test_users_metrics_are_kept_beside_the_means(report: Report) -> None:
    """What the bootstrap draws from averages to what the record says."""
    store = RunStore(report.directory / "runs")

    for key in ("i3mrec_mixed_0.5_seed-0", "popularity_fold-in_0_any-seed"):
        judged = store.load(key)

        assert {part: result.mean() for part, result in judged.items()} == report.run(key)["metrics"]


def test_results_are_means_over_seeds(report: Report) -> None:
    """Two seeds: their mean and sample standard deviation; a baseline without chance has none."""
    values = [report.run(f"i3mrec_static_0.5_seed-{seed}")["metrics"]["all"]["ndcg@10"] for seed in (0, 1)]
    models = report.table("static", "0.5")

    assert models["i3mrec"]["parts"]["all"]["ndcg@10"]["mean"] == pytest.approx(np.mean(values))
    assert models["i3mrec"]["parts"]["all"]["ndcg@10"]["sd"] == pytest.approx(np.std(values, ddof=1))
    assert models["i3mrec"]["seeds"] == [0, 1]
    assert models["popularity"]["seeds"] == [None]
    assert models["popularity"]["parts"]["all"]["ndcg@10"]["sd"] is None


def test_rivals_are_the_best_others(report: Report) -> None:
    """Every model is compared with the first of the table, and that one with the second."""
    for table in report.results["tables"]:
        names = [model["model"] for model in table["models"]]

        assert [model["rival"] for model in table["models"]] == [names[1], names[0], names[0]]
        for model in table["models"]:
            interval = model["differences"]["recall@20"]
            assert interval["low"] <= interval["difference"] <= interval["high"]


def test_mixed_and_new_items_share_a_training(report: Report) -> None:
    """As do static without masks and full-train; the time it took to the millisecond gives it away."""
    for one, other in (
        ("i3mrec_mixed_0.5_seed-0", "i3mrec_new-items_0.5_seed-0"),
        ("i3mrec_static_0_seed-1", "i3mrec_full-train_0.5_seed-1"),
        ("i3mrec_static_0_seed-1", "i3mrec_full-train_published_seed-1"),
    ):
        assert report.run(one)["seconds"] == report.run(other)["seconds"]


def test_full_train_without_masks_is_static_without_masks(report: Report) -> None:
    """The same model on the same items; under a mask they part."""
    assert report.run("i3mrec_full-train_0_seed-0")["metrics"] == report.run("i3mrec_static_0_seed-0")["metrics"]
    masked = (report.run(f"i3mrec_{name}_0.5_seed-0")["metrics"]["all"] for name in ("full-train", "static"))
    assert len({json.dumps(values) for values in masked}) == 2


def test_fold_in_is_compared_with_the_same_users_trained(report: Report) -> None:
    """Three withheld users; what the static run gave them; the share is the quotient, a mean over seeds."""
    store = RunStore(report.directory / "runs")
    shares = []
    for seed in (0, 1):
        judged = store.load(f"i3mrec_fold-in_0_seed-{seed}")
        static = store.load(f"i3mrec_static_0_seed-{seed}")["all"]
        rows = np.isin(static.users, judged["withheld"].users)
        assert len(judged["withheld"].users) == 3
        shares.append(judged["withheld"].mean()["recall@20"] / static.per_user("recall@20")[rows].mean())

    assert report.table("fold-in", "0")["i3mrec"]["share"]["mean"] == pytest.approx(np.mean(shares))


def test_page_and_pictures_are_written(report: Report) -> None:
    """One page with a section for each protocol, one picture in two forms."""
    page = (report.directory / "results.md").read_text(encoding="utf-8")

    assert page.startswith("# Evaluation on board\n\n30 users, 24 items, ")
    assert re.findall(r"^## ([a-z-]+):", page, re.MULTILINE) == list(PROTOCOLS)
    assert "### mixed, mask published" in page
    assert "- i3mrec: `epochs` 2, `evaluate_every` 1, `d` 8, `hidden` 8, `device` cpu" in page
    assert "- i3mrec-paper: `epochs` 2, `evaluate_every` 1, `d` 8, `device` cpu" in page  # which heeds no `hidden`
    assert (report.directory / "recall_vs_missing.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (report.directory / "recall_vs_missing.svg").read_text(encoding="utf-8")
    assert not list(report.directory.rglob(".*"))  # nothing half written


def test_finished_runs_are_not_run_again(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same command changes no run; another rate adds one; another setting replaces what it touches."""
    report, small = tmp_path / "report", ["--presets", "i3mrec,popularity", "--seeds", "1"]
    evaluate(data, report, *small, "--rates", "0")
    first = times(report)

    assert evaluate(data, report, *small, "--rates", "0") == 0
    assert times(report) == first
    assert "2 of 2 runs are done already" in capsys.readouterr().out

    evaluate(data, report, *small, "--rates", "0,0.5")
    second = times(report)
    assert len(second) == 4
    assert {key: second[key] for key in first} == first

    evaluate(data, report, *small, "--rates", "0,0.5", "--lr", "0.01")
    third = times(report)
    assert {key for key in third if third[key] != second[key]} == {"i3mrec_static_0_seed-0", "i3mrec_static_0.5_seed-0"}


def test_other_data_is_run_again(data: Path, tmp_path: Path) -> None:
    """A changed feature changes the fingerprint, and with it every result; a changed mask its own ones."""
    directory, report, mask = tmp_path / "board", tmp_path / "report", tmp_path / "mask.tsv"
    write_dataset(directory, read_dataset(data))
    mask.write_text("item\tmissing\n0\tv\n")
    arguments = ["--presets", "popularity", "--protocol", "static,static-dgmrec", "--rates", "0.5", "--masks", mask]
    evaluate(directory, report, *arguments)
    first = times(report)

    mask.write_text("item\tmissing\n0\ta\n")
    evaluate(directory, report, *arguments)
    second = times(report)
    assert [key for key in first if second[key] != first[key]] == ["popularity_static-dgmrec_mask_any-seed"]

    features = np.load(directory / "features_visual.npy")
    features[0] = 1
    np.save(directory / "features_visual.npy", features)
    evaluate(directory, report, *arguments)
    third = times(report)
    assert all(third[key] != second[key] for key in second)


def test_reports_gather_what_earlier_commands_left(data: Path, tmp_path: Path) -> None:
    """Models may be run one by one, each with its settings; the tables have them side by side."""
    report = Report(data, tmp_path / "report")
    evaluate(data, report.directory, "--presets", "i3mrec", "--rates", "0", "--seeds", "2")
    evaluate(data, report.directory, "--presets", "popularity", "--rates", "0", "--seeds", "1")
    assert set(report.table("static", "0")) == {"i3mrec", "popularity"}
    assert report.results["outdated_runs"] == 0

    evaluate(data, report.directory, "--presets", "i3mrec", "--rates", "0", "--seeds", "1", "--lr", "0.02")

    assert report.table("static", "0")["i3mrec"]["seeds"] == [0]  # seed 1 had other settings
    assert report.results["outdated_runs"] == 1
    assert "1 kept runs of other data, older code or replaced settings" in (report.directory / "results.md").read_text()


def test_seeds_may_come_later(data: Path, tmp_path: Path) -> None:
    """A range of seeds adds to what is there, and gives what one command would have given."""
    split, whole = Report(data, tmp_path / "split"), Report(data, tmp_path / "whole")
    for seeds in ("1-1", "1"):
        evaluate(data, split.directory, "--presets", "i3mrec,popularity", "--rates", "0", "--seeds", seeds)
    evaluate(data, whole.directory, "--presets", "i3mrec,popularity", "--rates", "0", "--seeds", "2")

    assert split.table("static", "0")["i3mrec"]["seeds"] == [0, 1]
    assert {key: row["parts"] for key, row in split.table("static", "0").items()} == {
        key: row["parts"] for key, row in whole.table("static", "0").items()
    }


def test_processes_may_save_the_same_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As both do where a model has no seed: whoever comes second finds nothing in the way."""
    pids, write = iter(range(1, 100)), np.savez_compressed
    depth = 0

    def slow(*args: Any, **kwargs: Any) -> None:
        nonlocal depth
        write(*args, **kwargs)
        depth += 1
        if depth == 1:  # another process, meanwhile
            assert evaluate(data, tmp_path, "--presets", "popularity", "--protocol", "static", "--rates", 0) == 0

    monkeypatch.setattr(np, "savez_compressed", slow)
    monkeypatch.setattr(os, "getpid", lambda: next(pids))

    assert evaluate(data, tmp_path, "--presets", "popularity", "--protocol", "static", "--rates", 0) == 0
    assert depth == 2
    assert sorted(path.suffix for path in (tmp_path / "runs").iterdir()) == [".json", ".npz"]


def test_a_broken_run_file_is_run_again(data: Path, tmp_path: Path) -> None:
    """Whatever happened to it."""
    arguments = ["--presets", "popularity", "--rates", "0,0.5"]
    evaluate(data, tmp_path, *arguments)
    first = times(tmp_path)
    (tmp_path / "runs" / "popularity_static_0_any-seed.json").write_text("{")
    (tmp_path / "runs" / "popularity_static_0.5_any-seed.npz").write_bytes(b"")
    (tmp_path / "runs" / "ease_static_0_any-seed.json").write_text('{"format": 2}')

    assert evaluate(data, tmp_path, *arguments) == 0

    (tmp_path / "runs" / "ease_static_0_any-seed.json").unlink()  # nobody asked for it: it was passed over
    assert all(time != first[key] for key, time in times(tmp_path).items())


def test_failed_runs_do_not_stop_the_others(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1, the reason, and the results of the rest."""

    def diverges(*_: object) -> None:
        raise Diverged(3, {"ranking": float("inf")})

    monkeypatch.setitem(BASELINES, "diverges", diverges)  # type: ignore[arg-type]
    report = Report(data, tmp_path)

    assert evaluate(data, tmp_path, "--presets", "diverges,popularity", "--rates", "0", "--seeds", "1") == 1

    printed = capsys.readouterr().out
    assert "diverges, static, complete, seed 0: failed: epoch 3: expected a finite loss" in printed
    assert "1 of 2 runs failed" in printed
    assert set(report.table("static", "0")) == {"popularity"}


def test_models_that_cannot_be_judged_do_not_stop_the_others(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recommender that is sound until its users are folded in: what it was judged by before is kept."""
    monkeypatch.setattr(Popularity, "fold_in", lambda _, indptr, __: np.full((len(indptr) - 1, 1), np.nan))
    monkeypatch.setattr(Popularity, "embeddings", lambda self, _=None: tables(self.data))
    report = Report(data, tmp_path)

    def tables(known: TrainingData) -> Embeddings:
        counts = known.popularity().astype(np.float32)[:, None]
        return Embeddings(np.ones((known.n_users, 1), np.float32), counts, None)

    assert evaluate(data, tmp_path, "--presets", "popularity,ease", "--protocol", "fold-in") == 1

    printed = capsys.readouterr().out
    assert "popularity, fold-in, complete: failed: embeddings: expected finite numbers" in printed
    assert "1 of 4 runs failed" in printed
    assert set(report.table("static", "0")) == {"popularity", "ease"}
    assert set(report.table("fold-in", "0")) == {"ease"}


def test_static_run_may_come_after_the_fold_in_that_is_held_to_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It failed at first; once it is there, the report has what the same users got when they were trained with."""
    fit, failures = BASELINES["popularity"], iter([Diverged(1, {})])

    def fails_once(*arguments: Any) -> Any:
        for failure in failures:
            raise failure
        return fit(*arguments)

    monkeypatch.setitem(BASELINES, "popularity", fails_once)
    arguments = ["--presets", "popularity", "--protocol", "fold-in"]
    report = Report(data, tmp_path)
    assert evaluate(data, tmp_path, *arguments) == 1
    assert report.table("fold-in", "0")["popularity"]["share"] is None
    first = times(tmp_path)

    assert evaluate(data, tmp_path, *arguments) == 0

    assert {key: time for key, time in times(tmp_path).items() if key in first} == first
    assert report.table("fold-in", "0")["popularity"]["share"]["mean"] > 0


def test_runs_of_another_revision_are_run_again(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only that model's; until then they are not shown."""
    evaluate(data, tmp_path, "--presets", "popularity,ease", "--rates", "0")
    first = times(tmp_path)
    monkeypatch.setitem(REVISIONS, "popularity", 2)
    report = Report(data, tmp_path)

    evaluate(data, tmp_path, "--presets", "ease", "--rates", "0")
    assert set(report.table("static", "0")) == {"ease"}
    assert report.results["outdated_runs"] == 1

    evaluate(data, tmp_path, "--presets", "popularity,ease", "--rates", "0")
    assert set(report.table("static", "0")) == {"popularity", "ease"}
    assert [key for key, time in times(tmp_path).items() if time != first[key]] == ["popularity_static_0_any-seed"]


def test_close_rates_are_runs_of_their_own(data: Path, tmp_path: Path) -> None:
    """Each with its table and a label that is its own."""
    evaluate(data, tmp_path, "--presets", "popularity", "--rates", "0.1234567,0.1234568")

    assert set(times(tmp_path)) == {f"popularity_static_0.123456{digit}_any-seed" for digit in (7, 8)}
    page = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "| recall@20 | 12.34567% missing | 12.34568% missing |" in page


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 130, the tables of what is there; the same command does the rest."""
    fit = BASELINES["popularity"]
    patience = iter([KeyboardInterrupt])

    def stops_once(*arguments: Any) -> Any:
        for stop in patience:
            raise stop
        return fit(*arguments)

    monkeypatch.setitem(BASELINES, "stops", stops_once)  # type: ignore[arg-type]
    arguments = ["--presets", "popularity,stops", "--rates", "0", "--seeds", "1"]

    assert evaluate(data, tmp_path, *arguments) == 130
    first = times(tmp_path)
    assert list(first) == ["popularity_static_0_any-seed"]
    assert "interrupted: 1 of 2 runs are kept; the same command goes on from there" in capsys.readouterr().out
    assert (tmp_path / "results.md").is_file()

    assert evaluate(data, tmp_path, *arguments) == 0
    assert set(times(tmp_path)) == {*first, "stops_static_0_seed-0"}
    assert times(tmp_path)["popularity_static_0_any-seed"] == first["popularity_static_0_any-seed"]


def test_ctrl_c_in_the_middle_of_a_training_keeps_no_half_trained_model(data: Path, tmp_path: Path) -> None:
    """A real process with a real signal: the run that was underway is not taken for a finished one."""
    command = ["evaluate", "--data", data, "--report", tmp_path, "--presets", "popularity,i3mrec", "--rates", "0"]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "training", *map(str, command), "--epochs", "100000", "--patience", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("training: i3mrec"):
                break
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    finally:
        process.kill()

    assert process.returncode == 130
    assert "interrupted: 1 of 4 runs are kept" in printed
    assert "Traceback" not in errors
    assert list(times(tmp_path)) == ["popularity_static_0_any-seed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--presets", "i3mrec,nobody"], r"presets: expected some of .*i3mrec, .*popularity, .*, found 'nobody'"),
        (["--presets", ""], "presets: expected at least one value"),
        (["--protocol", "static,mixd"], "protocol: expected some of static, .*fold-in, found 'mixd'"),
        (["--protocol", ""], "protocol: expected at least one value"),
        (["--rates", "0,1.5"], "rates: expected numbers from 0 to 1, found 1.5"),
        (["--rates", "half"], "rates: expected numbers separated by commas, found 'half'"),
        (["--rates", ""], "rates: expected numbers separated by commas, found ''"),
        (["--seeds", "0"], "seeds: expected at least one, found '0'"),
        (["--seeds", "2-1"], "seeds: expected at least one, found '2-1'"),
        (["--seeds", "9223372036854775809"], "seeds: expected numbers below 2\\^63"),
        (
            ["--presets", "ease", "--seeds", "18446744073709551616-18446744073709551616"],
            "seeds: expected numbers below",
        ),
        (["--seeds", "9" * 5000], "seeds: expected numbers below"),
        (["--seeds", "-1"], "seeds: expected a number of seeds, or the first and the last as 1-2, found '-1'"),
        (["--protocol", "static-dgmrec"], "masks: expected at least one file for the protocol static-dgmrec"),
        (["--masks", "published.tsv"], "protocol: expected one that takes --masks"),
        (["--protocol", "static-dgmrec", "--masks", "0.5.tsv"], "masks: expected files whose names are no numbers"),
        (
            ["--protocol", "static-dgmrec", "--masks", "published.tsv", "published.tsv"],
            "masks: expected files of different names",
        ),
        (["--protocol", "static-dgmrec", "--masks", "wrong.tsv"], r"wrong\.tsv:2: expected one of t, v, a"),
        (["--protocol", "static-dgmrec", "--masks", "nowhere.tsv"], r"nowhere\.tsv: expected a readable file"),
        (
            ["--presets", "ease,ials", "--setting", "foo=1"],
            "presets: expected .* heeds settings: .*, found 'ease, ials'",
        ),
        (
            ["--presets", "i3mrec-paper,ease", "--dropout", "0.9"],
            "presets: expected at least one that heeds dropout: i3mrec, found 'i3mrec-paper, ease'",
        ),
        (["--presets", "i3mrec,ease", "--ridge", "1e-30"], "ridge: expected 0 or a number from 1e-9 to 1e9"),
        (["--popularity-exponent", "300"], "popularity_exponent: expected a number from 0 to 4"),
        (["--dropout", "1"], "dropout: expected a share from 0 to below 1"),
        (["--data", "nowhere"], "nowhere: expected a dataset directory"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    """One line, status 1, and nothing was trained."""
    monkeypatch.chdir(tmp_path)
    for name, label in (("published.tsv", "v"), ("0.5.tsv", "v"), ("wrong.tsv", "x")):
        (tmp_path / name).write_text(f"item\tmissing\n0\t{label}\n")

    assert evaluate(data, tmp_path / "report", *arguments) == 1

    errors = capsys.readouterr().err
    assert re.search(message, errors)
    assert errors.count("\n") == 1
    assert not (tmp_path / "report").exists()


def test_data_with_nothing_to_judge_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No test part, no evaluation."""
    lines = (data / "interactions.tsv").read_text().splitlines(keepends=True)
    for path in data.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "interactions.tsv").write_text("".join(line for line in lines if "\ttest" not in line))

    assert evaluate(tmp_path, tmp_path / "report", "--presets", "popularity") == 1

    assert "expected for the protocol static at least one test interaction" in capsys.readouterr().err


@pytest.mark.parametrize("contestant", [c for c in contestants([*BASELINES], {}) if not (c.by_chance and c.by_content)])
def test_baselines_that_count_once_come_out_alike(make_board: MakeBoard, contestant: Contestant) -> None:
    """Where seeds or features are taken not to matter, they do not."""
    board = make_board(8, 6)
    whole, masked = (prepare(board, PROTOCOLS["static"], rate_pattern(board, rate)).data for rate in (0, 0.7))

    def tables(given: TrainingData, seed: int) -> Embeddings:
        return BASELINES[contestant.name](given, lambda _: 0.0, seed).embeddings()

    if not contestant.by_chance:
        assert _alike(tables(whole, 0), tables(whole, 1))
    if not contestant.by_content:
        assert _alike(tables(whole, 0), tables(masked, 0))


def _alike(one: Embeddings, other: Embeddings) -> bool:
    return np.array_equal(one.users, other.users) and np.array_equal(one.items, other.items)


def test_presets_and_baselines_have_different_names() -> None:
    """A run is known by its model's name alone."""
    assert not set(PRESETS) & set(BASELINES)
