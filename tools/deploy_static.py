"""What can be told of the files under ``deploy/`` without running anything: their own programs check them."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy_queries import PROMETHEUS, ROOT

Verdict = Literal["ok", "FAIL", "skipped"]
_BELOW = {"compose.scale.host.yml": ("compose.scale.yml", "compose.host.yml")}
"""What a file is laid over beside the compose file itself."""
_ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one check; ``why`` = what a program said, or why it was skipped."""

    check: str
    verdict: Verdict
    why: str = ""


def static_checks() -> Iterator[Outcome]:
    """Every check, as it is made."""
    tests = sorted((PROMETHEUS / "tests").glob("*.yml"))
    yield _checked("Prometheus: configuration and rules", "promtool", "check", "config", PROMETHEUS / "prometheus.yml")
    yield _checked("Prometheus: tests of the rules", "promtool", "test", "rules", *tests)
    yield _checked("Alertmanager: configuration", "amtool", "check-config", _ALERTMANAGER)
    compose = compose_program()
    for files in _compose_files():
        check = f"Compose: {' + '.join(path.relative_to(ROOT).as_posix() for path in files)}"
        if compose is None:
            yield Outcome(check, "skipped", "neither `docker compose` nor `docker-compose` is there")
        else:
            options = [part for path in files for part in ("--file", path)]
            yield _run(check, [*compose, *options, "config", "--quiet"])


def _compose_files() -> Iterator[Sequence[Path]]:
    """The compose file by itself, then with each file that is made to be laid over it, or over another such file."""
    base = ROOT / "docker-compose.yml"
    yield [base]
    for path in sorted((ROOT / "deploy").glob("compose.*.yml")):
        yield [base, *(path.with_name(name) for name in _BELOW.get(path.name, ())), path]


def compose_program() -> list[str] | None:
    """Compose as the plugin or as the program of its own; None where there is neither."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        if subprocess.run([*command, "version"], check=False, capture_output=True).returncode == 0:
            return command
    return None


def _checked(check: str, program: str, *arguments: str | Path) -> Outcome:
    if shutil.which(program) is None:
        return Outcome(check, "skipped", f"{program} is not installed")
    return _run(check, [program, *arguments])


def _run(check: str, command: Sequence[str | Path]) -> Outcome:
    # Compose refuses to read a file whose secrets are missing; nothing is started with this one.
    environment = {"POSTGRES_PASSWORD": "unused", **os.environ}
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment)
    if done.returncode:
        return Outcome(check, "FAIL", (done.stdout + done.stderr).strip())
    return Outcome(check, "ok")


def counted(outcomes: Sequence[Outcome], say: Callable[[str], object]) -> int:
    """Tells the outcomes once more in one line; returns the exit status."""
    verdicts = [outcome.verdict for outcome in outcomes]
    say(f"{verdicts.count('ok')} ok, {verdicts.count('FAIL')} failed, {verdicts.count('skipped')} skipped")
    return int("FAIL" in verdicts)
