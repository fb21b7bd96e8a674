"""The graph that the service writes itself, read by the package that defines what it means."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.adapters.onnx_graph import PRODUCTS, QUERIES, ROWS, integer_product
from service.adapters.onnx_session import open_made
from service.errors import ModelUnavailable


def by_the_package(n: int, d: int, zero_point: int) -> onnx.ModelProto:
    """The same graph, made as those do who have the package."""
    rows = TensorProto(data_type=TensorProto.INT8, dims=(d, n), name=ROWS, data_location=TensorProto.EXTERNAL)
    rows.external_data.add(key="location", value=ROWS)
    zero = helper.make_tensor("zero_point", TensorProto.UINT8, (), bytes([zero_point]), raw=True)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", [QUERIES, ROWS, "zero_point"], [PRODUCTS])],
        "integer_product",
        [helper.make_tensor_value_info(QUERIES, TensorProto.UINT8, ("b", d))],
        [helper.make_tensor_value_info(PRODUCTS, TensorProto.INT32, ("b", n))],
        [rows, zero],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=5)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (16, 3), (127, 128), (65_536, 64), (300, 20_000)])
def test_model_reads_as_the_one_that_was_meant(n: int, d: int) -> None:
    """Also where sizes take several bytes."""
    read = onnx.ModelProto.FromString(integer_product(n, d, 64))

    assert read == by_the_package(n, d, 64)


def test_model_is_valid() -> None:
    """The package's own check passes, once the rows are in the model, where that check looks for them."""
    model = onnx.ModelProto.FromString(integer_product(16, 3, 64))
    rows = onnx.numpy_helper.from_array(np.zeros((3, 16), np.int8), ROWS)
    model.graph.initializer[0].CopyFrom(rows)

    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("b", [1, 2, 5, 33])
@pytest.mark.parametrize(("n", "d"), [(16, 1), (48, 3), (4096, 64), (1040, 257)])
def test_products_are_exact(b: int, n: int, d: int) -> None:
    """At the ends of the range, where processors without the right instructions would cut sums off, and in between."""
    rng = np.random.default_rng(n + d)
    rows = rng.integers(-127, 128, (d, n)).astype(np.int8)
    rows[:, 0], rows[:, 1] = 127, -127
    steps = rng.integers(1, 128, (b, d)).astype(np.uint8)
    steps[0], steps[-1] = 127, 1
    session = open_made(integer_product(n, d, 64), {ROWS: rows}, 1)

    (products,) = session.run([PRODUCTS], {QUERIES: steps})

    assert products.dtype == np.int32
    assert (products == (steps.astype(np.int64) - 64) @ rows.astype(np.int64)).all()


def test_model_that_is_none_is_refused() -> None:
    """With the error of models, as files are."""
    with pytest.raises(ModelUnavailable, match="a model of our own: ONNX Runtime cannot load it"):
        open_made(b"none", {}, 1)
