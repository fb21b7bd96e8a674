"""Lists as they are sent, written by C where it was compiled."""

import orjson

from service.label_sheet import Label, Sheet
from service.labels import ListWriter
from service.paging import FORMAT

try:
    from service.adapters import _kernels
except ImportError:
    _COMPILED = False
else:
    _COMPILED = True


class NativeListWriter(ListWriter):
    """Writes what ``ListWriter`` does, byte for byte."""

    def listed(self, labels: list[Label], scores: list[float]) -> tuple[bytes, str]:
        """See ``ListWriter``."""
        return _kernels.listed(labels, orjson.dumps(scores)[1:-1], FORMAT)

    def listed_on(self, sheet: Sheet, rows: list[int], scores: list[float]) -> tuple[bytes, str] | None:
        """See ``ListWriter``."""
        return _kernels.listed_on(sheet.text, sheet.starts, rows, orjson.dumps(scores)[1:-1], FORMAT)


def list_writer() -> ListWriter:
    """The quickest there is here."""
    return NativeListWriter() if _COMPILED else ListWriter()
