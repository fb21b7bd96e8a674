"""The protocols: what is kept from a model in training, what is missing, and what it is then judged on.

| protocol | trained on | judged on |
|---|---|---|
| ``static`` | features under a mask drawn once | the test part, the same mask |
| ``static-dgmrec`` | features under a published mask | the test part, the same mask |
| ``full-train`` | complete features | the test part, items encoded anew under the mask |
| ``new-items`` | no train and val interactions of a fifth of the items | these items' tests, ranked among themselves |
| ``mixed`` | the same | the whole test part, among all items; also apart: new items, and warm ones (all others) |
| ``fold-in`` | no train and val interactions of a tenth of the users | their tests, after fold-in of their train part |

Under every protocol train positives take no place in a list, everything else does. Nothing here depends on the seed of
a run: seeds vary a model, not what it is asked.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.columns import check_columns, read_ids, read_text
from training.dataset import Dataset
from training.errors import ConfigError, DatasetError
from training.evaluation import KS
from training.interactions import TEST, TRAIN, VAL
from training.masks import apply_mask, static_mask
from training.metrics import RankingResult, ranking_metrics
from training.models.contract import Embeddings, Recommender
from training.prepared import Prepared, prepare_codes
from training.splits import DROPPED, hold_out_items, new_item_rows, ordered_history, split_codes, split_from_codes
from training.tables import read_table

_SPLIT_SEED = 0
_WITHHELD_USER_SEED = 13
_WITHHELD_USER_SHARE = 0.1
_LETTERS = {"t": "text", "v": "visual", "a": "acoustic"}
_LABELS = {"t": "t", "v": "v", "a": "a", "tv": "tv", "ta": "ta", "va": "va", "all": "tva"}

Judged = dict[str, RankingResult]


class Withheld(StrEnum):
    """Whose train and val interactions a model never sees."""

    NOTHING = "nothing"
    ITEMS = "items"
    USERS = "users"


@dataclass(frozen=True, slots=True)
class Protocol:
    """One line of the table above.

    Attributes:
        name: as in the table.
        withheld: whose interactions are withheld.
        masked_in_training: whether the mask holds in training already, or only when items are encoded for the test.
        parts: what is judged apart; the first is what models are compared by.
        rates: missing rates where none are asked for.
        takes_masks: whether published masks count as patterns too.
    """

    name: str
    withheld: Withheld = Withheld.NOTHING
    masked_in_training: bool = True
    parts: tuple[str, ...] = ("all",)
    rates: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
    takes_masks: bool = False


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("static"),
        Protocol("static-dgmrec", rates=(), takes_masks=True),
        Protocol("full-train", masked_in_training=False, takes_masks=True),
        Protocol("new-items", Withheld.ITEMS, parts=("new_among_new",), rates=(0.0, 0.6), takes_masks=True),
        Protocol("mixed", Withheld.ITEMS, parts=("all", "warm", "new"), rates=(0.0, 0.6), takes_masks=True),
        Protocol("fold-in", Withheld.USERS, parts=("withheld",), rates=(0.0,)),
    )
}


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which modality of which item is missing.

    Attributes:
        name: the rate to its last digit, or the name of the mask's file without its ending.
        missing: (n_items, n_modalities) bool, columns alphabetical.
        rate: of a drawn mask; None for one that was read.
        sha256: of the file of a mask that was read.
    """

    name: str
    missing: NDArray[np.bool_] = field(compare=False, repr=False)
    rate: float | None = None
    sha256: str | None = None

    def __str__(self) -> str:
        if self.rate is None:
            return f"mask {self.name}"
        return missing_share(self.rate)


def missing_share(rate: float) -> str:
    """What is missing at a rate, in words: with every digit that was given, and none that its binary form adds."""
    return f"{(100 * Decimal(repr(rate))).normalize():f}% missing" if rate else "complete"


def rate_pattern(dataset: Dataset, rate: float) -> Pattern:
    """The ``static`` mask of a rate.

    Raises:
        ConfigError: the rate is no probability.
    """
    if not 0 <= rate <= 1:
        raise ConfigError("rates", "numbers from 0 to 1", rate)
    rate = abs(float(rate))  # -0.0 is 0
    short = f"{rate:g}"
    name = short if float(short) == rate else repr(rate)  # another rate, another name
    return Pattern(name, static_mask(dataset.n_items, dataset.features, rate), rate)


def read_pattern(path: Path, dataset: Dataset) -> Pattern:
    """Reads a mask of the form DGMRec publishes: TSV with the columns ``item`` and ``missing``.

    ``missing`` is ``t``, ``v`` or ``a`` (text, visual, acoustic), two of them, or ``all``. A modality that the data set
    does not have is passed over; items that are not listed are complete.

    Raises:
        DatasetError: with the line of an unknown label, an unknown or repeated item; or the data set has a modality
            that the labels have no letter for.
    """
    names = sorted(dataset.features)
    if unknown := [name for name in names if name not in _LETTERS.values()]:
        raise DatasetError(path, "a data set of text, visual and acoustic only, as labels", f"modality {unknown[0]!r}")
    table = read_table(path)
    check_columns(table, required=("item", "missing"), allowed=("item", "missing"))
    ids = read_ids(table, "item")
    if len(ids.distinct) != len(table):
        row = int(np.argmin(ids.codes == np.arange(len(table))))
        raise DatasetError(path, "each item once", f"{ids.distinct[ids.codes[row]]!r} again", table.line(row))
    missing = np.zeros((dataset.n_items, len(names)), np.bool_)
    for line, (item, label) in enumerate(zip(ids.distinct, read_text(table, "missing"), strict=True)):
        row_of_item = dataset.items.get(item)
        if row_of_item is None:
            raise DatasetError(path, "an item of the data set", repr(item), table.line(line))
        if label not in _LABELS:
            raise DatasetError(path, f"one of {', '.join(_LABELS)} in column 'missing'", repr(label), table.line(line))
        gone = {_LETTERS[letter] for letter in _LABELS[label]}
        missing[row_of_item] = [name in gone for name in names]
    return Pattern(path.stem, missing, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def withheld_user_rows(n_users: int) -> NDArray[np.int64]:
    """The user rows that ``fold-in`` withholds, ascending.

    They are the first tenth (at least one) of ``np.random.default_rng(13).permutation(n_users)``.
    """
    order = np.random.default_rng(_WITHHELD_USER_SEED).permutation(n_users)
    return np.sort(order[: max(1, int(_WITHHELD_USER_SHARE * n_users))])


def prepare(dataset: Dataset, protocol: Protocol, pattern: Pattern) -> Prepared:
    """What a model trains on under a protocol; complete features where only the test is masked."""
    codes = base_codes(dataset)
    interactions = dataset.interactions
    if protocol.withheld is Withheld.ITEMS:
        codes = hold_out_items(codes, interactions, new_item_rows(dataset.n_items))
    elif protocol.withheld is Withheld.USERS:
        hidden = np.isin(interactions.users, withheld_user_rows(dataset.n_users)) & np.isin(codes, (TRAIN, VAL))
        codes = np.where(hidden, np.int8(DROPPED), codes)
    if protocol.masked_in_training:
        dataset = replace(dataset, features=apply_mask(dataset.features, pattern.missing))
    return prepare_codes(dataset, codes)


def judge(recommender: Recommender, dataset: Dataset, protocol: Protocol, pattern: Pattern) -> Judged:
    """Ranks the test part under a protocol.

    Args:
        recommender: fitted on what :func:`prepare` gives for the same protocol and pattern.
        dataset: the data set as it was read, complete.
        protocol: what to judge.
        pattern: what is missing.

    Returns:
        Metrics of each user, for each of ``protocol.parts``; a part without a test interaction has no users.
    """
    if protocol.withheld is Withheld.USERS:
        return {"withheld": _judge_folded(recommender, dataset, protocol, pattern)}
    masked = None if protocol.masked_in_training else apply_mask(dataset.features, pattern.missing)
    embeddings = recommender.embeddings(masked)
    split = prepare(dataset, protocol, pattern).split
    new = np.isin(np.arange(dataset.n_items), new_item_rows(dataset.n_items))
    judged: Judged = {}
    for part in protocol.parts:
        targets = {"all": np.ones_like(new), "warm": ~new, "new": new, "new_among_new": new}[part]
        candidates = np.flatnonzero(new) if part == "new_among_new" else None
        judged[part] = _rank(embeddings, _only_items(split.test, targets), split.train, candidates)
    return judged


def check_targets(dataset: Dataset, protocol: Protocol, path: Path) -> None:
    """Refuses a data set on which a protocol has nothing to train on, or nothing to judge.

    Raises:
        DatasetError: naming what is missing.
    """
    codes = base_codes(dataset)
    interactions = dataset.interactions
    of_item = np.isin(interactions.items, new_item_rows(dataset.n_items))
    of_user = np.isin(interactions.users, withheld_user_rows(dataset.n_users))
    out = {Withheld.NOTHING: np.zeros_like(of_item), Withheld.ITEMS: of_item, Withheld.USERS: of_user}[
        protocol.withheld
    ]
    judged = out if protocol.parts[0] in {"new_among_new", "withheld"} else np.ones_like(of_item)
    needed = {
        "train interaction that it leaves": (codes == TRAIN) & ~out,
        "val interaction that it leaves, to select by": (codes == VAL) & ~out,
        "test interaction that it judges": (codes == TEST) & judged,
    }
    for what, there in needed.items():
        if not there.any():
            raise DatasetError(path, f"for the protocol {protocol.name} at least one {what}", "none")


def base_codes(dataset: Dataset) -> NDArray[np.int8]:
    """The split codes before anything is withheld, the same in every run."""
    return split_codes(dataset, np.random.default_rng(_SPLIT_SEED))


def _judge_folded(recommender: Recommender, dataset: Dataset, protocol: Protocol, pattern: Pattern) -> RankingResult:
    """The withheld users, encoded from their train interactions; ``users`` are rows of the data set."""
    codes = base_codes(dataset)
    rows = withheld_user_rows(dataset.n_users)
    indptr, indices = ordered_history(dataset, codes)
    histories = [indices[indptr[row] : indptr[row + 1]] for row in rows]
    starts = np.concatenate([[0], np.cumsum([len(history) for history in histories])]).astype(np.int64)
    users = recommender.fold_in(starts, np.concatenate(histories))
    masked = None if protocol.masked_in_training else apply_mask(dataset.features, pattern.missing)
    embeddings = recommender.embeddings(masked)._replace(users=users)
    split = split_from_codes(dataset, codes)
    result = _rank(embeddings, split.test[rows], split.train[rows])
    return replace(result, users=rows[result.users])


def _rank(
    embeddings: Embeddings, held_out: csr_matrix, seen: csr_matrix, candidates: NDArray[np.integer] | None = None
) -> RankingResult:
    return ranking_metrics(embeddings.users, embeddings.items, held_out, seen, KS, candidates)


def _only_items(matrix: csr_matrix, kept: NDArray[np.bool_]) -> csr_matrix:
    limited = matrix.multiply(kept.astype(np.float32)).tocsr()
    limited.eliminate_zeros()
    return limited
