"""Builds the images, runs ``docker-compose.yml`` as users do, tries its promises, and takes everything down again.

Needs a Docker engine (``DOCKER_HOST`` is respected) and Compose 2.24 or newer, as the plugin ``docker compose`` or as
the program ``docker-compose``. ``SMOKE_HOST_NETWORK=1`` serves engines without a bridge network: builds and containers
then share the host's network. Ports 8000 and 9090 of 127.0.0.1 must be free (and 6379 on the host's network).
"""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "data" / "bundle_v1"
API = "http://127.0.0.1:8000"
PROMETHEUS = "http://127.0.0.1:9090"
PATIENCE_S = 60.0

# Runs inside the service's container: publishes the bundle that comes in as a tar, and promotes it.
PUBLISH = """
import sys, tarfile, tempfile
from pathlib import Path
from model_store import ModelStore, load_bundle
with tempfile.TemporaryDirectory() as directory:
    tarfile.open(fileobj=sys.stdin.buffer, mode="r|").extractall(directory)
    bundle = load_bundle(Path(directory))
    store = ModelStore(Path("/data/store"))
    store.publish(bundle, bundle.encoder_path.read_bytes(), bundle.manifest)
    store.promote(bundle.version)
"""
NO_TORCH = "import importlib.util, service.app; assert importlib.util.find_spec('torch') is None, 'torch is there'"
UNPRIVILEGED = """
import os
assert os.getuid() == 10001, f"runs as {os.getuid()}"
try:
    open("/opt/venv/written", "w")
except OSError:
    pass
else:
    raise SystemExit("the root file system can be written")
"""


class Failure(Exception):
    """A promise that was not kept."""


def main() -> int:
    """Tries everything; returns 0 where all of it held."""
    compose = Compose()
    for port in compose.ports:
        if is_taken(port):
            print(f"FAIL: port {port} of 127.0.0.1 is taken by something else", file=sys.stderr)
            return 1
    try:
        run(compose)
    except (Failure, subprocess.CalledProcessError) as exc:
        print(f"FAIL: {exc}", file=sys.stderr)
        compose("logs", "--tail", "50", check=False)
        return 1
    finally:
        step("take it down")
        compose("down", "--volumes", "--remove-orphans", "--timeout", "5", check=False)
    print("PASS: image, first model, partial item, kill -9, Redis away, Prometheus")
    return 0


def run(compose: "Compose") -> None:
    """The scenario, step by step."""
    step("build the service's image")
    compose("build", "--quiet", "api")
    step("no torch in it")
    in_container(compose, "run", NO_TORCH)

    step("start without a model: alive, unprivileged, not ready")
    compose("up", "--detach", "--no-build", "--wait", "api")
    in_container(compose, "exec", UNPRIVILEGED)
    expect("/readyz is 503", lambda: call("GET", "/readyz")[0] == 503)

    step("publish and promote the first model")
    in_container(compose, "exec", PUBLISH, stdin=archive(GOLDEN))
    wait_for("/readyz is 200", lambda: call("GET", "/readyz")[0] == 200)

    step("add an item that has a text and no image")
    item = {"item_id": "smoke-1", "modalities": {"text": [9.0, 0.0, 0.0, 0.0]}}
    expect("POST /items is 201", lambda: call("POST", "/items", item)[0] == 201)
    expect("it is recommended first", lambda: recommended("u-1")[:1] == ["smoke-1"])

    step("kill -9, start again")
    compose("kill", "--signal", "SIGKILL", "api")
    compose("up", "--detach", "--no-build", "--wait", "api")
    wait_for("/readyz is 200", lambda: call("GET", "/readyz")[0] == 200)
    expect("it is still recommended first", lambda: recommended("u-1")[:1] == ["smoke-1"])

    step("take Redis away")
    compose("stop", "--timeout", "1", "redis")
    expect("still recommended", lambda: "smoke-1" in recommended("u-1"))
    expect("a new item is taken", lambda: call("POST", "/items", {**item, "item_id": "smoke-2"})[0] == 201)

    step("Prometheus finds the service")
    compose("up", "--detach", "--no-build", "--no-deps", "prometheus")
    wait_for("its target is up", lambda: health_of_target("i3rec") == "up")


class Compose:
    """The compose command for one throw-away project of its own name."""

    def __init__(self) -> None:
        files = ["docker-compose.yml"]
        self.ports = [8000, 9090]
        if os.environ.get("SMOKE_HOST_NETWORK") == "1":
            files.append("deploy/compose.host.yml")
            self.ports.append(6379)
        project = ["--project-name", f"i3rec-smoke-{os.getpid()}"]
        self._command = [*_program(), "--progress=quiet", *(f"--file={ROOT / name}" for name in files), *project]

    def __call__(self, *args: str, stdin: bytes | None = None, check: bool = True) -> None:
        """Runs one compose command; only its errors are heard."""
        subprocess.run([*self._command, *args], input=stdin, check=check, cwd=ROOT)


def is_taken(port: int) -> bool:
    """Whether something listens already; trying our scenario on a service in use would do harm."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _program() -> list[str]:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        if subprocess.run([*command, "version"], check=False, capture_output=True).returncode == 0:
            return command
    sys.exit("neither the plugin `docker compose` nor the program `docker-compose` was found")


def in_container(compose: Compose, verb: str, code: str, stdin: bytes | None = None) -> None:
    """Runs Python in the running service's container (``exec``) or in a fresh one (``run``)."""
    fresh = ("--rm", "--no-deps") if verb == "run" else ()
    compose(verb, *fresh, "-T", "api", "python", "-c", code, stdin=stdin if stdin is not None else b"")


def archive(directory: Path) -> bytes:
    """The files of a directory as a tar, so that a remote engine needs nothing of this machine's disk."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(directory.iterdir()):
            tar.add(path, arcname=path.name)
    return buffer.getvalue()


def call(method: str, path: str, body: object = None, base: str = API) -> tuple[int, Any]:
    """One HTTP request; gives status and JSON. A service that does not answer has status 0."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310  our own addresses
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode(errors="replace")
    except OSError:
        return 0, None


def recommended(user: str) -> Sequence[str]:
    """The ids of a user's list, best first."""
    status, answer = call("GET", f"/recommend/{user}")
    if status != 200:
        raise Failure(f"GET /recommend/{user}: {status} {answer}")
    return [item["item_id"] for item in answer["items"]]


def health_of_target(job: str) -> str | None:
    """What Prometheus says of a job's only target, None where it says nothing."""
    _, answer = call("GET", "/api/v1/targets", base=PROMETHEUS)
    targets = answer["data"]["activeTargets"] if isinstance(answer, dict) else []
    return next((target["health"] for target in targets if target["labels"]["job"] == job), None)


def step(text: str) -> None:
    """Says what comes next."""
    print(f"== {text}", flush=True)


def expect(promise: str, holds: Callable[[], bool]) -> None:
    """Checks a promise now."""
    if not holds():
        raise Failure(promise)
    print(f"   {promise}", flush=True)


def wait_for(promise: str, holds: Callable[[], bool]) -> None:
    """Checks a promise until it holds, for a minute at most."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise Failure(f"{promise}: not within {PATIENCE_S:.0f} s")
        time.sleep(0.2)
    print(f"   {promise}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
