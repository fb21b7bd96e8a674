"""Checks what is deployed beside the service: ``python tools/check_deploy.py``.

First the files, by the programs they are made for: promtool (configuration, rules, tests of the rules), amtool and
Compose.
Then live: two processes of the service, a Prometheus and an Alertmanager are started on loopback, items, lists,
interactions, a trial, an exchange and a rollback are sent through them, and every query of every panel and every
selection of every rule must find data, save those that are declared to find none as long as all is well; and what both
processes have counted together must be what callers were answered.

What cannot be checked as a program is not installed is told. Nothing remains. Exit status 1: something is wrong.
"""

import argparse
from collections.abc import Sequence
from itertools import chain

from deploy_live import live_checks
from deploy_static import Outcome, counted, static_checks


def main(argv: Sequence[str] | None = None) -> int:
    """Checks; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python tools/check_deploy.py", description=__doc__)
    parser.add_argument("--static", action="store_true", help="start nothing")
    parser.add_argument("--show", action="store_true", help="print what every panel shows")
    parser.add_argument("--journal", metavar="URL", help="an empty journal of both processes, in place of a file")
    args = parser.parse_args(argv)
    outcomes: list[Outcome] = []
    for outcome in chain(static_checks(), [] if args.static else live_checks(show=args.show, journal=args.journal)):
        outcomes.append(outcome)
        why = f": {outcome.why}" if outcome.why else ""
        print(f"{outcome.verdict:8}{outcome.check}{why}", flush=True)
    print("Grafana itself cannot be run here: its files are checked by tests/deploy, its queries above")
    return counted(outcomes, print)


if __name__ == "__main__":
    raise SystemExit(main())
