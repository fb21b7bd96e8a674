"""How long searches take, learnt from those that were made: it decides where the next ones are carried out."""

_INERTIA = 4  # so many passes make half of what is believed, about


class Pace:
    """What passes over one index take, by how many searches share them, in powers of two.

    >>> pace = Pace()
    >>> pace.expected_s(1)
    inf
    >>> pace.note(4, 0.004)
    >>> pace.expected_s(1), pace.expected_s(4), pace.expected_s(8)
    (0.004, 0.004, 0.008)
    """

    def __init__(self) -> None:
        # exponent → seconds of one search, where 2 ** exponent or more share a pass
        self._each_s: dict[int, float] = {}

    def note(self, searches: int, seconds: float) -> None:
        """Takes in what a pass took."""
        place, each = searches.bit_length() - 1, seconds / searches
        before = self._each_s.get(place, each)
        each = before + (each - before) / _INERTIA
        self._each_s[place] = each
        # The more share a pass, the longer it takes and the less each: what was seen long ago may say otherwise.
        for other, found in self._each_s.items():
            least = each if other < place else each * 2.0 ** (place - other)
            self._each_s[other] = max(found, least)

    def expected_s(self, searches: int) -> float:
        """What a pass of so many should take, seconds, but for a factor of two; without end where none was seen."""
        # Fewer take no longer than more, and more can be carried out as several passes.
        bounds = (each * max(searches, 1 << place) for place, each in self._each_s.items())
        return min(bounds, default=float("inf"))
