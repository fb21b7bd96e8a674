"""The distribution: small, typed, and documented by what runs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import i3rec_client

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "client"
README = (CLIENT / "README.md").read_text(encoding="utf-8")


def test_import_needs_httpx_alone() -> None:
    """A fresh process that uses the client has loaded nothing of the service, and neither NumPy nor pydantic."""
    code = "import sys, i3rec_client, i3rec_client.__main__; print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "httpx" in loaded
    assert loaded.isdisjoint({"service", "model_store", "training", "numpy", "pydantic", "orjson", "fastapi"})


def test_distribution_is_declared_as_the_main_one() -> None:
    """Licence, version and the bar to uploads are those of the service; types come along; httpx is all it needs."""
    ours, main = (tomllib.loads((path / "pyproject.toml").read_text())["project"] for path in (CLIENT, ROOT))

    assert [ours[name] for name in ("license", "version", "requires-python")] == [
        main[name] for name in ("license", "version", "requires-python")
    ]
    assert (CLIENT / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert "Private :: Do Not Upload" in ours["classifiers"]
    assert [re.split(r"\W", name)[0] for name in ours["dependencies"]] == ["httpx"]
    assert (CLIENT / "i3rec_client" / "py.typed").is_file()


def test_everything_exported_is_documented() -> None:
    """What the package names is there, in order, and has a docstring."""
    assert i3rec_client.__all__ == sorted(i3rec_client.__all__)
    assert all(getattr(i3rec_client, name).__doc__ for name in i3rec_client.__all__ if name != "ItemLike")


def test_readme_names_every_method() -> None:
    """No method of the client is left out, and none is made up."""
    methods = {name for name in vars(i3rec_client.Client) if not name.startswith("_")} - {"close"}
    table = README.partition("| items |")[2].partition("\n\n")[0]

    assert set(re.findall(r"`(\w+)`", table)) == methods


@pytest.mark.integration
@pytest.mark.enable_socket
def test_quick_start_runs(url: str, capsys: Any) -> None:
    """The example of the README does what it says, against a real service."""
    (example,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

    exec(example.replace("http://127.0.0.1:8000", url), {})  # noqa: S102 - our own text

    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["1", "2", "3"]


@pytest.mark.integration
@pytest.mark.enable_socket
def test_console_script_answers(url: str) -> None:
    """The installed command is there and says what it can do."""
    script = Path(sys.executable).with_name("i3rec")

    usage = subprocess.run([script, "--help"], check=True, capture_output=True, text=True)
    status = subprocess.run([script, "status", "--url", url], check=True, capture_output=True, text=True)

    assert all(command in usage.stdout for command in ("import", "recommend", "interact", "status"))
    assert status.stdout.startswith("ready, model v1")
