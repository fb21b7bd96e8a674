"""Errors of the model store.

ModelStoreError
├── BundleNotFound        no such version, or nothing promoted yet
├── NothingEarlier        nothing was promoted before what is promoted now
├── StoreBusy             another process keeps changing the store
├── CorruptBundle         the files are not what the manifest says
├── IncompatibleBundle    sound, but of a format this code does not read
└── InvalidId             an id that no file of ours may carry
"""

from pathlib import Path


class ModelStoreError(Exception):
    """Anything the model store refuses to do."""


class BundleNotFound(ModelStoreError):
    """The store holds no such version, or none has been promoted."""

    def __init__(self, version: str | None, root: Path) -> None:
        self.version = version
        self.root = root
        what = f"model version {version!r}" if version else "promoted model version"
        super().__init__(f"no {what} in model store {root}")


class NothingEarlier(ModelStoreError):
    """There is no sound version to go back to."""

    def __init__(self, version: str | None, root: Path) -> None:
        self.version = version
        self.root = root
        before = f"no sound version was promoted before {version!r}" if version else "no version has been promoted"
        super().__init__(f"{before} in model store {root}")


class StoreBusy(ModelStoreError):
    """Another process has held the store's lock all the while."""

    def __init__(self, root: Path, waited_s: float) -> None:
        self.root = root
        super().__init__(f"model store {root} is being changed by another process (waited {waited_s:g} s)")


class CorruptBundle(ModelStoreError):
    """A bundle's bytes, shapes or values contradict its manifest."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class IncompatibleBundle(ModelStoreError):
    """A bundle is of another format version than this code reads."""

    def __init__(self, path: Path, expected: int, found: object) -> None:
        self.path = path
        self.expected = expected
        self.found = found
        super().__init__(f"{path}: expected bundle format {expected}, found {found!r}")


class InvalidId(ModelStoreError, ValueError):
    """An external id is empty, too long, or has control characters."""

    def __init__(self, value: object, reason: str) -> None:
        self.value = value
        self.reason = reason
        super().__init__(f"id {value!r}: {reason}")
