"""``i3rec`` against the service behind a real port."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from i3rec_client import Client, NotFound, Problem, Result
from i3rec_client.__main__ import main
from i3rec_client.importing import Import, ImportStopped
from i3rec_client.patience import Patience
from i3rec_client.progress import Progress
from i3rec_client.showing import ImportReport
from service.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

TEXT = [0.5, -1.0, 2.0, 0.25]


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """A client of the running service."""
    with Client(url) as client:
        yield client


@pytest.fixture
def items(tmp_path: Path) -> Path:
    """A file of 500 items; an empty line stands in place 3, and lines 10 and 300 are wrong."""
    lines = [json.dumps({"item_id": f"n{n}", "modalities": {"text": TEXT}}) for n in range(1, 501)]
    lines[2], lines[9], lines[299] = "", "{", '{"item_id": "n300", "modalities": {"text": [1.0]}}'
    path = tmp_path / "items.ndjson"
    path.write_text("\n".join(lines))
    return path


def beside(path: Path) -> set[str]:
    """The files that an import leaves beside its own."""
    return {other.name.removeprefix(path.name) for other in path.parent.glob(path.name + ".*")}


def test_import_writes_all_that_is_right(url: str, items: Path, client: Client, capsys: Any) -> None:
    """Sound lines are in the catalogue; each bad one is reported with its number, and kept with its text."""
    status = main(["import", str(items), "--url", url, "--chunk", "100"])

    out, err = capsys.readouterr()
    assert status == 1
    assert out == f"497 items written, 2 refused (see {items}.failed)\n"
    assert [line.rpartition(": ")[0].partition(": ")[0] for line in err.splitlines()] == [f"{items}:10", f"{items}:300"]
    assert "422 /modalities/text: expected 4 numbers, found 1" in err
    failed = [json.loads(line) for line in items.with_name("items.ndjson.failed").read_text().splitlines()]
    assert [(each["line"], each["item_id"], each["status"]) for each in failed] == [(10, None, 400), (300, "n300", 422)]
    assert failed[1]["text"] == '{"item_id": "n300", "modalities": {"text": [1.0]}}'
    assert client.get_item("n500").encoding.present == ("text",)
    assert beside(items) == {".failed"}


def test_import_of_sound_items_leaves_nothing(url: str, tmp_path: Path, capsys: Any) -> None:
    """Status 0, one line of output, and no file beside; an old list of failures goes away."""
    path = tmp_path / "items.ndjson"
    path.write_bytes(b'{"item_id": "a"}\n{"item_id": "b"}\n')
    path.with_name("items.ndjson.failed").write_text('{"line": 1}\n')

    status = main(["import", str(path), "--url", url])

    assert (status, *capsys.readouterr()) == (0, "2 items written\n", "")
    assert beside(path) == set()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError("disk full")], ids=["ctrl-c", "error"])
def test_import_goes_on_where_it_was_cut_off(
    url: str, items: Path, client: Client, capsys: Any, monkeypatch: pytest.MonkeyPatch, interruption: Any
) -> None:
    """What was acknowledged is not sent again, and the sums and the list of failures are those of the whole."""
    sent: list[int] = []
    load_items = Client.load_items

    def interrupted(self: Client, lines: Any, **options: Any) -> Any:
        sent.append(len(lines))
        if len(sent) == 4:
            raise interruption
        return load_items(self, lines, **options)

    command = ["import", str(items), "--url", url, "--chunk", "100"]
    monkeypatch.setattr(Client, "load_items", interrupted)
    stopped = main(command)
    noted = json.loads(items.with_name("items.ndjson.progress").read_text())
    with pytest.raises(NotFound):
        client.get_item("n301")
    finished = main(command)

    assert stopped == (130 if interruption is KeyboardInterrupt else 1)
    assert (noted["lines"], noted["written"], noted["failed"]) == (300, 297, 2)
    assert (finished, sent) == (1, [100] * 6)
    assert capsys.readouterr().out == f"497 items written, 2 refused (see {items}.failed)\n"
    assert len(items.with_name("items.ndjson.failed").read_text().splitlines()) == 2
    assert beside(items) == {".failed"}


def test_crash_between_the_two_notes_repeats_no_failure(url: str, items: Path, client: Client) -> None:
    """Where the process ended after refused lines were kept and before that was noted, they are kept once."""
    failed = items.with_name("items.ndjson.failed")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # after the lines were kept, before they were noted
        Import(client, items, chunk=100, on_failed=crash).run()
    kept = failed.read_text().splitlines()
    status = main(["import", str(items), "--url", url])

    assert (len(kept), status) == (1, 1)
    assert [json.loads(line)["line"] for line in failed.read_text().splitlines()] == [10, 300]


def test_changed_file_is_not_gone_on_with(url: str, items: Path, capsys: Any) -> None:
    """Where the imported lines are others now, or the note is damaged, the import says so and does nothing."""
    note = items.with_name("items.ndjson.progress")
    note.write_text(json.dumps({"lines": 100, "written": 99, "failed": 1, "sha256": "0" * 64}))
    changed = main(["import", str(items), "--url", url])
    note.write_text("7")
    damaged = main(["import", str(items), "--url", url])

    assert (changed, damaged) == (1, 1)
    first, second = capsys.readouterr().err.splitlines()
    assert "the first 100 lines" in first
    assert f"remove {note}" in first
    assert f"{note}: expected" in second


def test_service_that_cannot_store_stops_the_import(tmp_path: Path, scripted: Any) -> None:
    """Lines that get 503 are not refused but too early: nothing is noted as through."""
    problem = {"type": "t", "title": "T", "status": 503, "detail": "d", "errors": []}
    lines = [{"line": 1, "item_id": "a", "status": 503, "error": problem}, {"written": 0, "failed": 1}]
    path = tmp_path / "items.ndjson"
    path.write_text('{"item_id": "a"}')
    service = scripted(httpx.Response(207, text="".join(json.dumps(line) + "\n" for line in lines)))
    with service.client() as client, pytest.raises(ImportStopped, match="goes on later"):
        Import(client, path, patience=Patience(0)).run()

    assert beside(path) == set()


def test_terminals_see_how_far_it_is(tmp_path: Path) -> None:
    """On a terminal one line says how far the import is, refusals stand above it, and it goes away in the end."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    path = tmp_path / "items.ndjson"
    path.write_bytes(b"x" * 200)
    stream = Terminal()
    report = ImportReport(path, stream)

    report.progress(Progress(lines=1500, written=1499, failed=1), 100)
    report.failed(Result("a", 422, None, None, Problem("t", "T", 422, "wrong"), line=1501))
    report.end()

    clear = "\r\x1b[K"
    assert stream.getvalue() == f"{clear} 50%  1,500 lines, 1 refused{clear}{path}:1501: 422 wrong\n{clear}"


def test_commands_say_why_they_fail(url: str, tmp_path: Path, capsys: Any) -> None:
    """No traceback for a missing file, a service that is not there, a refusal, an address that is none."""
    missing = main(["import", str(tmp_path / "none"), "--url", url])
    away = main(["status", "--url", "http://127.0.0.1:9", "--patience", "0"])
    refused = main(["recommend", "u0", "-k", "0", "--url", url])
    with pytest.raises(SystemExit) as usage:
        main(["status", "--url", "nowhere"])
    with pytest.raises(SystemExit) as chunk:
        main(["import", "x", "--chunk", "257"])

    assert (missing, away, refused, usage.value.code, chunk.value.code) == (1, 1, 1, 2, 2)
    err = capsys.readouterr().err
    for reason in ("No such file", "ConnectError", "/query/k", "expected a URL", "expected 1 to 256"):
        assert reason in err


def test_recommend_shows_the_list(url: str, client: Client, capsys: Any) -> None:
    """A table for people, in which titles cannot play tricks, or the whole answer as JSON."""
    client.put_item({"item_id": "trick", "title": "\x1b[2Jgone\nsecond line", "categories": ["only"]})
    expected = client.recommend("u0", k=3)

    assert main(["recommend", "u0", "-k", "3", "--url", url]) == 0
    table = capsys.readouterr().out.splitlines()
    assert main(["recommend", "u0", "-k", "3", "--url", url, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert main(["recommend", "u0", "--category", "only", "--url", url]) == 0
    tricky = capsys.readouterr().out

    assert table[0] == "personal list of model v1"
    assert table[1].split() == ["rank", "score", "item", "title"]
    assert [row.split()[2] for row in table[2:]] == [place.item_id for place in expected.items]
    assert [item["item_id"] for item in document["items"]] == [place.item_id for place in expected.items]
    assert document["strategy"] == "personal"
    assert "\\u001b[2Jgone\\u000asecond line" in tricky
    assert "\x1b" not in tricky


def test_interact_and_status(url: str, client: Client, capsys: Any) -> None:
    """An event counts once under its name; the status names what serves."""
    for _ in range(2):
        assert main(["interact", "new", "i05", "--kind", "click", "--event-id", "e", "--url", url]) == 0
    assert capsys.readouterr().out == "written\nknown already\n"
    assert client.recommend("new").strategy == "personal"

    assert main(["status", "--url", url]) == 0
    assert capsys.readouterr().out == "ready, model v1\nv1  promoted  serving\n"


def test_key_and_address_come_from_the_environment(
    settings: Settings, serve: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets need not stand on the command line."""
    key = "0123456789abcdef"
    with serve(settings.model_copy(update={"read_keys": (SecretStr(key),)})) as url:
        monkeypatch.setenv("I3REC_CLIENT_URL", url)
        without = main(["recommend", "u0"])
        monkeypatch.setenv("I3REC_CLIENT_KEY", key)
        with_key = main(["recommend", "u0"])
        with pytest.raises(SystemExit):
            main(["recommend", "--help"])

    assert (without, with_key) == (1, 0)
    out, err = capsys.readouterr()
    assert "401" in err
    assert key not in out + err


def test_proxies_that_cannot_be_are_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a kind that needs another package, and certificates that are not there: a line and status 2, no traceback."""
    for name, value in (("ALL_PROXY", "socks5://127.0.0.1:1"), ("SSL_CERT_FILE", "/nonexistent")):
        with monkeypatch.context() as environment:
            environment.setenv(name, value)
            with pytest.raises(SystemExit) as usage:
                main(["status"])

        assert usage.value.code == 2
        assert "error: " in capsys.readouterr().err
