"""The user–item graph as sparse matrices."""

import numpy as np

from training.graph import interaction_matrix, normalised_adjacency

_INDPTR = np.array([0, 2, 3, 3])  # the third user has no history
_INDICES = np.array([2, 0, 0], np.int32)  # item 1 has no interactions


def test_interaction_matrix_is_binary_and_leaves_histories_alone() -> None:
    """Items count once; the order of the history, which the matrix cannot hold, is not lost with it."""
    indices = np.array([2, 0, 2, 0], np.int32)

    matrix = interaction_matrix(np.array([0, 3, 4, 4]), indices, 3)

    assert matrix.toarray().tolist() == [[1, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert indices.tolist() == [2, 0, 2, 0]


def test_normalised_adjacency_is_hand_worked() -> None:
    """Each edge weighs 1/√(degree · degree)."""
    expected = np.zeros((6, 6))
    for user, item, weight in [(0, 0, 1 / 2), (0, 2, 1 / 2**0.5), (1, 0, 1 / 2**0.5)]:
        expected[user, 3 + item] = expected[3 + item, user] = weight

    np.testing.assert_allclose(normalised_adjacency(_INDPTR, _INDICES, 3).toarray(), expected, rtol=1e-6)


def test_normalised_adjacency_counts_a_repeated_item_once() -> None:
    """A history with an item twice is a history with it once."""
    twice = normalised_adjacency(np.array([0, 3, 4, 4]), np.array([2, 0, 2, 0], np.int32), 3)

    assert (twice != normalised_adjacency(_INDPTR, _INDICES, 3)).nnz == 0
