"""``python -m training validate``: is this a sound dataset directory, and what is in it?"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.dataset import Dataset, read_dataset
from training.featurizers import kinds_of, read_featurizers
from training.interactions import SPLIT_NAMES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("--data", type=Path, required=True, help="dataset directory (docs/dataset-format.md)")


def run(args: argparse.Namespace) -> int:
    """Prints a summary.

    Raises:
        DatasetError: with the first defect found.
        ExportRefused: a featurizer is not what a bundle can have.
    """
    dataset = read_dataset(args.data)
    kinds = kinds_of(read_featurizers(dataset))
    made = [f"featurizers    {', '.join(f'{name} from raw {kind}s' for name, kind in kinds.items())}"] if kinds else []
    sys.stdout.write("\n".join([*summary(dataset), *made]) + "\n")
    return 0


def summary(dataset: Dataset) -> list[str]:
    """What a data set holds, as lines for people."""
    interactions = dataset.interactions
    touched = len(np.unique(interactions.items))
    present = dataset.present
    return [
        f"users          {dataset.n_users:,}",
        f"items          {dataset.n_items:,}, {dataset.n_items - touched:,} of them without an interaction",
        f"interactions   {len(interactions):,}",
        f"ratings        {'yes' if interactions.ratings is not None else 'no'}",
        f"timestamps     {'yes' if interactions.timestamps is not None else 'no: file order stands for time'}",
        f"split          {_split_line(dataset)}",
        f"metadata       {', '.join(dataset.item_columns) or 'none'}",
        "modalities",
        *(
            f"  {name}: {features.dim} dimensions, present in {_share(int(features.present.sum()), dataset.n_items)}"
            for name, features in dataset.features.items()
        ),
        "items that have",
        *_pattern_lines(list(dataset.features), present),
    ]


def _split_line(dataset: Dataset) -> str:
    split = dataset.interactions.split
    if split is None:
        return "none given: made when training"
    counts = np.bincount(split, minlength=len(SPLIT_NAMES))
    return ", ".join(f"{name} {count:,}" for name, count in zip(SPLIT_NAMES, counts, strict=True))


def _pattern_lines(names: list[str], present: NDArray[np.bool_]) -> list[str]:
    patterns, counts = np.unique(present, axis=0, return_counts=True)
    lines = []
    for k in np.argsort(-counts, kind="stable"):
        owned = [name for name, has in zip(names, patterns[k], strict=True) if has]
        lines.append(f"  {' + '.join(owned) or 'nothing'}: {_share(int(counts[k]), len(present))}")
    return lines


def _share(count: int, total: int) -> str:
    return f"{count:,} of {total:,} items ({count / total:.1%})"
