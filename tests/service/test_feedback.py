"""The write use cases for users: noting interactions, and forgetting them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future

import anyio
import anyio.lowlevel
import pytest

from service.adapters.memory import MemoryJournal
from service.domain import Entry, EraseUser, Interact, Record
from service.errors import ItemMoved, StorageUnavailable
from service.feedback import Feedback, Noted
from service.metrics import Metrics

pytestmark = pytest.mark.anyio

Answer = Record | ItemMoved | StorageUnavailable


class RefusingJournal(MemoryJournal):
    """A journal that refuses some entries, as long as it is told to."""

    def __init__(self, refuses: Callable[[Entry], bool]) -> None:
        super().__init__()
        self.refuses = refuses

    def append(self, entry: Entry, *, expected: int | None = None) -> Future[Record]:
        """Writes an entry, or refuses it."""
        if not self.refuses(entry):
            return super().append(entry, expected=expected)
        refused: Future[Record] = Future()
        refused.set_exception(StorageUnavailable("the disk is full"))
        return refused


class SlowJournal(MemoryJournal):
    """A journal whose writes are not done before they are released."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self._held: list[tuple[Future[list[Answer]], list[Answer]]] = []

    def append_all(self, entries: Sequence[tuple[Entry, int | None]]) -> Future[list[Answer]]:
        """Begins to write entries."""
        held: Future[list[Answer]] = Future()
        self._held.append((held, super().append_all(entries).result()))
        self.waiting += len(entries)
        return held

    def release(self) -> None:
        """Ends all writes that have begun."""
        for held, answers in self._held:
            held.set_result(answers)


def noted(metrics: Metrics) -> float | None:
    """How many interactions were counted."""
    return metrics.registry.get_sample_value("i3rec_interactions_total")


async def test_note_writes_all_in_their_order() -> None:
    """What was noted is in the histories of its users when the call returns, in the order of the call."""
    journal, metrics = MemoryJournal(), Metrics()

    result = await Feedback(journal, metrics).note([Interact("u", "b"), Interact("w", "c"), Interact("u", "a")])

    assert result == Noted(accepted=3, repeated=0, seq=3)
    assert journal.history("u", 10) == ["b", "a"]
    assert journal.history("w", 10) == ["c"]
    assert noted(metrics) == 3


async def test_note_of_nothing_writes_nothing() -> None:
    """An empty list is taken and changes nothing."""
    journal = MemoryJournal()

    assert await Feedback(journal, Metrics()).note([]) == Noted(0, 0, 0)

    assert journal.last_seq() == 0


async def test_note_takes_each_event_once() -> None:
    """An event id known from the same call or an earlier one is repeated: neither written nor counted again."""
    journal, metrics = MemoryJournal(), Metrics()
    feedback = Feedback(journal, metrics)
    await feedback.note([Interact("u", "a", event_id="1")])

    result = await feedback.note(
        [Interact("u", "x", event_id="1"), Interact("u", "b", event_id="2"), Interact("u", "b", event_id="2")]
    )

    assert result == Noted(accepted=1, repeated=2, seq=2)
    assert journal.history("u", 10) == ["a", "b"]
    assert noted(metrics) == 2


async def test_repeated_events_answer_with_their_first_place() -> None:
    """Where all events are known, seq is the highest of the records that hold them."""
    feedback = Feedback(MemoryJournal(), Metrics())
    await feedback.note([Interact("u", "a", event_id="1"), Interact("u", "b", event_id="2"), Interact("u", "c")])

    assert await feedback.note([Interact("u", "a", event_id="1")]) == Noted(accepted=0, repeated=1, seq=1)


async def test_note_that_fails_in_part_can_be_repeated() -> None:
    """One refused write fails the call and counts what was written; repeated with event ids, each is there once."""
    journal, metrics = RefusingJournal(lambda entry: entry == Interact("u", "b", event_id="2")), Metrics()
    feedback = Feedback(journal, metrics)
    events = [Interact("u", item, event_id=event) for item, event in (("a", "1"), ("b", "2"), ("c", "3"))]

    with pytest.raises(StorageUnavailable):
        await feedback.note(events)
    after_failure = noted(metrics)
    journal.refuses = lambda _: False
    result = await feedback.note(events)

    assert after_failure == 2
    assert result == Noted(accepted=1, repeated=2, seq=3)
    assert sorted(journal.history("u", 10)) == ["a", "b", "c"]
    assert noted(metrics) == 3


async def test_note_goes_on_when_its_caller_goes_away() -> None:
    """What has begun to be written is waited for and counted, though nobody waits for the answer."""
    journal, metrics = SlowJournal(), Metrics()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Feedback(journal, metrics).note, [Interact("u", "a"), Interact("u", "b")])
        while journal.waiting < 2:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
        journal.release()

    assert noted(metrics) == 2


async def test_erase_forgets_one_user() -> None:
    """Erased interactions are gone from the journal, those of others and what comes later stay."""
    journal = MemoryJournal()
    feedback = Feedback(journal, Metrics())
    await feedback.note([Interact("u", "a"), Interact("w", "b")])

    await feedback.erase("u")
    await feedback.note([Interact("u", "c")])

    assert journal.history("u", 10) == ["c"]
    assert journal.history("w", 10) == ["b"]
    assert [record.entry for record in journal.read()] == [Interact("w", "b"), EraseUser("u"), Interact("u", "c")]


async def test_erase_that_fails_says_so() -> None:
    """A journal that takes nothing keeps what it has, and the caller learns of it."""
    journal = RefusingJournal(lambda entry: isinstance(entry, EraseUser))
    feedback = Feedback(journal, Metrics())
    await feedback.note([Interact("u", "a")])

    with pytest.raises(StorageUnavailable):
        await feedback.erase("u")

    assert journal.history("u", 10) == ["a"]
