"""Networks that estimate mutual information.

They learn in steps of their own, from detached inputs, and are frozen in between: a model's loss sends gradients
through them to what they are asked about, never into them. Hence they are no part of ``Model.network``, and a model's
best state leaves them out: they shape training only, and nothing that is published depends on them. A checkpoint has
them, as a model's hidden state.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from training.losses import club_bound, donsker_varadhan, donsker_varadhan_ascent, gaussian_log_likelihood

_PLATEAU = 10  # fits without a better likelihood after which the step size is cut to a tenth


class ClubEstimator:
    """CLUB's upper bound of I(X; Y) with a Gaussian q(y | x) (Cheng et al. 2020).

    Mean and log-variance are perceptrons ``d_x → hidden → d_y``; the log-variance ends in tanh.
    """

    def __init__(self, d_x: int, d_y: int, device: torch.device, *, hidden: int = 32, lr: float = 1e-4) -> None:
        def perceptron() -> list[nn.Module]:
            return [nn.Linear(d_x, hidden), nn.ReLU(), nn.Linear(hidden, d_y)]

        self._mean = nn.Sequential(*perceptron())
        self._log_variance = nn.Sequential(*perceptron(), nn.Tanh())
        self.network = nn.ModuleList([self._mean, self._log_variance]).to(device).requires_grad_(requires_grad=False)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=lr)
        self._schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(self._optimizer, mode="max", patience=_PLATEAU)

    def fit(self, x: Tensor, y: Tensor, steps: int) -> None:
        """Some ascent steps on the likelihood of ``y`` (n, d_y) given ``x`` (n, d_x)."""
        x, y = x.detach(), y.detach()
        value = 0.0
        with _learning(self.network):
            for _ in range(steps):
                likelihood = gaussian_log_likelihood(self._mean(x), self._log_variance(x), y)
                _ascend(self._optimizer, likelihood)
                value = float(likelihood.detach())
        self._schedule.step(value)

    def bound(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """The bound for ``x`` (b, d_x) and ``y`` (b, d_y), to be minimised in them; pairs are broken at random."""
        return self.bound_of(self.predict(x), y, generator)

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q for each x (b, d_x), (b, d_y) each."""
        return self._mean(x), self._log_variance(x)

    @staticmethod
    def bound_of(predicted: tuple[Tensor, Tensor], y: Tensor, generator: torch.Generator) -> Tensor:
        """The bound for what was predicted before, where x is constant between fits."""
        return club_bound(*predicted, y, torch.randperm(len(y), generator=generator, device=y.device))

    def state_dict(self) -> dict[str, Any]:
        """All that further fits follow from."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts it back."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])


class MineEstimator:
    """The Donsker–Varadhan lower bound of I(X; Y) with a critic ``f: 2d → hidden → 1`` (MINE, Belghazi et al. 2018)."""

    def __init__(
        self, d: int, device: torch.device, *, hidden: int = 64, lr: float = 1e-3, momentum: float = 0.9
    ) -> None:
        self.network = nn.Sequential(nn.Linear(2 * d, hidden), nn.ReLU(), nn.Linear(hidden, 1)).to(device)
        self.network.requires_grad_(requires_grad=False)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=lr)
        self._momentum = momentum
        self._average: Tensor | None = None

    def fit(self, x: Tensor, y: Tensor, generator: torch.Generator) -> None:
        """One ascent step for ``x`` and ``y`` (b, d); the partition's gradient is that of a running average."""
        x, y = x.detach(), y.detach()
        with _learning(self.network):
            joint, marginal = self._values(x, y, generator)
            mean = marginal.detach().exp().mean()
            before = mean if self._average is None else self._average
            self._average = self._momentum * before + (1 - self._momentum) * mean
            _ascend(self._optimizer, donsker_varadhan_ascent(joint, marginal, self._average))

    def bound(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """The bound for ``x`` and ``y`` (b, d), at least 0 as mutual information is."""
        return donsker_varadhan(*self._values(x, y, generator)).clamp(min=0)

    def state_dict(self) -> dict[str, Any]:
        """All that further fits follow from."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self._average,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts it back."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        average = state["average"]
        self._average = None if average is None else average.to(next(self.network.parameters()).device)

    def _values(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        order = torch.randperm(len(y), generator=generator, device=y.device)
        joint, marginal = (self.network(torch.cat([x, other], dim=1)).squeeze(1) for other in (y, y[order]))
        return joint, marginal


@contextmanager
def _learning(network: nn.Module) -> Iterator[None]:
    """Parameters take gradients inside, and none outside."""
    network.requires_grad_(requires_grad=True)
    try:
        with torch.enable_grad():
            yield
    finally:
        network.requires_grad_(requires_grad=False)


def _ascend(optimizer: torch.optim.Optimizer, objective: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    (-objective).backward()
    optimizer.step()
