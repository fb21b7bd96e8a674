"""How items the model was not trained on get their chance to be shown, though nobody has clicked them yet."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from service.queries import Hit

_ROUNDING = 1e-9  # 0.29 · 100 is a little less than 29


@dataclass(frozen=True, slots=True)
class Exploration:
    """How much of the lists is for trying new items.

    Attributes:
        every: in popular lists every so many-th place goes to a new item; 0 = new items come last.
        share: of the places of personal lists that new items get at least, 0 to 1, the best for that user.
        until: an item that was shown so often has been tried and stands for itself; 0 = as long as it is new.
    """

    every: int = 5
    share: float = 0.0
    until: int = 0

    def places(self, k: int) -> int:
        """How many places of a personal list of k are for trying; none where the share makes less than one."""
        return int(self.share * k + _ROUNDING)


def reserve(places: int, hits: Sequence[Hit], tried: Sequence[Hit], k: int, fits: Callable[[str], bool]) -> list[Hit]:
    """The k best hits among which so many are new, as far as there are so many; best first, ties by id.

    Args:
        places: how many are to be new.
        hits: the candidates, best first.
        tried: the new ones to be tried, best first; they may be among the hits.
        k: list length.
        fits: is asked about the id of each that is taken, in turn; it may refuse.
    """
    chosen: dict[str, Hit] = {}

    def take(candidates: Iterable[Hit], most: int) -> None:
        for hit in candidates:
            if len(chosen) >= most:
                return
            if hit.item_id not in chosen and fits(hit.item_id):
                chosen[hit.item_id] = hit

    take(tried, min(places, k))
    take(hits, k)
    return sorted(chosen.values(), key=lambda hit: (-hit.score, hit.item_id))
