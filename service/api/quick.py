"""The shortest way to the most frequent answer: ``GET /recommend/{user_id}`` as most callers ask it.

Finding the route, checking every parameter and its kind costs more than the list itself. Where a request has no other
parameter than ``k``, its answer is made here, by the same use cases and of the same bytes; every other one goes its
ordinary way, which also declares and documents the route.
"""

import logging
import re
from collections.abc import Sequence

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model_store.ids import MAX_ID_LENGTH
from service.answers import Given
from service.api.deadline import refuse_late
from service.api.problems import refuse_recommender_error
from service.api.reading import answer_bytes, lasting_parts
from service.api.state import Services
from service.errors import RecommenderError
from service.fast_path import FastPath
from service.lists import Wish
from service.settings import Settings

logger = logging.getLogger(__name__)

_PREFIX = "/recommend/"
_K = re.compile(rb"k=([1-9]\d{0,5})")
_ELSEWHERE = frozenset({b"x-index-seq", b"content-length", b"transfer-encoding"})  # what to wait for, and bodies


class QuickLists:
    """ASGI middleware that answers plain requests for lists, where everything but the search is at hand.

    Args:
        app: answers everything else.
        route: the route it answers for, for the metrics.
    """

    def __init__(self, app: ASGIApp, route: object) -> None:
        self._app = app
        self._route = route
        self._wishes: dict[int, Wish] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or passes the request on."""
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"].startswith(_PREFIX):
            services: Services = scope["state"]["services"]
            user_id, wish = scope["path"][len(_PREFIX) :], self._wish(scope, services.settings)
            if wish and _is_plain(user_id):
                scope["route"] = self._route
                try:
                    messages = await _messages(services.fast_path, user_id, wish)
                except (RecommenderError, TimeoutError) as exc:
                    await _refuse(exc, services.settings, scope, receive, send)
                    return
                for message in messages:
                    await send(message)
                if messages:
                    return
        await self._app(scope, receive, send)

    def _wish(self, scope: Scope, settings: Settings) -> Wish | None:
        """What is asked for; None where it is more than a length, or not within the limits."""
        for name, _ in scope["headers"]:
            if name in _ELSEWHERE:
                return None
        k = settings.default_k
        if query := scope["query_string"]:
            match = _K.fullmatch(query)
            if match is None:
                return None
            k = int(match[1])
        if k > settings.max_k:
            return None
        if k not in self._wishes:
            self._wishes[k] = Wish(k)  # there are no more than max_k of them
        return self._wishes[k]


def _is_plain(user_id: str) -> bool:
    """Whether an id needs no closer look."""
    return 0 < len(user_id) <= MAX_ID_LENGTH and user_id.isascii() and user_id.isprintable()


async def _messages(fast: FastPath, user_id: str, wish: Wish) -> Sequence[Message]:
    """The answer; nothing where it is to be made the ordinary way.

    Raises:
        RecommenderError: there is none.
        TimeoutError: it takes too long.
    """
    try:
        given = fast.again(user_id, wish) or await fast.quickly(user_id, wish)
        return _told(given) if given else ()
    except (RecommenderError, TimeoutError):
        raise
    except Exception:  # the ordinary way may know better, and else how to refuse
        logger.exception("short_way_failed")
        return ()


async def _refuse(
    exc: RecommenderError | TimeoutError, settings: Settings, scope: Scope, receive: Receive, send: Send
) -> None:
    if isinstance(exc, TimeoutError):
        await refuse_late(scope, receive, send, settings.deadline_s)
    else:
        await (await refuse_recommender_error(Request(scope), exc))(scope, receive, send)


def _told(given: Given) -> tuple[Message, Message]:
    if given.sent is None:
        given.sent = lasting_parts(given.answer)
    body = answer_bytes(given.answer, given.sent)
    headers = [
        (b"x-model-version", given.answer.model_version.encode("latin-1")),
        (b"content-length", b"%d" % len(body)),
        (b"content-type", b"application/json"),
    ]
    return (
        {"type": "http.response.start", "status": 200, "headers": headers},
        {"type": "http.response.body", "body": body},
    )
