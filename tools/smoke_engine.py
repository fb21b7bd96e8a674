"""Docker as the smoke test needs it: what can be had on this machine, and compose commands on a throw-away project."""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PULL_PATIENCE_S = 600
WHEELS_PORT = 8897  # always the same: its number is part of the builder's cache
HOST_NETWORK = os.environ.get("SMOKE_HOST_NETWORK") == "1"


class Compose:
    """The compose command with some of our files, for one project.

    Attributes:
        environment: what the files' variables are set to, beside this process's own environment.
    """

    def __init__(self, files: Sequence[str], project: str, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        paths = [f"--file={ROOT / name}" for name in files]
        self._command = [*program(), "--progress=quiet", *paths, "--project-name", project]

    def __call__(self, *args: str, stdin: bytes = b"", check: bool = True) -> None:
        """Runs one compose command; only its errors are heard.

        Raises:
            CalledProcessError: it failed, and ``check`` is set.
        """
        subprocess.run([*self._command, *args], input=stdin, check=check, cwd=ROOT, env=self._environment())

    def output(self, *args: str) -> str:
        """Runs one compose command and gives what it prints."""
        command = [*self._command, *args]
        return subprocess.run(
            command, check=True, cwd=ROOT, env=self._environment(), stdout=subprocess.PIPE, text=True
        ).stdout

    def start(self, *args: str) -> "subprocess.Popen[bytes]":
        """Starts one compose command and does not wait for its end."""
        return subprocess.Popen([*self._command, *args], cwd=ROOT, env=self._environment())

    def services(self) -> dict[str, Any]:
        """All services as compose understands the files, those of profiles too."""
        return dict(json.loads(self.output("--profile", "*", "config", "--format", "json"))["services"])

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}


@functools.cache
def program() -> tuple[str, ...]:
    """The plugin or the program, whichever is installed.

    Raises:
        SystemExit: neither is.
    """
    for command in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(command[0]) is None:
            continue
        if subprocess.run([*command, "version"], check=False, capture_output=True).returncode == 0:
            return command
    sys.exit("neither the plugin `docker compose` nor the program `docker-compose` was found")


def find_image(name: str) -> str | None:
    """The image itself, here or pulled; else another tag of it that is here and stands in; else nothing."""
    if _docker("image", "inspect", name) is not None or _docker("pull", "--quiet", name) is not None:
        return name
    repository = name.rpartition(":")[0]
    here = _docker("images", "--format", "{{.Repository}}:{{.Tag}}", repository) or ""
    return next((tag for tag in here.split() if not tag.endswith(":<none>")), None)


def has_devices() -> bool:
    """Whether the engine can hand NVIDIA devices to containers."""
    return '"nvidia"' in (_docker("info", "--format", "{{json .Runtimes}}") or "")


def _docker(*args: str) -> str | None:
    try:
        done = subprocess.run(["docker", *args], check=False, capture_output=True, text=True, timeout=PULL_PATIENCE_S)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None


@contextlib.contextmanager
def wheels_for_builds() -> Iterator[dict[str, str]]:
    """Shows the folder of ``PIP_FIND_LINKS`` to builds on the host's network; gives the variables that make use of it.

    A build sees nothing of this machine's disk. Without such a folder, packages come from where pip has them from.
    """
    folder = os.environ.get("PIP_FIND_LINKS", "")
    if not (HOST_NETWORK and Path(folder).is_absolute() and Path(folder).is_dir()):
        yield {}
        return
    with ThreadingHTTPServer(("127.0.0.1", WHEELS_PORT), functools.partial(_Silent, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flags = f"{os.environ.get('PIP_FLAGS', '')} --find-links http://127.0.0.1:{WHEELS_PORT}/"
        yield {"PIP_FLAGS": flags.strip(), "TORCH_INDEX": ""}
        server.shutdown()


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is the library's
        """Says nothing."""
