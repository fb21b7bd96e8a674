"""A stream of any length, cut into requests that can be repeated."""

from collections.abc import Iterator
from dataclasses import dataclass

from i3rec_client.bodies import ItemLike, encoded, item_content
from i3rec_client.documents import Document, Malformed
from i3rec_client.item_answers import Result

# The service begins to answer a stream after this many lines. A request that goes on while nobody reads the answer can
# come to a standstill, each side waiting for the other to read; up to this length there is nothing to read meanwhile.
MOST_LINES = 256
MOST_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """Lines that are sent in one request.

    Attributes:
        before: how many lines came before them.
        lines: without their ends.
    """

    before: int
    lines: tuple[bytes, ...]

    @property
    def content(self) -> bytes:
        """As they are sent."""
        return b"".join(line + b"\n" for line in self.lines)


class Cutter:
    """Collects lines until they are worth a request; never holds more than one request's.

    Args:
        most_lines: in a request, 1 to ``MOST_LINES``. Only a line longer than ``MOST_BYTES`` makes a larger request.
        before: how many lines came before the first.

    Raises:
        ValueError: ``most_lines`` is out of range.
    """

    def __init__(self, most_lines: int = MOST_LINES, before: int = 0) -> None:
        if not 1 <= most_lines <= MOST_LINES:
            raise ValueError(f"expected 1 to {MOST_LINES} lines in a request, found {most_lines}")
        self._most_lines = most_lines
        self._before = before
        self._lines: list[bytes] = []
        self._size = 0

    def take(self, line: bytes) -> list[Part]:
        """Takes a line; gives the parts that are now complete."""
        done = self.rest() if self._lines and self._size + len(line) > MOST_BYTES else []
        self._lines.append(line)
        self._size += len(line)
        return [*done, *(self.rest() if len(self._lines) == self._most_lines else [])]

    def rest(self) -> list[Part]:
        """The part of what was taken last; none where nothing is left."""
        if not self._lines:
            return []
        part = Part(self._before, tuple(self._lines))
        self._before += len(self._lines)
        self._lines, self._size = [], 0
        return [part]


def line_of(item: ItemLike | bytes) -> bytes:
    """An item as a line without its end; bytes are such a line already, and left for the service to judge.

    Raises:
        ValueError: the bytes are more than one line.
    """
    if not isinstance(item, bytes):
        return encoded(item_content(item))
    line = item.removesuffix(b"\n")
    if b"\n" in line:
        raise ValueError("expected one line, found several")
    return line


def read_results(text: bytes, part: Part) -> tuple[Result, ...]:
    """What became of each line of a part; empty lines have no result.

    Raises:
        Malformed: some results are missing, or it is something else.
    """
    *documents, totals = _documents(text)
    results = tuple(Result.read(document, part.before) for document in documents)
    expected = [part.before + place for place, line in enumerate(part.lines, start=1) if line.strip()]
    if [result.line for result in results] != expected:
        raise Malformed(f"expected results of {len(expected)} lines, found {len(results)}")
    if totals.get("written", int) + totals.get("failed", int) != len(expected):
        raise Malformed("expected totals that add up")
    return results


def _documents(text: bytes) -> Iterator[Document]:
    for line in text.splitlines():
        yield Document.parse(line)
    if not text:
        raise Malformed("expected lines")
