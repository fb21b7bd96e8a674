"""Makes the secrets that ``deploy/compose.keys.yml`` and ``deploy/compose.scale.yml`` mount; those that exist stay.

``python tools/make_secrets.py [DIRECTORY]``. Files can be read by all, because the users inside the containers are none
of this machine's; the directory can be entered by its owner only, which keeps others of this machine out.
"""

import argparse
import secrets
import sys
from pathlib import Path

DIRECTORY = Path("deploy/secrets")
KEYS = ("i3rec_read_keys", "i3rec_write_keys", "i3rec_admin_keys")


def main() -> int:
    """Makes what is missing and says so."""
    parser = argparse.ArgumentParser(description="Makes the secrets that deploy/compose.{keys,scale}.yml mount.")
    parser.add_argument("directory", nargs="?", type=Path, default=DIRECTORY, help="(default: %(default)s)")
    directory = parser.parse_args().directory
    made = make_secrets(directory)
    print(f"{directory}: {', '.join(made) if made else 'nothing is missing'}")
    return 0


def make_secrets(directory: Path, database_host: str = "postgres") -> list[str]:
    """Writes a key for each kind of caller, the database's password and the journal's URL; returns the new names.

    Args:
        directory: made where it is missing, for its owner only.
        database_host: the name that the service knows PostgreSQL by.
    """
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    made = [name for name in (*KEYS, "postgres_password") if _write(directory / name, secrets.token_urlsafe(24))]
    password = (directory / "postgres_password").read_text(encoding="ascii").strip()
    url = f"postgresql+psycopg://i3rec:{password}@{database_host}/i3rec"
    return [*made, "i3rec_journal_url"] if _write(directory / "i3rec_journal_url", url) else made


def _write(file: Path, secret: str) -> bool:
    if file.exists():
        return False
    file.write_text(f"{secret}\n", encoding="ascii")
    file.chmod(0o444)
    return True


if __name__ == "__main__":
    sys.exit(main())
