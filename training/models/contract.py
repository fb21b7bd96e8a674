"""What the loop, the evaluation and the export need of a model. Implemented, never inherited for code."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from model_store import FoldInRule
from training.confidence import Confidence
from training.features import ModalityFeatures


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a model may learn from.

    Attributes:
        features: modality → features of all items, alphabetical.
        indptr, indices: CSR by user of the training interactions' item rows, oldest first.
        n_items: items in the catalogue; those without training interactions are new to the model.
    """

    features: Mapping[str, ModalityFeatures]
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    n_items: int

    @property
    def n_users(self) -> int:
        """Users, with or without interactions."""
        return len(self.indptr) - 1

    def popularity(self) -> NDArray[np.int64]:
        """Training interactions per item, (n_items,)."""
        return np.bincount(self.indices, minlength=self.n_items)


class Embeddings(NamedTuple):
    """The tables a model is judged by and served from; score = inner product of a user's and an item's row.

    Attributes:
        users: (n_users, d) float32.
        items: (n_items, d) float32.
        history: (n_items, d) float32 rows that encode users, or None where users exist only as rows.
    """

    users: NDArray[np.float32]
    items: NDArray[np.float32]
    history: NDArray[np.float32] | None


class Recommender(Protocol):
    """Something fitted that can be judged: a trained model or a closed form."""

    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:
        """The tables as of now, in evaluation mode.

        Args:
            features: of all items, in place of those it was fitted on (same modalities, other items missing); what is
                computed from content is computed anew.
        """
        ...

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """Encodes users from histories alone, as a service would: CSR of item rows, oldest first → (n, d) float32."""
        ...


class Encodes(Protocol):
    """What an export needs besides tables."""

    @property
    def history_rule(self) -> FoldInRule | None:
        """How users are encoded from histories; None where they exist only as rows."""
        ...

    def encoder(self) -> nn.Module:
        """The module that places items from their features alone, in evaluation mode; what ``encoder.onnx`` becomes.

        Called as ``encoder(*features, present)`` with features in alphabetical order of the modalities; returns
        (embedding (b, d), history_embedding (b, d) if there is one, confidence (b,)).
        """
        ...


class Model(Recommender, Encodes, Protocol):
    """A recommender in training."""

    @property
    def network(self) -> nn.Module:
        """Everything that is learned."""
        ...

    def batches(self, rng: np.random.Generator) -> Iterator[Any]:
        """The batches of one epoch."""
        ...

    def loss(self, batch: Any, progress: float) -> Mapping[str, Tensor]:
        """The terms of the loss by name, weights included: their sum is what is minimised.

        Args:
            batch: one of ``batches``.
            progress: share of the planned epochs that is over, for schedules.
        """
        ...

    def as_new(self) -> NDArray[np.float32]:
        """Every item as the encoder alone places it, (n_items, d) float32."""
        ...

    def calibrate(self, gain: float) -> None:
        """Scales the item rows that the encoder gives, and with them those of items without interactions."""
        ...


@runtime_checkable
class CalibratesConfidence(Protocol):
    """What a model may add whose codes say how much they know."""

    def deviations(self, features: Mapping[str, ModalityFeatures]) -> NDArray[np.float32]:
        """Codes of all items by these features, less the code of an item of which nothing is known, (n_items, d)."""
        ...

    def calibrate_confidence(self, confidence: Confidence) -> None:
        """Sets how confidence follows from the norm of a deviation."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """What a model may add so that a run resumed from a checkpoint is, bit by bit, the one that was not stopped.

    Only needed where epochs follow from more than the network, the optimiser and the loop's generator: generators of
    its own, estimators that learn beside it, counters.
    """

    def hidden_state(self) -> dict[str, Any]:
        """All of that between two epochs: tensors, numbers, text and containers of these."""
        ...

    def load_hidden_state(self, state: Mapping[str, Any]) -> None:
        """Puts it back.

        Raises:
            KeyError: something is missing.
        """
        ...
