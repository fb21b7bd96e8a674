"""What a person sees of a run."""

from io import StringIO

import pytest
from rich.console import Console

from training.loop import Progress
from training.progress import describe, display_for


def progress(epoch: int, recall: float | None = None, best: float = 0.0, best_epoch: int = 0) -> Progress:
    """The state after an epoch of ten that takes two seconds and loses 1 + 0.25."""
    return Progress(epoch, 10, {"ranking": 1.0, "bottleneck": 0.25}, recall, best, best_epoch, seconds=2.0 * epoch)


def test_loss_is_the_sum_of_its_terms() -> None:
    """1 + 0.25 = 1.25."""
    assert progress(1).loss == 1.25


def test_description_before_the_first_validation_is_the_loss() -> None:
    """There is no recall to speak of yet."""
    assert describe(progress(2)) == "loss 1.250"


def test_description_names_the_recall_and_the_best() -> None:
    """Of a state that is worse than the best one."""
    line = describe(progress(6, recall=0.25, best=0.5, best_epoch=3))

    assert line == "loss 1.250  validation recall@20 0.2500 (best 0.5000 in epoch 3)"


def test_a_file_gets_a_line_for_each_new_recall() -> None:
    """Epochs without a validation, or with the recall of the one before, are silent; what is left is an upper bound."""
    file = StringIO()
    console = Console(file=file)

    with display_for(console, 10) as display:
        for state in (progress(1), progress(2, 0.5, 0.5, 2), progress(3, 0.5, 0.5, 2), progress(4, 0.25, 0.5, 2)):
            display(state)

    assert file.getvalue().splitlines() == [
        "epoch 2/10  loss 1.250  validation recall@20 0.5000 (best 0.5000 in epoch 2)  4 s, at most 16 s left",
        "epoch 4/10  loss 1.250  validation recall@20 0.2500 (best 0.5000 in epoch 2)  8 s, at most 12 s left",
    ]


def test_a_narrow_file_gets_whole_lines() -> None:
    """A log of 40 columns is not wrapped."""
    file = StringIO()

    with display_for(Console(file=file, width=40), 10) as display:
        display(progress(2, 0.5, 0.5, 2))

    assert len(file.getvalue().splitlines()) == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_displays_let_exceptions_through(terminal: bool) -> None:
    """Neither display swallows Ctrl-C, and a terminal gets back the cursor that the bar hid."""
    file = StringIO()

    with pytest.raises(KeyboardInterrupt), display_for(Console(file=file, force_terminal=terminal), 10):
        raise KeyboardInterrupt

    assert file.getvalue().count("\x1b[?25l") == file.getvalue().count("\x1b[?25h") == terminal


def test_a_terminal_shows_a_bar_with_the_state() -> None:
    """Epochs done of those planned, and the description."""
    file = StringIO()

    with display_for(Console(file=file, force_terminal=True, width=160), 10) as display:
        display(progress(4, recall=0.25, best=0.5, best_epoch=2))

    assert "4/10" in file.getvalue()
    assert "validation recall@20 0.2500 (best 0.5000 in epoch 2)" in file.getvalue()
