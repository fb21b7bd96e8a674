"""``python -m training collect``: the next dataset directory, of the last one and of what was written online since."""

import argparse
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from training.collected_items import Collected, collect_items
from training.dataset import Dataset, read_dataset
from training.errors import NothingToLearn, PreparationFailed
from training.writing import write_dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument(
        "--journal",
        required=True,
        metavar="URL",
        help="the service's journal, sqlite:///PATH or postgresql+psycopg://HOST/DATABASE; it is only read, and the "
        "service may run on it meanwhile",
    )
    parser.add_argument("--base", type=Path, required=True, help="dataset directory that was trained on last")
    parser.add_argument("--out", type=Path, required=True, help="dataset directory to make; must not be there yet")


def run(args: argparse.Namespace) -> int:
    """Collects, writes and sums up.

    Raises:
        TrainingError: a defective base, a journal that cannot be read, nothing that is left to learn from, or an
            output that is there already; nothing was written.
        ModelStoreError: the journal names a user or an item by what is no id.
        OSError: the output cannot be written.
    """
    # Here, as the library of databases has no place in the other commands.
    from training.collected_interactions import collect_interactions  # noqa: PLC0415
    from training.journal import open_journal  # noqa: PLC0415

    if args.out.exists():
        raise PreparationFailed(f"{args.out}: is there already; name a directory that is not")
    base = read_dataset(args.base)
    with open_journal(args.journal) as journal:
        with journal.snapshot() as snapshot:
            catalogue = collect_items(base, snapshot.items(), datetime.now(UTC), snapshot.mark.identity)
        online = journal.interactions(snapshot.mark.seq)
    users, interactions, dropped = collect_interactions(base, online, snapshot.erased, catalogue)
    if not len(interactions):
        raise NothingToLearn(f"expected interactions of {args.base} or the journal, found none that is left")
    dataset = Dataset(
        users=users,
        items=catalogue.items,
        interactions=interactions,
        features=catalogue.features,
        item_columns=catalogue.columns,
        item_rows=catalogue.rows,
        featurizers=base.featurizers,
        journal=snapshot.mark,
    )
    _write(args.out, dataset)
    sys.stdout.writelines(f"{line}\n" for line in _summary(base, dataset, catalogue, len(online), dropped))
    return 0


def _write(out: Path, dataset: Dataset) -> None:
    """Writes the directory whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        write_dataset(partial, dataset)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _summary(
    base: Dataset, dataset: Dataset, catalogue: Collected, n_online: int, dropped: Counter[str]
) -> Iterator[str]:
    gone = int((catalogue.moved < 0).sum())
    yield f"users          {base.n_users:,} → {dataset.n_users:,}"
    yield (
        f"items          {base.n_items:,} → {dataset.n_items:,}: {catalogue.n_new:,} new, "
        f"{catalogue.n_described:,} described anew, {gone:,} deleted"
    )
    yield f"interactions   {len(base.interactions):,} → {len(dataset.interactions):,}: {n_online:,} were made online"
    for reason, count in dropped.items():
        yield f"  dropped {count:,} {reason}"
    for reason, count in sorted(catalogue.ignored.items()):
        yield f"  ignored {count:,} {reason}"
    if catalogue.n_resting:
        yield f"  {catalogue.n_resting:,} items that are not shown for now stay: they may come back"
    if base.interactions.ratings is not None:
        yield "  ratings are left out: what happens online has none"
    if dataset.journal:
        yield f"watermark      {dataset.journal.seq:,} of journal {dataset.journal.identity}"
