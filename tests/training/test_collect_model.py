"""Whatever is written online, what is collected is what the rules say: compared with the rules in plain Python."""

import re
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from model_store import IdMap
from service.adapters.sql_journal import SqlJournal
from service.domain import DeleteItem, Entry, EraseUser, Interact, Item, PutItem, Vector
from training.commands import main
from training.dataset import Dataset, read_dataset
from training.features import ModalityFeatures
from training.interactions import TRAIN, Interactions
from training.writing import write_dataset

ITEMS = ("a", "b", "c", "d", "e")
USERS = ("u", "v", "w")
DIM = 2


class Known(NamedTuple):
    """What is known of an item."""

    title: str
    colour: str
    features: tuple[float, ...] | None


class Facts(NamedTuple):
    """A data set in plain words: items, and user and item → time and split."""

    items: dict[str, Known]
    interactions: dict[tuple[str, str], tuple[float, int]]


BASE = Facts(
    {"a": Known("A", "red", (1, 1)), "b": Known("B", "", None), "c": Known("C", "blue", (3, 3))},
    {("u", "a"): (3, 2), ("u", "b"): (5, 0), ("v", "c"): (4, 1), ("x", "c"): (4, 0)},
)
numbers = st.lists(st.integers(-3, 3), min_size=1, max_size=3).map(lambda values: np.array(values, np.float32))


def _item(item_id: str, modalities: Mapping[str, Vector], **facts: Any) -> Item:
    return Item(item_id, modalities, **facts)


items = st.builds(
    _item,
    st.sampled_from(ITEMS),
    st.dictionaries(st.sampled_from(["text", "smell"]), numbers),
    title=st.none() | st.text(max_size=3),
    attributes=st.dictionaries(st.just("colour"), st.sampled_from(["red", "blue", ""])),
    hidden=st.booleans(),
)
times = st.integers(0, 9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
entries = st.lists(
    st.builds(PutItem, items, st.sampled_from([None, None, 0]))
    | st.builds(DeleteItem, st.sampled_from(ITEMS))
    | st.builds(Interact, st.sampled_from(USERS), st.sampled_from(ITEMS), at=times)
    | st.builds(Interact, st.sampled_from(USERS), st.sampled_from(ITEMS), at=times)
    | st.builds(EraseUser, st.sampled_from(USERS)),
    max_size=25,
)


def features_of(item: Item, since: int | None) -> tuple[float, ...] | None:
    """The base's where the record only repeats them, else the record's where they fit."""
    if since == 0 and item.item_id in BASE.items:
        return BASE.items[item.item_id].features
    vector = item.modalities.get("text", ())
    return tuple(vector.tolist()) if len(vector) == DIM else None


def by_the_rules(written: list[Entry]) -> Facts:
    """What the documents say becomes of the base."""
    known, done, erased = dict(BASE.items), [], set()
    for entry in written:
        match entry:
            case PutItem(item, since):
                title = re.sub("[\t\r\n]+", " ", item.title or "")
                colour = str(item.attributes.get("colour", ""))
                known[item.item_id] = Known(title, colour, features_of(item, since))
            case DeleteItem(item_id):
                known.pop(item_id, None)
            case Interact(user_id, item_id, at=at):
                done.append((at.timestamp(), user_id, item_id))
            case EraseUser(user_id):
                erased.add(user_id)
                done = [each for each in done if each[1] != user_id]
    found = {pair: facts for pair, facts in BASE.interactions.items() if pair[0] not in erased and pair[1] in known}
    for time, user_id, item_id in done:
        if item_id in known:
            before, split = found.get((user_id, item_id), (time, TRAIN))
            found[user_id, item_id] = (max(before, time), split)
    return Facts(known, found)


def write_base(directory: Path) -> None:
    """The base as a dataset directory."""
    users, names = IdMap(["u", "v", "x"]), IdMap(BASE.items)
    moments, splits = zip(*BASE.interactions.values(), strict=True)
    interactions = Interactions(
        users.rows([user for user, _ in BASE.interactions]).astype(np.int32),
        names.rows([item for _, item in BASE.interactions]).astype(np.int32),
        timestamps=np.array(moments, float),
        split=np.array(splits, np.int8),
    )
    matrix = np.array([known.features or (np.nan,) * DIM for known in BASE.items.values()], np.float32)
    rows = tuple((known.title, known.colour) for known in BASE.items.values())
    features = {"text": ModalityFeatures.from_nan(matrix)}
    write_dataset(directory, Dataset(users, names, interactions, features, ("title", "colour"), rows))


def facts_of(dataset: Dataset) -> Facts:
    """A data set in plain words."""
    text, done = dataset.features["text"], dataset.interactions
    assert list(dataset.features) == ["text"]
    assert dataset.item_columns == ("title", "colour")
    assert done.timestamps is not None
    assert done.split is not None
    known = {
        item: Known(*dataset.item_rows[row], tuple(text.matrix[row].tolist()) if text.present[row] else None)
        for row, item in enumerate(dataset.items)
    }
    users, names = dataset.users.ids(done.users.tolist()), dataset.items.ids(done.items.tolist())
    facts = zip(done.timestamps.tolist(), done.split.tolist(), strict=True)
    return Facts(known, dict(zip(zip(users, names, strict=True), facts, strict=True)))


@given(written=entries)
@settings(max_examples=40, deadline=None, phases=[Phase.generate], derandomize=True)
def test_collected_data_are_those_of_the_rules(written: list[Entry]) -> None:
    """Items, words, features, interactions, times, splits and the mark; where nothing is left, nothing is made."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_base(root / "base")
        journal = SqlJournal(f"sqlite:///{root}/journal.sqlite3")
        futures = [journal.append(entry) for entry in written]
        for future in futures:
            future.result()
        expected = by_the_rules(written)

        url = f"sqlite:///{root}/journal.sqlite3"
        status = main(["collect", "--journal", url, "--base", str(root / "base"), "--out", str(root / "out")])

        journal.close()
        if not expected.interactions:
            assert status == 1
            return
        collected = read_dataset(root / "out")
        assert facts_of(collected) == expected
        assert collected.users == IdMap(sorted({user for user, _ in expected.interactions}))
        assert collected.journal is not None
        assert collected.journal.seq == len(written)
