"""The store: versions on a file system, and the pointer to the one that serves.

```
ROOT/versions/<model_version>/   bundles, immutable once they are here
ROOT/CURRENT                     promoted versions, newest first, one a line; the first one serves
ROOT/CHALLENGER                  the version that is tried beside it, if any, and how
ROOT/.lock                       held while the store changes
```
"""

import contextlib
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from model_store.bundle import Bundle, load_bundle, write_bundle
from model_store.challenger import Challenger, read_challenger, write_challenger
from model_store.contents import BundleContents
from model_store.errors import (
    BundleNotFound,
    CorruptBundle,
    IncompatibleBundle,
    ModelStoreError,
    NothingEarlier,
)
from model_store.files import fsync, write_durably
from model_store.locking import locked
from model_store.manifest import MANIFEST_NAME, VERSION_PATTERN, Manifest, read_manifest

_REMEMBERED = 50
_TEMPORARY = ".tmp-"
_ABANDONED_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """One line of a listing.

    Attributes:
        manifest: None where the version is damaged or of another format; ``problem`` then says why.
        readable: whether this code knows the format, damaged or not.
    """

    version: str
    manifest: Manifest | None
    current: bool
    problem: str | None = None
    readable: bool = True


class ModelStore:
    """Publishes, promotes and reads model versions below one directory.

    Readers never lock; changes are serialised over processes by a lock file.

    Args:
        root: the directory.
        lock_wait_s: how long a change waits for the changes of others, before ``StoreBusy`` is raised.
    """

    def __init__(self, root: Path, lock_wait_s: float = 600.0) -> None:
        self.root = root
        self._lock_wait_s = lock_wait_s
        self._versions = root / "versions"
        self._pointer = root / "CURRENT"
        self._trial = root / "CHALLENGER"

    def publish(
        self,
        contents: BundleContents,
        encoder: bytes,
        manifest: Manifest,
        featurizers: Mapping[str, bytes] | None = None,
    ) -> Manifest:
        """Adds a version in one step: it is written beside the others, checked by reading it back, then renamed.

        Publishing does not promote; the version that serves stays the same. ``featurizers`` are those that
        ``manifest`` names, modality → ONNX.

        Raises:
            CorruptBundle: the bundle contradicts itself; nothing was added.
            ModelStoreError: the version exists already.
        """
        target = self._directory(manifest.model_version)
        self._check_new(target)
        self._versions.mkdir(parents=True, exist_ok=True)
        temporary = self._temporary()
        temporary.mkdir()
        try:
            written = write_bundle(temporary, contents, encoder, manifest, featurizers)
            load_bundle(temporary)
            with self._locked():
                self._check_new(target)
                temporary.rename(target)
                fsync(self._versions)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return written

    def versions(self) -> list[VersionInfo]:
        """All versions, newest first by creation time; a damaged one is listed last, with its problem.

        Manifests are checked and files looked for; only :meth:`load` reads every byte.
        """
        current = self.current()
        infos = [_inspect(path, current) for path in self._version_directories()]
        return sorted(infos, key=_age, reverse=True)

    def current(self) -> str | None:
        """The promoted version, or None where nothing has been promoted."""
        promoted = self._promoted()
        return promoted[0] if promoted else None

    def load(self, version: str | None = None, *, verify: bool = True) -> Bundle:
        """Reads and checks a version; the promoted one by default.

        Raises:
            BundleNotFound: no such version.
            CorruptBundle: the version is damaged.
            IncompatibleBundle: the version is of another format.
        """
        name = version or self.current()
        if name is None or not self._directory(name).is_dir():
            raise BundleNotFound(name, self.root)
        bundle = load_bundle(self._directory(name), verify=verify)
        _check_version(bundle.directory, bundle.manifest)
        return bundle

    def promote(self, version: str) -> None:
        """Makes a version the one that serves, after checking all of it.

        Raises:
            ModelStoreError: the version is absent, damaged or of another format; the pointer stays as it was.
        """
        with self._locked():  # all along, so that no prune can remove what has just been found sound
            self.load(version)
            promoted = self._promoted()
            if promoted[:1] != [version]:
                self._point([version, *promoted])
            self._end_trial_of(version)

    def challenger(self) -> Challenger | None:
        """The version that is tried beside the promoted one; None where none is.

        Raises:
            ModelStoreError: the file that names it is damaged.
        """
        return read_challenger(self._trial)

    def challenge(self, challenger: Challenger | None) -> None:
        """Puts a version on trial, after checking all of it; None ends the trial.

        Raises:
            ModelStoreError: the version is absent, damaged, of another format, or the promoted one; nothing changes.
        """
        with self._locked():
            if challenger:
                self.load(challenger.version)
                if challenger.version == self.current():
                    raise ModelStoreError(
                        f"model version {challenger.version!r} is promoted: it cannot challenge itself"
                    )
            write_challenger(self._trial, challenger)

    def _end_trial_of(self, version: str) -> None:
        """What serves is on trial no more."""
        on_trial = self._challenger_or_none()
        if on_trial and on_trial.version == version:
            write_challenger(self._trial, None)

    def _challenger_or_none(self) -> Challenger | None:
        with contextlib.suppress(ModelStoreError):
            return self.challenger()
        return None

    def rollback(self) -> str:
        """Goes back to the version promoted before the current one, and returns it.

        Versions that are gone or damaged by now are passed over. Called again, it goes one further back.

        Raises:
            NothingEarlier: there is none to go back to; the pointer stays as it was.
        """
        with self._locked():
            current, *earlier = self._promoted() or [""]
            while earlier:
                with contextlib.suppress(ModelStoreError):
                    if earlier[0] != current:
                        self.load(earlier[0])
                        self._point(earlier)
                        self._end_trial_of(earlier[0])
                        return earlier[0]
                earlier = earlier[1:]
        raise NothingEarlier(current or None, self.root)

    def prune(self, keep: int) -> list[str]:
        """Removes all but the newest ``keep`` versions and returns what was removed.

        The current version, the one that ``rollback`` would go back to, and the challenger stay whatever their age, as
        do versions of a format this code does not know. What publishers left that were killed is removed after a day.

        Raises:
            ModelStoreError: ``keep`` is below 1; nothing is removed.
        """
        if keep < 1:
            raise ModelStoreError(f"expected at least 1 version to keep, found {keep}")
        with self._locked():
            infos = [info for info in self.versions() if info.readable]
            used = self._in_use({info.version for info in infos if info.manifest})
            doomed = [info.version for info in infos[keep:] if info.version not in used]
            for version in doomed:
                # Out of the way in one step: a reader finds the whole version or none.
                out_of_sight = self._temporary()
                self._directory(version).rename(out_of_sight)
                shutil.rmtree(out_of_sight)
            self._sweep()
        return doomed

    def _in_use(self, sound: set[str]) -> set[str]:
        """What serves, what would serve after a rollback, and what is on trial."""
        current, *earlier = self._promoted() or [""]
        on_trial = self._challenger_or_none()
        back = next((version for version in earlier if version != current and version in sound), "")
        return {current, back, on_trial.version if on_trial else ""}

    def _sweep(self) -> None:
        """Removes what publishers left that were killed: nobody writes a bundle for a day."""
        for left in self._versions.glob(f"{_TEMPORARY}*"):
            if time.time() - left.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)

    def _directory(self, version: str) -> Path:
        if not VERSION_PATTERN.fullmatch(version):
            raise BundleNotFound(version, self.root)
        return self._versions / version

    def _temporary(self) -> Path:
        return self._versions / f"{_TEMPORARY}{uuid.uuid4().hex}"

    def _check_new(self, target: Path) -> None:
        if target.exists():
            raise ModelStoreError(f"model version {target.name!r} exists already in {self.root}")

    def _version_directories(self) -> Iterator[Path]:
        """Directories that can be versions; not those being written or removed, nor anything that is not ours."""
        paths = self._versions.iterdir() if self._versions.is_dir() else ()
        yield from (path for path in paths if VERSION_PATTERN.fullmatch(path.name) and path.is_dir())

    def _promoted(self) -> list[str]:
        try:
            # A damaged pointer names a version that does not exist, and is reported as such.
            return self._pointer.read_text(encoding="utf-8", errors="replace").split()
        except FileNotFoundError:
            return []

    def _point(self, promoted: list[str]) -> None:
        write_durably(self._pointer, "".join(f"{version}\n" for version in promoted[:_REMEMBERED]))

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        return locked(self.root, self._lock_wait_s)


def _inspect(path: Path, current: str | None) -> VersionInfo:
    is_current = path.name == current
    try:
        manifest = read_manifest(path / MANIFEST_NAME)
        _check_version(path, manifest)
        if missing := sorted(name for name in manifest.required_files if not (path / name).is_file()):
            raise CorruptBundle(path, f"without {', '.join(missing)}")
    except ModelStoreError as exc:
        return VersionInfo(path.name, None, is_current, str(exc), readable=not isinstance(exc, IncompatibleBundle))
    return VersionInfo(path.name, manifest, is_current)


def _check_version(path: Path, manifest: Manifest) -> None:
    if manifest.model_version != path.name:
        raise CorruptBundle(path, f"the manifest is of version {manifest.model_version!r}")


def _age(info: VersionInfo) -> tuple[datetime, str]:
    return (info.manifest.created if info.manifest else datetime.min.replace(tzinfo=UTC), info.version)
