"""Labels in one piece of memory."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.label_sheet import Label, Sheet, parts_of


@pytest.fixture
def hasty() -> Iterator[None]:
    """Lets threads take turns all the time."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def label(row: int) -> Label:
    """One that tells its row."""
    return b"%05d{%d}" % (row, row)


def test_what_was_written_is_read() -> None:
    """By row; of the others it is said that they are not there."""
    sheet = Sheet(4)
    sheet.write([2, 0], [label(2), label(0)])

    assert [sheet.read(row) for row in (0, 2)] == [label(0), label(2)]
    assert (sheet.missing(range(4)), len(sheet)) == ([1, 3], 2)
    assert parts_of(sheet.read(2)) == (b"00002", b"{2}")


def test_writers_wait_for_who_is_reading() -> None:
    """Memory that somebody looks into cannot grow."""
    sheet = Sheet(2)
    looking = memoryview(sheet.text)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(sheet.write, [1], [label(1)])
        with pytest.raises(TimeoutError):
            writing.result(0.05)
        looking.release()
        writing.result(10)

    assert sheet.read(1) == label(1)


@pytest.mark.usefixtures("hasty")
def test_many_write_at_once() -> None:
    """Each label is where its row says."""
    sheet, size = Sheet(8000), 1000

    def write(start: int) -> None:
        rows = range(start, start + size)
        sheet.write(rows, map(label, rows))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(0, 8000, size)))

    assert len(sheet) == 8000
    assert [sheet.read(row) for row in range(8000)] == list(map(label, range(8000)))
