"""``make secrets``: strong, complete, never overwritten, closed to other users."""

import stat
import sys
from pathlib import Path

import pytest

from service.settings import Settings

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from make_secrets import make_secrets  # noqa: E402  a script beside no package


def test_secrets_are_what_the_service_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service takes the directory as it is: keys it accepts, and a journal with the database's password."""
    monkeypatch.setenv("I3REC_MODEL_STORE", "m")
    make_secrets(tmp_path / "secrets")

    settings = Settings(_secrets_dir=tmp_path / "secrets")  # type: ignore[call-arg]

    password = (tmp_path / "secrets" / "postgres_password").read_text("ascii").strip()
    assert settings.journal_url == f"postgresql+psycopg://i3rec:{password}@postgres/i3rec"
    keys = [key.get_secret_value() for key in (*settings.read_keys, *settings.write_keys, *settings.admin_keys)]
    assert len({*keys, password}) == 4
    assert min(map(len, keys)) >= 32


def test_secrets_are_closed_to_other_users(tmp_path: Path) -> None:
    """Only the owner enters the directory; the files themselves can be read by the containers' users."""
    make_secrets(tmp_path / "secrets")

    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "secrets").iterdir()} == {0o444}


def test_existing_secrets_stay(tmp_path: Path) -> None:
    """A second call makes what is missing and touches nothing else."""
    make_secrets(tmp_path)
    before = {file.name: file.read_text("ascii") for file in tmp_path.iterdir()}
    (tmp_path / "i3rec_read_keys").unlink()

    made = make_secrets(tmp_path)

    after = {file.name: file.read_text("ascii") for file in tmp_path.iterdir()}
    assert made == ["i3rec_read_keys"]
    assert {name for name in before if before[name] != after[name]} == {"i3rec_read_keys"}
