"""External ids: which strings may be one, and the map to rows."""

import doctest
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import model_store.ids
from model_store import IdMap, InvalidId, ModelStoreError, check_id

SOUND_IDS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=256)
SOME_LINES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=3) | st.sampled_from(
    ["x" * 256, "x" * 257, "🙂" * 256, "🙂" * 257, "\x7f", "é\x80", "\x9f", "\xa0", "Âb"]
)


@pytest.fixture(autouse=True, scope="module", params=[10**9, 0], ids=["few", "many"])
def kind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Maps of any size keep their ids as few are kept, then as many are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_store.ids, "_MANY", request.param)
        yield


@pytest.mark.parametrize(
    "value", ["a", "0", "a b", "x" * 256, "é", "プリン", "🙂" * 256, "a\u2028b", "\ufeffx", "../etc"]
)
def test_check_id_gives_back_sound_ids(value: str) -> None:
    """Any text of 1 to 256 characters without control characters is an id, line separators of Unicode included."""
    assert check_id(value) == value


@pytest.mark.parametrize(
    "value", ["", "x" * 257, "a\tb", "a\nb", "a\r", "\0", "\x7f", "é\x85", "é\n", "\ud800", "a\udfff"]
)
def test_check_id_refuses_what_a_text_file_cannot_carry(value: str) -> None:
    """Empty and overlong ids, control characters and lone surrogates are refused."""
    with pytest.raises(InvalidId) as caught:
        check_id(value)

    assert value.startswith(str(caught.value.value))


@pytest.mark.parametrize("value", [None, 7, 1.5, b"bytes", ["a"]])
def test_check_id_refuses_other_types(value: object) -> None:
    """Only strings are ids; numbers are never turned into text silently."""
    with pytest.raises(InvalidId, match="expected a string"):
        check_id(value)


def test_invalid_id_is_both_a_store_error_and_a_value_error() -> None:
    """Callers may catch it as either."""
    assert issubclass(InvalidId, ModelStoreError)
    assert issubclass(InvalidId, ValueError)


@given(st.lists(SOUND_IDS, unique=True, max_size=50))
def test_rows_and_ids_are_inverse(values: list[str]) -> None:
    """Every id has one row, in the order given, and every row its id."""
    ids = IdMap(values)

    assert list(ids) == values
    assert len(ids) == len(values)
    assert ids.ids(ids.rows(values)) == values
    assert [ids.id(row) for row in range(len(ids))] == values
    assert [ids.get(value) for value in values] == list(range(len(values)))


def test_rows_are_int64_even_when_there_are_none() -> None:
    """The rows can index an array whatever their number."""
    rows = IdMap(["a"]).rows([])

    assert rows.dtype == np.int64
    assert rows.shape == (0,)


def test_an_unknown_id_has_no_row() -> None:
    """``row`` and ``rows`` raise, ``get`` gives None, ``in`` is false."""
    ids = IdMap(["a"])

    with pytest.raises(KeyError):
        ids.row("b")
    with pytest.raises(KeyError):
        ids.rows(["a", "b"])
    assert ids.get("b") is None
    assert "b" not in ids


@pytest.mark.parametrize("row", [-1, 2])
def test_a_row_outside_the_map_has_no_id(row: int) -> None:
    """Negative rows, which index engines give for "nothing found", never wrap round to the last id."""
    ids = IdMap(["a", "b"])

    with pytest.raises(IndexError):
        ids.id(row)
    with pytest.raises(IndexError):
        ids.ids([0, row])


def test_a_double_id_is_refused_by_name() -> None:
    """The error names the id that came twice."""
    with pytest.raises(InvalidId, match="expected each id once") as caught:
        IdMap(["a", "b", "c", "b"])

    assert caught.value.value == "b"


def found_or_refused(make: Callable[[], IdMap]) -> list[str] | tuple[object, str]:
    """The ids of a map, or what is wrong with them."""
    try:
        return list(make())
    except InvalidId as exc:
        return exc.value, str(exc)


@given(st.lists(SOME_LINES, max_size=6))
def test_ids_of_a_text_are_those_of_its_lines(lines: list[str]) -> None:
    """A text with one id a line gives the map its lines give, or is refused for the same line with the same words."""
    text = "".join(f"{line}\n" for line in lines).encode()

    assert found_or_refused(lambda: IdMap.of_lines(text)) == found_or_refused(lambda: IdMap(lines))


def test_every_id_of_thousands_is_found_and_no_other() -> None:
    """However many share a place in a table, each id has its own row, and what is no id has none."""
    ids = IdMap.of_lines("".join(f"item-{n}\n" for n in range(5000)).encode())

    assert ids.rows([f"item-{n}" for n in range(5000)]).tolist() == list(range(5000))
    assert ids.known_rows(["item-4999", *(f"item-{n}" for n in range(5000, 9000)), "", "item-7"]) == [4999, 7]
    assert not any(each in ids for each in ("item-", "item-1\nitem-2", "\ud800", 7, None))
    assert ids == IdMap(f"item-{n}" for n in range(5000))


def test_maps_of_the_same_ids_in_the_same_order_are_equal() -> None:
    """Equality and hash follow ids and order, and nothing but a map equals a map."""
    assert IdMap(["a", "b"]) == IdMap(["a", "b"])
    assert hash(IdMap(["a", "b"])) == hash(IdMap(["a", "b"]))
    assert IdMap(["a", "b"]) != IdMap(["b", "a"])
    assert IdMap(["a"]) != ["a"]


def test_the_repr_stays_short() -> None:
    """A log line never carries a million ids."""
    assert repr(IdMap(map(str, range(1000)))) == "IdMap(1000 ids)"


def test_the_documented_example_runs() -> None:
    """The doctest of the module is true."""
    assert doctest.testmod(model_store.ids).failed == 0
