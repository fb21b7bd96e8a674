"""From runs to tables."""

from typing import Any

import numpy as np
import pytest

from training.baselines import REVISIONS
from training.metrics import RankingResult
from training.protocols import Judged
from training.results import Estimate, as_json, collect
from training.results_page import markdown
from training.significance import Interval


def record(model: str, seed: int | None, recalls: list[float], **options: Any) -> dict[str, Any]:
    """A kept static run, which found these shares of each user's items."""
    usual = {
        "key": f"{model}-{seed}",
        "model": model,
        "revision": 1,
        "kind": "baseline",
        "protocol": "static",
        "pattern": "0.5",
        "rate": 0.5,
        "mask_sha256": None,
        "seed": seed,
        "config": {"baseline": model, "seed": seed},
        "data_sha256": "data",
        "seconds": 2.0,
        "d": 8,
        "encoder_parameters": None,
    }
    return usual | {"metrics": means(all=judged(recalls)["all"])} | options


def means(**parts: RankingResult) -> dict[str, dict[str, float]]:
    """As a record has them."""
    return {part: result.mean() for part, result in parts.items()}


def judged(recalls: list[float]) -> Judged:
    """The same number for every metric."""
    values = np.array(recalls)[:, None]
    return {"all": RankingResult((20,), np.arange(len(recalls)), values, values, values)}


def test_users_are_averaged_over_seeds_before_they_are_compared() -> None:
    """Seeds that disagree user by user but not on average: each user is at 0.5, and the interval has no width."""
    runs = {"a-0": [1.0, 0.0, 1.0, 0.0], "a-1": [0.0, 1.0, 0.0, 1.0], "b-None": [0.25] * 4}
    records = [record("a", 0, runs["a-0"]), record("a", 1, runs["a-1"]), record("b", None, runs["b-None"])]

    results = collect(records, lambda key: judged(runs[key]), "films", {}, "data")

    (table,) = results.tables
    assert [row.model for row in table.rows] == ["a", "b"]
    assert table.rows[0].parts["all"]["recall@20"] == Estimate(0.5, 0.0)
    assert table.rows[0].seeds == (0, 1)
    assert table.rows[0].differences["recall@20"] == Interval(0.25, 0.25, 0.25)
    assert table.rows[1].differences["ndcg@20"] == Interval(-0.25, -0.25, -0.25)
    assert (table.rows[0].rival, table.rows[1].rival) == ("b", "a")


def test_runs_of_other_data_and_replaced_settings_are_left_out() -> None:
    """What counts is the configuration of a model's latest run."""
    runs = {"a-0": [0.1], "a-1": [0.2], "b-0": [0.3]}
    records = [
        record("a", 0, runs["a-0"], config={"d": 8, "seed": 0}),
        record("b", 0, runs["b-0"], data_sha256="other"),
        record("a", 1, runs["a-1"], config={"d": 16, "seed": 1}),
    ]

    results = collect(records, lambda key: judged(runs[key]), "films", {}, "data")

    (table,) = results.tables
    assert [(row.model, row.seeds, row.rival) for row in table.rows] == [("a", (1,), None)]
    assert results.outdated == 2


def test_json_holds_every_metric() -> None:
    """Programs get more than the page shows."""
    results = collect([record("a", 0, [0.5, 0.25])], lambda _: judged([0.5, 0.25]), "films", {"users": 2}, "data")

    content = as_json(results)

    (table,) = content["tables"]
    assert (content["data"], content["facts"], table["rate"], table["users"]) == ("films", {"users": 2}, 0.5, 2)
    assert table["models"][0]["parts"]["all"]["hr@20"] == {"mean": 0.375, "sd": None}


def test_estimate_of_one_value_has_no_deviation() -> None:
    """Of several it is the sample's."""
    assert str(Estimate.of([0.25])) == "0.2500"
    assert Estimate.of([0.1, 0.3]).sd == pytest.approx(0.1414, abs=1e-4)


def test_runs_of_another_revision_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model was before its numbers changed is not its result."""
    monkeypatch.setitem(REVISIONS, "a", 2)
    records = [record("a", 1, [0.2], revision=2), record("a", 0, [0.1]), record("b", None, [0.3])]

    results = collect(records, lambda _: judged([0.2]), "films", {}, "data")

    (table,) = results.tables
    assert {row.model: row.seeds for row in table.rows} == {"a": (1,), "b": (None,)}
    assert results.outdated == 1


def test_nothing_judged_is_no_result() -> None:
    """Where no new item is tested, no model has 0 there, and none is the best; the page has a dash."""
    whole, nobody = judged([0.5])["all"], judged([])["all"]
    records = [
        record(name, None, [], protocol="mixed", metrics=means(all=whole, warm=whole, new=nobody))
        for name in ("a", "b")
    ]

    results = collect(records, lambda _: {"all": whole, "warm": whole, "new": nobody}, "films", {}, "data")

    (table,) = results.tables
    assert [set(row.parts) for row in table.rows] == [{"all", "warm"}] * 2
    assert set(as_json(results)["tables"][0]["models"][0]["parts"]) == {"all", "warm"}
    line = next(line for line in markdown(results).splitlines() if line.startswith("| a |"))
    assert line.split(" | ")[1:7] == ["**0.5000**"] * 4 + ["–"] * 2


def folded(seed: int, **options: Any) -> dict[str, Any]:
    """A kept fold-in run: of the withheld user 1 a quarter was found."""
    result = RankingResult((20,), np.array([1]), *[np.array([[0.25]])] * 3)
    return record("a", seed, [], key=f"folded-{seed}", protocol="fold-in", metrics=means(withheld=result), **options)


def test_users_folded_in_are_held_to_the_static_run_of_the_same_seed() -> None:
    """Whichever came first, and only where settings, pattern and seed are the same."""
    kept: dict[str, Judged] = {
        "a-0": judged([1.0, 0.5, 1.0]),
        "a-1": judged([1.0, 0.25, 1.0]),
        "folded-0": {"withheld": RankingResult((20,), np.array([1]), *[np.array([[0.25]])] * 3)},
    }
    kept["folded-1"] = kept["folded-0"]
    records = [folded(0), folded(1), record("a", 0, [1.0, 0.5, 1.0]), record("a", 1, [1.0, 0.25, 1.0])]

    _, table = collect(records, kept.__getitem__, "films", {}, "data").tables

    (row,) = table.rows
    assert row.parts["trained"]["recall@20"] == Estimate.of([0.5, 0.25])
    assert row.share == Estimate.of([0.5, 1.0])
    for missing in (records[:3], [*records[:3], records[3] | {"config": {"d": 16, "seed": 1}}]):
        *_, table = collect(missing, kept.__getitem__, "films", {}, "data").tables
        assert table.protocol == "fold-in"
        assert "trained" not in table.rows[0].parts
        assert table.rows[0].share is None
