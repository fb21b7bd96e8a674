"""Featurizers are tried before they are published: what the service could not run is refused."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from training.dataset import Dataset
from training.errors import ExportRefused
from training.featurizers import Featurizer, kinds_of, read_featurizers

STRING, UINT8, FLOAT = TensorProto.STRING, TensorProto.UINT8, TensorProto.FLOAT
Put = tuple[str, int, list[Any] | None]
TEXT: Put = ("text", STRING, ["b"])
IMAGE: Put = ("image", UINT8, ["b", 4, 6, 3])
FEATURES: Put = ("features", FLOAT, ["b", 12])
CONSTANTS = {
    "axis": np.array([1], np.int64),
    "all": np.array([1, 2, 3], np.int64),
    "twelve": np.array([1, 12], np.int64),
    "ones": np.ones((1, 12), np.float32),
    "rows": np.ones((2, 12), np.float32),
    "pair": np.array([0, 1], np.int64),
}


def node(kind: str, inputs: str, output: str, **options: Any) -> onnx.NodeProto:
    """An operator; its inputs are separated by spaces."""
    return helper.make_node(kind, inputs.split(), [output], **options)


# Whether a text is "a b", and the mean of an image, twelve times over.
OF_TEXT = [
    node("Unsqueeze", "text axis", "pairs"),
    node("TfIdfVectorizer", "pairs", "count", mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=0,
         ngram_counts=[0], ngram_indexes=[0], pool_strings=["a b"]),
    node("MatMul", "count ones", "features"),
]  # fmt: skip
OF_IMAGE = [
    node("Cast", "image", "floats", to=FLOAT),
    node("ReduceMean", "floats all", "mean", keepdims=0),
    node("Unsqueeze", "mean axis", "column"),
    node("MatMul", "column ones", "features"),
]


def model(inputs: Sequence[Put], outputs: Sequence[Put], nodes: Sequence[onnx.NodeProto]) -> bytes:
    """A graph as a file has it."""
    tensors = [numpy_helper.from_array(array, name) for name, array in CONSTANTS.items()]
    puts = [[helper.make_tensor_value_info(*put) for put in side] for side in (inputs, outputs)]
    graph = helper.make_graph(list(nodes), "test", *puts, initializer=tensors)
    opsets = [helper.make_opsetid("", 20)]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return content


@pytest.fixture
def featurized(tmp_path: Path, make_board: Callable[..., Dataset]) -> Callable[[bytes], Dataset]:
    """Makes a data set whose ``text``, of 12 dimensions, comes with a featurizer."""

    def make(content: bytes) -> Dataset:
        path = tmp_path / "featurizer_text.onnx"
        path.write_bytes(content)
        return replace(make_board(8, 6), featurizers={"text": path})

    return make


Featurized = Callable[[bytes], Dataset]


def test_data_set_without_featurizers_has_none(make_board: Callable[..., Dataset]) -> None:
    """Most have none, and that is fine."""
    assert read_featurizers(make_board(8, 6)) == {}


@pytest.mark.parametrize(("kind", "put", "nodes"), [("text", TEXT, OF_TEXT), ("image", IMAGE, OF_IMAGE)])
def test_sound_featurizer_is_accepted(featurized: Featurized, kind: str, put: Put, nodes: list[onnx.NodeProto]) -> None:
    """Its kind is what it reads, whatever the modality is called; its bytes are those of the file."""
    content = model([put], [FEATURES], nodes)

    found = read_featurizers(featurized(content))

    assert found == {"text": Featurizer(kind, content)}
    assert kinds_of(found) == {"text": kind}


def test_file_that_is_no_model_is_refused(featurized: Featurized) -> None:
    """The error names the file."""
    with pytest.raises(ExportRefused, match=r"featurizer_text\.onnx: expected one model that ONNX Runtime can load"):
        read_featurizers(featurized(b"no model"))


def test_operator_of_another_library_is_refused(featurized: Featurized) -> None:
    """What only a custom library could run would not run in the service."""
    foreign = helper.make_node("BertTokenizer", ["text"], ["features"], domain="ai.onnx.contrib")

    with pytest.raises(ExportRefused, match="can load, found: "):
        read_featurizers(featurized(model([TEXT], [FEATURES], [foreign])))


@pytest.mark.parametrize(
    "inputs",
    [
        [("texts", STRING, ["b"])],
        [("text", STRING, ["b", 1])],
        [("text", STRING, [2])],
        [("text", FLOAT, ["b"])],
        [("image", FLOAT, ["b", 4, 6, 3])],
        [("image", UINT8, ["b", 3, 4, 6])],
        [("image", UINT8, ["b", "height", "width", 3])],
        [("image", UINT8, [1, 4, 6, 3])],
        [TEXT, IMAGE],
    ],
    ids=str,
)
def test_inputs_that_the_service_cannot_fill_are_refused(featurized: Featurized, inputs: list[Put]) -> None:
    """Another name, type or shape, a fixed batch, a free size of images, or two inputs."""
    content = model(inputs, [FEATURES], [node("Identity", "rows", "features")])

    with pytest.raises(ExportRefused, match=r"expected one input, 'text' .* or 'image' .*, found '"):
        read_featurizers(featurized(content))


@pytest.mark.parametrize(
    "outputs",
    [
        [("embedding", FLOAT, ["b", 12])],
        [("features", TensorProto.DOUBLE, ["b", 12])],
        [FEATURES, ("count", FLOAT, ["b", 1])],
    ],
    ids=str,
)
def test_outputs_that_the_service_does_not_know_are_refused(featurized: Featurized, outputs: list[Put]) -> None:
    """Another name or type, or more than one."""
    name, kind, _ = outputs[0]
    nodes = [*OF_TEXT[:-1], node("MatMul", "count ones", "product"), node("Cast", "product", name, to=kind)]
    content = model([TEXT], outputs, nodes)

    with pytest.raises(ExportRefused, match="expected one output, 'features' of float32"):
        read_featurizers(featurized(content))


def test_width_other_than_that_of_the_features_is_refused(featurized: Featurized) -> None:
    """What is found by running it counts, not what the graph declares."""
    nodes = [*OF_TEXT[:-1], node("Identity", "count", "features")]

    with pytest.raises(ExportRefused, match=r"expected \(2, 12\) features of a batch of 2, found \(2, 1\)"):
        read_featurizers(featurized(model([TEXT], [("features", FLOAT, ["b", "d"])], nodes)))


def test_features_that_are_not_finite_are_refused(featurized: Featurized) -> None:
    """Zero divided by zero for the empty text."""
    nodes = [*OF_TEXT[:-1], node("Div", "count count", "ratio"), node("MatMul", "ratio ones", "features")]

    with pytest.raises(ExportRefused, match="expected finite features, found nan"):
        read_featurizers(featurized(model([TEXT], [FEATURES], nodes)))


def test_features_that_depend_on_the_neighbours_are_refused(featurized: Featurized) -> None:
    """An item would be another one depending on what is asked for at the same time."""
    nodes = [
        *OF_IMAGE[:-1],
        node("ReduceMax", "column", "greatest", keepdims=1),
        node("Sub", "column greatest", "less"),
        node("MatMul", "less ones", "features"),
    ]

    with pytest.raises(ExportRefused, match=r"the same features alone and in a batch of 2 within 0\.0001, found \d"):
        read_featurizers(featurized(model([IMAGE], [FEATURES], nodes)))


def test_batch_that_fails_is_refused(featurized: Featurized) -> None:
    """A graph that runs for two images only, and the error says for how many it failed."""
    nodes = [*OF_IMAGE[:-1], node("MatMul", "column ones", "product"), node("Gather", "product pair", "features")]

    with pytest.raises(ExportRefused, match="expected features of a batch of 1, found: "):
        read_featurizers(featurized(model([IMAGE], [FEATURES], nodes)))
