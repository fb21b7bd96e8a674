"""What the dashboards, the rules and the documents under ``deploy/`` and ``docs/`` ask Prometheus for."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[1]
PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
RUNBOOK = ROOT / "docs" / "runbook.md"
EMPTY = "Empty while healthy"
"""Stands in the description of a panel that shows nothing as long as all is well."""

_VARIABLES = {"$__rate_interval": "30s", "$__range": "10m", "$instance": ".*"}
_OURS = re.compile(r"\b(?:i3rec(?::\w+)+|i3rec_\w+)\b")
_SELECTOR = re.compile(r'(?<![\w:"])(?:i3rec(?::\w+)+|i3rec_\w+|process_\w+|up)\b(?:\{(?:"[^"]*"|[^"}])*\})?')
_SUFFIXES = ("_bucket", "_count", "_sum", "_total", "_created")


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, and where it stands; ``quiet`` = it may find nothing as long as all is well."""

    where: str
    expr: str
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A recording rule or an alert."""

    name: str
    expr: str
    alert: bool
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


def dashboards() -> dict[str, dict[str, Any]]:
    """Every dashboard by the name of its file."""
    return {path.name: json.loads(path.read_text("utf-8")) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The panels of a dashboard that show something, those in folded rows too."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def panel_queries() -> list[Query]:
    """The expression of every target of every panel, with Grafana's variables filled in."""
    found = []
    for name, dashboard in dashboards().items():
        for panel in panels(dashboard):
            quiet = EMPTY in panel.get("description", "")
            where = f"{name}: {panel['title']}"
            found += [Query(where, filled(target["expr"]), quiet) for target in panel["targets"]]
        for note in dashboard["annotations"]["list"]:
            found.append(Query(f"{name}: annotation {note['name']}", filled(note["expr"]), quiet=True))
    return found


def filled(expr: str) -> str:
    """An expression with values in place of Grafana's variables."""
    for variable, value in _VARIABLES.items():
        expr = expr.replace(variable, value)
    return expr


def rules() -> list[Rule]:
    """Every rule of every file."""
    found = []
    for path in sorted((PROMETHEUS / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]:
            for rule in group["rules"]:
                name = rule.get("alert") or rule["record"]
                labels, notes = rule.get("labels", {}), rule.get("annotations", {})
                found.append(Rule(name, rule["expr"], "alert" in rule, labels, notes))
    return found


def alerts() -> list[Rule]:
    """The alerts among the rules; one that pages and is a ticket comes twice."""
    return [rule for rule in rules() if rule.alert]


def names_in(text: str) -> set[str]:
    """The names of our metrics, recorded ones too, in an expression or a document."""
    return set(_OURS.findall(text))


def selectors_in(expr: str) -> list[str]:
    """What an expression selects, each with its matchers."""
    return list(dict.fromkeys(_SELECTOR.findall(expr)))


def families(names: set[str]) -> set[str]:
    """Names as the registry knows them: without the suffixes of counters and histograms."""
    return {next((name.removesuffix(end) for end in _SUFFIXES if name.endswith(end)), name) for name in names}
