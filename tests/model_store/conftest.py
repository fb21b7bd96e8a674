"""A small sound bundle, and stores to put it in."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model_store import BundleContents, HistoryRule, IdMap, Manifest, ModelStore, write_bundle

N_USERS, N_ITEMS, D = 3, 4, 2
MakeManifest = Callable[..., Manifest]


def _floats(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def contents() -> BundleContents:
    """Three users and four items of two modalities; the last item lacks its text."""
    text = _floats(N_ITEMS, 3, seed=4)
    text[-1] = np.nan
    return BundleContents(
        users=IdMap(["u0", "u1", "u2"]),
        items=IdMap(["i0", "i1", "i2", "i3"]),
        user_embeddings=_floats(N_USERS, D, seed=1),
        item_embeddings=_floats(N_ITEMS, D, seed=2),
        history_embeddings=_floats(N_ITEMS, D, seed=3),
        features={"image": _floats(N_ITEMS, 2, seed=5), "text": text},
        seen_indptr=np.array([0, 2, 2, 3], dtype=np.int64),
        seen_indices=np.array([3, 0, 1], dtype=np.int32),
        popularity=np.array([1, 1, 0, 1], dtype=np.float32),
        item_columns=("title", "category"),
        item_rows=[("Zero", "a"), ("One", ""), ("", ""), ("Three", "b")],
    )


@pytest.fixture
def make_manifest() -> MakeManifest:
    """Makes a manifest that fits ``contents``, with facts changed by keyword."""

    def make(model_version: str = "v1", **changes: object) -> Manifest:
        facts: dict[str, object] = {
            "preset": "test",
            "created_at": "2026-01-01T00:00:00Z",
            "d": D,
            "n_users": N_USERS,
            "n_items": N_ITEMS,
            "modalities": {"image": 2, "text": 3},
            "history": HistoryRule(),
        }
        return Manifest(model_version=model_version, **{**facts, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def bundle_directory(tmp_path: Path, contents: BundleContents, make_manifest: MakeManifest) -> Path:
    """A sound bundle on disk, outside any store."""
    directory = tmp_path / "bundle"
    directory.mkdir()
    write_bundle(directory, contents, b"an encoder", make_manifest())
    return directory


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """An empty store; not even its directory exists yet."""
    return ModelStore(tmp_path / "store")


@pytest.fixture
def publish(store: ModelStore, contents: BundleContents, make_manifest: MakeManifest) -> Callable[..., None]:
    """Publishes sound versions by name."""

    def publish_versions(*versions: str, **changes: object) -> None:
        for version in versions:
            store.publish(contents, b"an encoder", make_manifest(version, **changes))

    return publish_versions


@pytest.fixture
def sign() -> Callable[..., None]:
    """Signs a bundle again after its files or facts were changed, so that only the change itself can be at fault."""

    def sign_bundle(directory: Path, **changes: object) -> None:
        path = directory / "manifest.json"
        facts = json.loads(path.read_bytes())
        del facts["checksum"]
        facts["checksums"] = {
            name: hashlib.sha256((directory / name).read_bytes()).hexdigest()
            for name in facts["checksums"]
            if (directory / name).exists()
        }
        facts |= changes
        facts["checksum"] = hashlib.sha256(canonical(facts).encode()).hexdigest()
        path.write_text(canonical(facts), encoding="utf-8", newline="\n")

    def canonical(facts: dict[str, object]) -> str:
        return json.dumps(facts, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    return sign_bundle
