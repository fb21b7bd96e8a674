"""The only place that sends anything and waits: calls out, replies in, again where that is safe."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx

from i3rec_client import wire
from i3rec_client.call import Call
from i3rec_client.errors import ApiError, TransportError
from i3rec_client.replies import Reply
from i3rec_client.retries import Attempts, Retry

T = TypeVar("T")


class Sender:
    """Sends calls; tries again what is safe to repeat.

    Args:
        http: open for as long as calls are sent.
        retry: how often and how long.
        sleep: waits that many seconds.
    """

    def __init__(self, http: httpx.Client, retry: Retry, sleep: Callable[[float], object]) -> None:
        self._http = http
        self._retry = retry
        self._sleep = sleep

    def send(self, call: Call[T], request_id: str | None) -> T:
        """What the service answers.

        Raises:
            ApiError: it refused.
            TransportError: no answer came.
            ValueError: the request id cannot be one.
        """
        attempts = Attempts(call, self._retry)
        while True:
            try:
                return call.read(self._exchange(call, request_id, repeated=attempts.unclear))
            except (ApiError, TransportError) as exc:
                wait_s = attempts.wait_s(exc)
                if wait_s is None:
                    raise
            self._sleep(wait_s)

    def _exchange(self, call: Call[object], request_id: str | None, *, repeated: bool) -> Reply:
        arguments = wire.request_arguments(call, request_id)
        try:
            response = self._http.request(**arguments)
        except wire.ERRORS as exc:
            raise wire.transport_error(exc) from exc
        return wire.reply_of(response, repeated=repeated)


class AsyncSender:
    """Sends calls, on an event loop; tries again what is safe to repeat.

    Args:
        http: open for as long as calls are sent.
        retry: how often and how long.
        sleep: waits that many seconds.
    """

    def __init__(self, http: httpx.AsyncClient, retry: Retry, sleep: Callable[[float], Awaitable[object]]) -> None:
        self._http = http
        self._retry = retry
        self._sleep = sleep

    async def send(self, call: Call[T], request_id: str | None) -> T:
        """What the service answers.

        Raises:
            ApiError: it refused.
            TransportError: no answer came.
            ValueError: the request id cannot be one.
        """
        attempts = Attempts(call, self._retry)
        while True:
            try:
                return call.read(await self._exchange(call, request_id, repeated=attempts.unclear))
            except (ApiError, TransportError) as exc:
                wait_s = attempts.wait_s(exc)
                if wait_s is None:
                    raise
            await self._sleep(wait_s)

    async def _exchange(self, call: Call[object], request_id: str | None, *, repeated: bool) -> Reply:
        arguments = wire.request_arguments(call, request_id)
        try:
            response = await self._http.request(**arguments)
        except wire.ERRORS as exc:
            raise wire.transport_error(exc) from exc
        return wire.reply_of(response, repeated=repeated)
