"""Features of films: genres, time of release and title."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from training.datasets.movielens import Film
from training.features import ModalityFeatures

TEXT_DIMENSIONS = 64
RELEASE_KNOTS = 16
_SVD_SEED = 0
_WORD = r"\w+"  # one-letter words count too
_SMALLEST_NORM = 1e-6  # a title that shares nothing with those learned from projects onto zero, give or take rounding


class FilmEncoder:
    """Features learned from some films, applicable to any other: vocabulary, knots and projection stay as learned.

    - ``genres``: one column per genre, 0 or 1;
    - ``release``: the year between the two nearest of up to 16 knots (quantiles of the learned years), as their
      weights, so that near years have near rows and recent years, which are many, are told apart;
    - ``text``: TF-IDF of the title's words and character n-grams, projected by a truncated SVD onto up to 64
      dimensions, rows of unit norm.

    A film lacks a modality where the data says nothing, or nothing that any learned film shares.

    Raises:
        ValueError: no film has a title, or none a year, or none a genre.
    """

    def __init__(self, films: Sequence[Film]) -> None:
        years = [float(film.year) for film in films if film.year]
        titles = [film.title for film in films if film.title]
        genres = sorted({name for film in films for name in film.genres})
        if not (years and titles and genres):
            raise ValueError("expected films with titles, years and genres")
        self._genres = {name: column for column, name in enumerate(genres)}
        self._knots = np.unique(np.quantile(years, np.linspace(0, 1, RELEASE_KNOTS), method="nearest"))
        self._words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=_WORD, sublinear_tf=True).fit(titles)
        self._characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True).fit(titles)
        weights = self._title_weights(titles)
        dimensions = max(1, min(TEXT_DIMENSIONS, *(size - 1 for size in weights.shape)))
        self._svd = TruncatedSVD(dimensions, n_iter=10, random_state=_SVD_SEED).fit(weights)

    def encode(self, films: Sequence[Film]) -> dict[str, ModalityFeatures]:
        """The features of films, alphabetical by modality."""
        return {
            "genres": self._encode_genres(films),
            "release": self._encode_years(films),
            "text": self._encode_titles(films),
        }

    def _encode_genres(self, films: Sequence[Film]) -> ModalityFeatures:
        matrix = np.zeros((len(films), len(self._genres)), np.float32)
        for row, film in enumerate(films):
            matrix[row, [self._genres[name] for name in film.genres if name in self._genres]] = 1
        return ModalityFeatures(matrix, matrix.sum(axis=1) > 0)

    def _encode_years(self, films: Sequence[Film]) -> ModalityFeatures:
        years = np.array([float(film.year or "nan") for film in films])
        hats = [np.interp(years, self._knots, peak) for peak in np.eye(len(self._knots))]
        return ModalityFeatures.from_nan(np.stack(hats, axis=1).astype(np.float32))

    def _encode_titles(self, films: Sequence[Film]) -> ModalityFeatures:
        projected: NDArray[np.float64] = self._svd.transform(self._title_weights([film.title for film in films]))
        norms = np.linalg.norm(projected, axis=1, keepdims=True)
        present = norms[:, 0] > _SMALLEST_NORM
        matrix = np.divide(projected, norms, out=np.zeros_like(projected), where=present[:, None])
        return ModalityFeatures(matrix.astype(np.float32), present)

    def _title_weights(self, titles: Sequence[str]) -> csr_matrix:
        return csr_matrix(hstack([self._words.transform(titles), self._characters.transform(titles)]))
