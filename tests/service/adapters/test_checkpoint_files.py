"""Checkpoints on disk: what comes back, what is refused, and what is left lying about."""

import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.adapters.checkpoint_files import CheckpointFiles
from service.domain import Basis, Checkpoint, Encoding, Item, Online
from service.errors import StorageUnavailable

BASIS = Basis(journal="4f", version="v1.0", manifest="a1", watermark=3, d=2)
DAY_S = 24 * 3600


def encoding(number: float, *, history: bool = True) -> Encoding:
    """One that no other number gives."""
    vector = np.array([number, 0.1], np.float32)
    return Encoding(vector, -vector if history else None, number / 7, ("text",), ("image",), "v1.0")


def checkpoint(seq: int = 9, **online: Online) -> Checkpoint:
    """Of a handful of items, each with another course of life, and those that are given."""
    described = Item(
        "id ü\u2028/\n",
        title="T\nitle",
        categories=("a", "b"),
        attributes={"s": "x", "i": 7, "f": 0.1, "b": True},
        available=False,
        hidden=True,
        expires_at=datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2))),
    )
    states = {
        described.item_id: Online(4, described, encoding(1e-45), 2, b"\x00\xff" * 8),
        "gone": Online(5, None, None, 5, b""),
        "trained": Online(6, Item("trained"), None, 0, b"1" * 16),
        "no history": Online(7, Item("no history"), encoding(3e38, history=False), 7, b"2" * 16),
        "last": Online(9, Item("last"), encoding(2), 9, b"3" * 16),
    }
    return Checkpoint(BASIS, seq, {**states, **online})


def plain(found: Checkpoint | None) -> Any:
    """A checkpoint with the bits of its vectors, to be compared."""

    def bits(each: Encoding | None) -> Any:
        history = None if each is None or each.history_embedding is None else each.history_embedding.tobytes()
        return each and (each.embedding.tobytes(), history, each.confidence, each.present, each.missing)

    return found and (
        found.basis,
        found.seq,
        {name: (state._replace(encoding=None), bits(state.encoding)) for name, state in found.online.items()},
    )


@pytest.fixture
def files(tmp_path: Path) -> CheckpointFiles:
    """In a directory that does not exist yet."""
    return CheckpointFiles(tmp_path / "deep" / "down")


def names(directory: Path) -> list[str]:
    """The files of a directory."""
    return sorted(path.name for path in directory.rglob("*") if path.is_file())


def test_checkpoints_come_back_bit_for_bit(files: CheckpointFiles, tmp_path: Path) -> None:
    """Everything that is known of each item survives, its vectors to the bit; one file is all there is."""
    files.save(checkpoint())

    found = files.load(BASIS)

    assert plain(found) == plain(checkpoint())
    assert found is not None
    assert found.online["last"].encoding.model_version == "v1.0"  # type: ignore[union-attr]
    assert names(tmp_path) == ["4f.v1.0.checkpoint"]


@pytest.mark.parametrize("n", [0, 1, 127, 128, 129, 300])
def test_checkpoints_of_every_size_come_back(files: CheckpointFiles, n: int) -> None:
    """Also where the number of items is that of whole lines, and where there is none."""
    online = {str(k): Online(k, Item(str(k)), encoding(k, history=k % 3 > 0), k, bytes(16)) for k in range(n)}
    written = Checkpoint(BASIS, n, online)

    files.save(written)

    assert plain(files.load(BASIS)) == plain(written)


def test_what_was_never_written_is_not_there(files: CheckpointFiles) -> None:
    """None, and no error: neither a directory nor a file, then no file of this version."""
    assert files.load(BASIS) is None
    files.save(checkpoint())
    assert files.load(replace(BASIS, version="v2")) is None


def test_a_later_checkpoint_takes_the_place_of_the_earlier(files: CheckpointFiles, tmp_path: Path) -> None:
    """There is one of each journal and version."""
    files.save(checkpoint(9))
    files.save(checkpoint(12, more=Online(12, None, None, 12, b"")))

    assert plain(files.load(BASIS)) == plain(checkpoint(12, more=Online(12, None, None, 12, b"")))
    assert len(names(tmp_path)) == 1


def test_every_wrong_byte_is_noticed(files: CheckpointFiles, tmp_path: Path) -> None:
    """Whichever byte of a file is another one, the file is refused."""
    files.save(checkpoint())
    (path,) = tmp_path.rglob("*.checkpoint")
    sound = path.read_bytes()

    for place in range(len(sound)):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0x01]) + sound[place + 1 :])
        with pytest.raises(StorageUnavailable):
            files.load(BASIS)
    path.write_bytes(sound)
    assert plain(files.load(BASIS)) == plain(checkpoint())


def test_every_torn_file_is_noticed(files: CheckpointFiles, tmp_path: Path) -> None:
    """Wherever a file breaks off, and whatever follows its end, it is refused."""
    files.save(checkpoint())
    (path,) = tmp_path.rglob("*.checkpoint")
    sound = path.read_bytes()

    for damaged in [*(sound[:size] for size in range(len(sound))), sound + b"\n", sound + sound]:
        path.write_bytes(damaged)
        with pytest.raises(StorageUnavailable):
            files.load(BASIS)


OTHERS: Mapping[str, object] = {"manifest": "b2", "watermark": 4, "d": 3}


@pytest.mark.parametrize("name", OTHERS)
def test_checkpoints_on_another_basis_are_refused(files: CheckpointFiles, name: str) -> None:
    """A version of the same name with other files, another watermark, another size: the error says what was found."""
    files.save(checkpoint())

    with pytest.raises(StorageUnavailable, match=f"'{name}'"):
        files.load(replace(BASIS, **{name: OTHERS[name]}))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["journal", "version"])
def test_renamed_checkpoints_are_refused(files: CheckpointFiles, tmp_path: Path, name: str) -> None:
    """The name of a file does not decide whose it is."""
    files.save(checkpoint())
    (path,) = tmp_path.rglob("*.checkpoint")
    other = replace(BASIS, **{name: "5e"})
    path.rename(path.with_name(f"{other.journal}.{other.version}.checkpoint"))

    with pytest.raises(StorageUnavailable, match=f"'{name}'"):
        files.load(other)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"format":1', b'"format":2'),  # what a later version may write
        (b'"vectors":3', b'"vectors":2'),
        (b'"vectors":3', b'"vectors":9'),
        (b'"lines":1', b'"lines":2'),
        (b'"seq":9,', b""),
        (b'["gone",5,5,"",null,null,null,null]', b'["gone",5,5]'),
        (b'"hidden":true', b'"unseen":true'),
        (b'"gone",5,5,""', b'"gone",5,5,7'),
        (b'"names":[[', b'"names":[],"n":[['),
    ],
)
def test_sound_files_that_say_something_else_are_refused(
    files: CheckpointFiles, tmp_path: Path, before: bytes, after: bytes
) -> None:
    """What has the right checksum need not be what this version understands."""
    files.save(checkpoint())
    (path,) = tmp_path.rglob("*.checkpoint")
    body = path.read_bytes()[:-32]
    assert before in body
    body = body.replace(before, after, 1)
    path.write_bytes(body + hashlib.sha256(body).digest())

    with pytest.raises(StorageUnavailable):
        files.load(BASIS)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(files: CheckpointFiles, tmp_path: Path) -> None:
    """It is refused in the middle of writing; no half of it is left."""
    files.save(checkpoint(9))
    wrong = encoding(1)._replace(embedding=np.zeros(3, np.float32))

    with pytest.raises(StorageUnavailable, match="shape"):
        files.save(checkpoint(12, wrong=Online(12, Item("wrong"), wrong, 12, b"")))

    assert plain(files.load(BASIS)) == plain(checkpoint(9))
    assert len(names(tmp_path)) == 1


def test_a_confidence_that_is_no_number_is_refused(files: CheckpointFiles) -> None:
    """JSON has no word for it: the file is as good as damaged, and is not taken to be without an encoding."""
    wrong = encoding(1)._replace(confidence=float("nan"))
    files.save(checkpoint(12, wrong=Online(12, Item("wrong"), wrong, 12, b"")))

    with pytest.raises(StorageUnavailable):
        files.load(BASIS)


def test_a_directory_that_cannot_be_made_is_said_to_be_so(tmp_path: Path) -> None:
    """Writing, reading and tidying up raise what the service expects of a storage in trouble."""
    (tmp_path / "file").touch()
    files = CheckpointFiles(tmp_path / "file")
    calls: list[Callable[[], object]] = [
        lambda: files.save(checkpoint()),
        lambda: files.load(BASIS),
        lambda: files.prune("4f", ()),
    ]

    for call in calls:
        with pytest.raises(StorageUnavailable):
            call()


def test_old_versions_are_removed(tmp_path: Path) -> None:
    """Those that are no longer published go, and of the others all but the four written last."""
    files = CheckpointFiles(tmp_path)
    for age, version in enumerate(["v7", "v6", "v5", "v4", "v3", "v2", "v1"]):
        files.save(Checkpoint(replace(BASIS, version=version), 1, {}))
        written = (tmp_path / f"4f.{version}.checkpoint").stat().st_mtime - age
        os.utime(tmp_path / f"4f.{version}.checkpoint", (written, written))

    files.prune("4f", {"v7", "v5", "v4", "v3", "v2", "v1"})

    assert names(tmp_path) == [f"4f.v{n}.checkpoint" for n in (3, 4, 5, 7)]


def test_what_belongs_to_others_is_left_alone_for_a_while(tmp_path: Path) -> None:
    """Other journals lose theirs after a month, parts are removed after an hour, and other files never."""
    files = CheckpointFiles(tmp_path, clock=lambda: 10_000_000 + 31 * DAY_S)
    ages = {
        "ee.v1.checkpoint": 29 * DAY_S,
        "ff.v1.checkpoint": 31 * DAY_S,
        "ee.v1.checkpoint.77.part": 3_000,
        "4f.v1.checkpoint.78.part": 4_000,
        "notes.txt": 99 * DAY_S,
    }
    for name, age_s in ages.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (10_000_000 + 31 * DAY_S - age_s,) * 2)

    files.prune("4f", {"v1"})

    assert names(tmp_path) == ["ee.v1.checkpoint", "ee.v1.checkpoint.77.part", "notes.txt"]


def test_several_writers_of_one_checkpoint_do_no_harm(tmp_path: Path) -> None:
    """Whoever reads meanwhile finds a whole one, and in the end nothing but one of theirs is left."""
    kept = [checkpoint(seq) for seq in (9, 10, 11)]
    CheckpointFiles(tmp_path).save(kept[0])

    def write(each: Checkpoint) -> None:
        files = CheckpointFiles(tmp_path)
        for _ in range(20):
            files.save(each)
            files.prune("4f", {"v1.0"})

    writers = [threading.Thread(target=write, args=(each,)) for each in kept]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        found = CheckpointFiles(tmp_path).load(BASIS)
        assert found is not None
        assert plain(found) in [plain(each) for each in kept]
    for writer in writers:
        writer.join()
    assert names(tmp_path) == ["4f.v1.0.checkpoint"]
