"""Every query of dashboards and rules, asked of a real Prometheus that has scraped the real service."""

import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from deploy_agreement import Ledger, agreement
from deploy_queries import Query, panel_queries, rules, selectors_in
from deploy_stack import PATIENCE_S, Stack, running, wait_until
from deploy_static import Outcome
from deploy_traffic import events, visitors

_QUIET = {
    'i3rec_index_engine{asked=~"gpu-fp.*",used="exact"}': "no device is asked for here",
    'i3rec_encoder_provider{asked="cuda",used="cpu"}': "no device is asked for here",
    'i3rec_http_requests_total{route=~"/recommend.*|/items/.+/similar",status=~"5.."}': "no list fails here",
}
"""What rules select and is not there as long as all is well."""


def live_checks(*, show: bool, journal: str | None) -> Iterator[Outcome]:
    """Runs everything and asks.

    Args:
        show: also prints what every panel shows.
        journal: URL of the journal of both services; None = a file that goes with the rest.
    """
    if shutil.which("prometheus") is None:
        yield Outcome("live: panels and rules against a real Prometheus", "skipped", "prometheus is not installed")
        return
    ledger = Ledger()
    with (
        tempfile.TemporaryDirectory(prefix="i3rec-deploy-") as directory,
        running(Path(directory), journal) as stack,
        httpx.Client(base_url=stack.prometheus, timeout=30) as prometheus,
    ):
        with visitors(stack, ledger):
            wait_until("all targets up", lambda: _all_up(prometheus))
            events(stack, ledger)
            asked = [*panel_queries(), *_selectors()]
            found = _asked_until_answered(prometheus, asked)
            yield from _told(asked, found)
            yield from _rules(prometheus)
            yield from _alertmanager(prometheus, stack)
        yield from agreement(partial(_ask, prometheus), ledger)
        if show:
            _show(asked, found)


def _all_up(prometheus: httpx.Client) -> bool:
    targets = _get(prometheus, "/api/v1/targets")["activeTargets"]
    return bool(targets) and all(target["health"] == "up" for target in targets)


def _selectors() -> list[Query]:
    """What the rules select: an alert that looks at what does not exist would be quiet for ever."""
    found = {selector: rule.name for rule in rules() for selector in selectors_in(rule.expr)}
    return [
        Query(f"{name} selects", f"present_over_time({selector}[10m])", selector in _QUIET)
        for selector, name in found.items()
    ]


def _asked_until_answered(prometheus: httpx.Client, asked: Sequence[Query]) -> list[list[dict[str, Any]] | str]:
    """Asks everything, again and again what has no answer yet; what Prometheus refuses is its reason as text."""
    deadline = time.monotonic() + PATIENCE_S
    found = [_ask(prometheus, query.expr) for query in asked]
    while time.monotonic() < deadline:
        open_ones = [n for n, query in enumerate(asked) if not query.quiet and not found[n]]
        if not open_ones:
            break
        time.sleep(0.5)
        for n in open_ones:
            found[n] = _ask(prometheus, asked[n].expr)
    return found


def _ask(prometheus: httpx.Client, expr: str) -> list[dict[str, Any]] | str:
    """The samples that are numbers, or why the question is none."""
    answer = prometheus.get("/api/v1/query", params={"query": expr}).json()
    if answer["status"] != "success":
        return str(answer["error"])
    result: list[dict[str, Any]] = answer["data"]["result"]
    return [sample for sample in result if not math.isnan(float(sample["value"][1]))]


def _told(asked: Sequence[Query], found: Sequence[list[dict[str, Any]] | str]) -> Iterator[Outcome]:
    refused = [(q, a) for q, a in zip(asked, found, strict=True) if isinstance(a, str)]
    empty = [query for query, answer in zip(asked, found, strict=True) if not answer and not query.quiet]
    for query, reason in refused:
        yield Outcome(query.where, "FAIL", f"{query.expr}\n{reason}")
    for query in empty:
        yield Outcome(query.where, "FAIL", f"expected data, found none: {query.expr}")
    if not refused and not empty:
        quiet = sum(query.quiet and not answer for query, answer in zip(asked, found, strict=True))
        text = f"live: {len(asked)} queries of panels and selections of rules are answered"
        yield Outcome(text, "ok", f"{quiet} of them with nothing, as declared")


def _rules(prometheus: httpx.Client) -> Iterator[Outcome]:
    """Every rule was evaluated as it stands, and was fine."""
    groups = _get(prometheus, "/api/v1/rules")["groups"]
    evaluated = [rule for group in groups for rule in group["rules"]]
    bad = [rule for rule in evaluated if rule["health"] != "ok"]
    for rule in bad:
        yield Outcome(f"rule {rule['name']}", "FAIL", f"health {rule['health']}: {rule.get('lastError', '')}")
    expected = len(rules())
    if len(evaluated) != expected:
        yield Outcome("live: rules", "FAIL", f"expected {expected} rules, found {len(evaluated)}")
    elif not bad:
        yield Outcome(f"live: {expected} rules are evaluated", "ok", _firing(evaluated))


def _firing(evaluated: Sequence[dict[str, Any]]) -> str:
    names = sorted({rule["name"] for rule in evaluated if rule["type"] == "alerting" and rule["state"] != "inactive"})
    return f"pending or firing after what was done to it: {', '.join(names) or 'none'}"


def _alertmanager(prometheus: httpx.Client, stack: Stack) -> Iterator[Outcome]:
    check = "live: Prometheus finds Alertmanager"
    if stack.alertmanager is None:
        yield Outcome(check, "skipped", "prometheus-alertmanager is not installed")
        return
    found = _get(prometheus, "/api/v1/alertmanagers")["activeAlertmanagers"]
    yield Outcome(check, "ok" if len(found) == 1 else "FAIL", f"found {len(found)}")


def _get(prometheus: httpx.Client, path: str) -> dict[str, Any]:
    data: dict[str, Any] = prometheus.get(path).raise_for_status().json()["data"]
    return data


def _show(asked: Sequence[Query], found: Sequence[list[dict[str, Any]] | str]) -> None:
    for query, answer in zip(asked, found, strict=True):
        print(f"-- {query.where}\n   {query.expr}")
        for sample in answer[:12] if isinstance(answer, list) else []:
            labels = {name: text for name, text in sample["metric"].items() if name not in {"__name__", "job"}}
            print(f"   {float(sample['value'][1]):12.4g}  {labels or ''}")
