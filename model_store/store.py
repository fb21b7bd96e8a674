"""The store: versions on a file system, and the pointer to the one that serves.

```
ROOT/versions/<model_version>/   bundles, immutable once they are here
ROOT/CURRENT                     promoted versions, newest first, one a line; the first one serves
ROOT/.lock                       held while the store changes
```
"""

import contextlib
import fcntl
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model_store.bundle import Bundle, load_bundle, write_bundle
from model_store.contents import BundleContents
from model_store.errors import BundleNotFound, CorruptBundle, ModelStoreError
from model_store.files import fsync, write_durably
from model_store.manifest import MANIFEST_NAME, VERSION_PATTERN, Manifest, read_manifest

_REMEMBERED = 50


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """One line of a listing. ``manifest`` is None where it cannot be read; ``problem`` then says why."""

    version: str
    manifest: Manifest | None
    current: bool
    problem: str | None = None


class ModelStore:
    """Publishes, promotes and reads model versions below one directory.

    Readers never lock; changes are serialised over processes by a lock file.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._versions = root / "versions"
        self._pointer = root / "CURRENT"

    def publish(self, contents: BundleContents, encoder: bytes, manifest: Manifest) -> Manifest:
        """Adds a version in one step: it is written beside the others, checked by reading it back, then renamed.

        Raises:
            CorruptBundle: the bundle contradicts itself; nothing was added.
            ModelStoreError: the version exists already.
        """
        target = self._directory(manifest.model_version)
        self._versions.mkdir(parents=True, exist_ok=True)
        temporary = self._versions / f".tmp-{uuid.uuid4().hex}"
        temporary.mkdir()
        try:
            written = write_bundle(temporary, contents, encoder, manifest)
            load_bundle(temporary)
            with self._locked():
                if target.exists():
                    raise ModelStoreError(f"model version {manifest.model_version!r} exists already in {self.root}")
                temporary.rename(target)
                fsync(self._versions)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return written

    def versions(self) -> list[VersionInfo]:
        """All versions, newest first by creation time; a damaged one is listed with its problem."""
        current = self.current()
        infos = []
        for path in self._versions.iterdir() if self._versions.is_dir() else ():
            if path.name.startswith("."):
                continue
            try:
                infos.append(VersionInfo(path.name, read_manifest(path / MANIFEST_NAME), path.name == current))
            except ModelStoreError as exc:
                infos.append(VersionInfo(path.name, None, path.name == current, str(exc)))
        key = lambda info: (info.manifest.created_at if info.manifest else "", info.version)  # noqa: E731
        return sorted(infos, key=key, reverse=True)

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
        if bundle.version != name:
            raise CorruptBundle(bundle.directory, f"the manifest is of version {bundle.version!r}")
        return bundle

    def promote(self, version: str) -> None:
        """Makes a version the one that serves, after checking all of it.

        Raises:
            ModelStoreError: the version is absent, damaged or of another format; the pointer stays as it was.
        """
        self.load(version)
        with self._locked():
            promoted = self._promoted()
            if promoted[:1] != [version]:
                self._point([version, *promoted])

    def rollback(self) -> str:
        """Goes back to the version promoted before the current one, and returns it.

        Versions that are gone or damaged by now are passed over.

        Raises:
            BundleNotFound: there is none to go back to; the pointer stays as it was.
        """
        with self._locked():
            earlier = self._promoted()[1:]
            while earlier:
                with contextlib.suppress(ModelStoreError):
                    self.load(earlier[0])
                    self._point(earlier)
                    return earlier[0]
                earlier = earlier[1:]
        raise BundleNotFound(None, self.root)

    def prune(self, keep: int) -> list[str]:
        """Removes all but the newest ``keep`` versions, never the current one; returns what was removed."""
        with self._locked():
            doomed = [info.version for info in self.versions()[max(keep, 1) :] if not info.current]
            for version in doomed:
                shutil.rmtree(self._directory(version))
        return doomed

    def _directory(self, version: str) -> Path:
        if not VERSION_PATTERN.fullmatch(version):
            raise BundleNotFound(version, self.root)
        return self._versions / version

    def _promoted(self) -> list[str]:
        try:
            return self._pointer.read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return []

    def _point(self, promoted: list[str]) -> None:
        write_durably(self._pointer, "".join(f"{version}\n" for version in promoted[:_REMEMBERED]))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
