"""The distribution: small, typed, and documented by what runs."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import httpx
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


EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def shown(example: str, url: str, capsys: Any) -> list[str]:
    """The lines that an example of the README prints."""
    exec(example.replace("http://127.0.0.1:8000", url), {})  # noqa: S102 - our own text
    return capsys.readouterr().out.splitlines()


@pytest.mark.integration
@pytest.mark.enable_socket
def test_examples_run(url: str, capsys: Any) -> None:
    """The examples of the README do what they say, against a real service."""
    quick, just_so, whole, unchanged, _ = EXAMPLES

    assert [line.split()[0] for line in shown(quick, url, capsys)] == ["1", "2", "3"]
    films, refusal = shown(just_so, url, capsys)
    assert films == "film-1"
    assert "'another-version' does not serve" in refusal
    without_text = shown(whole, url, capsys)
    assert without_text[0] == "i00 image"
    assert without_text[-1] == "film-1"
    assert shown(unchanged, url, capsys) == ["as it was"]


def test_example_with_raw_modalities_runs(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, scripted: Any
) -> None:
    """So does the one that needs a model of its own, against a service whose answer is written down."""
    encoding = {"present": ["image", "text"], "missing": [], "confidence": 0.5, "model_version": "v1"}
    service = scripted(httpx.Response(201, json={"item_id": "film-2", "index_seq": 1, "encoding": encoding}))
    monkeypatch.setattr(i3rec_client, "Client", lambda _: service.client())
    monkeypatch.chdir(tmp_path)
    Path("poster.jpg").write_bytes(b"JPEG")

    assert shown(EXAMPLES[-1], "", capsys) == ["('image', 'text')"]
    (request,) = service.requests
    assert json.loads(request.content)["modalities"] == {
        "text": {"text": "A comedy about two thieves."},
        "image": {"image_b64": "SlBFRw=="},
    }


@pytest.mark.integration
@pytest.mark.enable_socket
def test_console_script_answers(url: str) -> None:
    """The installed command is there and says what it can do."""
    script = Path(sys.executable).with_name("i3rec")

    usage = subprocess.run([script, "--help"], check=True, capture_output=True, text=True)
    status = subprocess.run([script, "status", "--url", url], check=True, capture_output=True, text=True)

    assert all(command in usage.stdout for command in ("import", "export", "recommend", "interact", "status"))
    assert status.stdout.startswith("ready, model v1")
