"""Making one list: ranking, what was shown before, caps and diversity.

Who has a history is served personally: the items of highest inner product with their vector, ties by id.

Everyone else is served the popular list: items of the model by their popularity in the training data, ties by id,
where every so many-th place goes to an item the model was not trained on, the least shown first, as long as there is
one that is still to be tried. Such an item has no popularity yet: its score is that of the trained item before it
(where it leads the list, of the one after it; 0 where there is none), so scores never rise along the list. Where
categories are capped, an item that no longer fits has no place. When the trained items are used up, the remaining new
ones follow. As long as nothing was shown or written between, a list is the beginning of the longer list.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from service.chosen import Chosen
from service.diversity import Cap, diversified
from service.domain import Vector
from service.exploration import Exploration, reserve
from service.facets import AttributeIs
from service.filters import Filter
from service.paging import Shown
from service.queries import Hit
from service.queueing import give_up_if_late
from service.ranked import Personal, Popular, Ranked, best

_POOL = 5  # times the list's length are looked at where a list is to be diverse


@dataclass(frozen=True, slots=True)
class Wish:
    """What a list is to be like, whoever it is for.

    Attributes:
        k: list length.
        exclude: ids that must not be in the list.
        include_seen: whether items the user has interacted with may be in the list.
        categories: items must be of one of these at least; none = all items.
        attributes: conditions of which items must fulfil every one.
        min_score: items that score less are left out, whereby the list may be shorter.
        diversity: 0 to 1, how much unlikeness counts beside the score.
        max_per_category: most items of one category; None = no limit.
        explain: whether to say why each item is there.
        shown: what earlier pages held.
        model: the version that must answer; None = whichever serves.
    """

    k: int
    exclude: frozenset[str] = frozenset()
    include_seen: bool = False
    categories: frozenset[str] = frozenset()
    attributes: tuple[AttributeIs, ...] = ()
    min_score: float | None = None
    diversity: float = 0.0
    max_per_category: int | None = None
    explain: bool = False
    shown: Shown = field(default_factory=Shown)
    model: str | None = None

    @property
    def plain(self) -> bool:
        """Whether nothing is asked for but the best items, some left out."""
        picky = self.diversity or self.explain or self.categories or self.attributes or self.shown.hashes
        return not picky and self.min_score is None and self.max_per_category is None


class Page(NamedTuple):
    """One list, best first, and whether there is more to come."""

    hits: Sequence[Hit]
    more: bool


def make_page(allowed: Filter, taste: Vector | None, wish: Wish, exploration: Exploration) -> Page:
    """The list for a vector, or the popular one.

    Args:
        allowed: what may be shown.
        taste: (d,) of the user or session; None = nothing is known.
        wish: what the list is to be like.
        exploration: how new items get their chance.
    """
    picky = wish.diversity or wish.max_per_category
    wanted = len(wish.shown) + (_POOL * wish.k if picky else wish.k) + 1
    cap = _cap(allowed, wish)
    ranked: Ranked = (
        Popular(allowed, exploration, wanted, cap.refuses) if taste is None else Personal(allowed, taste, wanted)
    )
    fitting, left = _gather(ranked, wish, cap)
    vectors = [allowed.servable.vector(hit.item_id) for hit in fitting] if wish.diversity else []
    known = [vector for vector in vectors if vector is not None]
    # Where a writer took an item away just now, it has no vector; the list is then as good without diversity.
    hits = diversified(fitting, known, wish.k, wish.diversity if len(known) == len(fitting) else 0.0)
    if taste is not None and (places := exploration.places(wish.k)):
        hits = _with_new(allowed, taste, wish, exploration.until, places, hits, fitting)
    # What a cap keeps from this page may stand on the next one.
    return Page(hits, more=not left <= {hit.item_id for hit in hits})


def _gather(ranked: Ranked, wish: Wish, cap: Cap) -> tuple[list[Hit], set[str]]:
    """Hits that may stand on one page, more than it holds as far as there are; and the ids of all that may be shown.

    Of the latter as many as show whether something is left for a next page.
    """
    fitting: list[Hit] = []
    left: set[str] = set()
    low = False
    while True:
        give_up_if_late()
        for hit in ranked.more(cap.full):
            low = wish.min_score is not None and hit.score < wish.min_score
            if low:
                break
            if hit.item_id in wish.shown or hit.item_id in left:
                continue
            left.add(hit.item_id)
            if cap.takes(hit.item_id):
                fitting.append(hit)
        if low or ranked.ended or _suffices(fitting, left, wish):
            return fitting, left


def _suffices(fitting: Sequence[Hit], left: set[str], wish: Wish) -> bool:
    if len(fitting) == wish.k and not wish.diversity:  # there is nothing to choose
        return len(left) > wish.k
    return len(fitting) > wish.k


def _with_new(
    allowed: Filter,
    taste: Vector,
    wish: Wish,
    until: int,
    places: int,
    hits: list[Hit],
    fitting: Sequence[Hit],
) -> list[Hit]:
    """The page with so many new items on it, as far as filters and caps leave so many; never shorter for that."""
    to_try, _ = allowed.servable.newcomers.split(until)
    among = Chosen(frozenset(new for new in to_try if allowed.only is None or new in allowed.only))
    found = best(replace(allowed, only=among), taste, len(wish.shown) + _POOL * places)
    cap = _cap(allowed, wish)
    tried = [hit for hit in found if _open(hit, wish) and cap.takes(hit.item_id)]
    for most in range(places, 0, -1):
        page = reserve(most, [*hits, *fitting], tried, wish.k, _cap(allowed, wish).takes)
        if len(page) >= len(hits):
            return page
    return hits


def _open(hit: Hit, wish: Wish) -> bool:
    """Whether an item scores enough, and no earlier page has shown it."""
    return (wish.min_score is None or hit.score >= wish.min_score) and hit.item_id not in wish.shown


def _cap(allowed: Filter, wish: Wish) -> Cap:
    return Cap(allowed.servable.categories, wish.max_per_category)
