"""The runs that a report keeps, whatever happened to their files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.contestants import contestants
from training.datasets.synthetic import checkerboard
from training.metrics import RankingResult
from training.protocols import Judged, rate_pattern
from training.run_store import RunStore
from training.runs import FORMAT, Run, plan

FACTS = {"seconds": 1.5, "d": 4, "encoder_parameters": None}


@pytest.fixture
def run() -> Run:
    """Popularity, nothing missing."""
    pattern = rate_pattern(checkerboard(rng=np.random.default_rng(0)), 0)
    (found,) = plan(contestants(["popularity"], {}), {"static": [pattern]}, [0])
    return found


@pytest.fixture
def store(tmp_path: Path, run: Run) -> RunStore:
    """A report in which that run is kept."""
    found = RunStore(tmp_path)
    found.save(run, "data", FACTS, judged(0.25, 0.5))
    return found


def judged(*recalls: float) -> Judged:
    """Users that found these shares, with every metric alike."""
    values = np.array(recalls)[:, None]
    return {"all": RankingResult((20,), np.arange(len(recalls)), values, values, values)}


def alike(one: Judged, other: Judged) -> bool:
    """Whether every array is the same."""
    names = ("users", "recall", "ndcg", "hr")
    return one.keys() == other.keys() and all(
        np.array_equal(getattr(one[part], name), getattr(other[part], name)) for part in one for name in names
    )


def test_what_is_kept_comes_back(store: RunStore, run: Run) -> None:
    """Record and arrays."""
    (record,) = store.records()

    assert store.done(run, "data")
    assert not store.done(run, "other data")
    assert record["metrics"]["all"] == {"recall@20": 0.375, "ndcg@20": 0.375, "hr@20": 0.375, "users": 2}
    assert alike(store.load(run.key), judged(0.25, 0.5))


def test_damaged_arrays_are_no_run(store: RunStore, run: Run) -> None:
    """Any byte changed, any length cut: what is still taken is what was kept, and nothing is raised."""
    path = store.directory / f"{run.key}.npz"
    content = path.read_bytes()
    changed = [content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :] for at in range(len(content))]
    cut = [content[:length] for length in range(len(content))]
    passed_over = 0
    for spoiled in [*changed, *cut, b"other bytes", content + content[:40]]:
        path.write_bytes(spoiled)

        kept = store.records()

        assert store.done(run, "data") == bool(kept)
        assert not kept or alike(store.load(run.key), judged(0.25, 0.5))
        passed_over += not kept
    assert passed_over > len(content)  # some bytes, of dates for instance, mean nothing


@pytest.mark.parametrize("others", [judged(0.25, 0.75), judged(0.375), {"new": judged(0.25, 0.5)["all"]}])
def test_arrays_of_another_run_are_no_run(store: RunStore, run: Run, others: Judged) -> None:
    """Sound as they are: users, values and parts must be those of the record."""
    other = RunStore(store.directory / "other")
    other.save(run, "data", FACTS, others)

    (other.directory / f"{run.key}.npz").replace(store.directory / f"{run.key}.npz")

    assert store.records() == []
    assert not store.done(run, "data")


def without(name: str) -> Callable[[dict[str, Any]], object]:
    """Takes a field out of a record."""
    return lambda record: record.pop(name)


def with_other(**fields: Any) -> Callable[[dict[str, Any]], object]:
    """Puts something else into a record."""
    return lambda record: record.update(fields)


@pytest.mark.parametrize(
    "spoil",
    [
        *(
            without(name)
            for name in ("finished_at", "metrics", "model", "revision", "protocol", "rate", "seed", "config")
        ),
        with_other(protocol="mixd"),
        with_other(format=FORMAT - 1),
        with_other(key="another_name"),
        with_other(finished_at=5),
        with_other(metrics={}),
        with_other(metrics={"all": None}),
        with_other(metrics={"all": {"recall@20": None, "ndcg@20": 0.375, "hr@20": 0.375, "users": 2}}),
        with_other(protocol="mixed"),
    ],
)
def test_records_that_are_not_whole_are_passed_over(
    store: RunStore, run: Run, spoil: Callable[[dict[str, Any]], object]
) -> None:
    """They parse, but a report could not be made of them; the run is done again."""
    path = store.directory / f"{run.key}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    spoil(record)
    path.write_text(json.dumps(record), encoding="utf-8")

    assert store.records() == []
    assert not store.done(run, "data")
    store.save(run, "data", FACTS, judged(0.5))
    assert store.done(run, "data")


@pytest.mark.parametrize("text", ["", "null", "[]", "[" * 100_000, '{"format": 2'])
def test_other_texts_are_passed_over(store: RunStore, run: Run, text: str) -> None:
    """No record at all."""
    (store.directory / f"{run.key}.json").write_text(text, encoding="utf-8")

    assert store.records() == []
