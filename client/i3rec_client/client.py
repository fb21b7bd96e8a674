"""The synchronous client."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, Unpack, overload

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
from i3rec_client.sending import Sender


class Client:
    """Talks to a service. One client may be shared by threads; it keeps connections open until it is closed.

    Every method raises ApiError where the service refuses, and TransportError where no answer comes; what is safe to
    repeat is tried again before (see ``Retry``).

    Args:
        url: of the service; may end in a path.
        api_key: where the service has keys.
        timeout: of connecting, and of each wait for data: seconds, or httpx's finer form.
        retry: how often and how long calls are tried.
        transport: instead of httpx's own, for instance with certificates of your own.
        sleep: waits that many seconds.

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
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        headers, address = wire.standing_headers(api_key), wire.base_url(url)
        self._http = httpx.Client(base_url=address, headers=headers, timeout=timeout, transport=transport)
        self._sender = Sender(self._http, retry or Retry(), sleep)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def put_item(
        self, item: ItemLike, *, if_match: Tag = None, if_none_match: Tag = None, request_id: str | None = None
    ) -> Written:
        """Adds or replaces an item. Once answered, it is on disk and can be recommended.

        Args:
            item: with any subset of the model's modalities.
            if_match: only if the item's ``index_seq`` or ``etag`` is this; "*" = only if there is one.
            if_none_match: only if it is another; "*" = only if there is none. Not tried again then.
            request_id: stands in the service's log.

        Raises:
            InvalidRequest: the item contradicts the model.
            PreconditionFailed: the item is not as the conditions say.
        """
        return self._sender.send(item_calls.put_item(item, if_match, if_none_match), request_id)

    def patch_item(
        self, item_id: str, patch: Mapping[str, Any], *, if_match: Tag = None, request_id: str | None = None
    ) -> Written:
        """Merges into an item: what is left out stays, None removes. Tried again only with an ``index_seq`` to match.

        Raises:
            NotFound: there is no such item.
            PreconditionFailed: it is not as ``if_match`` says, or an earlier attempt has changed it already.
        """
        return self._sender.send(item_calls.patch_item(item_id, patch, if_match), request_id)

    @overload
    def get_item(self, item_id: str, *, if_none_match: None = None, request_id: str | None = None) -> CatalogItem: ...

    @overload
    def get_item(self, item_id: str, *, if_none_match: Tag, request_id: str | None = None) -> CatalogItem | None: ...

    def get_item(self, item_id: str, *, if_none_match: Tag = None, request_id: str | None = None) -> CatalogItem | None:
        """An item as it stands, whether it may be recommended or not.

        Args:
            item_id: of the item.
            if_none_match: an ``etag`` or ``index_seq`` that the caller knows; where the item is still that, the answer
                is None.
            request_id: stands in the service's log.

        Raises:
            NotFound: there is no such item.
        """
        if if_none_match is None:
            return self._sender.send(item_calls.get_item(item_id), request_id)
        return self._sender.send(item_calls.get_changed_item(item_id, if_none_match), request_id)

    def list_items(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        features: bool = False,
        request_id: str | None = None,
    ) -> ItemPage:
        """A page of the catalogue: all items, also those that may not be recommended.

        Args:
            limit: most items on it; None = as many as the service likes.
            cursor: the ``next_cursor`` of the page before.
            features: whether to give each item's features as well.
            request_id: stands in the service's log.
        """
        return self._sender.send(item_calls.list_items(limit, cursor, features=features), request_id)

    def iter_items(
        self, *, features: bool = False, page: int | None = None, request_id: str | None = None
    ) -> Iterator[CatalogItem]:
        """All items, page by page, each page asked for when it is needed.

        Items that are written meanwhile come towards the end, some of them again; none is left out.

        Args:
            features: whether to give each item's features as well.
            page: most items in a request; None = as many as the service likes.
            request_id: of all these requests.
        """
        cursor: str | None = None
        while True:
            found = self.list_items(limit=page, cursor=cursor, features=features, request_id=request_id)
            yield from found.items
            if (cursor := found.next_cursor) is None:
                return

    def delete_item(self, item_id: str, *, if_match: Tag = None, request_id: str | None = None) -> None:
        """Deletes an item; once answered, it is gone from every list.

        Raises:
            NotFound: there was no such item.
        """
        self._sender.send(item_calls.delete_item(item_id, if_match), request_id)

    def put_items(self, items: Iterable[ItemLike], *, request_id: str | None = None) -> BatchAnswer:
        """Adds or replaces some items in one request; one bad item never stops the others.

        Raises:
            InvalidRequest: there are too many of them; ``load_items`` takes any number.
        """
        return self._sender.send(item_calls.put_items(items), request_id)

    def load_items(
        self, items: Iterable[ItemLike | bytes], *, chunk: int = MOST_LINES, request_id: str | None = None
    ) -> Iterator[Result]:
        """Adds or replaces any number of items; gives each result, in order, soon after its item was taken.

        Holds no more than one request's items at a time. Nothing is sent before the first result is asked for; what was
        sent before an error is written, as far as results came.

        Args:
            items: items, or JSON objects of them as bytes, one line each.
            chunk: items in a request, 1 to 256.
            request_id: of all these requests.
        """
        cutter = Cutter(chunk)
        for item in items:
            for part in cutter.take(line_of(item)):
                yield from self._sender.send(item_calls.load(part), request_id)
        for part in cutter.rest():
            yield from self._sender.send(item_calls.load(part), request_id)

    def interact(
        self, events: Event | Iterable[Event], *, make_event_ids: bool = True, request_id: str | None = None
    ) -> Taken:
        """Says what users did; counts in the next list.

        Args:
            events: one or many.
            make_event_ids: gives those without an id a random one, so that the call can be tried again.
            request_id: stands in the service's log.
        """
        return self._sender.send(calls.interact(events, make_ids=make_event_ids), request_id)

    def recommend(self, user_id: str, *, request_id: str | None = None, **options: Unpack[UserOptions]) -> ItemList:
        """The best items for a user; for one whom nobody knows, popular ones.

        Raises:
            NotFound: nobody knows the user, and ``strict`` was set.
        """
        return self._sender.send(calls.recommend(user_id, options), request_id)

    def recommend_session(
        self, history: Iterable[str], *, request_id: str | None = None, **options: Unpack[ListOptions]
    ) -> ItemList:
        """The best items for somebody without a name, from what they did, oldest first. Nothing of it is kept."""
        return self._sender.send(calls.recommend_session(history, options), request_id)

    def recommend_batch(
        self, users: Iterable[str], *, request_id: str | None = None, **options: Unpack[UserOptions]
    ) -> tuple[ItemList, ...]:
        """A list for each user, in their order, all from the same model version."""
        return self._sender.send(calls.recommend_batch(users, options), request_id)

    def similar(self, item_id: str, *, request_id: str | None = None, **options: Unpack[ListOptions]) -> ItemList:
        """What a fan of this item alone would get, without the item itself.

        Raises:
            NotFound: there is no such item.
        """
        return self._sender.send(calls.similar(item_id, options), request_id)

    def pages(
        self, user_id: str, *, request_id: str | None = None, **options: Unpack[UserOptions]
    ) -> Iterator[ItemList]:
        """The list for a user page by page, each asked for when it is needed; no item comes twice."""
        while True:
            page = self.recommend(user_id, request_id=request_id, **options)
            yield page
            if page.next_cursor is None:
                return
            options["cursor"] = page.next_cursor

    def erase_user(self, user_id: str, *, request_id: str | None = None) -> None:
        """Erases all interactions of a user; also fine where there are none."""
        self._sender.send(calls.erase_user(user_id), request_id)

    def models(self, *, request_id: str | None = None) -> Models:
        """Which model versions there are."""
        return self._sender.send(calls.models(), request_id)

    def activate(self, version: str, *, request_id: str | None = None) -> Promotion:
        """Promotes a version; it serves as soon as it is built.

        Raises:
            NotFound: there is no such version.
        """
        return self._sender.send(calls.activate(version), request_id)

    def rollback(self, *, request_id: str | None = None) -> Promotion:
        """Promotes the version that was promoted before the current one.

        Raises:
            Conflict: there is none.
        """
        return self._sender.send(calls.rollback(), request_id)

    def ready(self, *, request_id: str | None = None) -> Readiness:
        """Whether a model serves. Asks once: that none does is an answer.

        Raises:
            Unavailable: none does.
        """
        return self._sender.send(calls.ready(), request_id)
