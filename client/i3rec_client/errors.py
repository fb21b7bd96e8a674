"""Errors of the client.

I3RecError
├── ApiError                 the service refused; carries its problem document
│   ├── NotAllowed           401, 403: no key, an unknown one, or one that does not reach that far
│   ├── NotFound             404
│   ├── Conflict             409
│   │   └── ModelNotServing  another model version serves than the one that was asked for
│   ├── PreconditionFailed   412: the item is not as If-Match or If-None-Match says
│   ├── InvalidRequest       422: ``errors`` point at what is wrong
│   ├── TooManyRequests      429
│   └── Unavailable          408, 502, 503, 504
└── TransportError           no answer
    └── UnexpectedAnswer     an answer, but none of this service
"""

from collections.abc import Mapping

from i3rec_client.problems import Fault, Problem


class I3RecError(Exception):
    """Anything that goes wrong between the client and the service."""


class ApiError(I3RecError):
    """The service refused.

    Args:
        problem: what it says.
        retry_after_s: when it is worth another attempt; None where it does not say.
    """

    def __init__(self, problem: Problem, retry_after_s: float | None = None) -> None:
        super().__init__(problem, retry_after_s)
        self.problem = problem
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        known = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.status} {self.title}: {self.detail}{known}"

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def type(self) -> str:
        """Stable name of the kind of problem."""
        return self.problem.type

    @property
    def title(self) -> str:
        """The kind of problem in words."""
        return self.problem.title

    @property
    def detail(self) -> str:
        """What happened this time."""
        return self.problem.detail

    @property
    def errors(self) -> tuple[Fault, ...]:
        """Each thing that is wrong with the request."""
        return self.problem.errors

    @property
    def request_id(self) -> str | None:
        """Finds the request in the service's log."""
        return self.problem.request_id


class NotAllowed(ApiError):
    """No key, an unknown one, or one that does not reach that far."""


class NotFound(ApiError):
    """No such item, user or model version."""


class Conflict(ApiError):
    """What is asked for contradicts how things stand."""


class ModelNotServing(Conflict):
    """Another model version serves than the one that was asked for."""


class PreconditionFailed(ApiError):
    """The item is not as the caller expects it."""


class InvalidRequest(ApiError):
    """The request contradicts its schema or the model; ``errors`` point at what is wrong."""


class TooManyRequests(ApiError):
    """The allowance is spent; nothing of the request was read."""


class Unavailable(ApiError):
    """The service cannot answer now, did not get the request in time or, as a proxy says, cannot be reached."""


class TransportError(I3RecError):
    """No answer came.

    Args:
        reason: why.
        reached: whether the service may have acted on the request all the same.
        passing: whether the next attempt may fare better.
    """

    def __init__(self, reason: str, *, reached: bool = True, passing: bool = True) -> None:
        super().__init__(reason)
        self.reached = reached
        self.passing = passing


class UnexpectedAnswer(TransportError):
    """An answer came, but none of this service: something else listens there, or it was cut off."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, reached=True, passing=False)


_KINDS: Mapping[int, type[ApiError]] = {
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    412: PreconditionFailed,
    422: InvalidRequest,
    429: TooManyRequests,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
_FINER: Mapping[tuple[int, str], type[ApiError]] = {
    (409, "urn:i3rec:problem:model-not-serving"): ModelNotServing,
}


def error_of(problem: Problem, retry_after_s: float | None = None) -> ApiError:
    """The error that a problem is raised as."""
    kind = _FINER.get((problem.status, problem.type)) or _KINDS.get(problem.status, ApiError)
    return kind(problem, retry_after_s)
