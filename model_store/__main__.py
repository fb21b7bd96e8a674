"""``python -m model_store``: look at a model store and move its pointer."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model_store.challenger import Challenger
from model_store.errors import ModelStoreError
from model_store.store import ModelStore


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status (0 done, 1 refused)."""
    args = _parser().parse_args(argv)
    store = ModelStore(args.store)
    try:
        if not args.store.is_dir():
            raise FileNotFoundError(f"there is no model store {args.store}")
        print(_run(store, args))
    except (ModelStoreError, OSError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model_store", description=__doc__)
    parser.add_argument("--store", type=Path, required=True, help="directory of the model store")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="all versions, newest first; * marks the one that serves")
    for name, text in (("verify", "read and check every byte of a version"), ("promote", "make a version serve")):
        command = commands.add_parser(name, help=text)
        if name == "verify":
            command.add_argument("version", nargs="?", help="default: the promoted one")
        else:
            command.add_argument("version")
    commands.add_parser("rollback", help="serve the version promoted before")
    challenge = commands.add_parser("challenge", help="try a version beside the promoted one")
    challenge.add_argument("version")
    challenge.add_argument("--share", type=float, default=0.1, help="of the users, or requests (default 0.1)")
    challenge.add_argument("--shadow", action="store_true", help="only compare its answers, show them to nobody")
    commands.add_parser("withdraw", help="end the trial of the challenger")
    prune = commands.add_parser("prune", help="remove old versions")
    prune.add_argument("--keep", type=int, default=5, help="how many to keep (default 5)")
    return parser


def _run(store: ModelStore, args: argparse.Namespace) -> str:
    match args.command:
        case "list":
            return _listing(store)
        case "verify":
            bundle = store.load(args.version)
            return f"{bundle.version}: sound, {len(bundle.manifest.checksums) + 1} files"
        case "promote":
            store.promote(args.version)
            return f"{args.version}: promoted"
        case "rollback":
            return f"{store.rollback()}: promoted again"
        case "challenge" | "withdraw":
            return _trial(store, args)
        case _:
            return "\n".join(f"{version}: removed" for version in store.prune(args.keep)) or "nothing to remove"


def _trial(store: ModelStore, args: argparse.Namespace) -> str:
    if args.command == "withdraw":
        store.challenge(None)
        return "no version is on trial"
    store.challenge(Challenger(args.version, args.share, "shadow" if args.shadow else "split"))
    return f"{args.version}: challenges {store.current() or 'nothing: no version is promoted'}"


def _listing(store: ModelStore) -> str:
    lines = []
    for info in store.versions():
        mark = "*" if info.current else " "
        if info.manifest is None:
            state = "DAMAGED" if info.readable else "OTHER FORMAT"
            lines.append(f"{mark} {info.version}  {state}  {info.problem}")
            continue
        m = info.manifest
        modalities = ", ".join(m.modality_names) or "none"
        size = f"{m.n_users} users, {m.n_items} items, d {m.d}"
        lines.append(f"{mark} {info.version}  {m.preset}  {size}, modalities: {modalities}")
    return "\n".join(lines) or "no versions"


if __name__ == "__main__":
    sys.exit(main())
