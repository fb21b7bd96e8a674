"""Maximum-inner-product search that takes single changes at once: a main segment, a delta, and what is gone of both.

Engines cannot take rows out cheaply, and some cannot add any during a search. So the main segment never changes: new
and replaced items go to the delta, which is searched exactly, and rows that are gone are hidden. Readers take the
latest view, one reference, and never wait; what is wasted, and where the engine asks for it the delta, is folded into
a new main segment on a thread of its own.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence

import numpy as np

from model_store import IdMap
from service.adapters.background import Ended, Workers
from service.adapters.changes import Changes
from service.adapters.exact_scan import Numbers
from service.adapters.made_up import SPARE, holds
from service.adapters.ranked import Ask
from service.adapters.recollection import MOST_CHANGES, Recollections
from service.adapters.segment_search import best_of_all, best_within
from service.adapters.segments import NONE, Delta, Engine, ExactEngine, Main, View, with_rows, without_rows
from service.adapters.slots import Slots
from service.domain import Matrix, Vector
from service.queries import Hits, IndexState, Mark, Query

logger = logging.getLogger(__name__)

_TOGETHER = 32  # queries that share a pass: more are no quicker, and their scores would leave the processor's cache

_SHARE = 16  # one row of so many may be in the delta: every search looks at all of it, in single precision

MakeEngine = Callable[[Matrix], Engine]


class SegmentedIndex:
    """An index over segments; exact where its engine is.

    Args:
        item_ids: the first items.
        vectors: theirs, (n, d) float32; kept, not copied.
        make_engine: searches a main segment.
        min_delta: rows that are never folded into the main segment, and never too many to be wasted.
        remembered: how many lists are kept for those who ask again.
        on_fold: is told how long a folding took, seconds, or None where it failed.
        workers: run the thread; once they are closed nothing is folded any more. None = its own, which nobody closes.
    """

    def __init__(
        self,
        item_ids: IdMap | Sequence[str],
        vectors: Matrix,
        *,
        make_engine: MakeEngine = ExactEngine,
        min_delta: int = 2048,
        remembered: int = 0,
        on_fold: Callable[[float | None], object] = lambda _: None,
        workers: Workers | None = None,
    ) -> None:
        self._slots = Slots(item_ids if isinstance(item_ids, IdMap) else IdMap(item_ids))
        self._d = vectors.shape[1]
        self._make_engine = make_engine
        self._min_delta = min_delta
        self._on_fold = on_fold
        self._workers = workers or Workers()
        self._recollections = Recollections(remembered)
        self._spare = SPARE if remembered else 0
        self._writing = threading.Lock()
        self._folding: threading.Thread | None = None
        vectors = np.asarray(vectors, dtype=np.float32)  # a memory map stays one
        main = Main.of(vectors, None, self._engine_or_none(vectors))
        self._changes = Changes(self._d)
        self._view = View.of(main, NONE, Delta.empty(self._d), NONE, self._changes.now)

    def __len__(self) -> int:
        return len(self._view)

    @property
    def healthy(self) -> bool:
        """Whether the engine works; without it the index searches as exactly, and slower."""
        return not self._view.main.engine.lost

    @property
    def state(self) -> IndexState:
        """Rows of the segments, and lists that are remembered."""
        view = self._view
        gone = len(view.main_dead), len(view.delta_dead)
        return IndexState(len(view.main), gone[0], len(view.slots), gone[1], len(self._recollections))

    def upsert(self, item_ids: Sequence[str], vectors: Matrix) -> None:
        """Adds or replaces items; where an id comes twice, its last vector stays."""
        if vectors.shape != (len(item_ids), self._d):
            raise ValueError(f"expected vectors {(len(item_ids), self._d)}, found {vectors.shape}")
        latest = {item_id: row for row, item_id in enumerate(item_ids)}
        if not latest:
            return
        with self._writing:
            slots = [self._slots.give(item_id) for item_id in latest]
            main_dead, delta_dead = self._without(np.array(slots, dtype=np.int64))
            delta = self._view.delta
            rows = np.asarray(vectors, dtype=np.float32)[list(latest.values())]
            self._changes.written(slots, rows)
            delta.append(slots, rows)
            self._view = View.of(self._view.main, main_dead, delta, delta_dead, self._changes.now)
            self._fold_if_overgrown()

    def remove(self, item_ids: Collection[str]) -> None:
        """Removes items; unknown ids are ignored."""
        with self._writing:
            slots = np.unique(self._slots.of(item_ids))
            main_dead, delta_dead = self._without(slots)
            self._changes.lost(slots.tolist())
            self._view = View.of(self._view.main, main_dead, self._view.delta, delta_dead, self._changes.now)
            self._fold_if_overgrown()

    def search(
        self, query: Vector, k: int, *, exclude: Collection[str] = (), allow: Collection[str] | None = None
    ) -> Hits:
        """The k best items by inner product, best first, ties by id ascending."""
        return self.search_many([Query(query, k, exclude, allow)])[0]

    def search_many(self, queries: Sequence[Query]) -> list[Hits]:
        """The same for several queries, all on the same state of the index; what they can share they share."""
        view = self._view
        asks = {number: self._ask(query, len(view)) for number, query in enumerate(queries) if query.k > 0}
        found_at = view.changes.mark
        answers = [Hits([], [], self._slots.ids) for _ in queries]
        together = {number: ask for number, ask in asks.items() if ask.allow is None}
        numbers = list(together)
        for start in range(0, len(numbers), _TOGETHER):
            some = {number: together[number] for number in numbers[start : start + _TOGETHER]}
            found = best_of_all(view, list(some.values()), self._slots.ids)
            for (number, ask), ranked in zip(some.items(), found, strict=True):
                self._recollections.remember(view, queries[number], ask.k, ranked)
                answers[number] = ranked.hits(self._slots.ids, queries[number].k, found_at)
        for number in asks.keys() - together.keys():
            ranked = best_within(view, asks[number], self._slots.ids)
            answers[number] = ranked.hits(self._slots.ids, queries[number].k, found_at)
        return answers

    def recall(self, query: Query) -> Hits | None:
        """The list for a query with a key, from what was found before; None where the index must be searched."""
        if query.k < 1 or query.restricted:
            return None
        return self._recollections.recall(self._view, query, self._slots.ids)

    def holds(self, query: Query, hits: Hits, since: Mark) -> Mark | None:
        """Until when what was found for a query with a key is known to be right by now; None where it may not be.

        After half as many changes as are looked through it may not be either, so that the list that is remembered is
        brought up to date in time.
        """
        changes = self._view.changes
        if query.k < 1 or query.restricted or not hits.found_at:
            return None
        late = changes.total - hits.found_at.changes > MOST_CHANGES // 2 or since.rows < changes.first
        return changes.mark if not late and holds(hits, since, changes, query) else None

    def settle(self) -> None:
        """Waits until nothing is being folded."""
        while (folding := self._folding) is not None:
            folding.join()

    def _engine_or_none(self, vectors: Matrix) -> Engine | None:
        try:
            return self._make_engine(vectors)
        except Exception:  # whatever its device lacks: the rows can be searched without it
            logger.exception("index_engine_lost")
            return None

    def _ask(self, query: Query, items: int) -> Ask:
        vector = np.ascontiguousarray(query.vector, dtype=np.float32)
        if vector.shape != (self._d,):  # an engine that failed for it would count as broken
            raise ValueError(f"expected a vector of {self._d} numbers, found {vector.shape}")
        exclude = self._slots.of(query.exclude, query.exclude_rows)
        most = items + 1  # which are never found, so that it is known that these are all
        if query.restricted:
            return Ask(vector, min(query.k, most), exclude, self._slots.of(query.allow or (), query.allow_rows))
        return Ask(vector, min(query.k if query.key is None else query.k + self._spare, most), exclude)

    def _without(self, slots: Numbers) -> tuple[Numbers, Numbers]:
        """The dead rows of both segments, once these slots have none that is alive."""
        view, latest = self._view, self._view.delta.latest
        in_delta = [latest[slot] for slot in slots.tolist() if slot in latest]
        return (
            with_rows(view.main_dead, view.main.rows_of(slots)[0]),
            with_rows(view.delta_dead, np.array(in_delta, dtype=np.int64)),
        )

    def _fold_if_overgrown(self) -> None:
        """Starts folding where enough is wasted, or the delta has become large; call it as the writer."""
        view = self._view
        most = max(self._min_delta, len(view.main) // _SHARE)
        if self._folding is None and (view.wasted > most or len(view.slots) > most):
            self._folding = self._workers.start(self._fold, "index-folding")

    def _fold(self) -> None:
        """Makes a main segment of all that is alive, and exchanges it for the old one with what came meanwhile."""
        started = time.perf_counter()
        try:
            view = self._view
            self._workers.check()
            kept = without_rows(np.arange(len(view.main)), view.main_dead)
            added = without_rows(np.arange(len(view.slots)), view.delta_dead)
            matrix = _joined(view.main.matrix, kept, view.vectors, added)
            slots = np.concatenate([view.main.slots_of(kept), view.slots[added]])
            self._workers.check()
            main = Main.of(matrix, slots, self._make_engine(matrix))
        except Ended:
            self._end_folding()
            return
        except Exception:  # whatever it is: the old segments are as good as they were
            logger.exception("index_folding_failed")
            self._on_fold(None)
            self._end_folding()
            return
        with self._writing:
            now, start = self._view, len(view.slots)
            dead = [
                np.searchsorted(kept, without_rows(now.main_dead, view.main_dead)),
                np.searchsorted(added, _below(without_rows(now.delta_dead, view.delta_dead), start)) + len(kept),
            ]
            delta = Delta.empty(self._d)
            delta.append(now.slots[start:].tolist(), now.vectors[start:])
            delta_dead = now.delta_dead[np.searchsorted(now.delta_dead, start) :] - start
            self._view = View.of(main, np.concatenate(dead), delta, delta_dead, now.changes)
            self._on_fold(time.perf_counter() - started)
            self._folding = None
            self._fold_if_overgrown()

    def _end_folding(self) -> None:
        with self._writing:  # whoever started it has taken it down by then
            self._folding = None


def _joined(first: Matrix, kept: Numbers, second: Matrix, added: Numbers) -> Matrix:
    """These rows of the one, and after them those of the other; each is copied once."""
    joined = np.empty((len(kept) + len(added), first.shape[1]), dtype=np.float32)
    for matrix, rows, out in ((first, kept, joined[: len(kept)]), (second, added, joined[len(kept) :])):
        if len(rows) == len(matrix):
            out[:] = matrix
        else:
            np.take(matrix, rows, axis=0, out=out, mode="clip")  # with another mode it would copy them twice
    return joined


def _below(numbers: Numbers, end: int) -> Numbers:
    return numbers[numbers < end]
