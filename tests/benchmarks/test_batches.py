"""The benchmark of batches, on a tiny shop."""

from pathlib import Path

from benchmarks.batches import measure


def test_batches_are_written_and_measured(tmp_path: Path) -> None:
    """An item takes some time, part of it on the event loop."""
    loop_us, all_us = measure(tmp_path, items=300, size=5, batches=3)

    assert 0 < loop_us <= all_us
