"""What a person sees of a sweep: a live bar on a terminal, plain lines elsewhere."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from training.errors import TrainingError
from training.loop import Progress
from training.progress import describe
from training.runs import Run
from training.sweep import Display

_MINUTE, _HOUR = 60, 3600


class SweepDisplay(Display, Protocol):
    """A display that is shown between ``with`` and its end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def sweep_display(console: Console, runs: Sequence[Run], kept: Mapping[str, Mapping[str, Any]]) -> SweepDisplay:
    """A display for ``runs``, of which those in ``kept`` (key → record) are done already."""
    tally = _Tally(runs, kept)
    return _LiveBar(console, tally) if console.is_terminal else _Lines(console, tally)


def duration(seconds: float) -> str:
    """A length of time to a person's precision."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h"


class _Tally:
    """Counts what is done and estimates what is left from how long each model took so far."""

    def __init__(self, runs: Sequence[Run], kept: Mapping[str, Mapping[str, Any]]) -> None:
        self.total, self.done = len(runs), 0
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._left = Counter({run.training: 1 for run in runs if run.key not in kept})
        for run in runs:
            if run.key in kept:
                self.done += 1
                self._seconds[run.contestant.name].append(float(kept[run.key]["seconds"]))

    def finish(self, run: Run, seconds: float | None) -> None:
        """Counts a run that took so many seconds, or failed."""
        self.done += 1
        self._left[run.training] = 0
        if seconds is not None:
            self._seconds[run.contestant.name].append(seconds)

    def left(self) -> str:
        """The time left, as far as one can tell."""
        known = {name: fmean(seconds) for name, seconds in self._seconds.items()}
        waiting = [training[0] for training, n in self._left.items() if n]
        if not known or not waiting:
            return ""
        usual = fmean(known.values())
        return f"about {duration(sum(known.get(name, usual) for name in waiting))} left"


def _result(run: Run, record: Mapping[str, Any]) -> str:
    values = record["metrics"][run.protocol.parts[0]]
    return f"recall@20 {values['recall@20']:.4f}, ndcg@20 {values['ndcg@20']:.4f}  ({duration(record['seconds'])})"


class _Lines:
    """A line when a training begins and one for each run."""

    def __init__(self, console: Console, tally: _Tally) -> None:
        self._console, self._tally = console, tally

    def __enter__(self) -> Self:
        if self._tally.done:
            self._print(f"{self._tally.done} of {self._tally.total} runs are done already")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def begin(self, run: Run) -> None:
        left = self._tally.left()
        self._print(f"training: {run}" + (f"; {left}" if left else ""))

    def epoch(self, progress: Progress) -> None:
        pass

    def kept(self, run: Run, record: Mapping[str, Any]) -> None:
        self._tally.finish(run, float(record["seconds"]))
        self._print(f"[{self._tally.done}/{self._tally.total}] {run}: {_result(run, record)}")

    def failed(self, run: Run, error: TrainingError) -> None:
        self._tally.finish(run, None)
        self._print(f"[{self._tally.done}/{self._tally.total}] {run}: failed: {error}")

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class _LiveBar:
    """Two rows: the runs of the sweep, and the epochs of the one that trains; results scroll by above them."""

    def __init__(self, console: Console, tally: _Tally) -> None:
        self._lines, self._tally = _Lines(console, tally), tally
        self._bar = Bar(
            TextColumn("{task.description}"),
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("{task.fields[state]}", markup=False),
            console=console,
        )
        self._runs = self._bar.add_task("runs", total=tally.total, completed=tally.done, state="")
        self._epochs = self._bar.add_task("epoch", total=None, state="", visible=False)

    def __enter__(self) -> Self:
        self._bar.start()
        self._lines.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, run: Run) -> None:
        left = self._tally.left()
        self._bar.update(self._runs, state=f"{run}" + (f" · {left}" if left else ""))
        self._bar.reset(self._epochs, total=None, visible=False, state="")

    def epoch(self, progress: Progress) -> None:
        self._bar.update(
            self._epochs, completed=progress.epoch, total=progress.epochs, visible=True, state=describe(progress)
        )

    def kept(self, run: Run, record: Mapping[str, Any]) -> None:
        self._lines.kept(run, record)
        self._bar.update(self._runs, completed=self._tally.done)

    def failed(self, run: Run, error: TrainingError) -> None:
        self._lines.failed(run, error)
        self._bar.update(self._runs, completed=self._tally.done)
