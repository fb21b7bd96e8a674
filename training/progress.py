"""What a person sees while a model trains: a live bar on a terminal, plain lines elsewhere."""

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from training.loop import Progress


class Display(Protocol):
    """Shows progress between ``with`` and its end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __call__(self, progress: Progress) -> None:
        """Shows the state after an epoch."""
        ...


def display_for(console: Console, epochs: int) -> Display:
    """A live bar where the console is a terminal, a line per validation otherwise."""
    return _LiveBar(console, epochs) if console.is_terminal else _Lines(console)


def describe(progress: Progress) -> str:
    """One line: loss and validation recall."""
    loss = f"loss {progress.loss:.3f}"
    if progress.recall is None:
        return loss
    best = f"best {progress.best_recall:.4f} in epoch {progress.best_epoch}"
    return f"{loss}  validation recall@20 {progress.recall:.4f} ({best})"


class _LiveBar:
    """A progress bar with loss, validation recall and the time left at most (early stopping may end sooner)."""

    def __init__(self, console: Console, epochs: int) -> None:
        self._bar = Bar(
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left at most"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("training", total=epochs, state="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        self._bar.update(self._task, completed=progress.epoch, state=describe(progress))


class _Lines:
    """One line whenever the validation recall is new."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __call__(self, progress: Progress) -> None:
        if progress.recall is None or progress.recall == self._shown:
            return
        self._shown = progress.recall
        left = progress.seconds / progress.epoch * (progress.epochs - progress.epoch)
        line = f"epoch {progress.epoch}/{progress.epochs}  {describe(progress)}"
        self._console.print(
            f"{line}  {progress.seconds:.0f} s, at most {left:.0f} s left", highlight=False, soft_wrap=True
        )
