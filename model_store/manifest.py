"""The manifest: what a bundle is, and how each of its bytes is checked."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.errors import CorruptBundle, IncompatibleBundle

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
VERSION_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MODALITY_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class HistoryRule:
    """How a user is encoded from the items of a history.

    ``u = |H|^-alpha · Σ_{i in H} h_i`` with ``h_i`` the rows of ``history_embeddings.npy`` and H the ``max_items``
    latest distinct items of the history.
    """

    alpha: float = 0.5
    max_items: int = 1000

    def encode(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Folds history rows (n, d), oldest first, into one user vector (d,) float32; no rows give the zero vector."""
        kept = rows[-self.max_items :]
        scale = max(len(kept), 1) ** -self.alpha
        return np.asarray(kept.sum(axis=0, dtype=np.float64) * scale, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The facts of one model version.

    Attributes:
        model_version: name of the version, unique in its store.
        preset: the model that was trained.
        created_at: RFC 3339 time of the export, UTC.
        d: embedding size.
        n_users: rows of the user table.
        n_items: rows of the item table.
        modalities: name → d_m, in the order of the encoder's ``present`` columns (alphabetical).
        history: the rule that encodes users from histories; None where users exist only as rows.
        metrics: offline evaluation, as reported at training time.
        training: the training configuration.
        journal_watermark: last journal ``seq`` the training data contains; 0 where it came from elsewhere.
        checksums: file name → sha256 of every other file of the bundle.
    """

    model_version: str
    preset: str
    created_at: str
    d: int
    n_users: int
    n_items: int
    modalities: Mapping[str, int]
    history: HistoryRule | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    journal_watermark: int = 0
    checksums: Mapping[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """The canonical text of the manifest, which carries a sha256 of itself."""
        facts = {**asdict(self), "modalities": dict(sorted(self.modalities.items()))}
        facts["checksum"] = hashlib.sha256(_canonical(facts).encode()).hexdigest()
        return _canonical(facts)

    @property
    def modality_names(self) -> tuple[str, ...]:
        """The modalities in the order of the encoder's ``present`` columns."""
        return tuple(sorted(self.modalities))


def _canonical(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_manifest(path: Path) -> Manifest:
    """Reads and checks a ``manifest.json``.

    The file must be byte for byte its own canonical form, so that one flipped byte anywhere in it is noticed.

    Raises:
        CorruptBundle: the file is missing, no JSON, of other fields, or altered.
        IncompatibleBundle: the format version is not the one this code reads.
    """
    try:
        text = path.read_bytes().decode()
        facts = json.loads(text)
    except (OSError, ValueError) as exc:
        raise CorruptBundle(path, f"unreadable manifest: {exc}") from exc
    if not isinstance(facts, dict):
        raise CorruptBundle(path, f"expected a JSON object, found {type(facts).__name__}")
    if facts.get("format_version") != FORMAT_VERSION:
        raise IncompatibleBundle(path, FORMAT_VERSION, facts.get("format_version"))
    manifest = _parse(path, facts)
    if manifest.to_json() != text:
        raise CorruptBundle(path, "the manifest was altered: its checksum does not match")
    return manifest


def _parse(path: Path, facts: dict[str, Any]) -> Manifest:
    known = {f.name for f in fields(Manifest)} | {"checksum"}
    if set(facts) != known:
        raise CorruptBundle(path, f"missing fields {sorted(known - set(facts))}, unknown {sorted(set(facts) - known)}")
    try:
        history = None if facts["history"] is None else HistoryRule(**facts["history"])
        manifest = Manifest(**{k: v for k, v in facts.items() if k not in {"checksum", "history"}}, history=history)
        _check_names(path, manifest)
    except (TypeError, AttributeError) as exc:
        raise CorruptBundle(path, f"malformed manifest: {exc}") from exc
    return manifest


def _check_names(path: Path, manifest: Manifest) -> None:
    if not VERSION_PATTERN.fullmatch(manifest.model_version):
        raise CorruptBundle(path, f"malformed model version {manifest.model_version!r}")
    for name in manifest.modalities:
        if not MODALITY_PATTERN.fullmatch(name):
            raise CorruptBundle(path, f"malformed modality name {name!r}: expected {MODALITY_PATTERN.pattern}")
    for name in manifest.checksums:
        if "/" in name or name.startswith("."):
            raise CorruptBundle(path, f"file {name!r} lies outside the bundle")
