"""Presets with users as rows are published so that a service can fold users in."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model_store import HistoryRule, LeastSquaresRule
from training.foldable import exported
from training.foldin import CONFIDENCE, ridge_fold_in
from training.models import Embeddings, Model

D, N_ITEMS, N_USERS = 6, 30, 9


class _Encoder(nn.Module):
    """Says what it is given, in d numbers."""

    def forward(self, features: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        return features[:, :D], present.float().mean(dim=1)


class _RowModel:
    """A model whose users are rows, unless it is given a rule."""

    def __init__(self, rule: HistoryRule | None = None) -> None:
        self.history_rule = rule

    def encoder(self) -> nn.Module:
        return _Encoder()


def model(rule: HistoryRule | None = None) -> Model:
    """The model as the exporter sees it."""
    return cast(Model, _RowModel(rule))


@pytest.fixture
def tables() -> Embeddings:
    """Random tables of a model without histories."""
    rng = np.random.default_rng(5)
    users, items = (rng.normal(size=(n, D)).astype(np.float32) for n in (N_USERS, N_ITEMS))
    return Embeddings(users, items, None)


def test_scores_of_trained_users_stay(tables: Embeddings) -> None:
    """Turned tables give the inner products of the original ones."""
    export = exported(model(), tables)

    np.testing.assert_allclose(
        export.embeddings.users @ export.embeddings.items.T, tables.users @ tables.items.T, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("length", [1, 4, 20])
def test_rule_of_the_bundle_is_the_ridge_fold_in(tables: Embeddings, length: int) -> None:
    """A history folded in by the rule scores all items as the offline fold-in does, up to one factor for all."""
    history = np.random.default_rng(length).permutation(N_ITEMS)[:length].astype(np.int32)
    export = exported(model(), tables)
    rule, rows = export.history_rule, export.embeddings.history
    assert isinstance(rule, LeastSquaresRule)
    assert rows is not None

    served = export.embeddings.items @ rule.encode(rows[history])

    offline = tables.items @ ridge_fold_in(np.array([0, length]), history, tables.items)[0]
    np.testing.assert_allclose(served * (1 + CONFIDENCE) / CONFIDENCE, offline, rtol=1e-3, atol=1e-4)


def test_encoder_places_items_in_the_turned_tables(tables: Embeddings) -> None:
    """An item encoded anew lands on its row, as an item and as part of a history; confidence is passed on."""
    export = exported(model(), tables)
    features = torch.from_numpy(tables.items)

    embedding, history, confidence = export.encoder()(features, torch.ones(N_ITEMS, 2, dtype=torch.bool))

    np.testing.assert_allclose(embedding.numpy(), export.embeddings.items, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(history.numpy(), embedding.numpy())
    assert confidence.tolist() == [1.0] * N_ITEMS


def test_models_with_a_rule_are_left_as_they_are(tables: Embeddings) -> None:
    """Their own rule and tables are published."""
    rule = HistoryRule()

    export = exported(model(rule), tables)

    assert export.history_rule is rule
    assert export.embeddings is tables


def test_a_table_of_zeros_has_no_rule(tables: Embeddings) -> None:
    """There is nothing to fold in with."""
    bare: Mapping[str, Any] = {"items": np.zeros_like(tables.items)}

    assert exported(model(), tables._replace(**bare)).history_rule is None
