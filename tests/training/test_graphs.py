"""Products with constant graphs, and graphs of items that look alike."""

import numpy as np
import torch
from scipy.sparse import csr_matrix, random

from training.neighbours import neighbour_graph
from training.propagation import Graph, mean_of_layers

CPU = torch.device("cpu")


def test_product_has_the_dense_products_value_and_gradient() -> None:
    """Also where the matrix is neither symmetric nor square."""
    matrix = random(7, 5, density=0.4, random_state=0, format="csr")
    states = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weights = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    dense = torch.from_numpy(matrix.toarray().astype(np.float32))

    product = Graph(matrix, CPU) @ states

    torch.testing.assert_close(product, dense @ states)
    torch.testing.assert_close(
        torch.autograd.grad((product * weights).sum(), states)[0],
        torch.autograd.grad((dense @ states * weights).sum(), states)[0],
    )


def test_mean_of_layers_of_a_hand_worked_graph() -> None:
    """A swap of two nodes, two layers: X, swapped, X again. Node 0: (3 + 6 + 3) / 3 = 4, node 1: (6 + 3 + 6) / 3."""
    swap = Graph(csr_matrix(np.array([[0.0, 1.0], [1.0, 0.0]])), CPU)

    assert mean_of_layers(swap, torch.tensor([[3.0], [6.0]]), 2).tolist() == [[4.0], [5.0]]
    assert mean_of_layers(swap, torch.tensor([[3.0], [6.0]]), 0).tolist() == [[3.0], [6.0]]


def test_neighbours_are_the_nearest_by_angle() -> None:
    """Items at 0°, 10°, 25° and 90°, of different lengths: each gets its nearest other one."""
    angles = torch.deg2rad(torch.tensor([0.0, 10.0, 25.0, 90.0]))
    rows = torch.stack([angles.cos(), angles.sin()], dim=1) * torch.tensor([[1.0], [5.0], [0.1], [2.0]])
    everyone = np.ones(4, bool)

    graph = neighbour_graph(rows, everyone, everyone, 1)

    assert graph.toarray().argmax(axis=1).tolist() == [1, 0, 1, 2]
    assert graph.sum(axis=1).ravel().tolist() == [[1, 1, 1, 1]]


def test_neighbours_are_anchors_alone() -> None:
    """Who is no anchor is nobody's neighbour but may have some; who is not asked for has none; k is at most what is."""
    rows = torch.eye(5) + 0.1
    items, anchors = np.array([True, True, False, False, True]), np.array([True, True, True, False, False])

    graph = neighbour_graph(rows, items, anchors, 10).toarray()

    assert (graph[items].sum(axis=1) == 1).all()
    assert not graph[~items].any()
    assert not graph[:, ~anchors].any()
    assert not graph.diagonal().any()


def test_without_anchors_nobody_has_neighbours() -> None:
    """None at all, or the item itself alone."""
    for anchors in (np.zeros(3, bool), np.array([True, False, False])):
        assert neighbour_graph(torch.eye(3), np.ones(3, bool), anchors, 2).nnz == 0
