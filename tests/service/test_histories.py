"""What is at hand of the users' interactions is never older than what was noted."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.adapters.memory import MemoryJournal
from service.adapters.sql_journal import SqlJournal
from service.domain import EraseUser, Interact, Record
from service.errors import StorageUnavailable
from service.histories import Histories, UserFilter
from service.ports import Journal

MOST, WAIT_S = 3, 30
USERS, ITEMS = ("ann", "bob", "eve"), tuple("abcd")


def nothing() -> None:
    """Happens meanwhile."""


class Interrupted:
    """A journal in which something happens after each reading, before the reader has what was read."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.read = 0
        self.after_history: Callable[[], object] = nothing
        self.after_last_seq: Callable[[], object] = nothing
        self.after_user: Callable[[], object] = nothing

    def history(self, user_id: str, limit: int) -> list[str]:
        """As the journal, then what happens."""
        self.read += 1
        found = self.journal.history(user_id, limit)
        self.after_history()
        return found

    def last_seq(self) -> int:
        """As the journal, then what happens."""
        found = self.journal.last_seq()
        self.after_last_seq()
        return found

    def users(self) -> Iterator[str]:
        """As the journal, with what happens after each of them, and once where there is none."""
        found = list(self.journal.users())
        for user_id in found:
            yield user_id
            self.after_user()
        self.after_user()


class Failing(Interrupted):
    """A journal that cannot be read while it is down."""

    down = False

    def history(self, user_id: str, limit: int) -> list[str]:
        """As the journal, unless it is down."""
        self._check()
        return super().history(user_id, limit)

    def users(self) -> Iterator[str]:
        """As the journal; where it is down, one comes before that is noticed."""
        yield from list(super().users())[:1]
        self._check()
        yield from super().users()

    def _check(self) -> None:
        if self.down:
            raise StorageUnavailable("down")


def write(journal: Journal, *entries: Interact | EraseUser) -> list[Record]:
    """The records of entries."""
    return [journal.append(entry).result(WAIT_S) for entry in entries]


@pytest.fixture
def journal() -> Interrupted:
    """An empty journal in memory."""
    return Interrupted(MemoryJournal())


@pytest.fixture
def loaded(journal: Interrupted) -> Histories:
    """Histories that know who is in the journal: nobody."""
    histories = Histories(journal, MOST)
    histories.load()
    return histories


# Any course of events


@dataclass
class Course:
    """A journal, its histories, and who has said what: the oracle is the journal's own history."""

    journal: Interrupted
    histories: Histories
    unsaid: dict[int, str] = field(default_factory=dict)  # seq → user, of what was written and not noted yet
    waiting: list[Record] = field(default_factory=list)  # own records that are still to be noted
    of_others: list[Record] = field(default_factory=list)
    latest: dict[str, Record] = field(default_factory=dict)  # user → the last record of those noted

    def write(self, entry: Interact | EraseUser, *, own: bool) -> None:
        """Writes, and leaves the noting for later."""
        (record,) = write(self.journal.journal, entry)
        if not record.repeated:
            self.unsaid[record.seq] = entry.user_id
        (self.waiting if own else self.of_others).append(record)

    def note(self, place: int) -> None:
        """Notes one of the own records that wait."""
        if self.waiting:
            record = self.waiting.pop(place % len(self.waiting))
            self._said([record])
            self.histories.note([record])

    def note_all(self) -> None:
        """Notes all own records that wait."""
        records, self.waiting = self.waiting, []
        self._said(records)
        self.histories.note(records)

    def note_others(self) -> None:
        """Notes about whom others have written."""
        records, self.of_others = self.of_others, []
        self._said(records)
        self.histories.note_others({record.entry.user_id for record in records})

    def ask(self, user_id: str, meanwhile: Sequence["Step"], later: Sequence["Step"]) -> None:
        """Reads a history, while something happens after the reading, and something after that."""
        self._interrupt("after_history", meanwhile)
        self._interrupt("after_last_seq", later)
        before = self.journal.journal.history(user_id, MOST)
        sure = user_id not in self.unsaid.values()
        found = list(self.histories.of(user_id))
        assert not sure or found in (before, self.journal.journal.history(user_id, MOST))
        self.journal.after_history = self.journal.after_last_seq = nothing

    def load(self, meanwhile: Sequence["Step"]) -> None:
        """Finds out who is in the journal, while something happens."""
        self._interrupt("after_user", meanwhile)
        self.histories.load()
        self.journal.after_user = nothing

    def check(self) -> None:
        """What is at hand is what the journal has; of users whose records are not all noted, it has the noted ones."""
        for user_id in USERS:
            known, there = self.histories.known(user_id), self.journal.journal.history(user_id, MOST)
            if known is None:
                continue
            last = self.latest.get(user_id)
            if user_id not in self.unsaid.values():
                assert list(known) == there
            elif last and last.seq in self._counting(user_id):
                assert last.entry.item_id in known

    def _counting(self, user_id: str) -> list[int]:
        """The records of which a user's history is made now."""
        mine = (r for r in self.journal.journal.read() if isinstance(r.entry, Interact) and r.entry.user_id == user_id)
        return [record.seq for record in mine][-MOST:]

    def _said(self, records: Sequence[Record]) -> None:
        for record in records:
            self.unsaid.pop(record.seq, None)
            user_id = record.entry.user_id
            if user_id not in self.latest or self.latest[user_id].seq < record.seq:
                self.latest[user_id] = record

    def _interrupt(self, place: str, steps: Sequence["Step"]) -> None:
        def happen() -> None:
            setattr(self.journal, place, nothing)
            for step in steps:
                step(self)
                self.check()

        setattr(self.journal, place, happen)


Step = Callable[[Course], object]
users = st.sampled_from(USERS)
writes = st.builds(
    lambda user, item, event, own: lambda course: course.write(Interact(user, item, event_id=event), own=own),
    users,
    st.sampled_from(ITEMS),
    st.none() | st.sampled_from("xy"),
    st.booleans(),
)
erasures = st.builds(lambda user, own: lambda course: course.write(EraseUser(user), own=own), users, st.booleans())
notes = st.builds(lambda place: lambda course: course.note(place), st.integers(0, 5))
changes = st.one_of(writes, writes, erasures, notes, notes, st.just(Course.note_all), st.just(Course.note_others))
meanwhile = st.lists(changes, max_size=4)
asks = st.builds(
    lambda user, during, later: lambda course: course.ask(user, during, later), users, meanwhile, meanwhile
)
loads = st.builds(lambda during: lambda course: course.load(during), meanwhile)
courses = st.lists(st.one_of(changes, changes, asks, asks, loads), max_size=30)


def run(journal: Journal, steps: Sequence[Step], kept: int) -> None:
    """Goes through a course, and looks after each step."""
    interrupted = Interrupted(journal)
    course = Course(interrupted, Histories(interrupted, MOST, kept))
    for step in [*steps, Course.note_all, Course.note_others]:
        step(course)
        course.check()
    for user_id in USERS:
        assert list(course.histories.of(user_id)) == journal.history(user_id, MOST)


@settings(max_examples=400, deadline=None)
@given(courses, st.sampled_from([0, 1, 2, 100]))
def test_nothing_is_older_than_what_was_noted(steps: Sequence[Step], kept: int) -> None:
    """Whatever is written, repeated, erased, noted late or by others, read or evicted, in whatever order."""
    run(MemoryJournal(), steps, kept)


@settings(max_examples=25, deadline=None)
@given(courses, st.sampled_from([1, 100]))
def test_nothing_is_older_than_what_was_noted_of_a_file(
    tmp_path_factory: pytest.TempPathFactory, steps: Sequence[Step], kept: int
) -> None:
    """The same with a journal on disk."""
    journal = SqlJournal(f"sqlite:///{tmp_path_factory.mktemp('journal')}/journal.sqlite3")
    try:
        run(journal, steps, kept)
    finally:
        journal.close()


def test_nothing_is_older_than_what_this_thread_noted(tmp_path: Path) -> None:
    """Threads that write, note and read at the same time each find what they have noted, and in the end all of it."""
    journal = SqlJournal(f"sqlite:///{tmp_path}/journal.sqlite3")
    histories = Histories(journal, 1000, users=3)
    wanted = 25

    def live(name: int) -> None:
        for n in range(wanted):
            user_id, item_id = f"u{n % 4}", f"{name} {n}"
            histories.note(write(journal, Interact(user_id, item_id)))
            assert item_id in (histories.known(user_id) or histories.of(user_id))
            if n == name:
                histories.load()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(live, name) for name in range(4)]:
            done.result(WAIT_S * 4)

    for user_id in ("u0", "u1", "u2", "u3"):
        assert list(histories.of(user_id)) == journal.history(user_id, 1000)
    journal.close()


# Reading


def test_strangers_are_known_once_it_is_known_who_is_there(journal: Interrupted) -> None:
    """Before, the journal is asked about everybody; then only about those who are in it, and once about each."""
    write(journal.journal, Interact("ann", "a"))
    histories = Histories(journal, MOST)
    before = [histories.known(user_id) for user_id in USERS]

    histories.load()

    assert before == [None] * 3
    assert [histories.known(user_id) for user_id in USERS] == [None, (), ()]
    assert [histories.of(user_id) for user_id in ("ann", "bob", "ann")] == [("a",), (), ("a",)]
    assert journal.read == 1


def test_interactions_of_a_stranger_are_at_hand(journal: Interrupted, loaded: Histories) -> None:
    """Who was in no record before needs no reading: the latest interactions are those that were noted."""
    for item_id in "abcd":
        loaded.note(write(journal.journal, Interact("ann", item_id)))

    assert (loaded.known("ann"), journal.read) == (("b", "c", "d"), 0)


def test_reading_under_way_gives_way_to_what_is_noted(journal: Interrupted) -> None:
    """What was read before is not kept: the next reading has it all; who reads at the same time waits for nobody."""
    histories, reading, go_on = Histories(journal, MOST), threading.Event(), threading.Event()
    journal.after_history = lambda: (reading.set(), go_on.wait(WAIT_S))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(histories.of, "ann")
        assert reading.wait(WAIT_S)
        journal.after_history = nothing

        histories.note(write(journal.journal, Interact("ann", "a")))
        meanwhile = histories.of("ann"), histories.known("ann")
        go_on.set()

        assert slow.result(WAIT_S) == ()
    assert meanwhile == (("a",), None)
    assert (histories.known("ann"), histories.of("ann"), histories.known("ann")) == (None, ("a",), ("a",))


def test_what_a_reading_found_is_not_counted_twice(journal: Interrupted) -> None:
    """A record that was on disk before a reading and is noted after it stands in the history once."""
    write(journal.journal, Interact("ann", "a"), Interact("ann", "b"))
    late = write(journal.journal, Interact("ann", "c"))
    histories = Histories(journal, MOST)
    found = histories.of("ann")

    histories.note(late)

    assert (found, histories.of("ann")) == (("a", "b", "c"), ("a", "b", "c"))


def test_what_was_erased_does_not_come_back(journal: Interrupted) -> None:
    """Not even where an interaction from before the erasure is noted after it, and after a reading."""
    late = write(journal.journal, Interact("ann", "a"))
    histories = Histories(journal, MOST)
    histories.note(write(journal.journal, EraseUser("ann")))
    assert histories.of("ann") == ()

    histories.note(late)

    assert histories.of("ann") == ()


def test_repetitions_count_before_their_first_record_is_noted(journal: Interrupted, loaded: Histories) -> None:
    """Whoever repeats an event is told that it is written: then it is in the history, whoever wrote it first."""
    first, again = write(journal.journal, *[Interact("ann", "a", event_id="e")] * 2)

    loaded.note([again])

    assert loaded.of("ann") == ("a",)
    loaded.note([first])
    assert loaded.of("ann") == ("a",)


def test_readers_take_nobody_for_a_stranger_while_something_is_noted(
    journal: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose record came too late for the filter, and was read: nothing less is said while they are taken in."""
    histories, seen, add = Histories(journal, MOST), [], UserFilter.add

    def come() -> None:
        journal.after_user = nothing
        write(journal.journal, Interact("ann", "a"))
        histories.of("ann")

    journal.after_user = come
    histories.load()
    assert histories.known("ann") == ("a",)

    def watched(users: UserFilter, user_id: str) -> None:
        seen.append(histories.known(user_id))
        add(users, user_id)
        seen.append(histories.known(user_id))

    monkeypatch.setattr(UserFilter, "add", watched)
    histories.note_others(["ann"])

    assert (seen, histories.known("ann")) == ([("a",), ("a",)], None)


def test_least_recent_give_way(journal: Interrupted) -> None:
    """No more users are kept than wanted; who was evicted is read anew, and is no stranger."""
    histories = Histories(journal, MOST, users=2)
    histories.load()
    for user_id in USERS:
        histories.note(write(journal.journal, Interact(user_id, "a")))

    assert [histories.known(user_id) for user_id in USERS] == [None, ("a",), ("a",)]
    assert histories.of("ann") == ("a",)


# Trouble


def test_failing_journal_leaves_what_is_at_hand() -> None:
    """Those who must be read are refused, the others are answered; afterwards all is as before."""
    journal = Failing(MemoryJournal())
    write(journal.journal, Interact("ann", "a"), Interact("bob", "b"))
    histories = Histories(journal, MOST)
    histories.load()
    histories.of("ann")
    journal.down = True

    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            histories.of("bob")

    assert [histories.of(user_id) for user_id in ("ann", "eve")] == [("a",), ()]
    journal.down = False
    assert (histories.of("bob"), histories.known("bob")) == (("b",), ("b",))


def test_failed_loading_takes_nobody_for_a_stranger() -> None:
    """Half a filter is none; the next attempt has also those who came meanwhile."""
    journal = Failing(MemoryJournal())
    write(journal.journal, Interact("ann", "a"), Interact("bob", "b"))
    histories, journal.down = Histories(journal, MOST), True
    with pytest.raises(StorageUnavailable):
        histories.load()
    histories.note(write(journal.journal, Interact("eve", "c")))
    failed = [histories.known(user_id) for user_id in (*USERS, "nobody")]

    journal.down = False
    histories.load()

    assert failed == [None] * 4
    assert [histories.known(user_id) for user_id in (*USERS, "nobody")] == [None, None, None, ()]


# The filter


@settings(max_examples=50)
@given(st.sets(st.text()))
def test_filter_knows_its_members(members: set[str]) -> None:
    """Whoever was taken in is in it."""
    users = UserFilter()
    for user_id in members:
        users.add(user_id)

    assert all(user_id in users for user_id in members)


def test_filter_seldom_errs() -> None:
    """Of 20,000 strangers beside 20,000 members some six are taken for one; a hundred would be a fault."""
    users = UserFilter()
    for n in range(20_000):
        users.add(f"u{n}")

    assert sum(f"stranger {n}" in users for n in range(20_000)) < 100


def test_mistaken_strangers_cost_a_reading_only(journal: Interrupted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the filter takes everybody for a member, all histories are as they are."""
    monkeypatch.setattr(UserFilter, "__contains__", lambda *_: True)
    histories = Histories(journal, MOST)
    histories.load()
    histories.note(write(journal.journal, Interact("ann", "a")))

    assert [histories.known(user_id) for user_id in USERS] == [None] * 3
    assert [histories.of(user_id) for user_id in USERS] == [("a",), (), ()]
    assert journal.read == 3
