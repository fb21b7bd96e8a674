"""From runs to tables: means over seeds, intervals over users; as JSON for programs."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.contestants import revision
from training.metrics import RankingResult
from training.models import PRESETS, configure
from training.protocols import PROTOCOLS, Judged, missing_share
from training.significance import RESAMPLES, Interval, paired_bootstrap

HEADLINE = "recall@20"
SHOWN = (HEADLINE, "ndcg@20")
_FOLDED = "fold-in"
_SHARED = ("model", "pattern", "rate", "mask_sha256", "seed", "config")  # by a fold-in run and the one it is held to


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds, and the standard deviation where there is more than one."""

    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        """Of one or more values."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        return f"{self.mean:.4f}" if self.sd is None else f"{self.mean:.4f} ± {self.sd:.4f}"


@dataclass(frozen=True, slots=True)
class Row:
    """One model in one table.

    Attributes:
        model: its name.
        kind: "preset" or "baseline".
        seeds: of the runs behind it; None for one without chance.
        parts: part → metric → estimate; without the parts in which nothing was judged.
        d: embedding size.
        encoder_parameters: None for baselines.
        seconds: of training, mean over the runs.
        share: for fold-in, withheld recall@20 over the recall@20 of the same users trained with.
        rival: the best other model, by mean recall@20; None where there is none.
        differences: metric → interval of the difference to the rival, in the first part.
    """

    model: str
    kind: str
    seeds: tuple[int | None, ...]
    parts: Mapping[str, Mapping[str, Estimate]]
    d: int
    encoder_parameters: int | None
    seconds: float
    share: Estimate | None = None
    rival: str | None = None
    differences: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResultTable:
    """All models under one protocol and pattern.

    Attributes:
        protocol: its name.
        pattern: its name; the rate for a drawn mask.
        rate: None for a published mask.
        users: judged in the first part.
        rows: the best mean recall@20 first.
    """

    protocol: str
    pattern: str
    rate: float | None
    users: int
    rows: tuple[Row, ...]

    @property
    def missing(self) -> str:
        """What is missing, in words."""
        if self.rate is None:
            return f"mask {self.pattern}"
        return missing_share(self.rate)


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that is reported.

    Attributes:
        data: name of the data set.
        facts: what the data set holds, by name.
        tables: in the order of the protocols and rates.
        configs: model → where its configuration departs from the defaults; only presets.
        outdated: kept runs that are not reported: of other data, of another revision of their model, or of a
            configuration that was replaced since.
    """

    data: str
    facts: Mapping[str, int]
    tables: tuple[ResultTable, ...]
    configs: Mapping[str, Sequence[Mapping[str, Any]]]
    outdated: int = 0


Record = Mapping[str, Any]


def collect(
    records: Sequence[Record],
    load: Callable[[str], Judged],
    data: str,
    facts: Mapping[str, int],
    data_sha256: str,
) -> Results:
    """Gathers the kept runs of a data set.

    A model's runs under one protocol and pattern are those with the configuration of the latest of them.

    Args:
        records: of all kept runs, oldest first.
        load: reads the users' metrics of a run by its key.
        data: name of the data set.
        facts: what it holds.
        data_sha256: its fingerprint; runs of other data are left out.
    """
    valid = [r for r in records if r["data_sha256"] == data_sha256 and r["revision"] == revision(r["model"])]
    groups: defaultdict[tuple[str, str, float | None, str | None], defaultdict[str, list[Record]]]
    groups = defaultdict(lambda: defaultdict(list))
    for record in valid:
        place = (record["protocol"], record["pattern"], record["rate"], record["mask_sha256"])
        groups[place][record["model"]].append({**record, "metrics": _metrics(record, valid, load)})
    current = {place: {name: _latest(runs) for name, runs in models.items()} for place, models in groups.items()}
    used = [record for models in current.values() for runs in models.values() for record in runs]
    places = sorted(current, key=_order)
    tables = tuple(_table(place, current[place], load) for place in places)
    return Results(data, facts, tables, _configs(used), outdated=len(records) - len(used))


def as_json(results: Results) -> dict[str, Any]:
    """The results as plain numbers."""
    return {
        "data": results.data,
        "facts": dict(results.facts),
        "bootstrap": {"resamples": RESAMPLES, "level": 0.95},
        "configs": {name: [dict(config) for config in configs] for name, configs in results.configs.items()},
        "outdated_runs": results.outdated,
        "tables": [
            {
                "protocol": table.protocol,
                "pattern": table.pattern,
                "rate": table.rate,
                "users": table.users,
                "models": [_row_json(row) for row in table.rows],
            }
            for table in results.tables
        ],
    }


def _metrics(run: Record, runs: Sequence[Record], load: Callable[[str], Judged]) -> dict[str, Any]:
    """The means of a run by part, where anybody was judged.

    For ``fold-in`` also of the part ``trained``: what the same users get from the model trained with them, which is the
    static run, whichever of both was run first.
    """
    means = {part: values for part, values in run["metrics"].items() if values["users"]}
    if run["protocol"] == _FOLDED:
        for other in runs:
            if other["protocol"] == "static" and all(other[name] == run[name] for name in _SHARED):
                folded, whole = load(run["key"])["withheld"], load(other["key"])["all"]
                means["trained"] = whole.of(folded.users).mean()
    return means


def _latest(runs: Sequence[Record]) -> list[Record]:
    """The runs with the configuration of the last one, in the order of their seeds."""
    config = _without_seed(runs[-1]["config"])
    chosen = [run for run in runs if _without_seed(run["config"]) == config]
    return sorted(chosen, key=lambda run: -1 if run["seed"] is None else run["seed"])


def _without_seed(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "seed"}


def _order(place: tuple[str, str, float | None, str | None]) -> tuple[Any, ...]:
    protocol, pattern, rate, sha256 = place
    return list(PROTOCOLS).index(protocol), rate is None, rate or 0, pattern, sha256 or ""


def _table(
    place: tuple[str, str, float | None, str | None],
    models: Mapping[str, Sequence[Record]],
    load: Callable[[str], Judged],
) -> ResultTable:
    protocol, pattern, rate, _ = place
    main = PROTOCOLS[protocol].parts[0]
    rows = sorted(
        (_row(name, runs) for name, runs in models.items()), key=lambda row: (-_headline(row, main), row.model)
    )
    per_user = {name: _per_user([load(run["key"])[main] for run in runs]) for name, runs in models.items()}
    compared = tuple(_with_rival(row, rows, per_user, main) for row in rows)
    users = next(iter(models.values()))[0]["metrics"][main]["users"]
    return ResultTable(protocol, pattern, rate, users, compared)


def _headline(row: Row, part: str) -> float:
    return row.parts[part][HEADLINE].mean


def _row(name: str, runs: Sequence[Record]) -> Row:
    metrics = [run["metrics"] for run in runs]
    parts = {
        part: {
            metric: Estimate.of([values[part][metric] for values in metrics])
            for metric in metrics[0][part]
            if metric != "users"
        }
        for part in metrics[0]
        if all(part in values for values in metrics)
    }
    shares = [m["withheld"][HEADLINE] / m["trained"][HEADLINE] for m in metrics if m.get("trained", {}).get(HEADLINE)]
    return Row(
        model=name,
        kind=runs[0]["kind"],
        seeds=tuple(run["seed"] for run in runs),
        parts=parts,
        d=runs[0]["d"],
        encoder_parameters=runs[0]["encoder_parameters"],
        seconds=fmean(run["seconds"] for run in runs),
        share=Estimate.of(shares) if len(shares) == len(runs) else None,
    )


def _per_user(results: Sequence[RankingResult]) -> dict[str, NDArray[np.float64]]:
    """Each user's metrics, averaged over seeds."""
    return {metric: np.mean([result.per_user(metric) for result in results], axis=0) for metric in SHOWN}


def _with_rival(
    row: Row, rows: Sequence[Row], per_user: Mapping[str, Mapping[str, NDArray[np.float64]]], part: str
) -> Row:
    others = [other for other in rows if other.model != row.model]
    if not others:
        return row
    rival = max(others, key=lambda other: _headline(other, part)).model
    differences = {m: paired_bootstrap(per_user[row.model][m], per_user[rival][m]) for m in SHOWN}
    return replace(row, rival=rival, differences=differences)


def _configs(records: Sequence[Record]) -> dict[str, list[dict[str, Any]]]:
    """Of each preset the distinct departures from the defaults, without preset and seed."""
    configs: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record["model"]):
        if record["kind"] != "preset":
            continue
        defaults = asdict(configure(record["model"])) if record["model"] in PRESETS else {}
        departures = {
            name: value
            for name, value in record["config"].items()
            if name not in {"preset", "seed"} and defaults.get(name) != value
        }
        if departures not in configs[record["model"]]:
            configs[record["model"]].append(departures)
    return {name: found for name, found in configs.items() if any(found)}


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "model": row.model,
        "kind": row.kind,
        "seeds": list(row.seeds),
        "parts": {
            part: {metric: {"mean": value.mean, "sd": value.sd} for metric, value in metrics.items()}
            for part, metrics in row.parts.items()
        },
        "share": None if row.share is None else {"mean": row.share.mean, "sd": row.share.sd},
        "rival": row.rival,
        "differences": {
            metric: {"difference": i.difference, "low": i.low, "high": i.high} for metric, i in row.differences.items()
        },
        "d": row.d,
        "encoder_parameters": row.encoder_parameters,
        "seconds": row.seconds,
    }
