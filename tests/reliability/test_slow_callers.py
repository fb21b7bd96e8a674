"""Callers that fall silent, send slowly, read slowly, or only hold connections: the real process, over TCP."""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from service.server import listen

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

Connect = Callable[..., HTTPConnection]

SILENCE_S = 1.0
LINES = {"Content-Type": "application/x-ndjson", "Transfer-Encoding": "chunked"}


@pytest.fixture
def connected() -> Iterator[Connect]:
    """Connects to a service, and with a path and headers sends the head of a POST; closes everything at the end."""
    opened: list[HTTPConnection] = []

    def connect(service: Any, path: str | None = None, headers: Mapping[str, str] | None = None) -> HTTPConnection:
        address = urlsplit(service.url)
        connection = HTTPConnection(address.hostname, address.port, timeout=60)
        connection.connect()
        opened.append(connection)
        if path:
            connection.putrequest("POST", path)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            connection.endheaders()
        return connection

    yield connect
    for connection in opened:
        connection.close()


def send_chunk(connection: HTTPConnection, data: bytes) -> None:
    """Sends a piece of a body."""
    connection.send(b"%x\r\n%b\r\n" % (len(data), data))


def documents(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """What each line of an answer says."""
    return [json.loads(line) for line in lines]


def line_of(item_id: str) -> bytes:
    """An item as a line."""
    return json.dumps({"item_id": item_id}).encode() + b"\n"


def test_streams_that_fall_silent_are_answered_and_ended(start_service: Any, connected: Connect) -> None:
    """What came whole is written and told; half a line is not; the last line says why there are no more."""
    service = start_service(body_timeout_s=SILENCE_S)
    connection = connected(service, "/items/batch", LINES)
    send_chunk(connection, b"".join(line_of(f"n{n}") for n in range(300)) + b'{"item_id": "half", "ti')

    answer = connection.getresponse()
    *results, totals, problem = documents(answer.read().splitlines())

    assert answer.status == 207
    assert [result["status"] for result in results] == [201] * 300
    assert totals == {"written": 300, "failed": 0}
    assert (problem["status"], problem["type"]) == (408, "urn:i3rec:problem:request-timeout")
    assert problem["instance"] == answer.headers["X-Request-Id"]
    assert service.client().get("/items/n299").status_code == 200
    assert service.client().get("/items/half").status_code == 404


@pytest.mark.parametrize(
    ("path", "kind", "further"),
    [
        ("/items", "application/json", {}),
        ("/items", "application/json", {"Idempotency-Key": "k"}),
        ("/items/batch", "application/x-ndjson", {}),
    ],
    ids=["an item", "an item that may come again", "the first line"],
)
def test_bodies_that_fall_silent_are_refused(
    start_service: Any, connected: Connect, path: str, kind: str, further: dict[str, str]
) -> None:
    """Before the answer has begun with a problem of its own, and the connection ends."""
    service = start_service(body_timeout_s=SILENCE_S)
    connection = connected(service, path, {"Content-Type": kind, "Content-Length": "100"} | further)
    connection.send(b'{"item_id": "half"')

    answer = connection.getresponse()
    problem = json.loads(answer.read())

    assert (answer.status, answer.headers["Connection"]) == (408, "close")
    assert problem["detail"] == "expected more of the body within 1 s"
    assert service.client().get("/items/half").status_code == 404


def test_streams_that_are_slow_are_waited_for(start_service: Any, connected: Connect) -> None:
    """However long it takes, as long as something comes; heads have nothing to do with it."""
    service = start_service(body_timeout_s=SILENCE_S, head_timeout_s=SILENCE_S)
    connection = connected(service, "/items/batch", LINES)
    for n in range(8):
        send_chunk(connection, line_of(f"n{n}"))
        time.sleep(SILENCE_S / 2)
    connection.send(b"0\r\n\r\n")

    *_, totals = documents(connection.getresponse().read().splitlines())

    assert totals == {"written": 8, "failed": 0}


def test_answers_that_are_read_slowly_are_whole(start_service: Any, connected: Connect) -> None:
    """Megabytes that nobody reads for some seconds are all there afterwards; silence is the caller's only meanwhile."""
    service = start_service(body_timeout_s=SILENCE_S, head_timeout_s=SILENCE_S)
    connection = connected(service, "/items/batch", LINES)
    connection.sock.settimeout(SILENCE_S / 2)
    lines, sent = json.dumps({"item_id": "x" * 200, "unknown": 1}).encode() + b"\n", 0
    with contextlib.suppress(TimeoutError):  # the service waits for the answer to be read
        while sent < 1_000_000:
            send_chunk(connection, lines * 256)
            sent += 256
    time.sleep(3 * SILENCE_S)
    connection.sock.settimeout(60)
    with connection.getresponse() as answer:
        read = [json.loads(answer.readline())["line"] for _ in range(sent // 2)]

    assert 1000 < sent < 1_000_000
    assert read == [*range(1, sent // 2 + 1)]


def test_connections_that_are_only_held_keep_nobody_out(start_service: Any, connected: Connect) -> None:
    """Where the process may open 256 files, 400 connections on which nothing is asked for do no harm."""
    program = "import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)); "
    service = start_service(command=("-c", program + "runpy.run_module('service', run_name='__main__')"))
    for _ in range(400):
        connected(service)

    with service.client() as client:
        answers = [client.post("/items", json={"item_id": f"n{n}"}).status_code for n in range(5)]
        served = client.get("/recommend/u0").status_code

    assert (answers, served) == ([201] * 5, 200)


def test_who_reads_nothing_is_given_up_some_time() -> None:
    """The system itself ends connections of which nothing is taken for five minutes, those not yet made among them."""
    with listen(uvicorn.Config("app", host="127.0.0.1", port=0, log_config=None)) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 300_000


def test_answers_say_that_they_are_what_they_say(start_service: Any, connected: Connect) -> None:
    """No browser guesses their kind, whoever answers."""
    service = start_service(head_timeout_s=SILENCE_S)
    with service.client() as client:
        named = [client.get(path).headers for path in ("/livez", "/recommend/u0", "/nowhere", "/docs")]
    connection = connected(service)
    connection.send(b"GET /")
    late = connection.sock.recv(1 << 16)

    assert [headers["x-content-type-options"] for headers in named] == ["nosniff"] * 4
    assert b"HTTP/1.1 408" in late
    assert b"x-content-type-options: nosniff\r\n" in late
    assert b"date: " in late
