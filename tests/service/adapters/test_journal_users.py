"""Conformance of every Journal: interactions, each event once, erasures, and what is found by item and by user."""

import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.adapters.memory import MemoryJournal
from service.adapters.sql_journal import SqlJournal
from service.domain import DeleteItem, Entry, EraseUser, Interact, Item, PutItem, Record, item_of
from service.errors import StorageUnavailable
from service.ports import Journal


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a database that does not exist yet."""
    return f"sqlite:///{tmp_path}/journal.sqlite3"


def write(journal: Journal, *entries: Entry) -> list[Record]:
    """The records of entries that are written together, as far as the journal can."""
    futures = [journal.append(entry) for entry in entries]
    return [future.result(10) for future in futures]


def query(url: str, statement: str) -> list[tuple]:
    """The rows of a statement, over a connection beside the journal's own."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


# Interactions


def test_history_is_the_latest_items_oldest_first(journal: Journal) -> None:
    """The latest items of a user come, each once, in the order of the latest interactions with them."""
    write(journal, *(Interact("u", item) for item in "abacc"), Interact("v", "x"), Interact("u", "b"))

    histories = [journal.history("u", limit) for limit in (0, 1, 2, 3, 100)]

    assert histories == [[], ["b"], ["c", "b"], list("acb"), list("acb")]
    assert journal.history("v", 5) == ["x"]
    assert journal.history("nobody", 5) == []


def test_history_is_ordered_by_writing(journal: Journal) -> None:
    """The client's clock does not change the order of a history."""
    late, early = datetime(2030, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)

    write(journal, Interact("u", "first", at=late), Interact("u", "second", at=early))

    assert journal.history("u", 5) == ["first", "second"]


ALIKE = [
    *(
        "a",
        "A",
        "a ",
        " a",
        "",
        "\u200b",
        "a\u200b",
        "a\u200bb",
        "\u00e1",
        "a\u0301",
        "\u0131",
        "🎉",
        "\u2028",
        "ß",
        "ss",
    ),
    *(
        "%",
        "_",
        "a%",
        "*",
        "?",
        ":1",
        "'",
        "''",
        '"',
        "\\",
        "' OR ''='",
        '"; DROP TABLE journal;--',
        "NULL",
        "0",
        "x" * 256,
    ),
]


def test_users_are_told_apart_by_every_character(journal: Journal) -> None:
    """A user has the interactions under exactly this name, and the erasure of one leaves all the others."""
    write(journal, *(Interact(user, f"i {n}", event_id=user) for n, user in enumerate(ALIKE)))

    written = [journal.history(user, 5) for user in ALIKE]
    left: list[list[str]] = []
    for user in ALIKE:
        write(journal, EraseUser(user))
        left.append([other for other in ALIKE if journal.history(other, 5)])

    assert left == [ALIKE[n + 1 :] for n in range(len(ALIKE))]
    assert written == [[f"i {n}"] for n in range(len(ALIKE))]


INTERACTIONS = [
    Interact("u", "i"),
    Interact("u", "i", "purchase", datetime(2026, 3, 29, 2, 30, 0, 7, timezone(timedelta(hours=-3, minutes=-30))), "e"),
    Interact("ü '", 'i"\u2028', "", datetime(1999, 12, 31, 23, 59, tzinfo=UTC), ""),
    Interact("u", "i", "a 🎉\n", datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=14))), "x" * 256),
]


def test_interactions_come_back_as_written(journal: Journal) -> None:
    """Kind, time with its zone, and event id survive, as do their absences."""
    write(journal, *INTERACTIONS)

    entries = [record.entry for record in journal.read()]

    assert entries == INTERACTIONS
    zones = [entry.at and entry.at.utcoffset() for entry in entries if isinstance(entry, Interact)]
    assert zones == [None, timedelta(hours=-3, minutes=-30), timedelta(0), timedelta(hours=14)]


# Events


@pytest.mark.parametrize("event_id", ["e", "", "0", "ü '%\u200b"], ids=range(4))
def test_event_is_written_once(journal: Journal, event_id: str) -> None:
    """The same event id again answers with the first record, whatever else the entry says, and writes nothing."""
    first, *others = write(
        journal,
        Interact("u", "a", event_id=event_id),
        Interact("u", "a", event_id=event_id),
        Interact("v", "b", "purchase", event_id=event_id),
    )
    again = journal.append(Interact("u", "a", event_id=event_id)).result(5)

    assert not first.repeated
    assert [*others, again] == [Record(first.seq, first.at, Interact("u", "a", event_id=event_id), repeated=True)] * 3
    assert list(journal.read()) == [first]
    assert (journal.history("u", 5), journal.history("v", 5), journal.last_seq()) == (["a"], [], 1)


def test_repetition_takes_no_number(journal: Journal) -> None:
    """What comes after a repeated event gets the number after the last that was written."""
    records = write(
        journal, Interact("u", "a", event_id="e"), Interact("u", "a", event_id="e"), Interact("u", "a", event_id="f")
    )

    assert [(record.seq, record.repeated) for record in records] == [(1, False), (1, True), (2, False)]


def test_interactions_without_event_id_are_all_written(journal: Journal) -> None:
    """Where nothing names the event, each is one of its own."""
    records = write(journal, *[Interact("u", "a")] * 3)

    assert [(record.seq, record.repeated) for record in records] == [(1, False), (2, False), (3, False)]
    assert journal.history("u", 5) == ["a"]


def test_threads_write_an_event_once(journal: Journal) -> None:
    """Of many threads that write the same events, one writes each; all get the number of that record."""
    n_threads, n_events = 8, 40
    barrier = threading.Barrier(n_threads)
    answers: list[Sequence[Record]] = []

    def send(name: int) -> None:
        barrier.wait()
        answers.append(write(journal, *(Interact(f"u{name}", "a", event_id=str(n)) for n in range(n_events))))

    threads = [threading.Thread(target=send, args=(name,)) for name in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    stored = list(journal.read())
    assert len(stored) == n_events
    assert len(answers) == n_threads
    for n, records in enumerate(zip(*answers, strict=True)):
        (first,) = [record for record in records if not record.repeated]
        assert first in stored
        assert {(record.seq, record.at, record.entry) for record in records} == {(first.seq, first.at, first.entry)}
        assert isinstance(first.entry, Interact)
        assert first.entry.event_id == str(n)


def test_events_are_known_within_a_commit(url: str) -> None:
    """Two of the same event that share one flush to disk give one record."""
    batches: list[int] = []
    journal = SqlJournal(url, on_batch=batches.append)
    holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    futures = [journal.append(Interact("u", "a", event_id="e")) for _ in range(20)]
    holder.execute("COMMIT")
    holder.close()

    records = [future.result(5) for future in futures]
    journal.close()

    assert max(batches) >= 10  # all 20 waited for the lock: one commit took the first of them, one the rest
    assert [record.repeated for record in records] == [False] + [True] * 19
    assert {record.seq for record in records} == {1}


def test_events_are_known_after_a_restart(url: str) -> None:
    """A journal opened later answers with the record that an earlier one wrote."""
    before = SqlJournal(url)
    first = before.append(Interact("u", "a", event_id="e")).result(5)
    before.close()
    after = SqlJournal(url)

    again = after.append(Interact("u", "a", event_id="e")).result(5)

    assert again == Record(first.seq, first.at, first.entry, repeated=True)
    assert list(after.read()) == [first]
    after.close()


def test_events_are_known_to_other_processes(sql: SqlJournal, url: str) -> None:
    """Of two journals on one database, each knows the events of the other."""
    other = SqlJournal(url)
    first = sql.append(Interact("u", "a", event_id="e")).result(5)

    again = other.append(Interact("u", "a", event_id="e")).result(5)

    assert (again.seq, again.repeated) == (first.seq, True)
    other.close()


# Erasure


def test_erasure_removes_the_interactions_of_one_user(journal: Journal) -> None:
    """The user's interactions are gone, those of others stay, and the erasure itself is a record."""
    write(journal, Interact("u", "a"), Interact("v", "a"), PutItem(Item("u")), Interact("u", "b"), DeleteItem("u"))

    (erasure,) = write(journal, EraseUser("u"))

    assert (erasure.seq, erasure.entry, erasure.repeated) == (6, EraseUser("u"), False)
    assert (journal.history("u", 5), journal.history("v", 5)) == ([], ["a"])
    assert [(record.seq, record.entry) for record in journal.read()] == [
        (2, Interact("v", "a")),
        (3, PutItem(Item("u"))),
        (5, DeleteItem("u")),
        (6, EraseUser("u")),
    ]
    assert list(journal.read(after=5)) == [erasure]


def test_erasure_counts_for_the_past_only(journal: Journal) -> None:
    """What the user does after the erasure counts again, until the next one."""
    write(journal, Interact("u", "a"), EraseUser("u"), Interact("u", "b"))
    between = journal.history("u", 5)

    write(journal, EraseUser("u"), Interact("u", "c"))

    assert (between, journal.history("u", 5)) == (["b"], ["c"])
    assert [record.entry for record in journal.read()] == [EraseUser("u"), EraseUser("u"), Interact("u", "c")]


def test_erased_events_may_come_again(journal: Journal) -> None:
    """The event ids of erased interactions are forgotten; those of other users are not."""
    write(journal, Interact("u", "a", event_id="mine"), Interact("v", "a", event_id="other"), EraseUser("u"))

    mine, mine_again, other = write(
        journal,
        Interact("u", "b", event_id="mine"),
        Interact("u", "b", event_id="mine"),
        Interact("u", "b", event_id="other"),
    )

    assert [(record.seq, record.repeated) for record in (mine, mine_again, other)] == [(4, False), (4, True), (2, True)]
    assert journal.history("u", 5) == ["b"]


def test_erasure_of_the_last_records_gives_no_number_again(journal: Journal) -> None:
    """Numbers go up also where the records before the erasure are gone, and ``last_seq`` never falls."""
    written = [journal.append(Interact("u", str(n), event_id=str(n))).result(5).seq for n in range(3)]
    before = journal.last_seq()

    erased = [journal.append(EraseUser(user)).result(5).seq for user in ("u", "nobody")]
    after = journal.append(Interact("u", "a", event_id="0")).result(5).seq

    assert [*written, *erased, after] == [1, 2, 3, 4, 5, 6]
    assert (before, journal.last_seq()) == (3, 6)


def test_erasure_leaves_no_row(sql: SqlJournal, url: str) -> None:
    """Once acknowledged, the database holds nothing of the user but the erasure."""
    write(sql, Interact("u", "a"), Interact("v", "a"), Interact("u", "b", event_id="e"), EraseUser("u"))

    rows = query(url, "SELECT seq, kind, item_id, user_id, event_id FROM journal ORDER BY seq")

    assert rows == [(2, "interact", "a", "v", None), (4, "erase", None, "u", None)]


def test_erasure_is_finished_once_nobody_reads(url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A reader needs the log as it is: it is emptied with the first write after, or when the journal is closed."""
    for end in ("a write", "the end"):
        journal = SqlJournal(url)
        write(journal, *(Interact(f"secret-{end}", "a") for _ in range(50)))
        reader = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM journal").fetchone()

        write(journal, EraseUser(f"secret-{end}"))
        assert "journal_log_not_emptied" in caplog.text
        log = Path(f"{url.removeprefix('sqlite:///')}-wal")
        assert log.read_bytes().count(f"secret-{end}".encode())
        reader.close()
        if end == "a write":
            write(journal, PutItem(Item("later")))
            assert log.read_bytes().count(f"secret-{end}".encode()) <= 2  # the record of the erasure names the user
        journal.close()

        held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert held.count(f"secret-{end}".encode()) <= 2


def test_erasure_overwrites_what_it_erases(url: str, tmp_path: Path) -> None:
    """Once the journal is closed, no file of the database holds the bytes of what was erased."""
    journal = SqlJournal(url)
    write(journal, *(Interact("u", f"taken-{n}", "kind-gone", event_id=f"event-gone-{n}") for n in range(200)))
    write(journal, PutItem(Item("item-kept")), EraseUser("u"))

    journal.close()

    held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert [word for word in (b"taken-", b"kind-gone", b"event-gone", b"item-kept") if word in held] == [b"item-kept"]


def test_erasure_survives_a_restart(url: str) -> None:
    """A journal opened later has none of the erased, all of the rest, and goes on with the next number."""
    before = SqlJournal(url)
    kept, *_ = write(before, Interact("v", "a"), Interact("u", "a"), Interact("u", "b"), EraseUser("u"))
    before.close()
    after = SqlJournal(url)

    stored = list(after.read())

    assert stored[0] == kept
    assert [record.seq for record in stored] == [1, 4]
    assert (after.history("u", 5), after.append(Interact("u", "c")).result(5).seq) == ([], 5)
    after.close()


def test_failed_erasure_erases_nothing(sql: SqlJournal, url: str) -> None:
    """Where the erasure cannot be recorded, the interactions are all still there."""
    write(sql, Interact("u", "a"), Interact("u", "b"))
    refusal = "BEFORE INSERT ON journal WHEN new.kind = 'erase' BEGIN SELECT raise(ABORT, 'no erasures today'); END"
    query(url, f"CREATE TRIGGER refuse {refusal}")

    with pytest.raises(StorageUnavailable, match="no erasures today"):
        sql.append(EraseUser("u")).result(5)

    assert sql.history("u", 5) == ["a", "b"]
    assert [record.seq for record in sql.read()] == [1, 2]


# Items among interactions


def features(record: Record | None) -> dict[str, bytes]:
    """The vectors of a put item, as bytes."""
    assert record is not None
    assert isinstance(record.entry, PutItem)
    return {name: vector.tobytes() for name, vector in record.entry.item.modalities.items()}


def test_find_gives_the_latest_record_with_its_features(journal: Journal) -> None:
    """Each item is found as it was written last, its vectors to the bit, with its number and time."""
    vectors = {"text": np.array([0.1, -1e-45, 3e38, -0.0], np.float32), "image": np.array([], np.float32)}
    write(journal, PutItem(Item("a", {"text": np.ones(4, np.float32)}, "old")), PutItem(Item("b")))
    written = journal.append(PutItem(Item("a", vectors, "new"))).result(5)

    found = journal.find("a")

    assert found is not None
    assert (found.seq, found.at, found.repeated) == (written.seq, written.at, False)
    assert features(found) == {name: vector.tobytes() for name, vector in vectors.items()}
    assert isinstance(found.entry, PutItem)
    assert found.entry.item.title == "new"


def test_find_tells_the_deleted_from_the_unknown(journal: Journal) -> None:
    """A deleted item is found as its deletion; one that was never written is None, whatever users did with it."""
    write(journal, PutItem(Item("a")), DeleteItem("a"), Interact("u", "never"), EraseUser("nobody"))

    found = [journal.find(item_id) for item_id in ("a", "never", "nobody", "u", "")]

    assert [record and (record.seq, record.entry) for record in found] == [(2, DeleteItem("a")), None, None, None, None]


def test_find_tells_items_apart_by_every_character(journal: Journal) -> None:
    """An item is found under exactly its name."""
    seqs = [record.seq for record in write(journal, *(DeleteItem(name) for name in ALIKE))]

    found = [journal.find(name) for name in ALIKE]

    assert [record and record.seq for record in found] == seqs
    assert journal.find("a  ") is None


def test_interactions_displace_no_item(journal: Journal) -> None:
    """What users do with an item after it was written changes neither ``latest`` nor ``find``."""
    write(journal, PutItem(Item("a")), Interact("u", "a"), DeleteItem("b"), Interact("u", "b"), Interact("u", "never"))
    write(journal, EraseUser("a"), EraseUser("u"), Interact("a", "a", event_id="a"))

    latest = [(record.seq, record.entry) for record in journal.latest()]

    assert latest == [(1, PutItem(Item("a"))), (3, DeleteItem("b"))]
    assert [record and record.seq for record in (journal.find("a"), journal.find("b"))] == [1, 3]


NAMES = st.sampled_from(["a", "b", "ü '", ""])
TIMES = st.none() | st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]))
EVENTS = st.none() | st.sampled_from(["a", "e", "f", ""])
ENTRIES = st.lists(
    st.builds(Interact, NAMES, NAMES, st.text(max_size=3), TIMES, EVENTS)
    | st.builds(EraseUser, NAMES)
    | st.builds(DeleteItem, NAMES)
    | st.builds(lambda name, title: PutItem(Item(name, title=title)), NAMES, st.text(max_size=3)),
    max_size=25,
)


def told(journal: Journal, records: list[Record]) -> list[object]:
    """All that a journal says about names, numbers and entries; the times of writing are its own."""
    names = ["a", "b", "ü '", ""]
    answers = [records, journal.read(), journal.latest(), filter(None, map(journal.find, names))]
    return [
        *[[(record.seq, record.entry, record.repeated) for record in answer] for answer in answers],
        *[journal.history(name, limit) for name in names for limit in (0, 2, 100)],
        journal.last_seq(),
    ]


@settings(max_examples=40, deadline=None)
@given(ENTRIES)
def test_journals_agree(entries: list[Entry]) -> None:
    """After any entries, written together, both implementations say the same; so does a plain reading of the port."""
    memory = MemoryJournal()
    with tempfile.TemporaryDirectory() as directory:
        sql = SqlJournal(f"sqlite:///{directory}/journal.sqlite3")
        try:
            answers = [told(journal, write(journal, *entries)) for journal in (memory, sql)]
        finally:
            sql.close()

    assert answers[0] == answers[1]
    items = {item_of(entry): entry for entry in entries if item_of(entry) is not None}
    assert {item_of(record.entry): record.entry for record in memory.latest()} == items


# Databases that are not as they should be

OLDER = """
CREATE TABLE journal (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at VARCHAR(40) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    item_id VARCHAR(256) NOT NULL,
    payload TEXT NOT NULL
);
CREATE INDEX journal_by_item ON journal (item_id, seq);
CREATE TABLE journal_facts (name VARCHAR(40) NOT NULL PRIMARY KEY, value VARCHAR(200) NOT NULL);
INSERT INTO journal_facts VALUES ('identity', 'abc');
INSERT INTO journal VALUES (1, '2026-01-01T00:00:00+00:00', 'delete', 'a', '{"format":1}');
"""


@pytest.mark.parametrize("more", ["", "ALTER TABLE journal ADD COLUMN user_id VARCHAR(256);"])
def test_older_database_is_refused_as_it_is(url: str, tmp_path: Path, more: str) -> None:
    """A journal without our columns is refused with its name, keeps every byte, and nothing holds it open."""
    path = tmp_path / "journal.sqlite3"
    connection = sqlite3.connect(path)
    connection.executescript(f"PRAGMA journal_mode=WAL; {OLDER} {more}")
    connection.close()
    before = path.read_bytes()

    with pytest.raises(StorageUnavailable, match=r"journal\.sqlite3 cannot be opened: .* older version"):
        SqlJournal(url)

    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # a write-ahead log goes with its last reader
    assert path.read_bytes() == before


SPOILT = {
    "interaction: no JSON": (Interact("u", "i"), "payload = 'nonsense'"),
    "interaction: empty": (Interact("u", "i"), "payload = '{}'"),
    "interaction: other format": (Interact("u", "i"), """payload = replace(payload, '"format":1', '"format":2')"""),
    "interaction: no kind": (Interact("u", "i"), """payload = replace(payload, '"kind"', '"kin"')"""),
    "interaction: no such time": (Interact("u", "i"), """payload = replace(payload, 'null', '"soon"')"""),
    "interaction: time is a number": (Interact("u", "i"), "payload = replace(payload, 'null', '7')"),
    "interaction: no user": (Interact("u", "i"), "user_id = NULL"),
    "interaction: no item": (Interact("u", "i"), "item_id = NULL"),
    "interaction: unknown kind": (Interact("u", "i"), "kind = 'look'"),
    "interaction: no time of writing": (Interact("u", "i"), "at = 'never'"),
    "erasure: no JSON": (EraseUser("u"), "payload = ''"),
    "erasure: other format": (EraseUser("u"), """payload = replace(payload, '"format":1', '"format":2')"""),
    "erasure: no user": (EraseUser("u"), "user_id = NULL"),
    "deletion: no item": (DeleteItem("i"), "item_id = NULL"),
    "item: no item": (PutItem(Item("i")), "item_id = NULL"),
}


@pytest.mark.parametrize(("entry", "spoil"), SPOILT.values(), ids=SPOILT)
def test_spoilt_rows_are_named(sql: SqlJournal, url: str, entry: Entry, spoil: str) -> None:
    """A row that is not ours gives an error that names its seq, after all that came before it."""
    write(sql, Interact("other", "first"), entry)
    before = query(url, "SELECT * FROM journal WHERE seq = 2")
    query(url, f"UPDATE journal SET {spoil} WHERE seq = 2")  # noqa: S608 (our own text)
    assert query(url, "SELECT * FROM journal WHERE seq = 2") != before
    records = sql.read()

    assert next(records).seq == 1
    with pytest.raises(StorageUnavailable, match="journal record 2 is unreadable"):
        next(records)


def test_repetition_of_a_spoilt_event_fails_alone(sql: SqlJournal, url: str) -> None:
    """Where the first record of an event is unreadable, its repetition says which, and later writes go on."""
    write(sql, Interact("u", "a", event_id="e"))
    query(url, "UPDATE journal SET payload = 'nonsense'")

    with pytest.raises(StorageUnavailable, match="journal record 1 is unreadable"):
        sql.append(Interact("u", "a", event_id="e")).result(5)

    assert sql.append(Interact("u", "b", event_id="f")).result(5).seq == 2


def test_closed_journal_tells_nothing_of_users(sql: SqlJournal) -> None:
    """After close, histories and items cannot be read, and interactions not be written."""
    sql.close()

    for read in (lambda: sql.history("u", 5), lambda: sql.find("a"), sql.append(Interact("u", "a")).result):
        with pytest.raises(StorageUnavailable, match="closed"):
            read()


# Being killed

WRITER = """
import itertools, sys, threading
from service.adapters.sql_journal import SqlJournal
from service.domain import EraseUser, Interact

journal = SqlJournal(sys.argv[1])
lock = threading.Lock()
journal.append(Interact("erased", "gone", event_id="gone")).result()
journal.append(EraseUser("erased")).result()

def write(user):
    for n in itertools.count():
        record = journal.append(Interact(user, f"{user}-{n}", event_id=f"{user}-{n}")).result()
        with lock:
            print(record.seq, user, n, flush=True)

for name in range(4):
    threading.Thread(target=write, args=(f"u{name}",)).start()
"""


def test_acknowledged_interactions_survive_being_killed(url: str) -> None:
    """After kill -9 each acknowledged interaction is there, known by its event id; what was erased is not."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(60)]
    writer.kill()
    lines += writer.stdout.read().splitlines(keepends=True)
    writer.wait()
    writer.stdout.close()
    acknowledged = [line.split() for line in lines if line.endswith("\n")]

    journal = SqlJournal(url)
    again = write(journal, *(Interact(user, "x", event_id=f"{user}-{n}") for _, user, n in acknowledged))

    assert len(acknowledged) >= 60
    assert [(record.seq, record.repeated) for record in again] == [(int(seq), True) for seq, _, _ in acknowledged]
    for name in ("u0", "u1", "u2", "u3"):
        history = journal.history(name, 1_000_000)
        assert history == [f"{name}-{n}" for n in range(len(history))]
    assert (journal.history("erased", 5), next(journal.read()).entry) == ([], EraseUser("erased"))
    journal.close()
