"""What the service does without, where it goes on all the same."""

from service.ports import FeatureCache
from service.servable import Servable


def without(cache: FeatureCache, servable: Servable) -> tuple[str, ...]:
    """The parts that do not work as they should: nothing is wrong for that, and some things are slower."""
    if cache.healthy and servable.index.healthy:
        return ()
    return (*(() if cache.healthy else ("cache",)), *(() if servable.index.healthy else ("index",)))
