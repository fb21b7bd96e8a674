"""``python -m model_store``: what an operator reads and which status a script gets."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from model_store import ModelStore
from model_store.__main__ import main

Publish = Callable[..., None]


@pytest.fixture
def run(store: ModelStore, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command on the store; gives its status, output and errors."""

    def run_command(*args: str) -> tuple[int, str, str]:
        status = main(["--store", str(store.root), *args])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_command


Run = Callable[..., tuple[int, str, str]]


def test_list_of_an_empty_store(run: Run, store: ModelStore) -> None:
    """Nothing published is no error; a store that is not there is one, as its name may be misspelt."""
    assert run("list") == (1, "", f"error: there is no model store {store.root}\n")
    store.root.mkdir(parents=True)
    assert run("list") == (0, "no versions\n", "")


def test_list_marks_what_serves_and_what_is_damaged(run: Run, store: ModelStore, publish: Publish) -> None:
    """One line a version, newest first: * for the one that serves, DAMAGED with the reason for what cannot."""
    publish("v1", created_at="2026-01-01T00:00:00Z")
    publish("v2", created_at="2026-01-02T00:00:00Z")
    publish("v3", modalities={"image": 2, "text": 3}, created_at="2026-01-03T00:00:00Z")
    store.promote("v1")
    (store.root / "versions" / "v3" / "manifest.json").write_text("{")

    status, out, _ = run("list")

    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "  v2  test  3 users, 4 items, d 2, modalities: image, text"
    assert lines[1] == "* v1  test  3 users, 4 items, d 2, modalities: image, text"
    assert lines[2].startswith("  v3  DAMAGED  ")


def test_promote_rollback_and_prune(run: Run, store: ModelStore, publish: Publish) -> None:
    """Each command says what it did."""
    for day in (0, 1, 2):
        publish(f"v{day}", created_at=f"2026-01-0{day + 1}T00:00:00Z")

    assert run("promote", "v1") == (0, "v1: promoted\n", "")
    assert run("promote", "v2") == (0, "v2: promoted\n", "")
    assert run("rollback") == (0, "v1: promoted again\n", "")
    assert store.current() == "v1"
    assert run("promote", "v2")[0] == 0
    assert run("prune", "--keep", "1") == (0, "v0: removed\n", "")
    assert run("prune", "--keep", "1") == (0, "nothing to remove\n", "")
    assert run("prune", "--keep", "0") == (1, "", "error: expected at least 1 version to keep, found 0\n")


def test_verify_reads_the_promoted_version_by_default(run: Run, store: ModelStore, publish: Publish) -> None:
    """Without a name it checks what serves; the number of files includes the manifest."""
    publish("v1")
    store.promote("v1")

    assert run("verify") == (0, "v1: sound, 13 files\n", "")
    assert run("verify", "v1")[0] == 0


def test_verify_finds_damage(run: Run, store: ModelStore, publish: Publish) -> None:
    """Damage gives status 1 and one line that names the file."""
    publish("v1")
    (store.root / "versions" / "v1" / "encoder.onnx").write_bytes(b"something else")

    status, out, err = run("verify", "v1")

    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert "encoder.onnx" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("args", [("verify",), ("verify", "../etc"), ("promote", "v9"), ("rollback",)])
def test_what_cannot_be_done_is_refused(run: Run, store: ModelStore, args: tuple[str, ...]) -> None:
    """Refusals give status 1 and an error line, no traceback."""
    store.root.mkdir(parents=True)

    status, out, err = run(*args)

    assert (status, out) == (1, "")
    assert err.startswith("error: no ")


def test_trouble_with_the_file_system_is_one_line(run: Run, store: ModelStore) -> None:
    """A store that cannot be written gives an error line, no traceback."""
    store.root.write_text("a file where the store should be")

    status, _, err = run("rollback")

    assert status == 1
    assert err.startswith("error: ")


@pytest.mark.parametrize("args", [(), ("promote",), ("forget", "v1")])
def test_wrong_usage_gives_status_2(run: Run, args: tuple[str, ...]) -> None:
    """A missing or unknown command is told apart from a refusal."""
    with pytest.raises(SystemExit) as caught:
        run(*args)

    assert caught.value.code == 2


def test_the_module_runs_as_a_program(store: ModelStore, publish: Publish) -> None:
    """``python -m model_store`` is the same command."""
    publish("v1")

    done = subprocess.run(
        [sys.executable, "-m", "model_store", "--store", store.root, "list"], check=True, capture_output=True, text=True
    )

    assert done.stdout.startswith("  v1  test")
