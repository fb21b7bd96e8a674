"""What the real process writes can be read by its owner alone, but for the model store, which belongs to others too."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model_store import ModelStore

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


def command(umask: int, *arguments: str) -> tuple[str, ...]:
    """The service, as Python's arguments, by a user who gives files such permissions."""
    program = f"import os, runpy, sys; os.umask({umask}); sys.argv = {['service', *arguments]}; "
    return ("-c", program + "runpy.run_module('service', run_name='__main__', alter_sys=True)")


def modes(*paths: Path) -> set[str]:
    """The permissions of some files."""
    return {f"{path.stat().st_mode & 0o777:o}" for path in paths}


def test_files_are_their_owners(
    start_service: Any, tmp_path: Path, published_store: ModelStore, make_version: Any
) -> None:
    """The journal with its log, its checkpoints, its copies, and a journal made of one."""
    make_version(published_store, "v2", promote=False)
    home = tmp_path / "home"
    address = f"sqlite:///{home}/journal.sqlite3"
    service = start_service(command=command(0o022), journal_url=address, checkpoint_every_s=0.2)
    with service.client() as client:
        assert client.post("/items", json={"item_id": "a"}).status_code == 201
        assert client.post("/models/v2/activate").status_code == 200
    service.wait_until(lambda: [*home.glob("*.checkpoints/*")])
    files = [*home.glob("journal.sqlite3*")]
    assert {file.name.removeprefix("journal.sqlite3") for file in files} == {"", "-wal", "-shm", ".checkpoints"}
    environment = {"I3REC_MODEL_STORE": str(published_store.root), "I3REC_JOURNAL_URL": address}
    for arguments in (("backup", f"{tmp_path}/copies/1.db"), ("restore", f"{tmp_path}/copies/1.db")):
        if arguments[0] == "restore":
            environment["I3REC_JOURNAL_URL"] = f"sqlite:///{tmp_path}/restored.sqlite3"
        subprocess.run([sys.executable, *command(0o022, *arguments)], env=environment, check=True, timeout=60)

    assert modes(*(file for file in files if file.is_file())) == {"600"}
    assert modes(home, home / "journal.sqlite3.checkpoints", tmp_path / "copies") == {"700"}
    assert modes(tmp_path / "copies" / "1.db", tmp_path / "restored.sqlite3") == {"600"}
    assert modes(published_store.root / "CURRENT") == {"644"}


def test_files_that_are_there_stay_as_they_are(start_service: Any, tmp_path: Path) -> None:
    """Whoever lets others read the journal has made it so; its log is then like it."""
    home = tmp_path / "home"
    home.mkdir(mode=0o750)
    (home / "journal.sqlite3").touch(mode=0o640)
    service = start_service(command=command(0o022), journal_url=f"sqlite:///{home}/journal.sqlite3")
    with service.client() as client:
        assert client.post("/items", json={"item_id": "a"}).status_code == 201

    assert modes(*home.glob("journal.sqlite3")) == modes(*home.glob("journal.sqlite3-*")) == {"640"}
    assert modes(home) == {"750"}
