"""The content encoder of I³-MRec: from whatever modalities an item has to where the clicks would place it."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize

from training.content import standardisation
from training.features import ModalityFeatures
from training.fusion import Posterior, product_of_experts
from training.solvable import solved

_GAIN = 4.0  # rows of unit norm are scaled up to where the experts' activations are not all linear
_LOG_PRECISION = (-6.0, 4.0)
_INTERCEPT_RIDGE = 1e-3
_LEAST_NORM = 1e-12
_BLOCK = 8192
_UNSOLVABLE = ("linear prediction", "a larger --content-ridge")

Drop = Callable[[Tensor], Tensor]


class Experts(NamedTuple):
    """What each modality says of some items, whatever is present.

    Attributes:
        means, precisions: per modality (b, d).
    """

    means: list[Tensor]
    precisions: list[Tensor]


class ContentEncoder(nn.Module):
    """The mean of two estimates: a linear map of everything present, and a product of experts over it.

    ``code(x, a) = spread · ½ (Wᵀ[a⊙x, a, 1] + μ_PoE(x, a))``. W is solved in closed form and strong where little varies
    with content; the experts, one network per modality, are learned and know how to go on when modalities are missing.
    Confidence grows with the code's distance from that of an item of which nothing is known
    (``training.confidence.Confidence``).
    """

    def __init__(
        self, features: Mapping[str, ModalityFeatures], warm: NDArray[np.bool_], d: int, hidden: int, evenness: float
    ) -> None:
        super().__init__()
        self.evenness = evenness
        self.center, self.scale = nn.ParameterList(), nn.ParameterList()
        for modality in features.values():
            center, scale = standardisation(modality, warm)
            self.center.append(nn.Parameter(center, requires_grad=False))
            self.scale.append(nn.Parameter(scale, requires_grad=False))
        dims = [modality.dim for modality in features.values()]
        self.linear = nn.Parameter(torch.zeros(sum(dims) + len(dims) + 1, d), requires_grad=False)
        self.trunk = nn.ModuleList([nn.Linear(d_m, hidden) for d_m in dims])
        self.mean = nn.ModuleList([nn.Linear(hidden, d) for _ in dims])
        self.log_precision = nn.ModuleList([nn.Linear(hidden, d) for _ in dims])
        self.prior_mean = nn.Parameter(torch.zeros(d))
        self.spread = nn.Parameter(torch.ones(()), requires_grad=False)
        self.norm = nn.Parameter(torch.ones(()), requires_grad=False)
        self.new_item_gain = nn.Parameter(torch.ones(()), requires_grad=False)
        self.confidence_scale = nn.Parameter(torch.ones(()), requires_grad=False)
        self.confidence_ceiling = nn.Parameter(torch.ones(()), requires_grad=False)

    def rows(self, features: list[Tensor], present: Tensor) -> list[Tensor]:
        """Standardised rows of unit norm per modality; zero, whatever stands there, where it is absent."""
        shown = [
            torch.where(present[:, m : m + 1], (raw - self.center[m]) / self.scale[m], 0.0)
            for m, raw in enumerate(features)
        ]
        return [normalize(x, dim=1) for x in shown]

    @staticmethod
    def regressors(rows: list[Tensor], present: Tensor) -> Tensor:
        """What the linear part sees, (b, Σ d_m + n_modalities + 1)."""
        shown = [x * present[:, m : m + 1] for m, x in enumerate(rows)]
        return torch.cat([*shown, present.to(rows[0].dtype), torch.ones_like(rows[0][:, :1])], dim=1)

    def experts(self, rows: list[Tensor], drop: Drop = lambda x: x) -> Experts:
        """Every modality's expert on rows (b, d_m)."""
        hidden = [drop(gelu(trunk(drop(_GAIN * x)))) for trunk, x in zip(self.trunk, rows, strict=True)]
        means = [layer(h) for layer, h in zip(self.mean, hidden, strict=True)]
        logs = [layer(h).clamp(*_LOG_PRECISION) for layer, h in zip(self.log_precision, hidden, strict=True)]
        return Experts(means, [log.exp() for log in logs])

    def fuse(self, experts: Experts, present: Tensor, shares: Tensor | None = None) -> Posterior:
        """The product of the experts with only ``present`` (b, n_modalities) in sight.

        Args:
            experts: on some rows.
            present: what may be seen of them.
            shares: (n_modalities,) by which each expert's word counts; None = 1 each.
        """
        weights = present.to(self.prior_mean.dtype) if shares is None else present * shares
        return product_of_experts(*experts, weights, self.prior_mean)

    def predict_linear(self, rows: list[Tensor], present: Tensor) -> Tensor:
        """The linear estimate, (b, d)."""
        return self.spread * (self.regressors(rows, present) @ self.linear)

    def encode(self, rows: list[Tensor], present: Tensor) -> Tensor:
        """Code (b, d)."""
        posterior = self.fuse(self.experts(rows), present)
        return 0.5 * (self.predict_linear(rows, present) + self.spread * posterior.mean)

    def unknown(self) -> Tensor:
        """The code of an item without any modality, (d,)."""
        return 0.5 * self.spread * (self.linear[-1] + self.prior_mean)

    def confidence(self, code: Tensor, present: Tensor) -> Tensor:
        """How far codes (b, d) are to be trusted, (b,) in [0, 1]; exactly 0 with nothing present."""
        distances = torch.linalg.vector_norm(code - self.unknown(), dim=1)
        risen = -torch.expm1(-(distances / self.confidence_scale).square())
        return self.confidence_ceiling * torch.where(present.any(dim=1), risen, 0.0)

    def place(self, code: Tensor) -> Tensor:
        """Rows of new items (b, d) for their codes: ``gain · (norm / ‖code‖)^evenness · code``.

        The norm of a prediction grows with what is known of the item, and so would its share of all lists: without
        evenness few new items, those with every modality, would stand for all.
        """
        norms = torch.linalg.vector_norm(code, dim=1, keepdim=True).clamp(min=_LEAST_NORM)
        placed: Tensor = self.new_item_gain * (self.norm / norms) ** self.evenness * code
        return placed

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(features (b, d_m) of each modality…, present (b, n_modalities)) → embedding, history row, confidence."""
        *features, present = inputs
        code = self.encode(self.rows(list(features), present), present)
        return self.place(code), code, self.confidence(code, present)


class LinearSolver:
    """Solves the linear part for ever new targets: the features, hence the normal equations, stay.

    ``W = (Xᵀ C X + λI)⁻¹ Xᵀ C Y`` with rows of weight c_i; the intercept is hardly regularised. X, the
    ``ContentEncoder.regressors``, is as large as all features, and made anew a block at a time.

    Args:
        rows: per modality (n, d_m), as ``ContentEncoder.rows`` makes them.
        present: (n, n_modalities) bool.
        weights: (n,) c_i.
        ridge: λ.

    Raises:
        NotFinite: λ is too small for a solution.
    """

    def __init__(self, rows: list[Tensor], present: Tensor, weights: NDArray[np.floating], ridge: float) -> None:
        self._rows, self._present = rows, present
        self._weights = weights[:, None].astype(np.float32)
        others = sum(x.shape[1] for x in rows) + present.shape[1]
        gram = np.diag(np.r_[np.full(others, ridge), _INTERCEPT_RIDGE])
        for block, regressors in self._blocks():
            x = regressors.astype(np.float64)
            gram += (x * self._weights[block]).T @ x
        self._inverse = solved(lambda: np.linalg.inv(gram), *_UNSOLVABLE)

    def solve(self, targets: NDArray[np.float32]) -> NDArray[np.float32]:
        """W (p, d) for targets Y (n, d)."""
        moments = np.zeros((len(self._inverse), targets.shape[1]))
        for block, regressors in self._blocks():
            moments += regressors.T @ (self._weights[block] * targets[block])
        return solved(lambda: np.asarray(self._inverse @ moments, dtype=np.float32), *_UNSOLVABLE)

    def _blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        for start in range(0, len(self._present), _BLOCK):
            block = slice(start, start + _BLOCK)
            yield block, ContentEncoder.regressors([x[block] for x in self._rows], self._present[block]).cpu().numpy()
