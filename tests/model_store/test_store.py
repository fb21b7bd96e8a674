"""The store: versions appear whole or not at all, and the pointer always names one that was sound."""

import contextlib
import errno
import itertools
import multiprocessing
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_store import (
    BundleContents,
    BundleNotFound,
    CorruptBundle,
    IncompatibleBundle,
    Manifest,
    ModelStore,
    NothingEarlier,
    StoreBusy,
)
from model_store import ModelStoreError as StoreError
from model_store.locking import locked

MakeManifest = Callable[..., Manifest]
Publish = Callable[..., None]
Sign = Callable[..., None]


def damage(store: ModelStore, version: str, name: str = "item_embeddings.npy") -> None:
    """Flips the last bit of a file."""
    path = store.root / "versions" / version / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def names(store: ModelStore) -> list[str]:
    """Everything below ``versions``, leftovers included."""
    return sorted(path.name for path in (store.root / "versions").iterdir())


def test_an_empty_store_serves_nothing(store: ModelStore) -> None:
    """Reading a store that is not there yet creates nothing and finds nothing."""
    assert store.current() is None
    assert store.versions() == []
    with pytest.raises(BundleNotFound, match="no promoted model version"):
        store.load()
    assert not store.root.exists()


def test_publishing_adds_a_version_and_promotes_nothing(store: ModelStore, publish: Publish) -> None:
    """A published version can be loaded by name; what serves is a separate decision."""
    publish("v1")

    assert names(store) == ["v1"]
    assert store.load("v1").version == "v1"
    assert store.current() is None


def test_publishing_returns_the_completed_manifest(
    store: ModelStore, contents: BundleContents, make_manifest: MakeManifest
) -> None:
    """The caller gets the facts as they are on disk, checksums included."""
    written = store.publish(contents, b"an encoder", make_manifest())

    assert written == store.load("v1").manifest
    assert "encoder.onnx" in written.checksums


def test_a_version_is_published_once(
    store: ModelStore, publish: Publish, contents: BundleContents, make_manifest: MakeManifest
) -> None:
    """Versions are immutable: the same name again is refused and the first stays as it was."""
    publish("v1")
    before = store.load("v1").manifest

    with pytest.raises(StoreError, match="'v1' exists already"):
        store.publish(contents, b"another encoder", make_manifest("v1"))

    assert store.load("v1").manifest == before
    assert names(store) == ["v1"]


def test_a_failing_publish_leaves_nothing(
    store: ModelStore, contents: BundleContents, make_manifest: MakeManifest
) -> None:
    """Contents that are not finite are refused before anything can be seen."""
    unsound = replace(contents, item_embeddings=np.full((4, 2), np.inf, dtype=np.float32))

    with pytest.raises(CorruptBundle):
        store.publish(unsound, b"", make_manifest())

    assert names(store) == []
    assert store.versions() == []


@pytest.mark.parametrize(
    "changes", [{"metrics": {"recall": float("nan")}}, {"created_at": "today"}, {"preset": Path()}]
)
def test_a_publish_with_senseless_facts_leaves_nothing(
    store: ModelStore, contents: BundleContents, make_manifest: MakeManifest, changes: dict[str, object]
) -> None:
    """A manifest that could not be written or read back publishes nothing."""
    with pytest.raises(CorruptBundle):
        store.publish(contents, b"", make_manifest(**changes))

    assert names(store) == []


def test_an_interrupted_publish_leaves_nothing(
    store: ModelStore, contents: BundleContents, make_manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between writing and renaming cleans up; white-box, the reading back is what gets interrupted."""

    def interrupt(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("model_store.store.load_bundle", interrupt)

    with pytest.raises(KeyboardInterrupt):
        store.publish(contents, b"", make_manifest())

    assert names(store) == []


@pytest.mark.parametrize("version", ["../v1", "..", ".", "/v1", "a/b", ".v1", "-v1", "v 1", "v1\n", "v" * 129, "é"])
def test_version_names_cannot_leave_the_store(
    store: ModelStore, contents: BundleContents, make_manifest: MakeManifest, version: str
) -> None:
    """Path separators, dots in front and anything but plain ASCII are refused by every operation."""
    with pytest.raises(BundleNotFound):
        store.publish(contents, b"", make_manifest(version))
    with pytest.raises(BundleNotFound):
        store.load(version)
    with pytest.raises(BundleNotFound):
        store.promote(version)

    assert not (store.root / "versions").exists()


def test_promoting_makes_a_version_serve(store: ModelStore, publish: Publish) -> None:
    """``load`` without a name gives the promoted version."""
    publish("v1", "v2")

    store.promote("v1")

    assert store.current() == "v1"
    assert store.load().version == "v1"
    assert [info.version for info in store.versions() if info.current] == ["v1"]


def test_promoting_what_serves_changes_nothing(store: ModelStore, publish: Publish) -> None:
    """Promoting twice counts once, so that one rollback is enough to leave."""
    publish("v1", "v2")
    store.promote("v1")
    store.promote("v2")
    store.promote("v2")

    assert store.rollback() == "v1"


def test_an_unknown_version_is_not_promoted(store: ModelStore, publish: Publish) -> None:
    """The pointer stays where it was."""
    publish("v1")
    store.promote("v1")

    with pytest.raises(BundleNotFound, match="'v2'") as caught:
        store.promote("v2")

    assert caught.value.version == "v2"
    assert store.current() == "v1"


@pytest.mark.parametrize("name", ["item_embeddings.npy", "encoder.onnx", "manifest.json", "user_ids.txt"])
def test_a_damaged_version_is_not_promoted(store: ModelStore, publish: Publish, name: str) -> None:
    """Promotion reads every byte first; the pointer stays where it was."""
    publish("v1", "v2")
    store.promote("v1")
    damage(store, "v2", name)

    with pytest.raises(CorruptBundle):
        store.promote("v2")

    assert store.current() == "v1"


def test_a_version_of_another_format_is_not_promoted(store: ModelStore, publish: Publish, sign: Sign) -> None:
    """A format this code does not read cannot serve."""
    publish("v1")
    sign(store.root / "versions" / "v1", format_version=2)

    with pytest.raises(IncompatibleBundle):
        store.promote("v1")


def test_a_renamed_version_is_damaged(store: ModelStore, publish: Publish) -> None:
    """A directory cannot pass for a version that it is not, and the listing says so."""
    publish("v1")
    (store.root / "versions" / "v1").rename(store.root / "versions" / "v2")

    with pytest.raises(CorruptBundle, match="'v1'"):
        store.load("v2")
    assert store.versions()[0].problem is not None


def test_rollback_goes_back_step_by_step(store: ModelStore, publish: Publish) -> None:
    """Each rollback serves the version promoted before; at the first one it stops and moves nothing."""
    publish("v1", "v2", "v3")
    for version in ("v1", "v3", "v2"):
        store.promote(version)

    assert [store.rollback(), store.rollback()] == ["v3", "v1"]
    with pytest.raises(NothingEarlier, match="no sound version was promoted before 'v1'"):
        store.rollback()
    assert store.current() == "v1"


def test_rollback_of_an_empty_store_is_refused(store: ModelStore) -> None:
    """There is nothing to go back to where nothing was promoted."""
    with pytest.raises(NothingEarlier, match="no version has been promoted"):
        store.rollback()


def test_rollback_passes_over_damaged_and_removed_versions(store: ModelStore, publish: Publish) -> None:
    """What cannot serve any more is skipped."""
    publish("v1", "v2", "v3", "v4")
    for version in ("v1", "v2", "v3", "v4"):
        store.promote(version)
    damage(store, "v3")
    (store.root / "versions" / "v2").rename(store.root / "gone")

    assert store.rollback() == "v1"
    assert store.current() == "v1"


def test_rollback_never_stays_where_it_is(store: ModelStore, publish: Publish) -> None:
    """After v1, v2, v1 with v2 damaged there is no other version to go back to, and v1 is no answer."""
    publish("v1", "v2")
    for version in ("v1", "v2", "v1"):
        store.promote(version)
    damage(store, "v2")

    with pytest.raises(NothingEarlier):
        store.rollback()

    assert store.current() == "v1"


def test_rollback_leaves_a_damaged_current_version(store: ModelStore, publish: Publish) -> None:
    """The way out when the version that serves turns out to be damaged."""
    publish("v1", "v2")
    store.promote("v1")
    store.promote("v2")
    damage(store, "v2", "manifest.json")

    assert store.rollback() == "v1"


def test_versions_come_newest_first_by_instant(store: ModelStore, publish: Publish) -> None:
    """Creation times are compared as times, fractions and zones included, not as text."""
    publish("a", created_at="2026-01-01T12:00:00Z")
    publish("b", created_at="2026-01-01T12:00:00.5Z")
    publish("c", created_at="2026-01-01T12:30:00+01:00")

    assert [info.version for info in store.versions()] == ["b", "a", "c"]


def test_listing_shows_damage(store: ModelStore, publish: Publish) -> None:
    """Damaged versions are listed last, each with its problem, and hide no sound one."""
    publish("v1", "v2", "v3")
    damage(store, "v1", "manifest.json")
    (store.root / "versions" / "v3" / "encoder.onnx").unlink()

    infos = {info.version: info for info in store.versions()}

    assert list(infos) == ["v2", "v3", "v1"]
    assert infos["v2"].problem is None
    assert infos["v1"].manifest is infos["v3"].manifest is None
    assert "without encoder.onnx" in str(infos["v3"].problem)


def test_listing_ignores_what_is_no_version(store: ModelStore, publish: Publish) -> None:
    """Versions being written and stray files are not listed, and pruning does not trip over them."""
    publish("v1")
    (store.root / "versions" / ".tmp-123").mkdir()
    (store.root / "versions" / "lost+found").mkdir()
    (store.root / "versions" / "README").write_text("not ours")

    assert [info.version for info in store.versions()] == ["v1"]
    assert store.prune(1) == []


def test_prune_keeps_the_newest_and_the_current(store: ModelStore, publish: Publish) -> None:
    """The version that serves stays however old it is; nothing half removed is left."""
    for day in range(1, 6):
        publish(f"v{day}", created_at=f"2026-01-0{day}T00:00:00Z")
    store.promote("v1")

    assert store.prune(2) == ["v3", "v2"]
    assert names(store) == ["v1", "v4", "v5"]
    assert store.prune(2) == []


def test_prune_removes_what_killed_publishers_left(store: ModelStore, publish: Publish) -> None:
    """After a day: until then somebody may still be writing."""
    publish("v1")
    old, young = (store.root / "versions" / f".tmp-{name}" for name in ("old", "young"))
    for left in (old, young):
        left.mkdir()
        (left / "encoder.onnx").write_bytes(b"half")
    two_days_ago = time.time() - 48 * 3600
    os.utime(old, (two_days_ago, two_days_ago))

    assert store.prune(1) == []
    assert names(store) == [".tmp-young", "v1"]


@pytest.mark.parametrize("keep", [0, -1])
def test_prune_keeps_at_least_one(store: ModelStore, publish: Publish, keep: int) -> None:
    """No argument empties a store, or means something else than it says."""
    publish("v1", "v2")

    with pytest.raises(StoreError, match=f"expected at least 1 version to keep, found {keep}"):
        store.prune(keep)

    assert len(store.versions()) == 2


def test_prune_keeps_the_way_back(store: ModelStore, publish: Publish) -> None:
    """However many were published since, what a rollback would go back to stays: the latest one that is sound."""
    publish("v1", "v2", "v3", "v4", "v5", "v6")
    for version in ("v1", "v2", "v3"):
        store.promote(version)
    damage(store, "v2", "manifest.json")

    assert sorted(store.prune(1)) == ["v2", "v4", "v5"]
    assert store.rollback() == "v1"


def test_changes_wait_for_others_only_so_long(store: ModelStore, publish: Publish) -> None:
    """Nothing is changed then, and it is said why; reading needs no lock."""
    publish("v1")
    hasty = ModelStore(store.root, lock_wait_s=0.05)

    with locked(store.root, 1), pytest.raises(StoreBusy, match="is being changed by another process"):
        hasty.promote("v1")

    assert hasty.current() is None
    hasty.promote("v1")
    assert store.current() == "v1"


def test_prune_removes_damaged_versions_before_sound_ones(store: ModelStore, publish: Publish, sign: Sign) -> None:
    """Damaged versions count as the oldest; versions of a format from the future are not ours to remove."""
    publish("v1", "v2", "v3")
    damage(store, "v3", "manifest.json")
    sign(store.root / "versions" / "v2", format_version=2)

    assert store.prune(1) == ["v3"]
    assert names(store) == ["v1", "v2"]


def test_a_damaged_pointer_serves_nothing(store: ModelStore, publish: Publish) -> None:
    """Bytes that name no version never fall through to an older one; promoting mends the pointer."""
    publish("v1")
    store.promote("v1")
    (store.root / "CURRENT").write_bytes(b"v\xff1\nv1\n")

    with pytest.raises(BundleNotFound):
        store.load()
    assert [info.current for info in store.versions()] == [False]

    store.promote("v1")
    assert store.load().version == "v1"


def test_an_empty_pointer_means_nothing_promoted(store: ModelStore, publish: Publish) -> None:
    """An empty CURRENT is like none."""
    publish("v1")
    (store.root / "CURRENT").write_text("")

    assert store.current() is None


def test_the_pointer_remembers_a_bounded_history(store: ModelStore, publish: Publish) -> None:
    """CURRENT cannot grow without end."""
    publish("v1", "v2")

    for _ in range(30):
        store.promote("v1")
        store.promote("v2")

    assert len((store.root / "CURRENT").read_text().split()) == 50


def test_a_loaded_bundle_outlives_its_version(store: ModelStore, publish: Publish) -> None:
    """Removing a version does not pull the arrays away from a process that serves them."""
    publish("v1", created_at="2026-01-01T00:00:00Z")
    publish("v2", created_at="2026-01-02T00:00:00Z")
    bundle = store.load("v1")
    before = bundle.item_embeddings.tolist()

    store.prune(1)

    assert names(store) == ["v2"]
    assert bundle.item_embeddings.tolist() == before


def _promote_often(root: Path, version: str, times: int) -> None:
    store = ModelStore(root)
    for _ in range(times):
        store.promote(version)


def test_concurrent_promotes_leave_a_sound_pointer(store: ModelStore, publish: Publish) -> None:
    """Two processes that promote at once: every reader sees a whole pointer, and no promotion is lost from it."""
    publish("v1", "v2")
    store.promote("v1")
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        pending = [pool.apply_async(_promote_often, (store.root, version, 20)) for version in ("v1", "v2")]

        while not all(result.ready() for result in pending):
            assert store.load().version in {"v1", "v2"}

        for result in pending:
            result.get()
    history = (store.root / "CURRENT").read_text().split()
    assert set(history) == {"v1", "v2"}
    assert all(a != b for a, b in itertools.pairwise(history))


def test_concurrent_publishes_of_one_version_have_one_winner(store: ModelStore, publish: Publish) -> None:
    """Of several processes that publish the same name one succeeds; the others are told, and leave nothing."""
    publish("seed")
    code = (
        "import sys; from dataclasses import replace; from pathlib import Path; from model_store import ModelStore\n"
        "store = ModelStore(Path(sys.argv[1])); seed = store.load('seed')\n"
        "store.publish(seed, b'', replace(seed.manifest, model_version='v1'))"
    )
    command = [sys.executable, "-c", code, str(store.root)]

    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    errors = [process.communicate(timeout=60)[1] for process in running]

    assert sorted(process.returncode for process in running) == [0, 1, 1]
    assert sum("exists already" in error for error in errors) == 2
    assert names(store) == ["seed", "v1"]
    assert store.load("v1").version == "v1"


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_file_systems_that_cannot_flush_directories_are_no_failure(
    store: ModelStore, publish: Publish, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Where they know no such thing; a disk that fails is one."""
    fsync = os.fsync

    def refuse(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(code, os.strerror(code))
        fsync(fd)

    publish("v1")
    monkeypatch.setattr(os, "fsync", refuse)

    with pytest.raises(OSError, match="Input/output") if code == errno.EIO else contextlib.nullcontext():
        store.promote("v1")

    assert store.current() == "v1"
