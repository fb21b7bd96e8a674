"""``i3rec``: the service on the command line."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from i3rec_client.bodies import Event
from i3rec_client.client import Client
from i3rec_client.errors import I3RecError
from i3rec_client.exporting import Export
from i3rec_client.importing import Import
from i3rec_client.parts import MOST_LINES
from i3rec_client.patience import Patience
from i3rec_client.retries import Retry
from i3rec_client.showing import ExportReport, ImportReport, list_json, list_text, printable
from i3rec_client.wire import DEFAULT_URL

_Command = Callable[[Client, argparse.Namespace], int]
_MANY = 10_000  # attempts: time alone bounds them
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status (1: something failed, 2: wrong usage, 130: interrupted)."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        client = Client(
            arguments.url, api_key=arguments.key or None, retry=Retry(attempts=_MANY, total_s=arguments.patience)
        )
    except (ValueError, ImportError, OSError) as exc:  # what it is to go through: proxies, certificates
        parser.error(str(exc))
    command: _Command = arguments.command
    try:
        with client:
            return command(client, arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except (I3RecError, OSError, UnicodeError) as exc:
        print(f"i3rec: {printable(str(exc))}", file=sys.stderr)
        return 1


def _import(client: Client, arguments: argparse.Namespace) -> int:
    report = ImportReport(arguments.file, sys.stderr)
    work = Import(
        client,
        arguments.file,
        chunk=arguments.chunk,
        patience=Patience(arguments.patience),
        on_failed=report.failed,
        on_progress=report.progress,
        on_wait=report.waiting,
    )
    try:
        done = work.run()
    finally:
        report.end()
    refused = f", {done.failed:,} refused (see {arguments.file}.failed)" if done.failed else ""
    print(f"{done.written:,} items written{refused}")
    return 1 if done.failed else 0


def _export(client: Client, arguments: argparse.Namespace) -> int:
    report = ExportReport(sys.stderr)
    page, features = arguments.page, arguments.features
    work = Export(client, arguments.file, features=features, page=page, on_progress=report.progress)
    try:
        done = work.run(resume=arguments.resume)
    finally:
        report.end()
    if len(done.models) > 1:
        versions = printable(", ".join(done.models))
        print(f"the model changed meanwhile ({versions}): what only the new one knows may be missing", file=sys.stderr)
    print(f"{done.items:,} items exported")
    return 0


def _recommend(client: Client, arguments: argparse.Namespace) -> int:
    found = client.recommend(arguments.user, k=arguments.k, category=arguments.category, exclude=arguments.exclude)
    print(list_json(found) if arguments.json else list_text(found))
    return 0


def _interact(client: Client, arguments: argparse.Namespace) -> int:
    taken = client.interact(Event(arguments.user, arguments.item, kind=arguments.kind, event_id=arguments.event_id))
    print("written" if taken.accepted else "known already")
    return 0


def _status(client: Client, _: argparse.Namespace) -> int:
    ready = client.ready()
    degraded = f", degraded: {', '.join(ready.degraded)}" if ready.degraded else ""
    print(printable(f"ready, model {ready.model_version}{degraded}"))
    for version in (listing := client.models()).versions:
        marks = [
            name for name, marked in (("promoted", listing.promoted), ("serving", listing.serving)) if marked == version
        ]
        print(printable("  ".join([version, *marks])))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="i3rec", description="The I³Rec recommender service on the command line.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_import(commands)
    _add_export(commands)
    _add_recommend(commands)
    interact = _add(commands, "interact", _interact, "say that a user took to an item")
    interact.add_argument("user", metavar="USER")
    interact.add_argument("item", metavar="ITEM")
    interact.add_argument("--kind", default="interaction", help="what the user did [%(default)s]")
    interact.add_argument("--event-id", help="a name for this event: the same one again changes nothing")
    _add(commands, "status", _status, "say whether a model serves, and which versions there are")
    return parser


_Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for it


def _add_import(commands: "_Commands[argparse.ArgumentParser]") -> None:
    parser = _add(commands, "import", _import, "add or replace the items of a file; goes on where it was cut off")
    parser.add_argument("file", metavar="FILE", type=Path, help="JSON items, one a line")
    parser.add_argument("--chunk", type=_chunk, default=MOST_LINES, help="lines in a request [%(default)s]")


def _add_export(commands: "_Commands[argparse.ArgumentParser]") -> None:
    parser = _add(commands, "export", _export, "write all items to a file that import takes")
    parser.add_argument("file", metavar="FILE", type=Path, help="appears, or is replaced, once it is whole")
    parser.add_argument(
        "--features",
        action="store_true",
        help="with the items' features; a file without them, imported, replaces items by ones without features",
    )
    parser.add_argument("--resume", action="store_true", help="go on with an export to this file that was cut off")
    parser.add_argument("--page", type=int, metavar="N", help="items in a request [the service's own]")


def _add_recommend(commands: "_Commands[argparse.ArgumentParser]") -> None:
    parser = _add(commands, "recommend", _recommend, "show the list for a user")
    parser.add_argument("user", metavar="USER")
    parser.add_argument("-k", type=int, help="list length")
    parser.add_argument("--category", action="append", help="only items of one of these; repeatable")
    parser.add_argument("--exclude", action="append", help="not this item; repeatable")
    parser.add_argument("--json", action="store_true", help="the whole answer as JSON")


def _add(
    commands: "_Commands[argparse.ArgumentParser]", name: str, command: _Command, description: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=description, description=description)
    parser.set_defaults(command=command)
    url = os.environ.get("I3REC_CLIENT_URL", DEFAULT_URL)
    parser.add_argument("--url", default=url, help=f"of the service [I3REC_CLIENT_URL, or {DEFAULT_URL}]")
    key = os.environ.get("I3REC_CLIENT_KEY")
    parser.add_argument(
        "--key", default=key, help="where the service has keys [I3REC_CLIENT_KEY, which others cannot see]"
    )
    parser.add_argument(
        "--patience", type=float, default=60.0, metavar="SECONDS", help="how long an outage is waited for [%(default)g]"
    )
    return parser


def _chunk(text: str) -> int:
    lines = int(text)
    if not 1 <= lines <= MOST_LINES:
        raise argparse.ArgumentTypeError(f"expected 1 to {MOST_LINES}, found {lines}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
