"""``python -m service`` as a process."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from model_store import ModelStore


def environment(**settings: object) -> dict[str, str]:
    """The environment of a process with these settings only."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("I3REC_")}
    return kept | {f"I3REC_{name.upper()}": str(value) for name, value in settings.items()}


def run(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Runs the command line to its end."""
    command = [sys.executable, "-m", "service", *arguments]
    return subprocess.run(command, env=environment(**settings), capture_output=True, text=True, check=False, timeout=60)


def test_help_names_every_setting() -> None:
    """--help needs no settings and lists them all."""
    done = run("--help")

    assert done.returncode == 0
    assert "I3REC_MODEL_STORE" in done.stdout
    assert "required" in done.stdout


def test_wrong_settings_stop_with_a_message(tmp_path: Path) -> None:
    """A missing setting, a public host, and a journal that cannot be opened: a message, status 2, no traceback."""
    (tmp_path / "file").write_text("x")
    for settings, message in (
        ({}, "I3REC_MODEL_STORE: required"),
        ({"model_store": tmp_path, "host": "0.0.0.0"}, "I3REC_ALLOW_PUBLIC"),  # noqa: S104 - is refused, or allowed on purpose
        ({"model_store": tmp_path, "journal_url": f"sqlite:///{tmp_path}/file/j"}, "I3REC_JOURNAL_URL"),
    ):
        done = run(**settings)

        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.integration
@pytest.mark.enable_socket
def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    """With the settings that choose it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = run(model_store=tmp_path, journal_url=f"sqlite:///{tmp_path}/j.sqlite3", port=port)

    assert done.returncode != 0
    assert f"I3REC_HOST, I3REC_PORT: the service cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_compaction_makes_no_journal(tmp_path: Path) -> None:
    """One that is not there is misspelt."""
    done = run("compact", model_store=tmp_path, journal_url=f"sqlite:///{tmp_path}/none.sqlite3")

    assert (done.returncode, "there is no journal" in done.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.integration
@pytest.mark.enable_socket
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_service_serves_and_ends_in_order(tmp_path: Path, published_store: ModelStore, end: signal.Signals) -> None:
    """It prints its URL, answers there, logs JSON, and leaves without a traceback when told to."""
    settings = {"model_store": published_store.root, "journal_url": f"sqlite:///{tmp_path}/j.sqlite3", "port": 0}
    process = subprocess.Popen(
        [sys.executable, "-m", "service"],
        env=environment(**settings, typo="x"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url = process.stdout.readline().split()[-1]
        with httpx.Client(base_url=url, transport=httpx.HTTPTransport(retries=8)) as client:
            assert client.get("/readyz").json()["model_version"] == "v1"
            assert client.post("/items", json={"item_id": "a/b"}).status_code == 201
            assert client.get("/items/a%2Fb").json()["item_id"] == "a/b"
            assert client.get("/recommend/u0", params={"k": 3}).json()["items"]
    finally:
        process.send_signal(end)
        _, errors = process.communicate(timeout=30)

    assert url.startswith("http://127.0.0.1:")
    assert "Traceback" not in errors
    assert '"event": "unknown_setting"' in errors
    assert '"route": "/items"' in errors  # lists that go well are logged at level DEBUG
    assert "a/b" not in errors
