"""Learns to turn texts into features: TF-IDF and a truncated SVD, as one ONNX graph of plain ONNX Runtime.

What is learned from are the words that the graph's own first two nodes find, so that training and serving cannot
differ in what a word is. The graph, in formulas: with n_t the number of times that word t stands in a text, idf_t its
weight and v_t its row in the right singular vectors, the features are Σ n_t idf_t v_t, scaled to unit norm.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.extmath import randomized_svd

from training.errors import ConfigError, NothingToLearn

MIN_ITEMS = 2  # a word of one item only says nothing about others
# Runs of two and more letters, digits and marks; Chinese characters, which no space separates, are words one by one.
# That is all but what Unicode calls separators, controls, punctuation and symbols.
WORD = r"\p{Han}|[^\pZ\pC\pP\pS\p{Han}]{2,}"
_BATCH = 256
_SVD_SEED = 0
_SVD_ITERATIONS = 10
_SMALLEST_SHARE = 1e-6  # of the largest singular value: what is below is rounding
_SMALLEST_NORM = 1e-6  # likewise; a text without any known word has norm 0 and stays zero
_OPSETS = {"": 20, "com.microsoft": 1}
_IR_VERSION = 9


@dataclass(frozen=True, slots=True)
class TextFeaturizer:
    """A learned featurizer.

    Attributes:
        content: the ONNX model: ``text``, strings (b,) → ``features``, (b, d_m) float32, rows of unit norm or zero.
        n_words: number of words it knows.
    """

    content: bytes
    n_words: int


def learn_featurizer(texts: Sequence[str], dim: int, vocabulary: int) -> TextFeaturizer:
    """Learns the features of some texts, which are not empty.

    Args:
        texts: one for each item that has any.
        dim: d_m, at most the rank of the TF-IDF matrix.
        vocabulary: how many words are kept at most, the most frequent ones.

    Raises:
        NothingToLearn: no word is in ``MIN_ITEMS`` texts.
        ConfigError: ``dim`` is above the rank.
    """
    seen: dict[str, str] = {}
    counter = TfidfVectorizer(analyzer=list, min_df=MIN_ITEMS, max_features=vocabulary)
    try:
        weights = counter.fit_transform(_words(texts, seen))
    except ValueError as exc:  # what scikit-learn says of an empty vocabulary names none of our flags
        raise NothingToLearn(f"expected a word that {MIN_ITEMS} items have, found none in {len(texts)} texts") from exc
    projection = counter.idf_[:, None] * _singular_vectors(weights, dim)
    terms = counter.get_feature_names_out().tolist()
    spellings = _spellings(terms, seen)
    return TextFeaturizer(_graph(spellings, projection.astype(np.float32)).SerializeToString(), len(terms))


def featurize(content: bytes, texts: Sequence[str]) -> NDArray[np.float32]:
    """What a text featurizer makes of texts, (len(texts), d_m) float32."""
    return np.concatenate(list(_run(content, texts)))


def _singular_vectors(weights: csr_matrix, dim: int) -> NDArray[np.float64]:
    """The first right singular vectors of TF-IDF weights (n, n_words), as columns: (n_words, dim)."""
    most = min(dim, *weights.shape)
    _, values, vectors = randomized_svd(weights, most, n_iter=_SVD_ITERATIONS, random_state=_SVD_SEED)
    rank = int((values > _SMALLEST_SHARE * values[0]).sum())
    if rank < dim:
        raise ConfigError("dim", f"at most {rank}, as no more can be told apart by the words that items share", dim)
    return np.asarray(vectors.T)


def _words(texts: Sequence[str], seen: dict[str, str]) -> Iterator[list[str]]:
    """The folded words of each text; each spelling that the graph finds is added to ``seen``, with its fold."""
    content = _model(_word_nodes(), "words", TensorProto.STRING, ["b", "n"], []).SerializeToString()
    for rows in _run(content, texts):
        for row in rows:
            words = [word for word in row if word]  # shorter texts are padded
            seen.update((word, _fold(word)) for word in words if word not in seen)
            yield [seen[word] for word in words]


def _fold(word: str) -> str:
    """What all spellings of a word have in common: lower case, and composed characters."""
    return unicodedata.normalize("NFC", word.lower())


def _spellings(terms: Sequence[str], seen: Mapping[str, str]) -> dict[str, int]:
    """Spelling, as the graph finds it → number of its term: those that were seen, and the usual ones."""
    numbers = {term: number for number, term in enumerate(terms)}
    usual = {
        _lower_ascii(unicodedata.normalize(form, cased))
        for term in terms
        for cased in (term, term.upper(), term[0].upper() + term[1:])
        for form in ("NFC", "NFD")
    }
    # "ß" in capitals is "SS", which is another word.
    return {word: numbers[_fold(word)] for word in sorted({*seen, *usual}) if _fold(word) in numbers}


def _lower_ascii(word: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in word)


def _graph(spellings: dict[str, int], projection: NDArray[np.float32]) -> onnx.ModelProto:
    """The whole featurizer; ``projection`` is (n_words, d_m)."""
    count = helper.make_node(
        "TfIdfVectorizer",
        ["words"],
        ["counts"],
        mode="TF",  # idf is in the projection
        min_gram_length=1,
        max_gram_length=1,
        max_skip_count=0,
        ngram_counts=[0],
        ngram_indexes=list(spellings.values()),
        pool_strings=list(spellings),
    )
    nodes = [
        *_word_nodes(),
        count,
        helper.make_node("MatMul", ["counts", "projection"], ["projected"]),
        helper.make_node("ReduceL2", ["projected", "last_axis"], ["norm"], keepdims=1),
        helper.make_node("Max", ["norm", "smallest"], ["scale"]),
        helper.make_node("Div", ["projected", "scale"], ["features"]),
    ]
    constants = {
        "projection": projection,
        "last_axis": np.array([1], np.int64),
        "smallest": np.array(_SMALLEST_NORM, np.float32),
    }
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    return _model(nodes, "features", TensorProto.FLOAT, ["b", projection.shape[1]], tensors)


def _word_nodes() -> list[onnx.NodeProto]:
    return [
        # "C" is the one locale that every machine has. It lowers ASCII letters only: the rest is for _spellings.
        helper.make_node("StringNormalizer", ["text"], ["lowered"], case_change_action="LOWER", locale="C"),
        helper.make_node(
            "Tokenizer",
            ["lowered"],
            ["words"],
            domain="com.microsoft",
            mark=0,
            mincharnum=1,
            pad_value="",
            tokenexp=WORD,
        ),
    ]


def _model(
    nodes: list[onnx.NodeProto], output: str, kind: int, shape: list[str | int], tensors: list[onnx.TensorProto]
) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("text", TensorProto.STRING, ["b"])]
    outputs = [helper.make_tensor_value_info(output, kind, shape)]
    graph = helper.make_graph(nodes, "text_featurizer", inputs, outputs, initializer=tensors)
    opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="i3rec")


def _run(content: bytes, texts: Sequence[str]) -> Iterator[NDArray[Any]]:
    """The output of a model for one batch of texts after the other."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for start in range(0, len(texts), _BATCH):
        yield session.run(None, {"text": np.array(texts[start : start + _BATCH], dtype=object)})[0]
