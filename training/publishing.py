"""From a trained model to a published version."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store import Manifest, ModelStore
from training.dataset import Dataset
from training.export import bundle_contents, export_encoder, make_manifest
from training.featurizers import kinds_of, read_featurizers
from training.fitting import Trained
from training.foldable import exported
from training.foldin import fold_in
from training.interactions import TEST, TRAIN, VAL
from training.models import Embeddings
from training.prepared import Prepared
from training.splits import ordered_history

HISTORIES = {"train": (TRAIN,), "all": (TRAIN, VAL, TEST)}


def natural_history(dataset: Dataset) -> str:
    """Of which of ``HISTORIES`` a model is made: all in a shop, and where a split is prescribed its training part."""
    return "all" if dataset.interactions.split is None else "train"


def publish(
    store: ModelStore, prepared: Prepared, trained: Trained, history: str, metrics: Mapping[str, Any]
) -> Manifest:
    """Publishes a model; it does not serve before it is promoted.

    Args:
        store: takes it.
        prepared: the data.
        trained: the model.
        history: of which of ``HISTORIES`` users and their seen lists are made.
        metrics: of this configuration, on interactions that were held back.

    Raises:
        TrainingError: the export is unfaithful.
        ModelStoreError: the store refuses the bundle.
        OSError: the store cannot be written.
    """
    dataset = prepared.dataset
    indptr, indices = ordered_history(dataset, prepared.codes, HISTORIES[history])
    embeddings = _with_users(trained, indptr, indices)
    export = exported(trained.model, embeddings)
    contents = bundle_contents(dataset, export.embeddings, indptr, indices)
    manifest = make_manifest(dataset, export, trained.config, metrics, embeddings.items.shape[1])
    featurizers = read_featurizers(dataset)
    manifest = replace(manifest, training=_facts(dataset, trained), featurizers=kinds_of(featurizers))
    encoder = export_encoder(export, dataset)
    return store.publish(contents, encoder, manifest, {name: each.content for name, each in featurizers.items()})


def _with_users(trained: Trained, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> Embeddings:
    """The tables with users encoded from histories (CSR by user); where they are rows, those that were never trained.

    What such a row began as would be taken for a taste.
    """
    model, embeddings = trained.model, trained.model.embeddings()
    if model.history_rule is not None and embeddings.history is not None:
        return embeddings._replace(users=fold_in(indptr, indices, embeddings.history, model.history_rule))
    strangers = np.diff(trained.data.indptr) == 0
    if not strangers.any():
        return embeddings
    users = np.where(strangers[:, None], model.fold_in(indptr, indices), embeddings.users)
    return embeddings._replace(users=users)


def _facts(dataset: Dataset, trained: Trained) -> dict[str, Any]:
    outcome = trained.outcome
    facts: dict[str, Any] = {**asdict(trained.config), "new_item_gain": outcome.new_item_gain}
    if outcome.confidence:
        facts["confidence_scale"] = outcome.confidence.scale
        facts["confidence_ceiling"] = outcome.confidence.ceiling
    if dataset.journal:
        facts["journal_identity"] = dataset.journal.identity
    return facts
