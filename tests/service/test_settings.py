"""Settings and their faults."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings, explain, unknown_variables


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but the tests' own."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"I3REC_{name.upper()}", raising=False)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is read under its prefix, the rest have their defaults, and nothing can be changed."""
    monkeypatch.setenv("I3REC_MODEL_STORE", "/models")
    monkeypatch.setenv("I3REC_MAX_K", "50")

    settings = Settings()

    assert (settings.model_store, settings.max_k, settings.default_k) == (Path("/models"), 50, 20)
    with pytest.raises(ValidationError):
        settings.max_k = 1


FAULTS = {
    "nothing set": ({}, "I3REC_MODEL_STORE: required"),
    "public host": ({"MODEL_STORE": "m", "HOST": "0.0.0.0"}, "I3REC_ALLOW_PUBLIC"),  # noqa: S104 - is refused, or allowed on purpose
    "public name": ({"MODEL_STORE": "m", "HOST": "example.org"}, "reachable from outside"),
    "no number": ({"MODEL_STORE": "m", "PORT": "http"}, "I3REC_PORT: "),
    "no port": ({"MODEL_STORE": "m", "PORT": "70000"}, "I3REC_PORT: "),
    "journal in memory": ({"MODEL_STORE": "m", "JOURNAL_URL": "sqlite://"}, "I3REC_JOURNAL_URL: expected sqlite:///"),
    "journal elsewhere": ({"MODEL_STORE": "m", "JOURNAL_URL": "mysql://x:pw@y/z"}, "I3REC_JOURNAL_URL: expected"),
    "a store without a name": ({"MODEL_STORE": ""}, "I3REC_MODEL_STORE: expected the path"),
    "cache without a scheme": ({"MODEL_STORE": "m", "REDIS_URL": "pw:6379"}, "I3REC_REDIS_URL: expected an address"),
    "no network": ({"MODEL_STORE": "m", "TRUSTED_PROXIES": "10.0.0.1/8"}, "I3REC_TRUSTED_PROXIES: expected addresses"),
    "no address": (
        {"MODEL_STORE": "m", "TRUSTED_PROXIES": "*"},
        "I3REC_TRUSTED_PROXIES: expected addresses or networks",
    ),
    "no engine": ({"MODEL_STORE": "m", "INDEX_ENGINE": "gpu"}, "I3REC_INDEX_ENGINE: Input should be 'exact', 'ivf'"),
    "no recall": ({"MODEL_STORE": "m", "INDEX_RECALL": "99"}, "I3REC_INDEX_RECALL: "),
    "no provider": ({"MODEL_STORE": "m", "ONNX_PROVIDER": "auto"}, "I3REC_ONNX_PROVIDER: "),
    "more than is looked at": ({"MODEL_STORE": "m", "MAX_HISTORY": "10001"}, "I3REC_MAX_HISTORY: "),
    "k against itself": ({"MODEL_STORE": "m", "MAX_K": "5"}, "default_k (20) must not exceed max_k (5)"),
}


@pytest.mark.parametrize(("environment", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_faults_are_explained(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], message: str) -> None:
    """Each fault is named with its variable, in one line, without values."""
    for name, value in environment.items():
        monkeypatch.setenv(f"I3REC_{name}", value)

    with pytest.raises(ValidationError) as caught:
        Settings()

    text = explain(caught.value)
    assert message in text
    assert len(text.splitlines()) == 1
    assert "pw" not in text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_hosts_are_fine(host: str) -> None:
    """Every name of the own machine is taken without further ado."""
    assert Settings(model_store=Path("m"), host=host).host == host


def test_proxies_are_addresses_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Separated by commas; by default there are none."""
    monkeypatch.setenv("I3REC_MODEL_STORE", "m")
    assert Settings().trusted_proxies == ()

    monkeypatch.setenv("I3REC_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8,fd00::/8,")

    assert [*map(str, Settings().trusted_proxies)] == ["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"]


def test_public_host_can_be_allowed() -> None:
    """Whoever guards the port otherwise may open it."""
    assert Settings(model_store=Path("m"), host="0.0.0.0", allow_public=True).allow_public  # noqa: S104 - is refused, or allowed on purpose


def test_misspelt_variables_are_found() -> None:
    """Variables with our prefix that mean nothing are listed."""
    assert unknown_variables({"I3REC_MAX_KK": "1", "I3REC_MAX_K": "1", "PATH": ""}) == ["I3REC_MAX_KK"]


def test_secrets_come_from_files_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a secrets directory counts before a variable, its last newline does not, and other files do no harm."""
    monkeypatch.setenv("I3REC_MODEL_STORE", "m")
    monkeypatch.setenv("I3REC_JOURNAL_URL", "sqlite:///from-the-image.db")
    (tmp_path / "i3rec_journal_url").write_text("postgresql+psycopg://a:b@c/d\n", encoding="utf-8")
    (tmp_path / "i3rec_write_keys").write_text("0123456789abcdef,fedcba9876543210\n", encoding="utf-8")
    (tmp_path / "postgres_password").write_text("b\n", encoding="utf-8")
    (tmp_path / "kubernetes.io").mkdir()

    settings = Settings(_secrets_dir=tmp_path)

    assert settings.journal_url == "postgresql+psycopg://a:b@c/d"
    assert [key.get_secret_value() for key in settings.write_keys] == ["0123456789abcdef", "fedcba9876543210"]
