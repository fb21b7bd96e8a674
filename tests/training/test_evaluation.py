"""Which test interactions count for which part of the report."""

from collections.abc import Collection

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from training import evaluation
from training.evaluation import KS, evaluate, validated_part, validation_recall
from training.models import Embeddings
from training.splits import Split


def scored(scores: list[list[float]]) -> Embeddings:
    """Tables whose inner products are the given scores: users are the score rows, items the unit vectors."""
    users = np.array(scores, np.float32)
    return Embeddings(users, np.eye(users.shape[1], dtype=np.float32), None)


def matrix(cells: list[list[int]]) -> csr_matrix:
    """A part of a split."""
    return csr_matrix(np.array(cells, np.float32))


def test_warm_and_new_test_items_are_judged_apart() -> None:
    """Three users, four items; 0 and 1 are warm, 2 and 3 new. All scores fall with the item row.

    User 0 (seen 0) is tested on 1 and 3; its list is 1, 2, 3. User 1 (seen 1) is tested on 2; its list is 0, 2, 3.
    User 2 (nothing seen) is tested on 0; its list is 0, 1, 2, 3.
    """
    train = matrix([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    test = matrix([[0, 1, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0]])
    split = Split(train, matrix([[0] * 4] * 3), test)

    report = evaluate(scored([[4, 3, 2, 1]] * 3), split)

    assert {name: values and values["users"] for name, values in report.items()} == {
        "all": 3,
        "warm": 2,  # users 0 (item 1) and 2 (item 0)
        "new": 2,  # users 0 (item 3) and 1 (item 2)
        "new_among_new": 2,
    }
    # Four items fit into any list, so what differs is the rank: gains 1, 1/log2(3) = 0.63093, 1/log2(4) = 0.5.
    gains = {name: values and values["ndcg@10"] for name, values in report.items()}
    assert gains == {
        # user 0: (1 + 0.5) / (1 + 0.63093) = 0.91972; user 1: 0.63093; user 2: 1
        "all": pytest.approx((0.91972 + 0.63093 + 1) / 3, abs=1e-5),
        "warm": pytest.approx(1),  # both lead their lists
        "new": pytest.approx((0.5 + 0.63093) / 2, abs=1e-5),  # third of 1, 2, 3; second of 0, 2, 3
        "new_among_new": pytest.approx((0.63093 + 1) / 2, abs=1e-5),  # among 2 and 3: second, first
    }


def test_new_items_compete_with_the_warm_ones_that_are_judged() -> None:
    """Item 2 is new and leads; the tested warm item 1 is second among all, though first among warm ones."""
    split = Split(matrix([[1, 0, 0], [0, 1, 0]]), matrix([[0] * 3] * 2), matrix([[0, 1, 0], [0, 0, 0]]))

    values = evaluate(scored([[1, 2, 3]] * 2), split)["warm"]

    assert values is not None
    assert values["ndcg@10"] == pytest.approx(0.63093, abs=1e-5)


def test_parts_without_test_interactions_are_none() -> None:
    """Where every tested item is warm, new items were not judged, which is not the same as 0."""
    split = Split(matrix([[1, 1, 0]]), matrix([[0, 0, 0]]), matrix([[0, 1, 0]]))

    report = evaluate(scored([[3, 2, 1]]), split)

    assert report["new"] is None
    assert report["new_among_new"] is None
    assert report["warm"] is not None


def test_empty_test_part_is_none_throughout() -> None:
    """Nothing tested, nothing reported."""
    split = Split(matrix([[1, 0]]), matrix([[0, 1]]), matrix([[0, 0]]))

    assert evaluate(scored([[1, 2]]), split) == {"all": None, "warm": None, "new": None, "new_among_new": None}


def test_report_has_every_metric_at_every_length() -> None:
    """Recall, NDCG and HR at 10, 20 and 50, and the number of users, as plain numbers."""
    split = Split(matrix([[1, 0]]), matrix([[0, 0]]), matrix([[0, 1]]))

    values = evaluate(scored([[1, 2]]), split)["all"]

    assert values is not None
    assert set(values) == {"users", *(f"{name}@{k}" for name in ("recall", "ndcg", "hr") for k in KS)}
    assert all(type(value) in (int, float) for value in values.values())


def validation_split(
    n_items: int, known: Collection[int], wanted: Collection[int], tested: Collection[int] = ()
) -> Split:
    """User 0 has seen item 0 and is validated on the wanted items; user 1 has all that are known."""
    train, val, test = (np.zeros((2, n_items), np.float32) for _ in range(3))
    train[0, 0] = train[1, list(known)] = 1
    val[0, list(wanted)] = 1
    test[0, list(tested)] = 1
    return Split(csr_matrix(train), csr_matrix(val), csr_matrix(test))


def test_validation_recall_judges_the_validation_part_at_20() -> None:
    """30 items scored by row: of rows 2, 18 and 25, with row 0 seen, the first two are among the first 20: 2/3.

    The test part does not matter.
    """
    split = validation_split(30, known=range(30), wanted=[2, 18, 25], tested=[0, 1])

    assert validation_recall(scored([list(range(30, 0, -1))] * 2), split) == pytest.approx(2 / 3)


@pytest.mark.parametrize("tested", [[], [21]])
def test_new_item_does_not_lower_validation_recall(tested: list[int]) -> None:
    """Items 1 to 20 fill the list; 21, which nobody has but in the test part, leads by far and stays out of it."""
    split = validation_split(22, known=range(21), wanted=[20], tested=tested)

    assert validation_recall(scored([[*range(21, 0, -1), 1e9]] * 2), split) == 1


@pytest.mark.parametrize(("known", "wanted", "recall"), [(range(22), [20], 0), (range(21), [20, 21], 0.5)])
def test_item_that_somebody_has_competes_in_validation(known: range, wanted: list[int], recall: float) -> None:
    """With a training or a validation interaction item 21 takes the first of 20 places, and item 20 loses the last."""
    split = validation_split(22, known, wanted)

    assert validation_recall(scored([[*range(21, 0, -1), 1e9]] * 2), split) == recall


def test_all_users_are_validated_where_they_are_few() -> None:
    """The validation part is looked at as it is."""
    split = validation_split(30, known=range(30), wanted=[2, 18, 25])

    assert validated_part(split) is split.val


def test_validation_looks_at_a_fixed_choice_of_many_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 users, 30 of whom have something to be found, 12 are looked at, with all of theirs, whoever asks again.

    Lists are of items 0 to 19. The first 20 of the 30 want item 0, the others 29, and all of them 28; user 0 has all.
    """
    val, train = np.zeros((2, 40, 30), np.float32)
    val[10:30, 0] = val[30:, 29] = val[10:, 28] = 1
    train[0] = 1
    split = Split(csr_matrix(train), csr_matrix(val), csr_matrix(val.shape))
    monkeypatch.setattr(evaluation, "MOST_VALIDATED", 12)

    part, again = validated_part(split), validated_part(split)

    chosen = np.flatnonzero(part.getnnz(axis=1))
    assert len(chosen) == 12
    assert 1 <= (chosen < 30).sum() <= 11  # both kinds
    assert (part[chosen] != split.val[chosen]).nnz == 0
    assert part.nnz == 24
    assert (part != again).nnz == 0
    recall = validation_recall(scored([list(range(30, 0, -1))] * 40), split)
    assert recall == pytest.approx(0.5 * (chosen < 30).mean())


def test_validation_items_are_not_masked_in_the_test() -> None:
    """Only training positives are: the validation item takes the first rank and the tested one the second."""
    split = Split(matrix([[1, 0, 0]]), matrix([[0, 1, 0]]), matrix([[0, 0, 1]]))

    values = evaluate(scored([[3, 2, 1]]), split)["all"]

    assert values is not None
    assert values["ndcg@10"] == pytest.approx(0.63093, abs=1e-5)


def test_protocol_says_which_items_are_new() -> None:
    """Item 1 was held out and 2 has no training interaction either: only 1 is new, and competes with no other."""
    split = Split(matrix([[1, 0, 0]]), matrix([[0, 0, 0]]), matrix([[0, 1, 1]]))

    report = evaluate(scored([[3, 1, 2]]), split, np.array([1]))

    gains = {name: values and values["ndcg@10"] for name, values in report.items()}
    assert gains["warm"] == pytest.approx(1)  # 2 leads the list 2, 1
    assert gains["new"] == pytest.approx(0.63093, abs=1e-5)
    assert gains["new_among_new"] == pytest.approx(1)
