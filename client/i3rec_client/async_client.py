"""The asynchronous client."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

import httpx

from i3rec_client import calls, item_calls, wire
from i3rec_client.answers import Models, Promotion, Readiness, Taken
from i3rec_client.bodies import Event, ItemLike
from i3rec_client.item_answers import BatchAnswer, CatalogItem, ItemPage, Result, Written
from i3rec_client.item_calls import Tag
from i3rec_client.lists import ItemList
from i3rec_client.options import ListOptions, UserOptions
from i3rec_client.parts import MOST_LINES, Cutter, line_of
from i3rec_client.retries import Retry
from i3rec_client.sending import AsyncSender

T = TypeVar("T")


class AsyncClient:
    """Talks to a service as ``Client`` does, with the same methods, on an event loop.

    Args:
        url: of the service; may end in a path.
        api_key: where the service has keys.
        timeout: of connecting, and of each wait for data: seconds, or httpx's finer form.
        retry: how often and how long calls are tried.
        transport: instead of httpx's own.
        sleep: waits that many seconds; on another event loop than asyncio's, that of its library.

    Raises:
        ValueError: the URL or the key cannot be one.
    """

    def __init__(
        self,
        url: str = wire.DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout: float | httpx.Timeout = wire.TIMEOUT,
        retry: Retry | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        headers, address = wire.standing_headers(api_key), wire.base_url(url)
        self._http = httpx.AsyncClient(base_url=address, headers=headers, timeout=timeout, transport=transport)
        self._sender = AsyncSender(self._http, retry or Retry(), sleep)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def put_item(
        self, item: ItemLike, *, if_match: Tag = None, if_none_match: Tag = None, request_id: str | None = None
    ) -> Written:
        """As ``Client.put_item``."""
        return await self._sender.send(item_calls.put_item(item, if_match, if_none_match), request_id)

    async def patch_item(
        self, item_id: str, patch: Mapping[str, Any], *, if_match: Tag = None, request_id: str | None = None
    ) -> Written:
        """As ``Client.patch_item``."""
        return await self._sender.send(item_calls.patch_item(item_id, patch, if_match), request_id)

    @overload
    async def get_item(
        self, item_id: str, *, if_none_match: None = None, request_id: str | None = None
    ) -> CatalogItem: ...

    @overload
    async def get_item(
        self, item_id: str, *, if_none_match: Tag, request_id: str | None = None
    ) -> CatalogItem | None: ...

    async def get_item(
        self, item_id: str, *, if_none_match: Tag = None, request_id: str | None = None
    ) -> CatalogItem | None:
        """As ``Client.get_item``."""
        if if_none_match is None:
            return await self._sender.send(item_calls.get_item(item_id), request_id)
        return await self._sender.send(item_calls.get_changed_item(item_id, if_none_match), request_id)

    async def list_items(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        features: bool = False,
        request_id: str | None = None,
    ) -> ItemPage:
        """As ``Client.list_items``."""
        return await self._sender.send(item_calls.list_items(limit, cursor, features=features), request_id)

    async def iter_items(
        self, *, features: bool = False, page: int | None = None, request_id: str | None = None
    ) -> AsyncIterator[CatalogItem]:
        """As ``Client.iter_items``."""
        cursor: str | None = None
        while True:
            found = await self.list_items(limit=page, cursor=cursor, features=features, request_id=request_id)
            for item in found.items:
                yield item
            if (cursor := found.next_cursor) is None:
                return

    async def delete_item(self, item_id: str, *, if_match: Tag = None, request_id: str | None = None) -> None:
        """As ``Client.delete_item``."""
        await self._sender.send(item_calls.delete_item(item_id, if_match), request_id)

    async def put_items(self, items: Iterable[ItemLike], *, request_id: str | None = None) -> BatchAnswer:
        """As ``Client.put_items``."""
        return await self._sender.send(item_calls.put_items(items), request_id)

    async def load_items(
        self,
        items: Iterable[ItemLike | bytes] | AsyncIterable[ItemLike | bytes],
        *,
        chunk: int = MOST_LINES,
        request_id: str | None = None,
    ) -> AsyncIterator[Result]:
        """As ``Client.load_items``; the items may come asynchronously as well."""
        cutter = Cutter(chunk)
        async for item in _each(items):
            for part in cutter.take(line_of(item)):
                for result in await self._sender.send(item_calls.load(part), request_id):
                    yield result
        for part in cutter.rest():
            for result in await self._sender.send(item_calls.load(part), request_id):
                yield result

    async def interact(
        self, events: Event | Iterable[Event], *, make_event_ids: bool = True, request_id: str | None = None
    ) -> Taken:
        """As ``Client.interact``."""
        return await self._sender.send(calls.interact(events, make_ids=make_event_ids), request_id)

    async def recommend(
        self, user_id: str, *, request_id: str | None = None, **options: Unpack[UserOptions]
    ) -> ItemList:
        """As ``Client.recommend``."""
        return await self._sender.send(calls.recommend(user_id, options), request_id)

    async def recommend_session(
        self, history: Iterable[str], *, request_id: str | None = None, **options: Unpack[ListOptions]
    ) -> ItemList:
        """As ``Client.recommend_session``."""
        return await self._sender.send(calls.recommend_session(history, options), request_id)

    async def recommend_batch(
        self, users: Iterable[str], *, request_id: str | None = None, **options: Unpack[UserOptions]
    ) -> tuple[ItemList, ...]:
        """As ``Client.recommend_batch``."""
        return await self._sender.send(calls.recommend_batch(users, options), request_id)

    async def similar(self, item_id: str, *, request_id: str | None = None, **options: Unpack[ListOptions]) -> ItemList:
        """As ``Client.similar``."""
        return await self._sender.send(calls.similar(item_id, options), request_id)

    async def pages(
        self, user_id: str, *, request_id: str | None = None, **options: Unpack[UserOptions]
    ) -> AsyncIterator[ItemList]:
        """As ``Client.pages``."""
        while True:
            page = await self.recommend(user_id, request_id=request_id, **options)
            yield page
            if page.next_cursor is None:
                return
            options["cursor"] = page.next_cursor

    async def erase_user(self, user_id: str, *, request_id: str | None = None) -> None:
        """As ``Client.erase_user``."""
        await self._sender.send(calls.erase_user(user_id), request_id)

    async def models(self, *, request_id: str | None = None) -> Models:
        """As ``Client.models``."""
        return await self._sender.send(calls.models(), request_id)

    async def activate(self, version: str, *, request_id: str | None = None) -> Promotion:
        """As ``Client.activate``."""
        return await self._sender.send(calls.activate(version), request_id)

    async def rollback(self, *, request_id: str | None = None) -> Promotion:
        """As ``Client.rollback``."""
        return await self._sender.send(calls.rollback(), request_id)

    async def ready(self, *, request_id: str | None = None) -> Readiness:
        """As ``Client.ready``."""
        return await self._sender.send(calls.ready(), request_id)


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
