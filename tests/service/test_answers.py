"""Who is taken for somebody who asks again."""

from service import answers
from service.answers import Answers


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
