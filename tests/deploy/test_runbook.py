"""The runbook and the page on monitoring: complete, and true to the code."""

import re

from tools.deploy_queries import ROOT, RUNBOOK, alerts, families, names_in, rules

MONITORING = ROOT / "docs" / "monitoring.md"
NO_EVENTS = {
    "trial_failed",
    "request_id",
    "trace_id",
    "model_version",
    "min_score",
    "pg_isready",
    "process_resident_memory_bytes",
}
"""Words in code style with an underscore that are fields, parameters, programs and metrics of every process."""


def sections() -> dict[str, str]:
    """The runbook's sections about alerts, by name."""
    parts = re.split(r"^#{2,3} (.+)$", RUNBOOK.read_text("utf-8"), flags=re.MULTILINE)
    return {name: text for name, text in zip(parts[1::2], parts[2::2], strict=True) if name.startswith("I3Rec")}


def test_alerts_and_sections_are_the_same() -> None:
    """Every alert has its section, and every section its alert."""
    assert set(sections()) == {alert.name for alert in alerts()}


def test_sections_say_what_a_tired_person_needs() -> None:
    """Each says how urgent it is, as the alert does, what users notice, and what to do."""
    for name, text in sections().items():
        severities = {alert.labels["severity"] for alert in alerts() if alert.name == name}
        opening = text.strip().splitlines()[0]
        assert all(severity in opening for severity in severities), name
        assert re.search(r"\*\*Users?\*\*", text), name
        assert re.search(r"\*\*(Do|Look)\*\*", text), name


def test_log_events_exist() -> None:
    """Whatever the runbook tells to look for in the log is logged somewhere."""
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "service").rglob("*.py"))
    logged = set(re.findall(r'logger\.\w+\(\s*"(\w+)"', sources))
    words = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", RUNBOOK.read_text("utf-8")))

    assert words <= logged | NO_EVENTS
    assert words & logged


def test_documents_name_metrics_that_exist(measured: set[str]) -> None:
    """No document sends anybody after a metric that is not there."""
    recorded = {rule.name for rule in rules()}

    for document in (RUNBOOK, MONITORING, ROOT / "docs" / "reliability.md"):
        names = names_in(document.read_text("utf-8")) - recorded
        assert families(names) <= measured, document.name


def test_every_metric_is_described(measured: set[str]) -> None:
    """The page on monitoring names all that is measured."""
    assert families(names_in(MONITORING.read_text("utf-8"))) >= measured
