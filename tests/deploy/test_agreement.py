"""What the check of several processes notices."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

TOOLS = Path(__file__).parents[2] / "tools"
ANSWERS = {
    ("GET", "/recommend/u1"): (200, {"items": [{}, {}, {}]}),
    ("GET", "/items/a/similar"): (200, {"items": [{}]}),
    ("POST", "/interactions"): (202, {"accepted": 4}),
    ("POST", "/items"): (201, {}),
    ("PATCH", "/items/a"): (404, {}),
    ("POST", "/items/batch"): (200, {"written": 5}),
    ("GET", "/metrics"): (200, {}),
    ("POST", "/models/rollback"): (200, {}),
}
SUMS = {"lists": 2.0, "places in lists": 4.0, "interactions": 4.0, "items written": 6.0}
REQUESTS = {
    "GET /recommend/{user_id} 200": 1.0,
    "GET /items/{item_id}/similar 200": 1.0,
    "POST /interactions 202": 1.0,
    "POST /items 201": 1.0,
    "PATCH /items/{item_id} 404": 1.0,
    "POST /items/batch 200": 1.0,
}


@pytest.fixture
def agreements(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module; tools are scripts that find each other in their folder."""
    monkeypatch.syspath_prepend(str(TOOLS))
    import deploy_agreement  # noqa: PLC0415  is only found now

    monkeypatch.setattr(deploy_agreement, "_PATIENCE_S", 0)
    yield deploy_agreement
    for name in ("deploy_agreement", "deploy_static", "deploy_queries"):
        sys.modules.pop(name, None)


def ledger_of(agreements: Any) -> Any:
    """A ledger of one request of every kind."""
    ledger = agreements.Ledger()
    with ledger.client("http://test") as client:
        client._transport = httpx.MockTransport(
            lambda request: httpx.Response(
                ANSWERS[request.method, request.url.path][0], json=ANSWERS[request.method, request.url.path][1]
            )
        )
        for method, path in ANSWERS:
            client.request(method, path)
    return ledger


def asked(requests: dict[str, float], sums: dict[str, float]) -> Callable[[str], list[dict[str, Any]]]:
    """A Prometheus that knows these numbers."""
    names = {
        "recommendations": "lists",
        "impressions": "places in lists",
        "interactions": "interactions",
        "items_posted": "items written",
    }

    def ask(expr: str) -> list[dict[str, Any]]:
        for part, name in names.items():
            if part in expr:
                return [{"metric": {}, "value": [0, str(sums[name])]}]
        labels = [dict(zip(("method", "route", "status"), key.split(), strict=True)) for key in requests]
        return [{"metric": each, "value": [0, str(n)]} for each, n in zip(labels, requests.values(), strict=True)]

    return ask


def test_ledgers_hold_what_callers_were_answered(agreements: Any) -> None:
    """Requests by route template and status, and what the answers say was done; probes and operators are left out."""
    assert ledger_of(agreements).expected() == {
        "requests": REQUESTS,
        **{name: {"": number} for name, number in SUMS.items()},
    }


def test_equal_numbers_agree(agreements: Any) -> None:
    """One outcome, which tells the sums."""
    (outcome,) = agreements.agreement(asked(REQUESTS, SUMS), ledger_of(agreements))

    assert outcome.verdict == "ok"
    assert outcome.why == "6 requests, 2 lists, 4 places in lists, 4 interactions, 6 items written"


@pytest.mark.parametrize("name", SUMS)
def test_what_is_counted_twice_is_told(agreements: Any, name: str) -> None:
    """A sum that is not what was done fails, by its name."""
    (outcome,) = agreements.agreement(asked(REQUESTS, SUMS | {name: 2 * SUMS[name]}), ledger_of(agreements))

    assert outcome.verdict == "FAIL"
    assert name in outcome.check


def test_a_request_that_nobody_counted_is_told(agreements: Any) -> None:
    """As is one under another status than its caller saw."""
    others = {**REQUESTS, "POST /items 201": 0.0}

    (outcome,) = agreements.agreement(asked(others, SUMS), ledger_of(agreements))

    assert outcome.verdict == "FAIL"
    assert "requests" in outcome.check
