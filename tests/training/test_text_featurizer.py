"""Features learned from texts: what scikit-learn would say, from a graph that ONNX Runtime runs anywhere."""

import unicodedata

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from training.errors import ConfigError, NothingToLearn
from training.text_featurizer import featurize, learn_featurizer

FRUIT = ["red apple pie", "Green APPLE tart", "red cherry pie", "cherry tart, twice: cherry", "green pear", "PEAR pie"]
NOUNS = [
    "anchor",
    "boat",
    "compass",
    "deck",
    "engine",
    "flag",
    "galley",
    "hull",
    "island",
    "jib",
    "keel",
    "line",
    "mast",
]


def random_texts(n: int) -> list[str]:
    """Texts of known words in any case, with punctuation, digits and one-letter words between them."""
    rng = np.random.default_rng(0)
    marks = [" ", ", ", "-", " a ", "\n", " 42 ", "! "]

    def text() -> str:
        words = [str(rng.choice(NOUNS)) for _ in range(rng.integers(1, 9))]
        return "".join(f"{word.title() if rng.random() < 0.3 else word}{rng.choice(marks)}" for word in words)

    return [text() for _ in range(n)]


def aligned(features: NDArray[np.float32], like: NDArray[np.float64]) -> NDArray[np.float32]:
    """Singular vectors have no sign of their own: columns with the sign of the reference."""
    return np.asarray(features * np.sign((features * like).sum(axis=0)))


def test_features_are_those_of_scikit_learn() -> None:
    """TF-IDF, an exact truncated SVD and unit norm by scikit-learn's own classes give the same to 1e-4."""
    texts = random_texts(80)
    weights = TfidfVectorizer(min_df=2).fit_transform(texts)
    expected = normalize(TruncatedSVD(6, algorithm="arpack").fit_transform(weights))

    learned = learn_featurizer(texts, 6, 1000)
    found = featurize(learned.content, texts)

    assert (found.shape, found.dtype, learned.n_words) == ((80, 6), np.float32, weights.shape[1])
    np.testing.assert_allclose(aligned(found, expected), expected, atol=1e-4)


def test_graph_is_a_sound_model_of_documented_form() -> None:
    """Strings (b,) in, float32 (b, d_m) out, and onnx itself finds nothing wrong with it."""
    content = learn_featurizer(FRUIT, 3, 100).content

    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    assert [(put.name, put.type, put.shape) for put in session.get_inputs()] == [("text", "tensor(string)", ["b"])]
    assert [(put.name, put.type, put.shape) for put in session.get_outputs()] == [
        ("features", "tensor(float)", ["b", 3])
    ]


def test_features_do_not_depend_on_the_batch() -> None:
    """A text alone is what it is among others, also across the batches that many texts are cut into."""
    texts = random_texts(300)
    content = learn_featurizer(texts, 8, 1000).content

    together = featurize(content, texts)

    alone = np.concatenate([featurize(content, [text]) for text in texts[::23]])
    np.testing.assert_allclose(alone, together[::23], atol=1e-6)


@pytest.mark.parametrize("texts", [[""], ["", "!"], ["unheard of"], ["x"], ["プリン", "\0", "🙂"]], ids=str)
def test_text_without_known_words_is_a_row_of_zeros(texts: list[str]) -> None:
    """Nothing to say is finite, also where it is so for a whole batch."""
    features = featurize(learn_featurizer(FRUIT, 3, 100).content, texts)

    assert features.tolist() == [[0, 0, 0]] * len(texts)


def test_known_words_give_unit_norm() -> None:
    """Long texts and short ones have the same length as features."""
    features = featurize(learn_featurizer(FRUIT, 3, 100).content, [*FRUIT, "apple", "apple " * 1000])

    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(features[-1], features[-2], atol=1e-6)


@pytest.mark.parametrize("word", ["über", "ÜBER", "Über", "ÜBer"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_case_and_composition_of_letters_do_not_matter(word: str, form: str) -> None:
    """Beyond ASCII too, in whatever locale: the usual spellings, and any that was seen."""
    content = learn_featurizer(["über land", "über see", "ÜBer land", "see und land"], 2, 100).content

    one, other = featurize(content, ["über", unicodedata.normalize(form, word)])

    assert one.any()
    assert one.tolist() == other.tolist()


def test_sharp_s_is_not_taken_for_its_capitals() -> None:
    """Capitals of "Straße" are "STRASSE", which is the other word where both are known."""
    texts = ["straße eins", "straße zwei", "strasse drei", "strasse vier eins", "zwei drei vier"]
    content = learn_featurizer(texts, 3, 100).content

    sharp, double, capitals = featurize(content, ["straße", "strasse", "STRASSE"])

    assert double.tolist() == capitals.tolist()
    assert np.abs(sharp - double).max() > 0.01


def test_chinese_characters_are_words() -> None:
    """No space parts them; digits and letters beside them stay words of their own."""
    texts = ["红苹果", "红樱桃", "青苹果 4k", "樱桃4k"]
    content = learn_featurizer(texts, 2, 100)

    red, apple, both = featurize(content.content, ["红", "苹", "红4k苹"])

    assert content.n_words == 6
    assert red.any()
    assert apple.any()
    assert both.any()
    assert both.tolist() == featurize(content.content, ["4K 红 苹"])[0].tolist()


def test_vocabulary_keeps_the_most_frequent_words() -> None:
    """A smaller one leaves the rarest out; words of a single text never count."""
    everything = learn_featurizer(FRUIT, 2, 100)
    three = learn_featurizer(FRUIT, 2, 3)

    assert (everything.n_words, three.n_words) == (7, 3)
    assert not featurize(everything.content, ["twice"]).any()
    assert featurize(three.content, ["cherry"]).any()
    assert not featurize(three.content, ["tart"]).any()


def test_more_dimensions_than_the_rank_are_refused() -> None:
    """The error says how many there can be, and so many are made."""
    with pytest.raises(
        ConfigError, match=r"dim: expected at most (\d+), as no more can be told apart .*, found 99"
    ) as e:
        learn_featurizer(FRUIT, 99, 100)

    rank = int(e.value.expected.split()[2].rstrip(","))
    assert rank == np.linalg.matrix_rank(TfidfVectorizer(min_df=2).fit_transform(FRUIT).toarray())
    assert featurize(learn_featurizer(FRUIT, rank, 100).content, FRUIT).shape == (6, rank)


@pytest.mark.parametrize("texts", [["apple"], ["apple", "pear"], ["!", "?"]], ids=str)
def test_texts_that_share_no_word_are_refused(texts: list[str]) -> None:
    """Nothing can be learned from words that stand alone."""
    with pytest.raises(NothingToLearn, match="expected a word that 2 items have, found none in"):
        learn_featurizer(texts, 1, 100)


def test_identical_texts_have_one_dimension() -> None:
    """The smallest case that there is."""
    content = learn_featurizer(["apple pie", "pie apple"], 1, 100).content

    assert np.abs(featurize(content, ["apple", "pie"])).tolist() == [[1], [1]]
