"""The manifest: what a bundle is, and how each of its bytes is checked."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from model_store.errors import CorruptBundle, IncompatibleBundle
from model_store.featurizers import check_featurizers, featurizer_file
from model_store.history import FoldInRule, LeastSquaresRule, parse_rule

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
FIXED_FILES = (
    "encoder.onnx",
    "item_embeddings.npy",
    "item_ids.txt",
    "items.tsv",
    "popularity.npy",
    "seen_indices.npy",
    "seen_indptr.npy",
    "user_embeddings.npy",
    "user_ids.txt",
)
VERSION_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MODALITY_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,63}")


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
        featurizers: modality → kind of the featurizer, ``text`` or ``image``; only modalities that have one.
    """

    model_version: str
    preset: str
    created_at: str
    d: int
    n_users: int
    n_items: int
    modalities: Mapping[str, int]
    history: FoldInRule | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    journal_watermark: int = 0
    checksums: Mapping[str, str] = field(default_factory=dict)
    featurizers: Mapping[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """The canonical text of the manifest, which carries a sha256 of itself.

        Raises:
            ValueError: a fact is no finite number or no text JSON can carry.
            TypeError: a fact is of a type JSON does not know.
        """
        # Through JSON and back, so that keys are sorted as the strings they become: metrics may be keyed by k = 5, 10.
        facts = json.loads(_canonical(asdict(self)))
        if not self.featurizers:  # bundles were written before there were any, and stay what they are byte for byte
            del facts["featurizers"]
        facts["checksum"] = hashlib.sha256(_canonical(facts).encode()).hexdigest()
        return _canonical(facts)

    @property
    def modality_names(self) -> tuple[str, ...]:
        """The modalities in the order of the encoder's ``present`` columns."""
        return tuple(sorted(self.modalities))

    @property
    def created(self) -> datetime:
        """``created_at`` as a time that can be compared.

        Raises:
            ValueError: it is no RFC 3339 time.
        """
        return datetime.fromisoformat(self.created_at)

    @property
    def required_files(self) -> frozenset[str]:
        """The files a bundle of these facts has beside its manifest."""
        features = {f"features_{name}.npy" for name in self.modalities}
        featurizers = {featurizer_file(name) for name in self.featurizers}
        history = ["history_embeddings.npy"] if self.history else []
        return frozenset({*FIXED_FILES, *features, *featurizers, *history})


def _canonical(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Writes a ``manifest.json``.

    Raises:
        CorruptBundle: a fact cannot be written as JSON, NaN among the metrics for instance.
    """
    try:
        text = manifest.to_json().encode()
    except (TypeError, ValueError) as exc:
        raise CorruptBundle(path, f"the manifest cannot be written as JSON: {exc}") from exc
    path.write_bytes(text)


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
    except (OSError, ValueError, RecursionError) as exc:
        raise CorruptBundle(path, f"unreadable manifest: {exc}") from exc
    if not isinstance(facts, dict):
        raise CorruptBundle(path, f"expected a JSON object, found {type(facts).__name__}")
    if facts.get("format_version") != FORMAT_VERSION:
        raise IncompatibleBundle(path, FORMAT_VERSION, facts.get("format_version"))
    try:
        manifest = _parse(path, facts)
        _check_names(path, manifest)
        _check_facts(path, manifest)
        altered = manifest.to_json() != text
    except (TypeError, AttributeError, ValueError) as exc:
        raise CorruptBundle(path, f"malformed manifest: {exc}") from exc
    if altered:
        raise CorruptBundle(path, "the manifest was altered: its checksum does not match")
    return manifest


def _parse(path: Path, facts: dict[str, Any]) -> Manifest:
    known = {f.name for f in fields(Manifest)} | {"checksum"}
    missing, unknown = known - set(facts) - {"featurizers"}, set(facts) - known
    if missing or unknown:
        raise CorruptBundle(path, f"missing fields {sorted(missing)}, unknown {sorted(unknown)}")
    history = None if facts["history"] is None else parse_rule(facts["history"])
    return Manifest(**{k: v for k, v in facts.items() if k not in {"checksum", "history"}}, history=history)


def _check_names(path: Path, manifest: Manifest) -> None:
    if not VERSION_PATTERN.fullmatch(manifest.model_version):
        raise CorruptBundle(path, f"malformed model version {manifest.model_version!r}")
    for name in manifest.modalities:
        if not MODALITY_PATTERN.fullmatch(name):
            raise CorruptBundle(path, f"malformed modality name {name!r}: expected {MODALITY_PATTERN.pattern}")
    for name in manifest.checksums:
        if "/" in name or name.startswith("."):
            raise CorruptBundle(path, f"file {name!r} lies outside the bundle")


def check_rule(path: Path, manifest: Manifest) -> None:
    """Checks that the history rule is one of this embedding size.

    Raises:
        CorruptBundle: it is not.
    """
    rule = manifest.history
    if isinstance(rule, LeastSquaresRule) and len(rule.diagonal) != manifest.d:
        raise CorruptBundle(path, f"history: expected a diagonal of {manifest.d} numbers, found {len(rule.diagonal)}")


def _check_facts(path: Path, manifest: Manifest) -> None:
    sizes = {"d": manifest.d, **{f"modalities.{name}": d_m for name, d_m in manifest.modalities.items()}}
    counts = {name: getattr(manifest, name) for name in ("n_users", "n_items", "journal_watermark")}
    for name, value in {**sizes, **counts}.items():
        least = 1 if name in sizes else 0
        if type(value) is not int or value < least:
            raise CorruptBundle(path, f"{name}: expected an integer of at least {least}, found {value!r}")
    for name in ("metrics", "training", "checksums", "featurizers"):
        if not isinstance(getattr(manifest, name), Mapping):
            raise CorruptBundle(path, f"{name}: expected an object")
    check_rule(path, manifest)
    check_featurizers(path, manifest.featurizers, manifest.modalities)
    if manifest.created.utcoffset() is None:
        raise CorruptBundle(path, f"created_at: expected a time zone, found {manifest.created_at!r}")
