"""Vectors on their way out."""

import base64
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3rec_client.vectors import vector_content

CODES = "efdbBhHiIlLqQ"


def unpacked(content: Any) -> list[float]:
    """The numbers of a packed vector, as the service reads them."""
    assert isinstance(content, dict)
    return np.frombuffer(base64.b64decode(content["embedding_b64"], validate=True), dtype="<f4").tolist()


@given(st.lists(st.floats(width=32)), st.sampled_from(["<f4", ">f4", "=f4"]))
def test_float32_arrays_arrive_bit_by_bit(numbers: list[float], kind: str) -> None:
    """Whatever the byte order of an array, NaN and infinities included, its numbers arrive unchanged."""
    vector = np.array(numbers, dtype=kind)

    packed = unpacked(vector_content(vector))

    np.testing.assert_array_equal(np.array(packed, dtype=np.float32), np.array(numbers, dtype=np.float32))


@pytest.mark.parametrize("kind", [f"{order}{code}" for order in "<>" for code in CODES])
def test_arrays_of_any_number_type_are_sent_as_float32(kind: str) -> None:
    """Integers and other floats become the nearest float32, in the order they stand."""
    assert unpacked(vector_content(np.array([0, 1, 100, 2], dtype=kind))) == [0, 1, 100, 2]


def test_views_are_read_as_they_look() -> None:
    """A view with gaps or backwards is what it looks like, not the memory behind it."""
    matrix = np.arange(12, dtype=np.float64).reshape(3, 4)

    assert unpacked(vector_content(matrix[:, 1])) == [1, 5, 9]
    assert unpacked(vector_content(matrix[2, ::-1])) == [11, 10, 9, 8]
    assert unpacked(vector_content(memoryview(array("d", [0.5, -2])))) == [0.5, -2]
    assert unpacked(vector_content(np.array([], dtype=np.float32))) == []


def test_numbers_beyond_float32_become_infinite() -> None:
    """They are left for the service to refuse, which says where they are."""
    assert unpacked(vector_content(np.array([1e39, -1e39, 1.0]))) == [float("inf"), float("-inf"), 1.0]


@pytest.mark.parametrize("vector", [[1, 2.5], (1, 2.5), [np.float32(1), np.float64(2.5)], range(3)])
def test_sequences_are_sent_as_numbers(vector: Any) -> None:
    """Lists and tuples of any numbers stay readable."""
    assert vector_content(vector) == [float(number) for number in vector]


@pytest.mark.parametrize(
    "vector",
    [b"\0\0\0\0", bytearray(4), "1234", ["1"], [None], 5, None, np.array(["a"]), np.array([1j]), np.array([True])],
)
def test_other_things_are_no_vectors(vector: Any) -> None:
    """Bytes above all: they would be taken for numbers from 0 to 255."""
    with pytest.raises(TypeError):
        vector_content(vector)


@pytest.mark.parametrize("shape", [(), (2, 2), (1, 3)])
def test_matrices_are_no_vectors(shape: tuple[int, ...]) -> None:
    """One dimension, no other."""
    with pytest.raises(ValueError, match=f"{len(shape)} dimensions"):
        vector_content(np.zeros(shape))
