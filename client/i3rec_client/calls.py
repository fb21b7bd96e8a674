"""The other routes as calls."""

from collections.abc import Iterable

from i3rec_client.answers import Models, Promotion, Readiness, Taken
from i3rec_client.bodies import Event, event_contents
from i3rec_client.call import Call, nothing, post, quoted, reader
from i3rec_client.documents import Document, Malformed
from i3rec_client.item_calls import item_path
from i3rec_client.lists import ItemList
from i3rec_client.options import ListOptions, UserOptions, option_contents, query_of


def interact(events: Event | Iterable[Event], *, make_ids: bool) -> Call[Taken]:
    """Interactions; repeatable where all of them have ids, by which the service knows them again."""
    contents = event_contents([events] if isinstance(events, Event) else events, make_ids=make_ids)
    given = [{name: value for name, value in content.items() if value is not None} for content in contents]
    repeatable = all("event_id" in content for content in given)
    return post("/interactions", given, reader(Taken.read), repeatable=repeatable)


def recommend(user_id: str, options: UserOptions) -> Call[ItemList]:
    """A list for a user; where a query cannot say what it is to be like, as several users' who are one."""
    query = query_of(options)
    if query is None:
        body = {"users": [user_id], **option_contents(options)}
        return post("/recommend/batch", body, reader(_only), repeatable=True)
    path = f"/recommend/{quoted(user_id)}"
    return Call("GET", path, reader(ItemList.read), query=query, repeatable=True)


def recommend_session(history: Iterable[str], options: ListOptions) -> Call[ItemList]:
    """A list for a session; asking changes nothing."""
    body = {"history": list(history), **option_contents(options)}
    return post("/recommend", body, reader(ItemList.read), repeatable=True)


def recommend_batch(users: Iterable[str], options: UserOptions) -> Call[tuple[ItemList, ...]]:
    """Lists for several users; asking changes nothing."""
    body = {"users": list(users), **option_contents(options)}
    return post("/recommend/batch", body, reader(ItemList.read_several), repeatable=True)


def similar(item_id: str, options: ListOptions) -> Call[ItemList]:
    """A list for fans of an item.

    Raises:
        ValueError: a query cannot say what it is to be like, and this route knows no other way.
    """
    query = query_of(options)
    if query is None:
        raise ValueError(
            "similar cannot ask for ranges, no value at all, names with a colon, or more than a query holds; "
            "recommend_session with this item alone as the history can"
        )
    return Call("GET", f"{item_path(item_id)}/similar", reader(ItemList.read), query=query, repeatable=True)


def erase_user(user_id: str) -> Call[None]:
    """Forgetting a user, who may be unknown."""
    return Call("DELETE", f"/users/{quoted(user_id)}", nothing, repeatable=True)


def models() -> Call[Models]:
    """Which versions there are."""
    return Call("GET", "/models", reader(Models.read), repeatable=True)


def activate(version: str) -> Call[Promotion]:
    """Promoting a version; repeated after somebody else's promotion it would undo theirs."""
    return Call("POST", f"/models/{quoted(version)}/activate", reader(Promotion.read))


def rollback() -> Call[Promotion]:
    """Going back by one version; repeated it would go back by two."""
    return Call("POST", "/models/rollback", reader(Promotion.read))


def ready() -> Call[Readiness]:
    """Whether a model serves."""
    return Call("GET", "/readyz", reader(Readiness.read), repeatable=True, patient=False)


def _only(document: Document) -> ItemList:
    found = ItemList.read_several(document)
    if len(found) != 1:
        raise Malformed(f"expected one list, found {len(found)}")
    return found[0]
