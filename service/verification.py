"""Golden queries: what a model version must be able to do before it serves."""

from collections.abc import Mapping, Sequence

import numpy as np

from service.domain import Matrix, Vector
from service.errors import ModelUnavailable
from service.queries import Hit
from service.servable import Servable
from service.trained import trained_features

_ITEMS = 3
_QUERIES = 8
_K = 10
_BLOCK = 1 << 14  # items that are looked at in one go
_TOLERANCE = 1e-2  # of the largest score vectors of these lengths can have: engines may compute in half precision


def verify(servable: Servable) -> None:
    """Encodes some items and searches for some users, as requests will; the first of them find it warm.

    Items must be encoded alike alone and beside others, and searches must find what a comparison with all items of the
    bundle finds.

    Raises:
        ModelUnavailable: they do not; says what was expected and found.
        EncodingFailed: the encoder fails.
    """
    _verify_encoder(servable)
    users = servable.bundle.user_embeddings
    queries = np.array(users[_spread(len(users), _QUERIES)], dtype=np.float32)
    found = [_verify_hits(servable, query) for query in queries]
    _verify_none_is_better(servable, queries, found)


def _verify_encoder(servable: Servable) -> None:
    bundle = servable.bundle
    samples: list[Mapping[str, Vector]] = [{}]
    samples += [trained_features(bundle, row) for row in _spread(len(bundle.items), _ITEMS)]
    together = servable.encoder.encode(samples)
    for sample, one in zip(samples, together, strict=True):
        (alone,) = servable.encoder.encode([sample])
        shape = (bundle.manifest.d,)
        if one.embedding.shape != shape or not np.isfinite(one.embedding).all():
            raise ModelUnavailable(f"verification: expected finite embeddings {shape}, found {one.embedding.shape}")
        scale = float(np.abs(one.embedding).max()) or 1.0
        apart = float(np.abs(one.embedding - alone.embedding).max())
        if apart > _TOLERANCE * scale:
            raise ModelUnavailable(f"verification: an item encoded beside others differs by {apart:.3g} from it alone")


def _verify_hits(servable: Servable, query: Vector) -> Sequence[Hit]:
    """What the index finds, each by its own score."""
    hits = servable.index.search(query, _K)
    length = float(np.linalg.norm(query))
    for hit in hits:
        vector = servable.vector(hit.item_id)
        if vector is None or abs(float(vector @ query) - hit.score) > _tolerance(vector, length):
            raise ModelUnavailable(f"verification: the index gives item {hit.item_id!r} a score that is not its own")
    return hits


def _verify_none_is_better(servable: Servable, queries: Matrix, found: Sequence[Sequence[Hit]]) -> None:
    """Looks at all items once, for all (q, d) queries together."""
    vectors, rows = servable.bundle.item_embeddings, servable.own_rows()
    least = np.array([hits[-1].score if len(hits) == _K else -np.inf for hits in found])
    slack = _TOLERANCE * np.linalg.norm(queries, axis=1)
    better = np.zeros(len(queries), dtype=np.int64)
    for start in range(0, len(rows), _BLOCK):
        own = vectors[rows[start : start + _BLOCK]]
        bounds = least + slack * np.linalg.norm(own, axis=1)[:, None]
        better += (own @ queries.T > bounds).sum(axis=0)
    for hits, count in zip(found, better.tolist(), strict=True):
        if count > len(hits):
            raise ModelUnavailable(f"verification: {count} items are better than the last of the {len(hits)} found")


def _tolerance(vector: Vector, length: float) -> float:
    """By how much a score may be off: rounding goes with the lengths of both vectors, not with their product."""
    return _TOLERANCE * max(length * float(np.linalg.norm(vector)), float(np.finfo(np.float32).tiny))


def _spread(n: int, most: int) -> Sequence[int]:
    """Some numbers below n, far from each other."""
    return sorted({int(each) for each in np.linspace(0, n - 1, min(n, most))}) if n else []
