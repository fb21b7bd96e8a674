"""The version on trial, as the store names it."""

from pathlib import Path
from typing import Any

import pytest

from model_store import Challenger, ModelStore, ModelStoreError
from model_store.__main__ import main


@pytest.fixture
def store(tmp_path: Path, make_version: Any) -> ModelStore:
    """v1 serves; v2 and v3 are published."""
    store = ModelStore(tmp_path / "models")
    for version in ("v3", "v2", "v1"):
        make_version(store, version, promote=version == "v1")
    return store


def test_versions_are_put_on_trial_and_taken_off(store: ModelStore) -> None:
    """The last one that was named is on trial, on another look, too."""
    assert store.challenger() is None
    store.challenge(Challenger("v2", 0.25))
    store.challenge(Challenger("v3", 1.0, "shadow"))
    assert ModelStore(store.root).challenger() == Challenger("v3", 1.0, "shadow")
    store.challenge(None)
    store.challenge(None)
    assert store.challenger() is None


def test_promotion_ends_the_trial_of_that_version_only(store: ModelStore) -> None:
    """Who has won is no longer on trial; another one stays."""
    store.challenge(Challenger("v2", 0.5))
    store.promote("v3")
    assert store.challenger() == Challenger("v2", 0.5)
    store.promote("v2")
    assert (store.current(), store.challenger()) == ("v2", None)


@pytest.mark.parametrize("version", ["none", "v1", "../v2", "bad"])
def test_only_sound_versions_that_do_not_serve_can_challenge(store: ModelStore, version: str) -> None:
    """Others are refused, and the trial stays as it was."""
    store.challenge(Challenger("v2", 0.5))
    (store.root / "versions" / "bad").mkdir()
    with pytest.raises(ModelStoreError):
        store.challenge(Challenger(version, 0.5))
    assert store.challenger() == Challenger("v2", 0.5)


@pytest.mark.parametrize(
    ("share", "mode"), [(0.0, "split"), (-1, "split"), (1.01, "split"), (float("nan"), "split"), (0.5, "x")]
)
def test_trials_are_sound(share: float, mode: Any) -> None:
    """A share is above 0 and at most 1, and there are two modes."""
    with pytest.raises(ModelStoreError):
        Challenger("v2", share, mode)


DAMAGED = {
    "empty": "",
    "no names": "{}",
    "a list": "[]",
    "too large a share": '{"version": "v2", "share": 2, "mode": "split"}',
    "no text": "\xff",
    "no float": '{"version": "v2", "share": 1' + "0" * 400 + ', "mode": "split"}',
    "too deep": "[" * 100_000,
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_told(store: ModelStore, text: str) -> None:
    """Reading one says what was expected; another challenge or a promotion replaces it."""
    (store.root / "CHALLENGER").write_text(text, "latin-1")
    with pytest.raises(ModelStoreError):
        store.challenger()
    store.promote("v2")
    store.prune(3)
    store.challenge(Challenger("v3", 0.5))
    assert store.challenger() == Challenger("v3", 0.5)


def test_challenger_is_not_pruned(store: ModelStore) -> None:
    """As little as the promoted version."""
    store.challenge(Challenger("v3", 0.5))
    store.prune(1)
    assert {info.version for info in store.versions()} >= {"v1", "v3"}


def test_commands(store: ModelStore, capsys: pytest.CaptureFixture[str]) -> None:
    """``challenge`` and ``withdraw`` do the same from the command line."""
    root = ["--store", str(store.root)]
    assert main([*root, "challenge", "v2", "--share", "0.2", "--shadow"]) == 0
    assert store.challenger() == Challenger("v2", 0.2, "shadow")
    assert main([*root, "challenge", "v1"]) == 1
    assert main([*root, "challenge", "v2", "--share", "7"]) == 1
    assert main([*root, "withdraw"]) == 0
    assert store.challenger() is None
    assert "v2: challenges v1" in capsys.readouterr().out
