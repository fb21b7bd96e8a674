"""The flags that make a configuration."""

import argparse
import re
from collections.abc import Collection
from dataclasses import MISSING, fields
from inspect import cleandoc
from typing import Any

from training.config import TrainConfig
from training.models import DEFAULTS, HEEDED, PRESETS


def add_config_arguments(group: argparse._ArgumentGroup, *, without: Collection[str] = ()) -> None:
    """Adds a flag for each field of ``TrainConfig`` but those in ``without``; one not given is absent from the result.

    What is absent has the preset's default (``configure``); so a command can tell what was asked for.
    """
    abouts = _abouts()
    for option in fields(TrainConfig):
        if option.default is MISSING or option.name in without:
            continue
        group.add_argument(
            "--" + option.name.replace("_", "-"),
            type=type(option.default),
            default=argparse.SUPPRESS,
            choices=sorted(PRESETS) if option.name == "preset" else None,
            help=f"{abouts[option.name]}; {_default(option.name, option.default)}".replace("%", "%%"),
        )
    group.add_argument(
        "--setting",
        dest="settings",
        action=_Settings,
        default=argparse.SUPPRESS,
        metavar="NAME=NUMBER",
        help="a published model's own setting (the Settings in its file in training/models), may be given repeatedly",
    )


class _Settings(argparse.Action):
    """Collects NAME=NUMBER flags into a mapping."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, option: str | None = None
    ) -> None:
        name, _, number = str(value).partition("=")
        try:
            chosen = {**getattr(namespace, self.dest, {}), name: float(number)}
        except ValueError:
            parser.error(f"{option}: expected NAME=NUMBER, found {value!r}")
        setattr(namespace, self.dest, chosen)


def given_options(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of ``TrainConfig`` that were given as flags."""
    return {option.name: getattr(args, option.name) for option in fields(TrainConfig) if hasattr(args, option.name)}


def _abouts() -> dict[str, str]:
    """What each field of ``TrainConfig`` is, as its documentation says it, or its name where Python drops that."""
    lines = cleandoc(TrainConfig.__doc__ or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", lines, re.MULTILINE)
    told = {name: " ".join(text.split()).replace("``", "").removesuffix(".") for name, text in entries}
    return {option.name: told.get(option.name, option.name) for option in fields(TrainConfig)}


def _default(name: str, usual: object) -> str:
    """What a flag's help says: the default, the presets that have another one, and those that alone heed the flag."""
    others = [f"{preset}: {own[name]}" for preset, own in DEFAULTS.items() if own.get(name, usual) != usual]
    heeding = [preset for preset, heeded in HEEDED.items() if name in heeded]
    alone = f"; for {', '.join(heeding)}" if len(heeding) < len(HEEDED) else ""
    return f"default {usual}" + (f" ({', '.join(others)})" if others else "") + alone
