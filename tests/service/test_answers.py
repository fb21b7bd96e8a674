"""Who is taken for somebody who asks again."""

import gc
from types import SimpleNamespace
from typing import Any
from weakref import ref

from service import answers
from service.answers import Answers


class Version:
    """Stands for a model version."""


def given_by(version: Version) -> Any:
    """A list that a version gave."""
    return SimpleNamespace(servable=ref(version))


def test_users_who_ask_twice_come_again() -> None:
    """The second time, and every later one; others do not disturb that."""
    given = Answers(5)

    assert [given.come_again(user) for user in ("a", "b", "a", "a", "b", "c")] == [
        False,
        False,
        True,
        True,
        True,
        False,
    ]


def test_users_who_share_a_place_forget_each_other() -> None:
    """What is known of who asked is bounded: whoever comes to the same place is there alone."""
    given = Answers(5)
    place = hash("a") % answers._LATEST
    other = next(f"u{n}" for n in range(10**7) if hash(f"u{n}") % answers._LATEST == place)

    assert [given.come_again(user) for user in ("a", other, "a", "a")] == [False, False, False, True]


def test_lists_go_with_the_version_that_gave_them() -> None:
    """Once somebody is given a list by another one; those of versions that serve side by side stay."""
    kept, first, second, third = Answers(5), Version(), Version(), Version()
    kept.keep("a", given_by(first))
    kept.keep("b", given_by(second))
    del first
    gc.collect()
    kept.keep("c", given_by(third))

    assert [kept.get(user) is not None for user in "abc"] == [False, True, True]
    kept.keep("a", given_by(second))
    assert [kept.get(user) is not None for user in "abc"] == [True, True, True]
