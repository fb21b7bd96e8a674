"""MILK (SIGIR 2024): items from content alone, invariant over random mixtures of their modalities.

Per modality a linear extractor ``c^m = W_m x^m + b_m`` of features of unit norm; under mixture θ an item is
``Σ_m θ_m c^m``, at inference the even mixture; a user is a row. A missing modality is replaced by the mean of those
that are there. Environments are MILK's cyclic mixup, drawn anew for each step, beside the even mixture; the loss is the
sum of their risks, the variance of these, the squared distance between an item's modalities (alignment), and the norms.

From the released code: the risks are summed where the paper speaks of one task loss; alignment is taken over the
distinct positives of a batch that have both modalities. Changed: means are those of items with training interactions,
and negatives come from those items alone (the release draws them from all items, those held out included). Any number
of modalities works (the release's forward has two), alignment being summed over the pairs. With one modality mixtures
and alignment are idle.

Ports of MILK that let the feature tables themselves be learned (the one beside DGMRec does) give every item an ID
embedding in disguise, which no new item has; their numbers on warm items are those of ``learn_features=1``.

Warm and new items are treated alike, so that new items need no special scale. An item without any modality is made of
means alone: all such items tie.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from training.config import TrainConfig
from training.content import content_of, encode, set_gain, share_present, standardisation
from training.environments import cyclic_mixup
from training.features import ModalityFeatures
from training.foldin import ridge_fold_in
from training.losses import alignment, bpr_risk, mean_square_norm, risk_variance
from training.models.contract import Embeddings, TrainingData
from training.models.modality_graph import user_table
from training.models.settings import bounded, chosen_settings
from training.sampling import PairBatch, PairSampler


@dataclass(frozen=True, slots=True)
class Settings:
    """MILK's own hyper-parameters.

    Attributes:
        concentration: α of the mixtures; the paper finds 0.01 best on Baby and 0.1, the code's default, on Clothing.
        variance: λ_inv, weight of the variance of the risks; published 1000 (Baby), 50 (Clothing, TikTok).
        alignment: λ_al, weight of the alignment; published 0.05 (Baby, Clothing), 0.5 (TikTok).
        norm: λ_reg, weight of the squared norms.
        learn_features: 1 = the features that known items have are parameters, which begin as what was measured; new
            items come with theirs as they are.
    """

    concentration: float = bounded(0.1, above=0)
    variance: float = 50.0
    alignment: float = 0.05
    norm: float = 1e-4
    learn_features: int = 0


class ContentEncoder(nn.Module):
    """Imputation by means and one linear extractor per modality; all there is to an item."""

    def __init__(self, features: Mapping[str, ModalityFeatures], warm: NDArray[np.bool_], d: int) -> None:
        super().__init__()
        self.fill = nn.ParameterList(
            [nn.Parameter(standardisation(modality, warm)[0], requires_grad=False) for modality in features.values()]
        )
        self.extractors = nn.ModuleList([nn.Linear(modality.dim, d) for modality in features.values()])
        self.new_item_gain = nn.Parameter(torch.ones(()), requires_grad=False)

    def extract(self, features: list[Tensor], present: Tensor) -> Tensor:
        """Features (b, d_m) of each modality, present (b, n_modalities) → codes (n_modalities, b, d)."""
        codes = []
        for m, (raw, fill, extractor) in enumerate(zip(features, self.fill, self.extractors, strict=True)):
            codes.append(extractor(normalize(torch.where(present[:, m : m + 1], raw, fill), dim=1)))
        return torch.stack(codes)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(features (b, d_m) of each modality…, present (b, n_modalities)) → embedding, confidence."""
        *features, present = inputs
        return self.new_item_gain * self.extract(features, present).mean(dim=0), share_present(present)


class _Network(nn.Module):
    """All that is learned."""

    def __init__(self, content: ContentEncoder, n_users: int, d: int, learned: list[Tensor]) -> None:
        super().__init__()
        self.content = content
        self.users = user_table(n_users, d)
        self.features = nn.ParameterList([nn.Parameter(table.clone()) for table in learned])


class Milk:
    """The preset ``milk``. See the module's docstring."""

    settings_kind: ClassVar[type] = Settings

    def __init__(
        self, data: TrainingData, config: TrainConfig, device: torch.device, settings: Settings | None = None
    ) -> None:
        self._settings = settings or chosen_settings(Settings, config.settings)
        self._data, self._device = data, device
        self._warm = data.popularity() > 0
        self._content = content_of(data.features, device)
        self._rng = np.random.default_rng(config.seed)
        self._sampler = PairSampler(data.indptr, data.indices, data.n_items, batch_pairs=config.batch_pairs)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            encoder = ContentEncoder(data.features, self._warm, config.d)
            learned = self._content.features if self._settings.learn_features else []
            self._network = _Network(encoder, data.n_users, config.d, learned).to(device)
        self._encoder = encoder
        if learned:
            self._content = self._content._replace(features=list(self._network.features))

    @property
    def network(self) -> nn.Module:
        """User table and extractors."""
        return self._network

    @property
    def history_rule(self) -> None:
        """Users exist only as rows."""
        return

    def batches(self, rng: np.random.Generator) -> Iterator[PairBatch]:
        """The batches of one epoch."""
        return self._sampler.epoch(rng)

    def loss(self, batch: PairBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002 - MILK has no schedule
        """Risks of all environments, their variance, alignment and norms."""
        settings = self._settings
        users = self._network.users[torch.from_numpy(batch.users).to(self._device)]
        rows, place = np.unique(np.stack([batch.positives, batch.negatives]), return_inverse=True)
        chosen = torch.from_numpy(rows).to(self._device)
        positives, negatives = torch.from_numpy(place.reshape(2, -1)).to(self._device)
        present = self._content.present[chosen]
        codes = self._encoder.extract([x[chosen] for x in self._content.features], present)
        mixtures = cyclic_mixup(len(codes), settings.concentration, self._rng).to(self._device)
        # What a user scores the codes with is mixed instead of the codes: the same numbers, M dots in place of M + 1.
        scores = (
            torch.einsum("bd,mbd->mb", users, codes[:, positives]),
            torch.einsum("bd,mbd->mb", users, codes[:, negatives]),
        )
        risks = torch.stack([bpr_risk(theta @ scores[0], theta @ scores[1]) for theta in mixtures])
        even = codes.mean(dim=0)
        return {
            "ranking": risks.sum(),
            "invariance": settings.variance * risk_variance(risks),
            "alignment": settings.alignment * self._alignment(codes, present, positives),
            "norm": settings.norm * mean_square_norm(users, even[positives], even[negatives]),
        }

    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:
        """User rows, and every item as the encoder places it; the gain is for new items."""
        content = self._content if features is None else content_of(features, self._device)
        with torch.no_grad():
            items = self._encoder.extract(*content).mean(dim=0).cpu().numpy()
        items[~self._warm] *= self._encoder.new_item_gain.item()
        return Embeddings(self._network.users.detach().cpu().numpy().copy(), items, None)

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """Users by ridge regression on the item rows."""
        return ridge_fold_in(indptr, indices, self.embeddings().items)

    def as_new(self) -> NDArray[np.float32]:
        """Every item as the encoder places it, (n_items, d)."""
        return encode(self._encoder, content_of(self._data.features, self._device))

    def calibrate(self, gain: float) -> None:
        """Sets the factor by which new items are pushed; 1 is right, as warm items are placed in the same way."""
        set_gain(self._encoder.new_item_gain, gain)

    def encoder(self) -> nn.Module:
        """Imputation and extractors."""
        return self._encoder

    def hidden_state(self) -> dict[str, Any]:
        """What draws the mixtures."""
        return {"rng": self._rng.bit_generator.state}

    def load_hidden_state(self, state: Mapping[str, Any]) -> None:
        """Puts it back."""
        self._rng.bit_generator.state = state["rng"]

    @staticmethod
    def _alignment(codes: Tensor, present: Tensor, positives: Tensor) -> Tensor:
        """Summed over pairs of modalities, each over the distinct positives that have both."""
        rows = torch.unique(positives)
        codes, present = codes[:, rows], present[rows]
        pairs = [
            alignment(codes[a], codes[b], present[:, a] & present[:, b]) for a, b in combinations(range(len(codes)), 2)
        ]
        return torch.stack(pairs).sum() if pairs else codes.new_zeros(())
