"""What the smoke test asks of the running service: requests, expectations, and a writer that remembers its answers."""

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

API = "http://127.0.0.1:8000"
PATIENCE_S = 90.0


class Failure(Exception):
    """A promise that was not kept."""


def step(text: str) -> None:
    """Says what comes next."""
    print(f"== {text}", flush=True)


def expect(promise: str, holds: Callable[[], bool]) -> None:
    """Checks a promise now."""
    if not holds():
        raise Failure(promise)
    print(f"   {promise}", flush=True)


def wait_for(promise: str, holds: Callable[[], bool]) -> None:
    """Checks a promise until it holds, for so long as a slow machine may take."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise Failure(f"{promise}: not within {PATIENCE_S:.0f} s")
        time.sleep(0.2)
    print(f"   {promise}", flush=True)


def call(
    method: str, path: str, body: object = None, base: str = API, headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    """One HTTP request; gives status and JSON, or text where it is none. Where nobody answers the status is 0."""
    data = None if body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(base + path, data, sent, method=method)  # noqa: S310  our own addresses
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, _content(answer.read())
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, _content(exc.read())
    except (OSError, http.client.HTTPException):
        return 0, None


def _content(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode(errors="replace")


def recommended(user: str) -> Sequence[str]:
    """The ids of a user's list, best first."""
    status, answer = call("GET", f"/recommend/{user}")
    if status != 200:
        raise Failure(f"GET /recommend/{user}: {status} {answer}")
    return [item["item_id"] for item in answer["items"]]


class OpenRequest:
    """``POST /items`` of which the service has half: it is in flight until it is finished."""

    def __init__(self, item: Mapping[str, object]) -> None:
        self._body = json.dumps(item).encode()
        self._connection = http.client.HTTPConnection(API.removeprefix("http://"), timeout=PATIENCE_S)
        self._connection.putrequest("POST", "/items")
        self._connection.putheader("Content-Type", "application/json")
        self._connection.putheader("Content-Length", str(len(self._body)))
        self._connection.endheaders(self._body[: len(self._body) // 2])

    def finish(self) -> int:
        """Sends the rest; gives the answer's status, 0 where the connection is cut."""
        try:
            self._connection.send(self._body[len(self._body) // 2 :])
            return self._connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            self._connection.close()


class Writer:
    """Posts one item after the other in a thread and remembers those that were acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Self:
        """Starts to write."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops, and waits for the last answer."""
        self._stopped.set()
        self._thread.join()

    def lost(self) -> list[str]:
        """The acknowledged items that the service does not have."""
        return [item for item in self.acknowledged if call("GET", f"/items/{item}")[0] != 200]

    def _write(self) -> None:
        n = 0
        while not self._stopped.is_set():
            item = f"written-{n}"
            if call("POST", "/items", {"item_id": item, "title": item})[0] == 201:
                self.acknowledged.append(item)
                n += 1
