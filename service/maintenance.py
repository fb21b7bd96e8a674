"""Commands for operators: copy the journal, put a copy back, rename it, make it smaller."""

import os
import sys
from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from service.adapters.sql_backup import back_up, restore, rewrite
from service.adapters.sql_dialects import check_is_there
from service.adapters.sql_identity import renew
from service.app import open_journal
from service.errors import StorageUnavailable
from service.settings import Settings

Command = Callable[[Settings, Namespace], str]


def add_commands(parser: ArgumentParser) -> None:
    """Adds the commands to a parser; the chosen one stands in ``command``."""
    commands: _SubParsersAction[ArgumentParser] = parser.add_subparsers(title="commands (none = serve)")
    _add(commands, "backup", _back_up, "Copy the journal to FILE, while the service runs.", file=True)
    into = _add(commands, "restore", _restore, "Make the copy FILE the journal; stop the service before.", file=True)
    into.add_argument("--replace", action="store_true", help="also where there is a journal already")
    _add(
        commands,
        "renew",
        _renew,
        "Give the journal another name, after its server's own tools put a copy of it back; stop all services before.",
    )
    smaller = _add(
        commands, "compact", _compact, "Remove records that later ones have made void, while the service runs."
    )
    smaller.add_argument(
        "--rewrite",
        action="store_true",
        help="write the file anew as well, so that nothing is left in it of what was erased; writes wait meanwhile",
    )


def run(command: Command, settings: Settings, arguments: Namespace) -> int:
    """Runs a command; returns the exit status (1: it failed). What it makes is readable to its owner alone."""
    try:
        with _closed_to_others():
            print(command(settings, arguments))
    except StorageUnavailable as exc:
        print(f"python -m service: {exc}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _closed_to_others() -> Iterator[None]:
    before = os.umask(0o077)
    os.umask(before | 0o077)  # which may be stricter
    try:
        yield
    finally:
        os.umask(before)


def _add(
    commands: "_SubParsersAction[ArgumentParser]", name: str, command: Command, about: str, *, file: bool = False
) -> ArgumentParser:
    parser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(command=command)
    if file:
        parser.add_argument("file", type=Path, metavar="FILE")
    return parser


def _back_up(settings: Settings, arguments: Namespace) -> str:
    seq = back_up(settings.journal_url, arguments.file)
    return f"{arguments.file} holds the journal up to record {seq}"


def _restore(settings: Settings, arguments: Namespace) -> str:
    seq = restore(arguments.file, settings.journal_url, replace=arguments.replace)
    return f"the journal is that of {arguments.file}, up to record {seq}"


def _renew(settings: Settings, _: Namespace) -> str:
    seq = renew(settings.journal_url)
    return f"the journal has another name, and {seq} was its last record until now"


def _compact(settings: Settings, arguments: Namespace) -> str:
    check_is_there(settings.journal_url)
    journal = open_journal(settings)
    try:
        removed = journal.compact()
    finally:
        journal.close()
    if arguments.rewrite:
        rewrite(settings.journal_url)
    return f"{removed} records removed{', the file is written anew' if arguments.rewrite else ''}"
