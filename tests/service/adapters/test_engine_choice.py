"""Which engine searches: by what it has shown, by what a device can, and by size; and what is told of it."""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from service.adapters.approximate_engines import Graph, Lists
from service.adapters.background import Ended, Workers
from service.adapters.candidates import LENGTHS, Shown
from service.adapters.device_trial import try_flat, try_graph
from service.adapters.engine_choice import Asked, EngineChoice
from service.adapters.exact_scan import Batch, Found, Numbers
from service.adapters.gpu_engines import CudaDevice, DeviceFlat, DeviceUnusable
from service.adapters.live_recall import LiveRecall
from service.adapters.proven_engine import Proof, ProvenEngine, prove
from service.adapters.ranking import longest_row, norms_of
from service.adapters.segmented_index import SegmentedIndex
from service.adapters.segments import NONE, Engine, ExactEngine
from service.domain import Matrix

D = 8


def tastes(n: int, seed: int = 0) -> Matrix:
    """Vectors around some directions."""
    rng = np.random.default_rng(seed)
    around = np.random.default_rng(0).normal(size=(16, D))
    return (around[rng.integers(16, size=n)] + 0.3 * rng.normal(size=(n, D))).astype(np.float32)


def asked(matrix: Matrix, queries: Matrix, k: int = 10) -> Batch:
    """A batch that hides nothing."""
    return Batch(queries, k, norms_of(queries), longest_row(matrix), NONE, NONE, NONE)


@dataclass
class Told:
    """What an observer was told."""

    used: list[tuple[str, str]] = field(default_factory=list)
    recalls: list[float] = field(default_factory=list)
    live: list[float] = field(default_factory=list)

    def uses(self, asked: str, used: str, recall: float) -> None:
        """Keeps it."""
        self.used.append((asked, used))
        self.recalls.append(recall)

    def compared(self, recall: float) -> None:
        """Keeps it."""
        self.live.append(recall)


class Half:
    """Proposes the best, but for those of odd numbers while the effort is less than 8."""

    efforts = (1, 2, 4, 8, 16)

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix
        self.asked: list[tuple[int, int]] = []

    def propose(self, queries: Matrix, k: int, effort: int, shown: Shown) -> Numbers:
        """Looks at everything."""
        self.asked.append((k, effort))
        scores = queries @ self._matrix.T
        scores[:, ~shown.has(np.arange(len(self._matrix)))] = -np.inf
        if effort < 8:
            scores[:, 1::2] = -np.inf
        return np.argsort(-scores, axis=1)[:, :k]


def ticking(*seconds: float) -> Callable[[], float]:
    """A clock by which the first searches take so long, by turns."""

    def moments() -> Iterator[float]:
        now = 0.0
        yield now
        yield now  # making the index
        while True:
            for each in seconds:
                yield now
                now += each
                yield now

    return moments().__next__


def test_effort_is_raised_until_the_recall_is_reached() -> None:
    """The least that is enough is taken, for each length; longer lists begin with what the shorter ones needed."""
    matrix, probes = tastes(500), tastes(20, seed=1)
    proposer = Half(matrix)

    proof = prove(proposer, matrix, probes, 0.99)

    assert (proof.efforts, proof.recall) == ((8, 8, 8), 1.0)
    assert proposer.asked == [(LENGTHS[0], effort) for effort in (1, 2, 4, 8)] + [(LENGTHS[1], 8), (500, 8)]
    assert prove(Half(matrix), matrix, probes, 0.1).efforts == (1, 1, 1)


def test_recall_that_is_never_reached_proves_nothing() -> None:
    """Then the recall told is that of the greatest effort."""
    matrix, probes = tastes(500), tastes(20, seed=1)
    proposer = Half(matrix)
    proposer.efforts = (1, 2)

    proof = prove(proposer, matrix, probes, 0.99)

    assert proof.efforts == ()
    assert 0.3 < proof.recall < 0.7


def proven(matrix: Matrix, make: Callable = Half, wanted: float = 0.99, seconds: tuple = (2.0, 1.0)) -> tuple:
    """An engine that has been asked twenty different questions, and what it told."""
    told: list[Proof] = []
    engine = ProvenEngine(
        matrix,
        ExactEngine(matrix),
        make,
        wanted=wanted,
        serve=lambda engine, proof: told.append(proof) or engine,
        workers=Workers(),
        probes=20,
        clock=ticking(*seconds),
    )
    for queries in (tastes(15, seed=1), tastes(15, seed=1), tastes(7, seed=2)):
        engine.find(asked(matrix, queries))
    engine.settle()
    return engine, told


def test_engine_that_has_shown_its_recall_is_used() -> None:
    """After so many different queries; before, and while it is being made, the exact one answers."""
    matrix = tastes(500)

    engine, told = proven(matrix)

    assert told == [Proof((8, 8, 8), 1.0)]
    batch = asked(matrix, tastes(3, seed=4))
    assert len(engine.find(batch).rows) == 30  # no more than the k that were asked for: the exact one gives more


@pytest.mark.parametrize("reason", ["recall", "time", "failure"])
def test_engine_that_does_not_pay_is_refused(reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """Too little recall, no less time, or a failure: the log says so, and the exact one answers on."""
    caplog.set_level(logging.INFO)
    matrix = tastes(500)

    def make(rows: Matrix) -> Half:
        if reason == "failure":
            raise MemoryError
        proposer = Half(rows)
        proposer.efforts = (1,) if reason == "recall" else (8,)
        return proposer

    engine, told = proven(matrix, make, seconds=(1.0, 1.0) if reason == "time" else (2.0, 1.0))

    assert told == []
    assert [record.message for record in caplog.records] == ["index_engine_refused"]
    batch = asked(matrix, tastes(3, seed=4))
    assert set(engine.find(batch).rows.tolist()) == set(ExactEngine(matrix).find(batch).rows.tolist())


def test_lengths_that_do_not_pay_stay_exact() -> None:
    """Where longer lists take as long as exact ones, only the shorter ones are answered by the index."""
    matrix = tastes(500)

    _, told = proven(matrix, seconds=(2.0, 1.0) * 21 + (1.0, 2.0) * 21)  # exact and index by turns; 20 and a batch

    assert [proof.efforts for proof in told] == [(8,)]


def test_batches_must_pay_too(caplog: pytest.LogCaptureFixture) -> None:
    """What answers single queries in less time, but sixteen at once in more, is refused: those come when it is busy."""
    caplog.set_level(logging.INFO)

    _, told = proven(tastes(500), seconds=(2.0, 1.0) * 20 + (1.0, 2.0))

    assert told == []
    assert [record.message for record in caplog.records] == ["index_engine_refused"]


def test_few_queries_prove_nothing() -> None:
    """One question asked a hundred times is one question."""
    matrix = tastes(300)
    engine = ProvenEngine(
        matrix, ExactEngine(matrix), Half, wanted=0.99, serve=pytest.fail, workers=Workers(), probes=20
    )

    for _ in range(100):
        engine.find(asked(matrix, tastes(19, seed=1)))

    engine.settle()


class Blind(ExactEngine):
    """Misses the odd rows."""

    def find(self, batch: Batch) -> Found:
        """The even ones of what is right."""
        found = super().find(batch)
        kept = found.rows % 2 == 0
        return Found(found.queries[kept], found.rows[kept])


def test_live_recall_compares_the_share_drawn() -> None:
    """Which searches are drawn, and of which queries, is up to chance; the others cost nothing."""
    matrix, queries = tastes(400), tastes(4, seed=1)
    drawn = iter([0.3999, 0.4, 0.0, 0.1999, 0.1])
    told: list[float] = []
    live = LiveRecall(10, told.append, Workers(), lambda: next(drawn))
    engine = live.watched(Blind(matrix), matrix)
    exact = [set(np.argsort(-(matrix @ query))[:10].tolist()) for query in queries]
    share = [sum(row % 2 == 0 for row in rows) / 10 for rows in exact]

    for _ in range(4):
        engine.find(asked(matrix, queries))  # one of ten, of four: chances below .4 are drawn
        live.settle()
    engine.find(asked(matrix, queries[:1]))  # now below .1
    live.settle()

    assert told == [share[3], share[0], share[1]]


def test_live_recall_keeps_nobody_waiting() -> None:
    """While one search is compared a few more are kept, and the rest are let go; every search has its answer."""
    matrix, queries = tastes(400), tastes(1, seed=1)
    told: list[float] = []
    gate = threading.Event()
    live = LiveRecall(1, lambda recall: (gate.wait(10), told.append(recall)), Workers(), lambda: 0.0)
    engine = live.watched(ExactEngine(matrix), matrix)

    for _ in range(50):
        assert len(engine.find(asked(matrix, queries)).rows) >= 10
    gate.set()
    live.settle()

    assert 8 <= len(told) <= 9  # what waited, and what was being compared
    assert set(told) == {1.0}


def test_live_recall_of_hidden_rows_is_that_of_the_others() -> None:
    """A search is compared with what it might have found; with nothing to find it is right."""
    matrix, query = tastes(400), tastes(1, seed=1)
    told: list[float] = []
    live = LiveRecall(1, told.append, Workers(), lambda: 0.0)
    engine = live.watched(Blind(matrix), matrix)
    nothing = Batch(query, 5, norms_of(query), longest_row(matrix), np.arange(400), NONE, NONE)
    odd_hidden = Batch(query, 5, norms_of(query), longest_row(matrix), np.arange(1, 400, 2), NONE, NONE)

    for batch in (nothing, odd_hidden):
        engine.find(batch)
        live.settle()

    assert told == [1.0, 1.0]
    assert LiveRecall(0, told.append, Workers()).watched(engine, matrix) is engine


def choose(kind: str, told: Told, **changes: object) -> EngineChoice:
    """Chooses for any size, and with few probes."""
    facts: dict = {"least_rows": 1, "probes": 8} | changes
    open_device = facts.pop("open_device", CudaDevice)
    return EngineChoice(Asked(kind, **facts), ExactEngine, told, Workers(), open_device)


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "gpu-cagra"])
def test_approximate_engines_are_chosen_once_proven(kind: str, fake_device: Callable) -> None:
    """Until then the exact one is told; their searches are compared from then on."""
    told, matrix = Told(), tastes(400)
    choice = choose(kind, told, recall=0.01, check_every=1, open_device=fake_device)
    engine = choice(matrix)
    engine._clock = ticking(2.0, 1.0)  # white box: no judging of real time
    assert told.used == [(kind, "exact")]

    engine.find(asked(matrix, tastes(8, seed=1)))
    engine.settle()
    choice.live.settle()
    compared = len(told.live)  # the search that began the proof is compared where the proof was done before it
    engine.find(asked(matrix, tastes(8, seed=2)))
    choice.live.settle()

    assert told.used[-1] == (kind, kind)
    assert 0 < told.recalls[-1] <= 1
    assert len(told.live) == compared + 1


@pytest.mark.parametrize("kind", ["exact", "ivf"])
def test_exact_engine_is_chosen_where_it_is_as_quick(kind: str) -> None:
    """Where it was asked for, and for segments of few rows."""
    told, matrix = Told(), tastes(400)

    engine = choose(kind, told, least_rows=None)(matrix)

    assert (type(engine), told.used, told.recalls) == (ExactEngine, [(kind, "exact")], [1.0])


@pytest.mark.parametrize("kind", ["gpu-fp16", "gpu-fp32"])
def test_sound_device_is_used(kind: str, fake_device: Callable) -> None:
    """What adds, finds and filters rightly searches, and is opened once for all segments."""
    told, opened = Told(), []
    choice = choose(kind, told, open_device=lambda: opened.append(1) or fake_device())

    engines = [choice(tastes(100)), choice(tastes(200))]

    assert [type(engine) for engine in engines] == [DeviceFlat, DeviceFlat]
    assert told.used[-1] == (kind, kind)
    assert opened == [1]


@pytest.mark.parametrize("kind", ["gpu-fp16", "gpu-fp32", "gpu-cagra"])
@pytest.mark.parametrize("fault", ["absent", "deaf", "imprecise", "failing"])
def test_unsound_device_is_refused(
    kind: str, fault: str, fake_device: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    """One that is not there, ignores selectors, adds in too little precision or fails: the processor searches."""
    told = Told()

    def open_device() -> object:
        if fault == "absent":
            return CudaDevice()
        device = fake_device(deaf=fault == "deaf", off=0.01 if fault == "imprecise" else 0.0)
        device.lost = fault == "failing"
        return device

    engine = choose(kind, told, open_device=open_device)(tastes(100))

    if (kind, fault) == ("gpu-cagra", "imprecise"):  # scores of graphs are not used, only their rows
        assert type(engine) is ProvenEngine
    else:
        assert type(engine) is ExactEngine
        assert told.used == [(kind, "exact")]
        assert [record.message for record in caplog.records] == ["index_device_refused"]


def test_refusal_says_what_is_missing(fake_device: Callable) -> None:
    """Of the library, of the device, of the numbers."""
    with pytest.raises(DeviceUnusable, match=r"\.\[gpu\]"):
        CudaDevice()
    with pytest.raises(DeviceUnusable, match="ignores selectors"):
        try_flat(fake_device(deaf=True), D, half=True)
    with pytest.raises(DeviceUnusable, match="ignores selectors"):
        try_graph(fake_device(deaf=True), D)
    with pytest.raises(DeviceUnusable, match="expected scores within"):
        try_flat(fake_device(off=1e-3), D, half=False)
    with pytest.raises(DeviceUnusable, match="float16"):
        DeviceFlat(np.full((2, D), 7e4, np.float32), fake_device(), ExactEngine(tastes(2)), half=True)


def test_lost_device_is_done_without(fake_device: Callable) -> None:
    """Searches go on, exactly, and the index says so."""
    device, rows = fake_device(), tastes(300)
    index = SegmentedIndex(
        [f"i{n}" for n in range(300)], rows, make_engine=choose("gpu-fp16", Told(), open_device=lambda: device)
    )
    before = index.search(rows[0], 10)
    assert index.healthy

    device.lost = True

    assert index.search(rows[0], 10) == before
    assert not index.healthy


def test_lists_are_made_of_hardly_any_rows() -> None:
    """One row makes one list."""
    engine: Engine = choose("ivf", Told())(tastes(1))

    assert engine.find(asked(tastes(1), tastes(2, seed=1))).rows.tolist() == [0, 0]
    assert Lists(tastes(1)).propose(tastes(2, seed=1), 2, 1, Shown(1)).tolist() == [[0, -1], [0, -1]]


@pytest.mark.parametrize("kind", [Lists, Graph])
def test_index_that_is_not_wanted_any_more_is_not_made(kind: Callable) -> None:
    """Between two steps it ends."""
    steps: list[int] = []

    def check() -> None:
        steps.append(1)
        if len(steps) == 3:
            raise Ended

    with pytest.raises(Ended):
        kind(np.tile(tastes(100), (100, 1)), check=check)


def test_work_ends_with_its_workers() -> None:
    """Closing waits for the step under way; what had not begun never begins, and the exact engine searches on."""
    workers, begun, goes_on = Workers(), threading.Event(), threading.Event()
    matrix = tastes(400)

    def make(rows: Matrix) -> Half:
        begun.set()
        goes_on.wait(10)
        workers.check()
        return Half(rows)

    engine = ProvenEngine(matrix, ExactEngine(matrix), make, wanted=0.5, serve=pytest.fail, workers=workers, probes=2)
    engine.find(asked(matrix, tastes(3, seed=1)))
    assert begun.wait(10)
    closing = threading.Thread(target=workers.close)
    closing.start()
    while not workers._ended.is_set():  # white box
        pass
    goes_on.set()
    closing.join(10)

    assert not closing.is_alive()
    assert workers.start(pytest.fail, "late") is None
    assert len(engine.find(asked(matrix, tastes(3, seed=4))).rows) >= 30
    late = ProvenEngine(matrix, ExactEngine(matrix), pytest.fail, wanted=0.5, workers=workers, probes=2)
    late.find(asked(matrix, tastes(3, seed=1)))
    late.settle()
