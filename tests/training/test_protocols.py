"""What each protocol withholds, masks and judges."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model_store import IdMap
from training.config import TrainConfig
from training.dataset import Dataset
from training.errors import ConfigError, DatasetError
from training.features import ModalityFeatures
from training.fitting import fit
from training.interactions import TEST, TRAIN, VAL, Interactions
from training.models import Embeddings
from training.protocols import (
    PROTOCOLS,
    base_codes,
    check_targets,
    judge,
    prepare,
    rate_pattern,
    read_pattern,
    withheld_user_rows,
)
from training.splits import new_item_rows

N_USERS, N_ITEMS = 20, 30
NEW = set(np.random.default_rng(11).permutation(N_ITEMS)[:6].tolist())  # as the table of protocols has it
WITHHELD = np.sort(np.random.default_rng(13).permutation(N_USERS)[:2])


@pytest.fixture
def dataset() -> Dataset:
    """20 users with 7 train, 2 val and 3 test items of 30 each, at random; two modalities, some features absent."""
    rng = np.random.default_rng(5)
    items = np.concatenate([rng.permutation(N_ITEMS)[:12] for _ in range(N_USERS)])
    split = np.tile(np.repeat([TRAIN, VAL, TEST], [7, 2, 3]), N_USERS)
    features = {
        name: ModalityFeatures.from_nan(
            np.where(rng.random((N_ITEMS, 1)) < 0.1, np.nan, rng.normal(size=(N_ITEMS, 4))).astype(np.float32)
        )
        for name in ("acoustic", "visual")
    }
    users = np.repeat(np.arange(N_USERS), 12).astype(np.int32)
    interactions = Interactions(users, items.astype(np.int32), split=split.astype(np.int8))
    return Dataset(IdMap(map(str, range(N_USERS))), IdMap(map(str, range(N_ITEMS))), interactions, features)


@dataclass
class Known:
    """A recommender whose scores are given; it remembers what it was asked with."""

    scores: NDArray[np.float32]
    features: list[Mapping[str, ModalityFeatures] | None] = field(default_factory=list)
    histories: list[list[int]] = field(default_factory=list)

    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:
        """Users are the score rows, items the unit vectors."""
        self.features.append(features)
        return Embeddings(self.scores, np.eye(N_ITEMS, dtype=np.float32), None)

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """A user likes the items after those of the history."""
        self.histories = [indices[a:b].tolist() for a, b in pairwise(indptr)]
        users = np.zeros((len(self.histories), N_ITEMS), np.float32)
        for row, history in enumerate(self.histories):
            users[row, [(item + 1) % N_ITEMS for item in history]] = 1
        return users


def at_random(seed: int = 0) -> Known:
    """A recommender that knows nothing."""
    return Known(np.random.default_rng(seed).random((N_USERS, N_ITEMS)).astype(np.float32))


def items_of(dataset: Dataset, user: int, code: int) -> set[int]:
    """The items of a user in one part of the split."""
    chosen = (dataset.interactions.users == user) & (dataset.interactions.split == code)
    return set(dataset.interactions.items[chosen].tolist())


def test_every_protocol_of_the_specification_is_there() -> None:
    """The names of the table, in its order."""
    assert list(PROTOCOLS) == ["static", "static-dgmrec", "full-train", "new-items", "mixed", "fold-in"]


def test_static_mask_is_the_same_in_training_and_test(dataset: Dataset) -> None:
    """Items lack what rng 7 says, columns alphabetical, beside what they lack anyway; no other mask at test."""
    pattern = rate_pattern(dataset, 0.4)
    drawn = np.random.default_rng(7).random((N_ITEMS, 2)) < 0.4
    model = at_random()

    prepared = prepare(dataset, PROTOCOLS["static"], pattern)
    judge(model, dataset, PROTOCOLS["static"], pattern)

    for column, name in enumerate(("acoustic", "visual")):
        expected = dataset.features[name].present & ~drawn[:, column]
        assert np.array_equal(prepared.data.features[name].present, expected)
        assert not prepared.data.features[name].matrix[~expected].any()
    assert model.features == [None]  # the features it was trained on
    assert prepared.split.train.nnz == 7 * N_USERS


def test_full_train_masks_the_test_only(dataset: Dataset) -> None:
    """Trained on all there is; at test the items are encoded with what the static mask leaves."""
    pattern = rate_pattern(dataset, 0.4)
    model = at_random()

    prepared = prepare(dataset, PROTOCOLS["full-train"], pattern)
    judge(model, dataset, PROTOCOLS["full-train"], pattern)

    masked = prepare(dataset, PROTOCOLS["static"], pattern).data.features
    (asked,) = model.features
    assert asked is not None
    for name, features in dataset.features.items():
        assert np.array_equal(prepared.data.features[name].present, features.present)
        assert np.array_equal(asked[name].present, masked[name].present)
        assert asked[name].present.sum() < features.present.sum()


def test_full_train_changes_what_a_trained_model_recommends(dataset: Dataset) -> None:
    """A real model, trained complete, is judged anew at each rate; at rate 0 it is the static one."""
    config = TrainConfig(d=8, hidden=8, epochs=2, evaluate_every=1, device="cpu")
    static, full = PROTOCOLS["static"], PROTOCOLS["full-train"]
    model, _ = fit(prepare(dataset, full, rate_pattern(dataset, 0.9)), config, lambda _: None)

    complete = judge(model, dataset, full, rate_pattern(dataset, 0))["all"]
    masked = judge(model, dataset, full, rate_pattern(dataset, 0.9))["all"]

    assert np.array_equal(complete.ndcg, judge(model, dataset, static, rate_pattern(dataset, 0))["all"].ndcg)
    assert not np.array_equal(complete.ndcg, masked.ndcg)


@pytest.mark.parametrize("name", ["new-items", "mixed"])
def test_new_items_have_no_train_and_val_edges(dataset: Dataset, name: str) -> None:
    """A fifth of the items, as rng 11 says; all else is as it was, and all of the test part is kept."""
    assert set(new_item_rows(N_ITEMS).tolist()) == NEW

    prepared = prepare(dataset, PROTOCOLS[name], rate_pattern(dataset, 0.3))

    for user in range(N_USERS):
        assert set(prepared.split.train[user].indices) == items_of(dataset, user, TRAIN) - NEW
        assert set(prepared.split.val[user].indices) == items_of(dataset, user, VAL) - NEW
        assert set(prepared.split.test[user].indices) == items_of(dataset, user, TEST)
    assert not NEW & set(prepared.data.indices.tolist())
    assert len(prepared.data.indices) == prepared.split.train.nnz


def test_new_items_are_ranked_among_themselves(dataset: Dataset) -> None:
    """However high warm items score, six candidates fit into a list of ten: all tested new items are found."""
    model = at_random()
    model.scores[:, [item for item in range(N_ITEMS) if item not in NEW]] += 10

    (result,) = judge(model, dataset, PROTOCOLS["new-items"], rate_pattern(dataset, 0)).values()

    tested = [user for user in range(N_USERS) if items_of(dataset, user, TEST) & NEW]
    assert result.users.tolist() == tested
    assert (result.per_user("recall@10") == 1).all()


def test_mixed_ranks_new_items_among_all(dataset: Dataset) -> None:
    """The same scores leave no place for new items in the first ten, and perfect ones put every target first."""
    buried, perfect = at_random(), at_random()
    buried.scores[:, [item for item in range(N_ITEMS) if item not in NEW]] += 10
    for user in range(N_USERS):
        perfect.scores[user, list(items_of(dataset, user, TEST))] += 10
    pattern = rate_pattern(dataset, 0)

    low = judge(buried, dataset, PROTOCOLS["mixed"], pattern)
    high = judge(perfect, dataset, PROTOCOLS["mixed"], pattern)

    assert low["new"].mean()["recall@10"] == 0
    assert [high[part].mean()["recall@10"] for part in ("all", "warm", "new")] == [1, 1, 1]


def test_mixed_parts_recombine_to_the_whole(dataset: Dataset) -> None:
    """Hits are hits: |T| recall = |T warm| recall warm + |T new| recall new, for every user and list length."""
    judged = judge(at_random(), dataset, PROTOCOLS["mixed"], rate_pattern(dataset, 0))

    hits = dict.fromkeys(judged, np.zeros((N_USERS, 3)))
    for part, result in judged.items():
        sizes = [len(_targets(dataset, user, part)) for user in result.users]
        hits[part] = np.zeros((N_USERS, 3))
        hits[part][result.users] = result.recall * np.array(sizes)[:, None]

    assert hits["all"].sum() > 0
    assert hits["all"] == pytest.approx(hits["warm"] + hits["new"])


def _targets(dataset: Dataset, user: int, part: str) -> set[int]:
    tested = items_of(dataset, user, TEST)
    return {"all": tested, "warm": tested - NEW, "new": tested & NEW}[part]


def test_fold_in_users_are_absent_from_training(dataset: Dataset) -> None:
    """A tenth of the users, as rng 13 says, teach nothing and select nothing; the others are as they were."""
    assert withheld_user_rows(N_USERS).tolist() == WITHHELD.tolist()

    prepared = prepare(dataset, PROTOCOLS["fold-in"], rate_pattern(dataset, 0))

    for user in range(N_USERS):
        gone = user in WITHHELD
        assert set(prepared.split.train[user].indices) == (set() if gone else items_of(dataset, user, TRAIN))
        assert set(prepared.split.val[user].indices) == (set() if gone else items_of(dataset, user, VAL))
    assert (np.diff(prepared.data.indptr)[WITHHELD] == 0).all()
    assert len(prepared.data.indices) == 7 * (N_USERS - 2)


def test_fold_in_users_are_encoded_from_their_train_part(dataset: Dataset) -> None:
    """The model is given the train items of the withheld users and judged by the lists of what it makes of them."""
    model = at_random()

    result = judge(model, dataset, PROTOCOLS["fold-in"], rate_pattern(dataset, 0))["withheld"]

    assert result.users.tolist() == WITHHELD.tolist()
    for row, user in enumerate(WITHHELD):
        train = items_of(dataset, user, TRAIN)
        assert set(model.histories[row]) == train
        liked = sorted({(item + 1) % N_ITEMS for item in train} - train)
        others = [item for item in range(N_ITEMS) if item not in train and item not in liked]
        listed = (liked + others)[:10]  # equal scores by row; train positives take no place
        tested = items_of(dataset, user, TEST)
        assert result.per_user("recall@10")[row] == pytest.approx(len(tested & set(listed)) / len(tested))


def test_a_trained_model_folds_in_users_it_never_saw(dataset: Dataset) -> None:
    """With the default preset a withheld user is what the same history would have made a known one."""
    config = TrainConfig(d=8, hidden=8, epochs=2, evaluate_every=1, device="cpu")
    pattern = rate_pattern(dataset, 0)
    prepared = prepare(dataset, PROTOCOLS["fold-in"], pattern)
    model, _ = fit(prepared, config, lambda _: None)

    judged = judge(model, dataset, PROTOCOLS["fold-in"], pattern)["withheld"]

    assert not model.embeddings().users[WITHHELD].any()
    assert judged.users.tolist() == WITHHELD.tolist()
    assert judged.recall.shape == (2, 3)


def test_the_split_does_not_depend_on_the_run(dataset: Dataset) -> None:
    """Where the data prescribes none, it is drawn, and drawn alike each time."""
    free = Dataset(
        dataset.users,
        dataset.items,
        Interactions(dataset.interactions.users, dataset.interactions.items),
        dataset.features,
    )

    assert np.array_equal(base_codes(free), base_codes(free))


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_rates_are_probabilities(dataset: Dataset, rate: float) -> None:
    """Anything else is refused by name."""
    with pytest.raises(ConfigError, match="rates: expected numbers from 0 to 1"):
        rate_pattern(dataset, rate)


def test_labels_say_which_modalities_are_missing(dataset: Dataset, tmp_path: Path) -> None:
    """v, tv: visual; a, ta: acoustic; va, all: both; t: neither, as there is no text; unlisted items are complete."""
    labels = ["t", "v", "a", "tv", "ta", "va", "all"]
    path = tmp_path / "mask_0.6.tsv"
    path.write_text("item\tmissing\n" + "".join(f"{row}\t{label}\n" for row, label in enumerate(labels)))

    pattern = read_pattern(path, dataset)

    assert (pattern.name, pattern.rate) == ("mask_0.6", None)
    assert pattern.missing[:, 1].nonzero()[0].tolist() == [1, 3, 5, 6]  # visual
    assert pattern.missing[:, 0].nonzero()[0].tolist() == [2, 4, 5, 6]  # acoustic
    assert pattern.missing.shape == (N_ITEMS, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item\tmissing\n1\tv\n2\tx\n", r":3: expected one of t, v, a, .* in column 'missing', found 'x'"),
        ("item\tmissing\n1\tv\n99\tv\n", r":3: expected an item of the data set, found '99'"),
        ("item\tmissing\n1\tv\n2\ta\n1\tv\n", r":4: expected each item once, found '1' again"),
        ("item\tlabel\n1\tv\n", r":1: expected a column 'missing', found the columns item, label"),
        ("item\tmissing\tmore\n1\tv\t2\n", r":1: expected only the columns item, missing, found 'more'"),
        ("", r":1: expected a header line, found an empty file"),
    ],
)
def test_wrong_mask_files_are_refused_by_line(dataset: Dataset, tmp_path: Path, text: str, message: str) -> None:
    """Each with the file, the line, and what was expected there."""
    path = tmp_path / "mask.tsv"
    path.write_text(text)

    with pytest.raises(DatasetError, match=r"mask\.tsv" + message):
        read_pattern(path, dataset)


def test_labels_without_a_letter_for_a_modality_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    """A label file cannot speak of an image."""
    path = tmp_path / "mask.tsv"
    path.write_text("item\tmissing\n1\tv\n")
    other = Dataset(dataset.users, dataset.items, dataset.interactions, {"image": dataset.features["visual"]})

    with pytest.raises(DatasetError, match="found modality 'image'"):
        read_pattern(path, other)


@pytest.mark.parametrize(
    ("name", "without", "message"),
    [
        ("static", TEST, "at least one test interaction that it judges"),
        ("static", VAL, "at least one val interaction that it leaves"),
        ("new-items", TEST, "at least one test interaction that it judges"),
        ("fold-in", TRAIN, "at least one train interaction that it leaves"),
    ],
)
def test_empty_parts_are_refused(dataset: Dataset, name: str, without: int, message: str) -> None:
    """Where there is nothing to train on, to select by or to judge, no number is made up."""
    kept = np.flatnonzero(dataset.interactions.split != without)
    poorer = Dataset(dataset.users, dataset.items, dataset.interactions.take(kept), dataset.features)

    with pytest.raises(DatasetError, match=f"for the protocol {name} {message}"):
        check_targets(poorer, PROTOCOLS[name], Path("data"))


@pytest.mark.parametrize(
    ("rate", "name", "label"),
    [
        (0, "0", "complete"),
        (-0.0, "0", "complete"),
        (0.1, "0.1", "10% missing"),
        (0.07, "0.07", "7% missing"),
        (0.12, "0.12", "12% missing"),
        (0.125, "0.125", "12.5% missing"),
        (0.001, "0.001", "0.1% missing"),
        (1, "1", "100% missing"),
        (1e-7, "1e-07", "0.00001% missing"),
        (0.1234567, "0.1234567", "12.34567% missing"),
        (0.1234568, "0.1234568", "12.34568% missing"),
        (1 / 3, "0.3333333333333333", "33.33333333333333% missing"),
    ],
)
def test_rates_are_told_apart(dataset: Dataset, rate: float, name: str, label: str) -> None:
    """Names as short as they can be, and no shorter; labels with the same digits."""
    pattern = rate_pattern(dataset, rate)

    assert pattern.name == name
    assert str(pattern) == label
