"""The command line of the trainer: prepare, featurize, collect and validate data, train, publish, compare models."""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Protocol

from model_store import ModelStoreError
from training import collect, evaluate, featurize, prepare, train, validate
from training.errors import TrainingError


class Command(Protocol):
    """A module that is a command."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares its flags."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Runs; returns the exit status."""
        ...


_COMMANDS: Mapping[str, tuple[Command, str]] = {
    "prepare": (prepare, "make a dataset directory from a public data set"),
    "featurize": (featurize, "make features, and a model that makes them, of the text columns of items.tsv"),
    "collect": (collect, "make the next dataset directory of the last one and what was written online since"),
    "validate": (validate, "check a dataset directory and say what is in it"),
    "train": (train, "train a model, evaluate it and publish it"),
    "evaluate": (evaluate, "compare models where items lack modalities, items are new, or users are"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status (0 done, 1 refused)."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (module, text) in _COMMANDS.items():
        module.add_arguments(commands.add_parser(name, help=text, description=text))
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        return _COMMANDS[args.command][0].run(args)
    except (TrainingError, ModelStoreError, OSError) as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
