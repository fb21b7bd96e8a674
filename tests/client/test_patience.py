"""Lines that cannot be stored just now are sent again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3rec_client.importing import Import, ImportStopped
from i3rec_client.patience import Patience

LINE = {"index_seq": 1, "encoding": {"present": [], "missing": [], "confidence": None, "model_version": "v1"}}


class Store:
    """A service that keeps items, and answers each line as it is told to.

    Attributes:
        sent: the ids in each request.
        kept: id → title.
    """

    def __init__(self, status: Callable[[int, str], int]) -> None:
        self._status = status
        self.sent: list[list[str]] = []
        self.kept: dict[str, str] = {}

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Takes the lines of a request, numbered from 1."""
        documents = [json.loads(line) for line in request.content.splitlines()]
        self.sent.append([document["item_id"] for document in documents])
        results = [self._result(number, document) for number, document in enumerate(documents, 1)]
        failed = sum("error" in result for result in results)
        totals = {"written": len(results) - failed, "failed": failed}
        return httpx.Response(207, text="".join(json.dumps(each) + "\n" for each in [*results, totals]))

    def _result(self, number: int, document: Any) -> dict[str, Any]:
        item_id, status = document["item_id"], self._status(len(self.sent), document["item_id"])
        if status < 300:
            self.kept[item_id] = document["title"]
            return {"line": number, "item_id": item_id, "status": status, **LINE}
        problem = {"type": "t", "title": "T", "status": status, "detail": "d", "errors": []}
        return {"line": number, "item_id": item_id, "status": status, "error": problem}


@pytest.fixture
def items(tmp_path: Path) -> Path:
    """Six items in seven lines, the first again as the last."""
    path = tmp_path / "items.ndjson"
    names = ["a", "b", "c", "d", "e", "f", "a"]
    path.write_text("".join(json.dumps({"item_id": n, "title": str(place)}) + "\n" for place, n in enumerate(names)))
    return path


@pytest.fixture
def run(items: Path, scripted: Any) -> Callable[..., Any]:
    """Imports the items into a store; gives what was done, and the pauses that were made."""

    def run(store: Store, total_s: float = 60.0, chunk: int = 256) -> Any:
        service = scripted()
        service.handle = store.handle
        told: list[float] = []
        patience = Patience(total_s, sleep=service.sleep, clock=lambda: service.now)
        with service.client() as client:
            work = Import(client, items, chunk=chunk, patience=patience, on_wait=told.append)
            try:
                return work.run(), told
            finally:
                assert told == service.waits

    return run


@pytest.mark.parametrize("status", [429, 503, 504, 507])
def test_lines_that_come_too_early_are_sent_again(run: Any, status: int) -> None:
    """Alone, after pauses that grow; none counts as refused, and the sums are those of all lines."""
    store = Store(lambda request, item_id: status if item_id in "bd" and request < 4 else 201)

    done, pauses = run(store)

    assert (done.lines, done.written, done.failed) == (7, 7, 0)
    assert store.sent == [["a", "b", "c", "d", "e", "f", "a"], ["b", "d"], ["b", "d"], ["b", "d"]]
    assert pauses == [1, 2, 4]


def test_later_line_of_an_item_holds(run: Any) -> None:
    """Where the first line of an item comes too early and a later one does not, the later is sent again after it."""
    store = Store(lambda request, item_id: 503 if request == 1 and item_id == "a" else 201)
    tries = iter([503])
    once = Store(lambda _, item_id: next(tries, 201) if item_id == "a" else 201)

    for each in (store, once):
        run(each)
        assert each.sent[1:] == [["a", "a"]]
        assert each.kept["a"] == "6"


def test_refused_lines_are_not_sent_again(run: Any, items: Path) -> None:
    """What is refused once is refused for good, also beside lines that come too early."""
    store = Store(lambda request, item_id: 422 if item_id == "c" else 503 if item_id == "d" and request == 1 else 201)

    done, _ = run(store)

    assert (done.written, done.failed) == (6, 1)
    (failed,) = items.with_name("items.ndjson.failed").read_text().splitlines()
    assert (json.loads(failed)["line"], json.loads(failed)["item_id"]) == (3, "c")
    assert store.sent[1:] == [["d"]]


def test_patience_ends(run: Any, items: Path) -> None:
    """When it is spent the import stops, and goes on later after what got through; the last pause is cut to fit."""
    away = Store(lambda request, _: 503 if request > 1 else 201)

    with pytest.raises(ImportStopped, match="goes on later"):
        run(away, chunk=4)
    noted = json.loads(items.with_name("items.ndjson.progress").read_text())
    back = Store(lambda *_: 201)
    done, _ = run(back, chunk=4)

    assert (noted["lines"], noted["written"]) == (4, 4)
    assert (done.lines, done.written, back.sent) == (7, 7, [["e", "f", "a"]])


def test_patience_is_for_each_request(run: Any) -> None:
    """An import with many short outages is not stopped by their sum."""
    store = Store(lambda request, _: 503 if request % 4 else 201)

    done, pauses = run(store, total_s=10.0, chunk=1)

    assert (done.written, pauses) == (7, [1, 2, 4] * 7)


def pauses_of(total_s: float, work: list[float]) -> tuple[list[float], float]:
    """The pauses, after each of which so much work was done, and when the last one ended."""
    clock, ends = [0.0], [0.0]
    pauses = []
    for place, pause in enumerate(Patience(total_s, clock=lambda: clock[0]).pauses()):
        pauses.append(pause)
        ends.append(clock[0] + pause)
        clock[0] = ends[-1] + (work[place] if place < len(work) else 0.0)
    return pauses, ends[-1]


@given(st.floats(-10, 500), st.lists(st.floats(0, 20), max_size=30))
def test_pauses_double_within_the_total(total_s: float, work: list[float]) -> None:
    """However long the work between takes, pauses grow to 30 s at most, and none ends after the total."""
    pauses, end = pauses_of(total_s, work)

    whole = [min(30.0, 2.0**place) for place in range(len(pauses))]
    assert pauses[:-1] == whole[:-1]
    assert all(0 < pause <= most for pause, most in zip(pauses, whole, strict=True))
    assert end <= max(total_s, 0) + 1e-6
    assert bool(pauses) == (total_s > 0)


def test_whole_patience_is_used() -> None:
    """Sixty seconds are 1, 2, 4, 8, 16 and what is left of them."""
    assert pauses_of(60.0, []) == ([1, 2, 4, 8, 16, 29], 60)
