"""What several processes count together, compared with what was asked of them: nothing twice, nothing not at all."""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from deploy_static import Outcome

Samples = list[dict[str, Any]]
Sums = dict[str, dict[str, float]]

_PATIENCE_S = 20.0
_WATCHED = re.compile(r"/(metrics|livez|readyz|models.*)")
_ROUTES = (  # of paths, the first that fits
    (re.compile(r"/recommend/(?!batch).+"), "/recommend/{user_id}"),
    (re.compile(r"/items/.+/similar"), "/items/{item_id}/similar"),
    (re.compile(r"/items/(?!batch).+"), "/items/{item_id}"),
)
_ASKED = {
    "requests": f'sum by (method, route, status) (i3rec_http_requests_total{{route!~"{_WATCHED.pattern}"}})',
    "lists": "sum(i3rec_recommendations_total)",
    "places in lists": "sum(i3rec_impressions_total)",
    "interactions": "sum(i3rec_interactions_total)",
    "items written": "sum(i3rec_items_posted_total)",
}


class Ledger:
    """What callers were answered, written down by themselves. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._done: Counter[str] = Counter()

    def client(self, url: str) -> httpx.Client:
        """A caller that writes down what it is answered."""
        return httpx.Client(base_url=url, timeout=30, event_hooks={"response": [self._note]})

    def _note(self, answer: httpx.Response) -> None:
        path, method = answer.request.url.path, answer.request.method
        if _WATCHED.fullmatch(path):
            return
        answer.read()
        route = next((route for pattern, route in _ROUTES if pattern.fullmatch(path)), path)
        with self._lock:
            self._requests[f"{method} {route} {answer.status_code}"] += 1
            if answer.is_success:
                self._done.update(_done(method, route, answer))

    def expected(self) -> Sums:
        """What the processes must have counted together."""
        with self._lock:
            requests = {labels: float(n) for labels, n in self._requests.items()}
            return {"requests": requests, **{name: {"": float(self._done[name])} for name in list(_ASKED)[1:]}}


def _done(method: str, route: str, answer: httpx.Response) -> dict[str, int]:
    """What an answer says was done."""
    found = answer.json()
    if route.startswith("/recommend") or route.endswith("/similar"):
        return {"lists": 1, "places in lists": len(found["items"])}
    if route == "/interactions":
        return {"interactions": found["accepted"]}
    if route == "/items/batch":
        return {"items written": found["written"]}
    return {"items written": 1} if method in {"POST", "PATCH"} else {}


def agreement(ask: Callable[[str], Samples | str], ledger: Ledger) -> Iterator[Outcome]:
    """Compares, once nobody asks for anything any more; waits for the scrapes that tell of the last requests."""
    expected, deadline = ledger.expected(), time.monotonic() + _PATIENCE_S
    found = _counted(ask)
    while found != expected and time.monotonic() < deadline:
        time.sleep(0.5)
        found = _counted(ask)
    for name, sums in expected.items():
        if found[name] != sums:
            yield Outcome(f"live: {name}, both processes", "FAIL", f"expected {sums}, found {found[name]}")
    if found == expected:
        told = ", ".join(f"{sum(sums.values()):.0f} {name}" for name, sums in expected.items())
        yield Outcome("live: what both processes count together is what callers were answered", "ok", told)


def _counted(ask: Callable[[str], Samples | str]) -> Sums:
    return {name: _samples(ask(expr)) for name, expr in _ASKED.items()}


def _samples(found: Samples | str) -> dict[str, float]:
    """Values by what their labels say, in the order method, route, status."""
    if isinstance(found, str):
        return {found: 0.0}
    labels = ("method", "route", "status")
    return {
        " ".join(sample["metric"][name] for name in labels if name in sample["metric"]): float(sample["value"][1])
        for sample in found
    }
