"""Two processes of the real service, a real Prometheus and an Alertmanager, for the length of a block.

Everything listens on free ports of loopback and lives in one directory, which goes with it.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml  # type: ignore[import-untyped]
from demo_server import HOST, Server, free_port
from deploy_queries import PROMETHEUS, ROOT

from model_store import ModelStore, load_bundle

GOLDEN = ROOT / "tests" / "data" / "bundle_v1"
PATIENCE_S = 60.0
VERSIONS = ("check-1", "check-2")


@dataclass(frozen=True, slots=True)
class Stack:
    """Where everything is. ``alertmanager`` is None where the program is not installed."""

    services: tuple[str, str]
    prometheus: str
    alertmanager: str | None
    store: ModelStore
    journal: str


def wait_until(what: str, holds: Callable[[], object]) -> None:
    """Waits for a condition.

    Raises:
        SystemExit: it does not come true.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"expected {what} within {PATIENCE_S:.0f} s")
        time.sleep(0.1)


@contextmanager
def running(root: Path, journal: str | None = None) -> Iterator[Stack]:
    """Starts everything on two small versions of a model, the first one promoted; stops it at the end.

    Args:
        root: where everything is kept.
        journal: URL of the journal that both services share, an empty one; None = a file in ``root``.

    Raises:
        SystemExit: something does not start; says what, and where its log is.
    """
    store, journal = _published(root / "store"), journal or f"sqlite:///{root}/journal.sqlite3"
    # A short lock and a short way between compactions, so that both can be seen at once.
    os.environ |= {"I3REC_JOURNAL_TIMEOUT_S": "0.2", "I3REC_COMPACT_EVERY_S": "2", "I3REC_MODEL_POLL_S": "0.2"}
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(Server(store.root, journal, free_port(), root / f"service-{n}.log")).url for n in (1, 2)
        )
        alertmanager = stack.enter_context(_alertmanager(root))
        prometheus = stack.enter_context(_prometheus(root, [one, two], alertmanager))
        yield Stack((one, two), prometheus, alertmanager, store, journal)


def _published(directory: Path) -> ModelStore:
    """The small model of the tests under two names, made just now."""
    store, bundle = ModelStore(directory), load_bundle(GOLDEN)
    now = datetime.now(UTC).isoformat()
    for version in VERSIONS:
        manifest = replace(bundle.manifest, model_version=version, created_at=now)
        store.publish(bundle, bundle.encoder_path.read_bytes(), manifest)
    store.promote(VERSIONS[0])
    return store


@contextmanager
def _alertmanager(root: Path) -> Iterator[str | None]:
    program = shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")  # Debian's name
    if program is None:
        yield None
        return
    url = f"http://{HOST}:{free_port()}"
    options = {
        "config.file": ROOT / "deploy" / "alertmanager" / "alertmanager.yml",
        "storage.path": root / "alertmanager",
        "web.listen-address": url.removeprefix("http://"),
        "cluster.listen-address": "",
    }
    with _program(program, options, url, root):
        yield url


@contextmanager
def _prometheus(root: Path, services: list[str], alertmanager: str | None) -> Iterator[str]:
    url = f"http://{HOST}:{free_port()}"
    targets = {"i3rec": services, "prometheus": [url], "alertmanager": [alertmanager] if alertmanager else []}
    config = root / "prometheus.yml"
    config.write_text(yaml.safe_dump(_configured(targets)), "utf-8")
    options = {
        "config.file": config,
        "storage.tsdb.path": root / "prometheus",
        "web.listen-address": url.removeprefix("http://"),
        "log.level": "warn",
    }
    with _program("prometheus", options, url, root):
        yield url


def _configured(targets: Mapping[str, list[str]]) -> dict[str, Any]:
    """The configuration as it is deployed, with our addresses in place of the containers', and in a hurry."""
    config: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / pattern) for pattern in config["rule_files"]]
    hosts = {job: [url.removeprefix("http://") for url in urls] for job, urls in targets.items()}
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": hosts[job["job_name"]]}]
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": hosts["alertmanager"]}]}]
    return config


@contextmanager
def _program(program: str, options: Mapping[str, object], url: str, root: Path) -> Iterator[None]:
    """A program that is ready when the block begins, and gone when it ends."""
    log = root / f"{Path(program).name}.log"
    command = [program, *(f"--{name}={value}" for name, value in options.items())]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=root)
    try:
        wait_until(f"{program} to be ready (its log: {log.read_text('utf-8')[-2000:]})", lambda: _ready(process, url))
        yield
    finally:
        process.terminate()
        process.wait()


def _ready(process: "subprocess.Popen[bytes]", url: str) -> bool:
    if process.poll() is not None:
        raise SystemExit(f"{process.args!r} ended with status {process.returncode}")
    try:
        return httpx.get(f"{url}/-/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
