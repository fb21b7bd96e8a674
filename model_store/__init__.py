"""The contract between the offline trainer and the online service: bundles and the store that keeps them.

numpy and the standard library only, so that both sides can import it.
"""

from model_store.bundle import Bundle, load_bundle, write_bundle
from model_store.challenger import Challenger
from model_store.contents import BundleContents
from model_store.errors import (
    BundleNotFound,
    CorruptBundle,
    IncompatibleBundle,
    InvalidId,
    ModelStoreError,
    NothingEarlier,
    StoreBusy,
)
from model_store.history import FoldInRule, HistoryRule, LeastSquaresRule
from model_store.ids import IdMap, check_id
from model_store.manifest import Manifest
from model_store.store import ModelStore, VersionInfo

__all__ = [
    "Bundle",
    "BundleContents",
    "BundleNotFound",
    "Challenger",
    "CorruptBundle",
    "FoldInRule",
    "HistoryRule",
    "IdMap",
    "IncompatibleBundle",
    "InvalidId",
    "LeastSquaresRule",
    "Manifest",
    "ModelStore",
    "ModelStoreError",
    "NothingEarlier",
    "StoreBusy",
    "VersionInfo",
    "check_id",
    "load_bundle",
    "write_bundle",
]
