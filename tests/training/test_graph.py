"""The user–item graph as sparse matrices."""

import numpy as np
import torch

from training.graph import interaction_matrix, normalised_adjacency

_CPU = torch.device("cpu")
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
    expected = torch.zeros(6, 6)
    for user, item, weight in [(0, 0, 1 / 2), (0, 2, 1 / 2**0.5), (1, 0, 1 / 2**0.5)]:
        expected[user, 3 + item] = expected[3 + item, user] = weight

    dense = normalised_adjacency(_INDPTR, _INDICES, 3, _CPU).to_dense()

    torch.testing.assert_close(dense, expected)


def test_normalised_adjacency_counts_a_repeated_item_once() -> None:
    """A history with an item twice is a history with it once."""
    twice = normalised_adjacency(np.array([0, 3, 4, 4]), np.array([2, 0, 2, 0], np.int32), 3, _CPU)

    torch.testing.assert_close(twice.to_dense(), normalised_adjacency(_INDPTR, _INDICES, 3, _CPU).to_dense())


def test_normalised_adjacency_lets_gradients_through() -> None:
    """The gradient of a propagation is the propagation of the gradient."""
    adjacency = normalised_adjacency(_INDPTR, _INDICES, 3, _CPU)
    states = torch.randn(6, 2, requires_grad=True)
    upstream = torch.randn(6, 2)

    (adjacency @ states).backward(upstream)

    torch.testing.assert_close(states.grad, adjacency.to_dense() @ upstream)
