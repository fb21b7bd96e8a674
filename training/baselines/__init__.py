"""Baselines from the literature: one readable file per model, one line here.

Whatever is published as better than a rival was measured against these, under the same rules.
"""

from collections.abc import Mapping

from training.baselines import (
    collective_ease,
    content_knn,
    ease,
    ials,
    ials_tower,
    lightgcn,
    popularity,
    rp3beta,
    spectral,
    vbpr,
)
from training.baselines.selection import Fit, Validate

BASELINES: Mapping[str, Fit] = {
    "popularity": popularity.fit,
    "content_knn": content_knn.fit,
    "ease": ease.fit,
    "rp3beta": rp3beta.fit,
    "ials": ials.fit,
    "spectral": spectral.fit,
    "lightgcn": lightgcn.fit,
    "vbpr": vbpr.fit,
    "lightgcn_mean": lightgcn.fit_mean,
    "collective_ease": collective_ease.fit,
    "ials_tower": ials_tower.fit,
}

REVISIONS: Mapping[str, int] = {}
"""Baseline → its revision, where that is not 1; as of the presets (``training.models.REVISIONS``)."""

__all__ = ["BASELINES", "REVISIONS", "Fit", "Validate"]
