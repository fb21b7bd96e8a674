"""Many items: cut into requests, and put together again."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3rec_client import AsyncClient, Item, UnexpectedAnswer
from i3rec_client.parts import MOST_BYTES, MOST_LINES, Cutter, line_of
from service.bulk import CHUNK

LINE = {"index_seq": 1, "encoding": {"present": [], "missing": [], "confidence": None, "model_version": "v1"}}


def acknowledge(request: httpx.Request) -> httpx.Response:
    """Takes all lines of a request, as the service would."""
    lines = [(number, json.loads(line)) for number, line in enumerate(request.content.split(b"\n"), 1) if line.strip()]
    results = [{"line": number, "item_id": item["item_id"], "status": 201, **LINE} for number, item in lines]
    totals = {"written": len(results), "failed": 0}
    return httpx.Response(207, text="".join(json.dumps(each) + "\n" for each in [*results, totals]))


@given(st.lists(st.integers(0, MOST_BYTES), max_size=20), st.integers(1, 5))
def test_parts_are_the_lines_cut(sizes: list[int], most: int) -> None:
    """No line is lost or moved; parts know their place; none is too long but one of a single line."""
    lines = [b"x" * size for size in sizes]
    cutter = Cutter(most)

    parts = [part for line in lines for part in cutter.take(line)] + cutter.rest()

    assert [line for part in parts for line in part.lines] == lines
    assert [part.before for part in parts] == [sum(len(p.lines) for p in parts[:n]) for n in range(len(parts))]
    assert all(1 <= len(part.lines) <= most for part in parts)
    assert all(sum(map(len, part.lines)) <= MOST_BYTES or len(part.lines) == 1 for part in parts)
    assert cutter.rest() == []


def test_requests_end_before_the_service_answers() -> None:
    """The service begins to answer a stream after so many lines; ours are no longer, so nobody waits for nobody."""
    assert MOST_LINES <= CHUNK


@pytest.mark.parametrize("most", [0, MOST_LINES + 1])
def test_longer_requests_are_refused(most: int) -> None:
    """Nobody can ask for what might come to a standstill."""
    with pytest.raises(ValueError, match=f"1 to {MOST_LINES}"):
        Cutter(most)


def test_bytes_are_one_line() -> None:
    """A line may have its end, but no other within."""
    assert line_of(b"{}\n") == line_of(b"{}") == b"{}"
    with pytest.raises(ValueError, match="one line"):
        line_of(b"{}\n{}\n")


def test_items_are_taken_when_they_are_needed(scripted: Any) -> None:
    """At most one request's items are held; results come before the items after them are looked at."""
    taken = 0
    service = scripted()
    service.handle = acknowledge

    def items() -> Iterator[Item]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield Item(f"n{number}")

    with service.client() as client:
        results = client.load_items(items(), chunk=10)
        assert taken == 0
        seen = [(result.line, taken) for result in results]

    assert [line for line, _ in seen] == list(range(1, 1001))
    assert all(line <= taken <= line + 9 for line, taken in seen)


def test_cut_answers_are_not_taken_for_whole(scripted: Any) -> None:
    """Where results or the totals are missing, or of other lines, nothing of the answer counts."""
    whole = acknowledge(httpx.Request("POST", "http://test", content=b'{"item_id":"a"}\n{"item_id":"b"}')).text
    first, second, totals = whole.splitlines(keepends=True)
    for text in ("", "\n", first, first + second, first + totals, second + first + totals, totals, "<html>", first[:9]):
        service = scripted(httpx.Response(207, text=text))
        with service.client() as client, pytest.raises(UnexpectedAnswer):
            list(client.load_items([Item("a"), Item("b")]))
    service = scripted(httpx.Response(207, text=whole))
    with service.client() as client:
        assert [result.item_id for result in client.load_items([Item("a"), Item("b")])] == ["a", "b"]


def test_lost_part_is_sent_again_alone(scripted: Any) -> None:
    """A request that fails in the middle is repeated; those before it are not."""
    service = scripted()
    sent: list[bytes] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        if len(sent) == 2:
            raise httpx.ReadError("reset")
        return acknowledge(request)

    service.handle = handle
    with service.client() as client:
        results = list(client.load_items((Item(f"n{n}") for n in range(3)), chunk=1))

    assert [result.item_id for result in results] == ["n0", "n1", "n2"]
    assert [json.loads(content)["item_id"] for content in sent] == ["n0", "n1", "n1", "n2"]


@pytest.mark.anyio
async def test_real_service_takes_any_number(client: AsyncClient) -> None:
    """Hundreds of items, bad lines and empty ones among them: results in order, with the numbers of their lines."""

    async def lines() -> AsyncIterator[Item | bytes]:
        for number in range(600):
            yield Item(f"n{number}", {"text": [number, 1.0, 0.0, 0.0]})
        yield b""
        yield b"{\n"
        yield b'{"item_id": "last"}\r\n'

    results = [result async for result in client.load_items(lines(), chunk=100)]

    assert [result.line for result in results] == [*range(1, 601), 602, 603]
    assert [result.status for result in results] == [201] * 600 + [400, 201]
    assert results[600].error is not None
    assert results[600].error.type == "urn:i3rec:problem:malformed-body"
    assert results[601].encoding is not None
    assert (await client.get_item("n599")).encoding.present == ("text",)


@pytest.mark.anyio
async def test_real_service_ends_where_an_error_comes(client: AsyncClient) -> None:
    """Plain iterables are taken too; what came before a bad object is written, results of it are given."""
    items = [Item("a"), Item("b"), {"item_id": "c", "modalities": {"text": "no vector"}}]
    seen = []

    with pytest.raises(TypeError):  # noqa: PT012 - what was seen until then is the point
        async for result in client.load_items(items, chunk=2):
            seen.append(result.item_id)  # noqa: PERF401

    assert seen == ["a", "b"]
    assert (await client.get_item("b")).item_id == "b"
