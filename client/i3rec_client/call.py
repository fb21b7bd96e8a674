"""A call: the request, whether it may be repeated, and how its answer is read. Nothing is sent here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import quote

from i3rec_client.bodies import encoded
from i3rec_client.documents import Document
from i3rec_client.replies import Reply, refusal

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """A request and what to make of its answer.

    Attributes:
        path: percent-encoded.
        read: makes a value of an answer, or raises what it says.
        repeatable: whether doing it twice is as good as doing it once.
        patient: whether to try again at all; otherwise that the service is away is the answer.
    """

    method: str
    path: str
    read: Callable[[Reply], T_co]
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    repeatable: bool = False
    patient: bool = True


def post(path: str, body: object, read: Callable[[Reply], T], *, repeatable: bool) -> Call[T]:
    """A call that sends a JSON document."""
    return Call("POST", path, read, headers={"Content-Type": JSON}, content=encoded(body), repeatable=repeatable)


def quoted(name: str) -> str:
    """A name as a part of a path."""
    # Dots too: a path that ends in "/.." would be shortened on the way.
    return quote(name, safe="").replace(".", "%2E")


def reader(make: Callable[[Document], T]) -> Callable[[Reply], T]:
    """Reads answers that are one document."""
    return lambda reply: reply.made(lambda text: make(Document.parse(text)))


def nothing(reply: Reply) -> None:
    """Reads answers that only say it is done.

    Raises:
        ApiError: it is not.
    """
    if not reply.is_success:
        raise refusal(reply)
