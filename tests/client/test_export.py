"""``i3rec export``, and the way back."""

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from i3rec_client import Client, Item, Unavailable
from i3rec_client.__main__ import main
from i3rec_client.exporting import Export, Exported, ExportStopped
from i3rec_client.progress import UnreadableProgress
from i3rec_client.showing import ExportReport
from service.api.schemas import ItemBody
from service.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

FIELDS = set(ItemBody.model_fields)
ENCODING = {"present": [], "missing": [], "confidence": 0.5, "model_version": "v1"}
AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """A client of a service with what a catalogue can hold beside what was trained."""
    with Client(url) as client:
        client.put_item(Item("Ä/1", {"text": [0.1, -1e-30, 2e30, 0.25]}, title="Café \U0001f600\u2028", hidden=True))
        client.put_item(Item("both", {"text": [1, 2, 3, 4], "image": [1, 2, 3]}, categories=["a", "b"]))
        client.put_item(Item("none", attributes={"year": 2**60, "rating": 4.5, "used": False}, expires_at=AGO))
        client.patch_item("i04", {"title": "Retold", "available": False})
        yield client


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where to."""
    return tmp_path / "items.ndjson"


def beside(path: Path) -> set[str]:
    """The file that is exported and those beside it."""
    return {other.name.removeprefix(path.name) for other in path.parent.glob(path.name + "*")}


def facts(client: Client) -> dict[str, tuple[Item, Any]]:
    """All items as they can be written, and how they were encoded."""
    return {item.item_id: (item.as_item(), item.encoding) for item in client.iter_items(features=True)}


def test_export_and_import_give_the_same_catalogue(
    url: str, client: Client, path: Path, settings: Settings, serve: Any, tmp_path: Path, capsys: Any
) -> None:
    """A second service with the same model and nothing else then has the same items, and gives the same lists."""
    assert main(["export", str(path), "--features", "--url", url, "--page", "4"]) == 0
    assert beside(path) == {""}
    empty = settings.model_copy(update={"journal_url": f"sqlite:///{tmp_path}/other.sqlite3"})
    with serve(empty) as other_url, Client(other_url) as other:
        assert facts(other) != facts(client)
        assert main(["import", str(path), "--url", other_url]) == 0
        again = path.with_name("again.ndjson")
        assert main(["export", str(again), "--features", "--url", other_url]) == 0

        assert facts(other) == facts(client)
        for user in ("u0", "u3"):
            ours, theirs = (each.recommend(user, k=500).items for each in (client, other))
            assert [place.item_id for place in ours] == [place.item_id for place in theirs]

    assert capsys.readouterr().out == "15 items exported\n15 items written\n15 items exported\n"
    assert sorted(path.read_bytes().splitlines()) == sorted(again.read_bytes().splitlines())


def test_lines_hold_what_can_be_posted(url: str, client: Client, path: Path, capsys: Any) -> None:
    """Each line is an item as POST takes it, in ASCII; without --features there are no modalities at all."""
    assert main(["export", str(path), "--url", url]) == 0
    bare = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    assert main(["export", str(path), "--url", url, "--features"]) == 0
    full = [json.loads(line) for line in path.read_text("ascii").splitlines()]

    assert {frozenset(line) for line in bare} == {frozenset(FIELDS - {"modalities"})}
    assert {frozenset(line) for line in full} == {frozenset(FIELDS)}
    assert [line["item_id"] for line in full] == [item.item_id for item in client.iter_items()]
    assert [len(line["modalities"]) for line in full[-4:]] == [1, 2, 0, 2]
    assert all(ItemBody.model_validate(line) for line in full)
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    assert "replaces items by ones without features" in " ".join(capsys.readouterr().out.split())


def listed(name: str) -> dict[str, Any]:
    """An item as it stands in a page."""
    facts = {"title": None, "categories": [], "attributes": {}, "available": True, "hidden": False, "expires_at": None}
    return {"item_id": name, "index_seq": 1, "encoding": ENCODING, **facts}


def pages(*names: str) -> Iterator[httpx.Response]:
    """Pages of one item each, with cursors c1, c2 …; the last has none."""
    for place, name in enumerate(names, start=1):
        cursor = f"c{place}" if place < len(names) else None
        yield httpx.Response(200, json={"items": [listed(name)], "next_cursor": cursor})


def text(path: Path) -> list[str]:
    """The ids in a file."""
    return [json.loads(line)["item_id"] for line in path.read_bytes().splitlines()]


def cut_off(path: Path, scripted: Any, after: int = 2, **options: Any) -> None:
    """Leaves an export of a, b, c, d that the service broke off after some pages."""
    service = scripted(*list(pages("a", "b", "c", "d"))[:after], httpx.Response(503))
    with service.client(attempts=1) as client, pytest.raises(Unavailable):
        Export(client, path, **options).run()


def resumed(
    path: Path, scripted: Any, *names: str, resume: bool = True, **options: Any
) -> tuple[Exported, list[bytes]]:
    """Exports pages of these items; what was done, and what was asked."""
    service = scripted(*pages(*names))
    with service.client() as client:
        done = Export(client, path, **options).run(resume=resume)
    return done, [request.url.query for request in service.requests]


@pytest.mark.parametrize("tail", [b"", b'{"item_id": "torn', b'{"item_id":"c"}\n'], ids=["none", "torn", "not noted"])
def test_export_goes_on_where_it_was_cut_off(path: Path, scripted: Any, tail: bytes) -> None:
    """What was noted is not asked for again; what was written and not noted is cut away; only a whole file appears."""
    path.write_text("of yesterday")
    cut_off(path, scripted)
    assert beside(path) == {"", ".part", ".progress"}
    assert path.read_text() == "of yesterday"
    with path.with_name("items.ndjson.part").open("ab") as part:
        part.write(tail)

    done, asked = resumed(path, scripted, "c", "d")

    assert asked == [b"cursor=c2", b"cursor=c1"]  # as the second script names its pages
    assert (done.items, done.size, text(path)) == (4, path.stat().st_size, ["a", "b", "c", "d"])
    assert beside(path) == {""}


def test_export_without_resume_begins_anew(path: Path, scripted: Any) -> None:
    """And so does one with it, where nothing was begun, or nothing was noted, or its lines are gone."""
    cut_off(path, scripted)
    assert resumed(path, scripted, "e", resume=False)[1] == [b""]
    assert text(path) == ["e"]
    assert resumed(path, scripted, "f")[1] == [b""]
    cut_off(path, scripted, after=0)
    assert resumed(path, scripted, "g")[1] == [b""]
    cut_off(path, scripted)
    path.with_name("items.ndjson.part").unlink()
    assert resumed(path, scripted, "h")[1] == [b""]
    assert (text(path), beside(path)) == (["h"], {""})


def test_export_does_not_go_on_with_another(path: Path, scripted: Any) -> None:
    """One with features is no one without; lost lines and another's notes are noticed, and nothing is touched."""
    cut_off(path, scripted)
    with pytest.raises(ExportStopped, match="begun without --features"):
        resumed(path, scripted, "c", features=True)
    part, note = path.with_name("items.ndjson.part"), path.with_name("items.ndjson.progress")
    before = part.read_bytes()
    part.write_bytes(before[:-1])
    with pytest.raises(ExportStopped, match="shorter than it was"):
        resumed(path, scripted, "c")
    part.write_bytes(before)
    note.write_text('{"lines": 1, "written": 1, "failed": 0, "sha256": ""}')
    with pytest.raises(UnreadableProgress, match="without --resume"):
        resumed(path, scripted, "c")

    assert part.read_bytes() == before


def test_interrupted_export_can_be_told_to_go_on(
    url: str, client: Client, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C leaves no FILE; the command with --resume finishes it, and an item that came twice does no harm."""
    list_items, asked = Client.list_items, []

    def interrupted(self: Client, **options: Any) -> Any:
        asked.append(options["cursor"])
        if len(asked) == 4:
            client.put_item({"item_id": "none", "title": "again"})  # stands in the file already, or comes later
            raise KeyboardInterrupt
        return list_items(self, **options)

    monkeypatch.setattr(Client, "list_items", interrupted)
    command = ["export", str(path), "--url", url, "--page", "4"]
    assert main(command) == 130
    assert not path.exists()
    assert main([*command, "--resume"]) == 0

    assert asked[4] == asked[3]
    found = text(path)
    assert set(found) == {item.item_id for item in client.iter_items()}
    assert found[-1] == "none"
    assert main(["import", str(path), "--url", url]) == 0
    assert client.get_item("none").title == "again"


def test_change_of_the_model_is_told(path: Path, scripted: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items that only the new one knows may stand before the cursor: the file may lack them."""
    second = listed("b") | {"encoding": ENCODING | {"model_version": "v2"}}
    service = scripted(next(pages("a", "b")), httpx.Response(200, json={"items": [second], "next_cursor": None}))
    monkeypatch.setattr("i3rec_client.__main__.Client", lambda *_, **__: service.client())

    assert main(["export", str(path)]) == 0

    out, err = capsys.readouterr()
    assert out == "2 items exported\n"
    assert "the model changed meanwhile (v1, v2)" in err


def test_terminals_see_how_far_it_is() -> None:
    """One line, which goes away in the end; elsewhere nothing."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, expected in ((Terminal(), "\r\x1b[K1,500 items, 2,000 bytes\r\x1b[K"), (io.StringIO(), "")):
        report = ExportReport(stream)
        report.progress(Exported(items=1500, size=2000))
        report.end()
        assert stream.getvalue() == expected
