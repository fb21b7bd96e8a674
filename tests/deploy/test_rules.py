"""Rules and alerts: they look at what exists, say what to do, and are tried in good and bad cases."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.deploy_queries import PROMETHEUS, ROOT, Rule, alerts, families, names_in, rules

TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
Check = Callable[..., None]


def cases() -> list[dict[str, Any]]:
    """Every case of every test of the rules."""
    return [case for path in TESTS for case in yaml.safe_load(path.read_text("utf-8"))["tests"]]


def expected(case: dict[str, Any]) -> set[tuple[str, str]]:
    """The alerts that a case expects to fire, with their severities."""
    samples = [sample for check in case["promql_expr_test"] for sample in check["exp_samples"]]
    found = [re.fullmatch(r'\{alertname="(\w+)",severity="(\w+)"\}', sample["labels"]) for sample in samples]
    return {(match[1], match[2]) for match in found if match}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: f"{rule.name} {' '.join(rule.labels.values())}".strip())
def test_rules_look_at_what_exists(rule: Rule, measured: set[str]) -> None:
    """Every metric in an expression is measured by the service, or recorded by a rule."""
    recorded = {each.name for each in rules() if not each.alert}
    names = names_in(rule.expr)

    assert families(names - recorded) <= measured


def test_recorded_names_are_used() -> None:
    """Nothing is recorded that neither an alert, nor another rule, nor a dashboard asks for."""
    dashboards = "".join(path.read_text("utf-8") for path in (ROOT / "deploy" / "grafana").rglob("*.json"))
    used = names_in(dashboards).union(*(names_in(rule.expr) for rule in rules()))

    assert {rule.name for rule in rules() if not rule.alert} <= used


@pytest.mark.parametrize("alert", alerts(), ids=lambda rule: f"{rule.name} {rule.labels.get('severity')}")
def test_alerts_say_what_a_person_needs(alert: Rule) -> None:
    """How urgent, what, what it means, and where it says what to do."""
    assert alert.labels["severity"] in {"page", "ticket"}
    assert set(alert.annotations) == {"summary", "description", "runbook_url"}
    assert all(alert.annotations.values())
    assert alert.annotations["runbook_url"] == f"docs/runbook.md#{alert.name.lower()}"


def test_every_alert_fires_in_a_bad_case() -> None:
    """For every alert and every severity of it there is a case in which it fires."""
    firing = set().union(*map(expected, cases()))

    assert firing == {(alert.name, alert.labels["severity"]) for alert in alerts()}


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_every_alert_is_quiet_in_a_good_case(path: Path) -> None:
    """Each test begins with the case in which all is well and no alert of its rules fires."""
    good = yaml.safe_load(path.read_text("utf-8"))["tests"][0]

    assert good["name"].startswith("all is well")
    assert all(check["exp_samples"] == [] for check in good["promql_expr_test"])


def test_every_file_of_alerts_has_tests() -> None:
    """No file of alerts is left out of the tests."""
    tested = {Path(name).name for path in TESTS for name in yaml.safe_load(path.read_text("utf-8"))["rule_files"]}

    assert tested == {path.name for path in (PROMETHEUS / "rules").glob("*.yml")}


def test_prometheus_accepts_its_configuration(check: Check) -> None:
    """Configuration and rules are sound in the eyes of Prometheus' own tool."""
    check("promtool", "check", "config", PROMETHEUS / "prometheus.yml")


def test_rules_pass_their_tests(check: Check) -> None:
    """Every alert fires in its bad case and stays quiet in the good ones."""
    check("promtool", "test", "rules", *TESTS)


def test_alertmanager_accepts_its_configuration(check: Check) -> None:
    """Routes, receivers and inhibitions are sound in the eyes of Alertmanager's own tool."""
    check("amtool", "check-config", ALERTMANAGER)


def test_alertmanager_holds_back_alerts_that_exist() -> None:
    """Every alert an inhibition names is one of ours."""
    text = ALERTMANAGER.read_text("utf-8")
    known = {alert.name for alert in alerts()}
    patterns = re.findall(r'alertname(?:=~|=)"([^"]+)"', text)

    assert patterns
    for pattern in patterns:
        for name in alternatives(pattern):
            assert name in known, name


def alternatives(pattern: str) -> list[str]:
    """The names that a pattern of words and alternatives in brackets stands for."""
    bracket = re.search(r"\(([^()]*)\)", pattern)
    if bracket is None:
        return pattern.split("|")
    parts = bracket[1].split("|")
    return [name for part in parts for name in alternatives(pattern.replace(bracket[0], part, 1))]


def test_alertmanager_names_no_address() -> None:
    """Where alerts are sent is told by a file that the operator mounts, never by the repository."""
    config = yaml.safe_load(ALERTMANAGER.read_text("utf-8"))

    assert "://" not in str(config)
    assert all("api_url_file" in chat for receiver in config["receivers"] for chat in receiver["slack_configs"])
