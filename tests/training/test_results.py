"""From runs to tables."""

from typing import Any

import numpy as np
import pytest

from training.metrics import RankingResult
from training.protocols import Judged
from training.results import Estimate, as_json, collect
from training.significance import Interval


def record(model: str, seed: int | None, recalls: list[float], **options: Any) -> dict[str, Any]:
    """A kept static run, which found these shares of each user's items."""
    usual = {
        "key": f"{model}-{seed}",
        "model": model,
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
        "metrics": judged(recalls)["all"].mean(),
    }
    found = usual | options
    found["metrics"] = {"all": found["metrics"]}
    return found


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
