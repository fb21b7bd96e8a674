"""An answer as it came over the wire, and what it says when it refuses."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar

from i3rec_client.documents import Document, Malformed
from i3rec_client.errors import ApiError, UnexpectedAnswer, error_of
from i3rec_client.problems import Problem, problem_of

T = TypeVar("T")

_MOST_SHOWN = 200  # characters of an answer that is no problem document


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        headers: names in lower case.
        repeated: whether an earlier attempt may have done already what was asked for.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    repeated: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the service did what was asked for."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def made(self, make: Callable[[bytes], T]) -> T:
        """What the content says.

        Raises:
            ApiError: the service refused.
            UnexpectedAnswer: the content is not what the service answers.
        """
        if not self.is_success:
            raise refusal(self)
        try:
            return make(self.content)
        except Malformed as exc:
            raise UnexpectedAnswer(f"an answer that is none of the service's: {exc}") from exc


def refusal(reply: Reply) -> ApiError:
    """What an answer that is no success says."""
    now = datetime.now(UTC)
    return error_of(_problem(reply), retry_after_s(reply.headers.get("retry-after"), now))


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Seconds from now that a Retry-After asks for, given in seconds or as a date; None where it is neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
            seconds = (when.replace(tzinfo=when.tzinfo or UTC) - now).total_seconds()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _problem(reply: Reply) -> Problem:
    """The problem document; where something on the way answered instead of the service, one made of what it said."""
    try:
        problem = problem_of(Document.parse(reply.content))
    except Malformed:
        problem = Problem("about:blank", _phrase(reply.status), reply.status, _said(reply) or "no more was said")
    request_id = problem.request_id or reply.headers.get("x-request-id")
    return replace(problem, status=reply.status, request_id=request_id)


def _said(reply: Reply) -> str:
    """What something that is not the service said, unless that is a page for browsers."""
    if reply.headers.get("content-type", "").startswith("text/html"):
        return ""
    return reply.content.decode("utf-8", "replace").strip()[:_MOST_SHOWN]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown status"
