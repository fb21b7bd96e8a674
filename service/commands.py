"""The command line: runs the service with the settings of the environment."""

import argparse
import gc
import logging
import os
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from service import maintenance
from service.app import create_app, open_journal
from service.errors import RecommenderError
from service.logs import configure_logging
from service.server import serve
from service.settings import PREFIX, SECRETS, Settings, explain, unknown_variables

logger = logging.getLogger(__name__)

# Requests leave little that refers to itself. As Python sets it, a full collection comes every few hundred requests and
# walks over the whole catalogue: that made the slowest of a hundred lists take 140 ms in place of 35.
_GARBAGE = (50_000, 20, 100)
# A search gives its turn away and asks for it again: once, or some thirty times where its loops are not in C. As Python
# sets it, a busy event loop may let it wait 5 ms each time.
_TURN_S = 0.0005


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until a signal ends it, or runs a command; returns the exit status (2: the settings are wrong)."""
    arguments = _parser().parse_args(argv)
    try:
        # What is required comes from the environment or from a file.
        settings = Settings(_secrets_dir=SECRETS if SECRETS.is_dir() else None)  # type: ignore[call-arg]
    except ValidationError as exc:
        print(explain(exc), file=sys.stderr)
        return 2
    if "command" in arguments:
        return maintenance.run(arguments.command, settings, arguments)
    try:
        open_journal(settings).close()
    except RecommenderError as exc:
        print(f"{PREFIX}JOURNAL_URL: {exc}", file=sys.stderr)
        return 2
    configure_logging(settings.log_level, as_json=settings.log_json)
    for name in unknown_variables(os.environ):
        logger.warning("unknown_setting", extra={"variable": name})
    tune_python()
    return serve(create_app(settings), settings)


def tune_python() -> None:
    """Sets Python up for serving."""
    gc.set_threshold(*_GARBAGE)
    sys.setswitchinterval(_TURN_S)


def _parser() -> argparse.ArgumentParser:
    lines = [
        f"  {PREFIX}{name.upper():<20} {field.description} [{'required' if field.is_required() else field.default}]"
        for name, field in Settings.model_fields.items()
    ]
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Runs the service. All settings are environment variables:\n\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    maintenance.add_commands(parser)
    return parser
