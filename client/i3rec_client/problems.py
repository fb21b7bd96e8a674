"""What the service says when it refuses."""

from dataclasses import dataclass

from i3rec_client.documents import Document


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request; ``pointer`` is a JSON pointer into its body, or /query/NAME."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document (RFC 9457).

    Attributes:
        type: stable name of the kind of problem.
        title: the kind of problem in words.
        detail: what happened this time.
        request_id: finds the request in the service's log; None for a part of a request.
    """

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[Fault, ...] = ()
    request_id: str | None = None


def problem_of(document: Document) -> Problem:
    """Reads a problem document.

    Raises:
        Malformed: it is none.
    """
    faults = (Fault(part.get("pointer", str), part.get("detail", str)) for part in document.parts("errors"))
    return Problem(
        type=document.get("type", str),
        title=document.get("title", str),
        status=document.get("status", int),
        detail=document.get("detail", str),
        errors=tuple(faults),
        request_id=document.maybe("instance", str),
    )
