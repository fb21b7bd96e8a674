"""Files that are written whole or not at all."""

from pathlib import Path

import pytest

from model_store.files import write_durably
from training import whole_files
from training.whole_files import in_place_of, write_text


def test_a_text_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """Nothing else is left."""
    path = tmp_path / "file"
    for text in ("one", "zwei\nü"):
        write_text(path, text)

        assert path.read_bytes() == text.encode()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_fails_leaves_the_one_before_alone(tmp_path: Path, error: type[BaseException]) -> None:
    """And no part of itself."""
    path = tmp_path / "file"
    write_text(path, "before")

    def fails() -> None:
        with in_place_of(path) as partial:
            partial.write_text("half", encoding="utf-8")
            raise error

    with pytest.raises(error):
        fails()

    assert path.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_pointer_that_cannot_be_moved_leaves_no_part(tmp_path: Path) -> None:
    """The store's own small files likewise: here a directory stands in the place."""
    (tmp_path / "CURRENT").mkdir()

    with pytest.raises(OSError, match="CURRENT"):
        write_durably(tmp_path / "CURRENT", "v1\n")

    assert [path.name for path in tmp_path.iterdir()] == ["CURRENT"]


def test_what_takes_the_place_is_on_disk_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash after the rename must not leave an empty file: the content is flushed while the one before is there."""
    path, seen = tmp_path / "file", []
    write_text(path, "before")
    monkeypatch.setattr(whole_files, "fsync", lambda partial: seen.append((partial.read_text(), path.read_text())))

    write_text(path, "after")

    assert seen == [("after", "before")]
