"""The default preset: known answers on a checkerboard, and its promises about new and incomplete items."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.calibration import new_item_gain
from training.config import TrainConfig
from training.dataset import Dataset
from training.datasets.synthetic import withheld_items
from training.evaluation import evaluate
from training.metrics import ranking_metrics
from training.models.i3mrec import I3MRec, _Judge
from training.sampling import Batch
from training.splits import hold_out_items
from training.train import prepare_data

COMMUNITIES = 4
NEW = range(12)  # three items of each community
BARE = range(20, 24)  # one item of each community

MakeBoard = Callable[..., Dataset]
MakeModel = Callable[..., I3MRec]
Learn = Callable[..., Any]  # its results are conftest's Trained


@pytest.fixture(scope="module")
def trained(make_board: MakeBoard, learn: Learn) -> Any:
    """A model of a board with new and with bare items; tests leave it as it is."""
    return learn(make_board(communities=COMMUNITIES, new=NEW, bare=BARE, missing=0.3))


@pytest.fixture
def fresh(make_board: MakeBoard) -> MakeModel:
    """Makes an untrained model of a small board with a new and a bare item: ``fresh(**config)``."""

    def make(dataset: Dataset | None = None, **config: Any) -> I3MRec:
        board = dataset or make_board(12, 10, new=[0], bare=[3])
        small = TrainConfig(**({"d": 6, "hidden": 7, "device": "cpu"} | config))
        return I3MRec(prepare_data(board, 0).data, small, torch.device("cpu"))

    return make


def first_batch(model: I3MRec, seed: int = 0) -> Batch:
    """One batch."""
    return next(model.batches(np.random.default_rng(seed)))


def steps(model: I3MRec, n_epochs: int = 2) -> None:
    """Some training steps."""
    optimizer = torch.optim.Adam([p for p in model.network.parameters() if p.requires_grad], lr=0.01)
    rng = np.random.default_rng(0)
    for batch in (batch for _ in range(n_epochs) for batch in model.batches(rng)):
        optimizer.zero_grad()
        torch.stack(list(model.loss(batch, 1.0).values())).sum().backward()
        optimizer.step()


def features_of(dataset: Dataset) -> list[Tensor]:
    """The feature matrices in the encoder's order."""
    return [torch.from_numpy(features.matrix) for features in dataset.features.values()]


def favoured_community(users: NDArray[np.float32], items: NDArray[np.float32]) -> NDArray[np.int64]:
    """Per item the community whose users score it highest on average."""
    profiles = np.stack([users[community::COMMUNITIES].mean(axis=0) for community in range(COMMUNITIES)])
    return (profiles @ items.T).argmax(axis=0)


@pytest.mark.parametrize(("communities", "missing"), [(2, 0.0), (4, 0.4)])
def test_withheld_item_ranks_first(make_board: MakeBoard, learn: Learn, communities: int, missing: float) -> None:
    """Each user likes all items of a community; the one withheld leads all others, modalities complete or not."""
    board = make_board(communities=communities, missing=missing)

    trained = learn(board)

    tables, split = trained.model.embeddings(), trained.prepared.split
    result = ranking_metrics(tables.users, tables.items, split.test, split.train, ks=(1,))
    assert result.mean()["users"] == board.n_users
    assert result.mean()["recall@1"] == 1


def test_withheld_item_ranks_first_from_sampled_candidates(make_board: MakeBoard, learn: Learn) -> None:
    """The same where only 8 of 40 items, and the batch's own, compete in a step."""
    trained = learn(make_board(communities=COMMUNITIES), candidates=8, batch_users=4)

    tables, split = trained.model.embeddings(), trained.prepared.split
    result = ranking_metrics(tables.users, tables.items, split.test, split.train, ks=(1,))
    assert result.mean()["recall@1"] == 1


def test_bare_item_is_found_by_its_clicks(trained: Any) -> None:
    """A warm item without any modality has its ID embedding, and ranks first among warm items where it is withheld."""
    tables, split = trained.model.embeddings(), trained.prepared.split
    warm = np.flatnonzero(trained.prepared.data.popularity())
    expecting = np.isin(withheld_items(trained.prepared.dataset), BARE)

    result = ranking_metrics(tables.users, tables.items, split.test, split.train, ks=(1,), candidates=warm)

    assert expecting.any()
    assert result.per_user("recall@1")[expecting[result.users]].min() == 1


def test_new_items_land_with_their_community(trained: Any) -> None:
    """Placed by content alone, every new item that has any is favoured by its own users; chance is one in four."""
    tables = trained.model.embeddings()
    content = trained.prepared.dataset.present.any(axis=1)
    placed = [row for row in NEW if content[row]]

    favoured = favoured_community(tables.users, tables.items)[placed]

    assert len(placed) >= 8
    assert favoured.tolist() == [row % COMMUNITIES for row in placed]


@pytest.mark.parametrize("column", [0, 1])
def test_incomplete_new_item_lands_with_its_community(trained: Any, column: int) -> None:
    """One modality alone, whichever it is, is enough."""
    dataset = trained.prepared.dataset
    alone = torch.zeros(dataset.n_items, 2, dtype=torch.bool)
    alone[:, column] = True
    placed = [row for row in NEW if dataset.present[row, column]]

    with torch.no_grad():
        items = trained.model.encoder()(*features_of(dataset), alone)[0].numpy()

    favoured = favoured_community(trained.model.embeddings().users, items)[placed]
    assert len(placed) >= 5
    assert favoured.tolist() == [row % COMMUNITIES for row in placed]


def test_items_held_out_by_the_protocol_are_found_among_new_ones(make_board: MakeBoard, learn: Learn) -> None:
    """With eight items held out, two of each community, the tested one is among the first two of eight.

    At random that would be one time in four.
    """
    board = make_board(communities=COMMUNITIES, missing=0.0)
    codes = hold_out_items(board.interactions.split, board.interactions, np.arange(8))
    kept = board.interactions.take(codes >= 0)
    board = Dataset(board.users, board.items, kept, board.features)

    trained = learn(board)

    tables, split = trained.model.embeddings(), trained.prepared.split
    new = np.arange(8)
    result = ranking_metrics(tables.users, tables.items, split.test, split.train, ks=(2,), candidates=new)
    assert split.train[:, new].nnz == 0
    assert result.mean()["users"] >= 8
    assert result.mean()["recall@2"] == 1
    assert (evaluate(tables, split)["new"] or {})["users"] == result.mean()["users"]


@pytest.mark.parametrize("garbage", [math.nan, math.inf, -math.inf, 3e38, -3e38])
def test_contents_of_an_absent_row_change_no_bit(trained: Any, garbage: float) -> None:
    """Embedding, history row and confidence are the same whatever stands where a modality is absent."""
    dataset, encoder = trained.prepared.dataset, trained.model.encoder()
    present = torch.from_numpy(dataset.present)
    spoilt = [torch.where(present[:, m : m + 1], matrix, garbage) for m, matrix in enumerate(features_of(dataset))]

    with torch.no_grad():
        clean, dirty = encoder(*features_of(dataset), present), encoder(*spoilt, present)

    assert all(torch.isfinite(output).all() for output in clean)
    assert all(torch.equal(one, other) for one, other in zip(clean, dirty, strict=True))


def test_confidence_rises_with_what_is_present(trained: Any) -> None:
    """Nothing gives 0, one modality more, both most, for every item."""
    dataset = trained.prepared.dataset
    patterns = [[False, False], [True, False], [True, True]]

    with torch.no_grad():
        nothing, image, both = (
            trained.model.encoder()(*features_of(dataset), torch.tensor([pattern] * dataset.n_items))[2]
            for pattern in patterns
        )

    assert not nothing.any()
    assert (image > nothing).all()
    assert (both > image).all()
    assert both.max() < 1


def test_same_seed_gives_the_same_model(make_board: MakeBoard, learn: Learn) -> None:
    """Two runs of one seed agree to the bit in all three tables; another seed gives other numbers."""
    board = make_board(20, 12, new=[0], missing=0.3)
    before = torch.random.get_rng_state()

    one, same, other = (learn(board, epochs=3, seed=seed).model.embeddings() for seed in (5, 5, 6))

    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seed_decides_the_beginning_and_the_noise(fresh: MakeModel) -> None:
    """Parameters begin elsewhere with another seed; and from the same parameters the noise of a step is other noise."""
    one, other = fresh(seed=1), fresh(seed=2)
    beginnings = [dict(model.network.named_parameters()) for model in (one, other)]

    assert not any(
        torch.equal(beginnings[0][name], beginnings[1][name])
        for name in ("item_id", "history_id", "content.trunk.0.weight")
    )
    other.network.load_state_dict(one.network.state_dict())
    assert one.loss(first_batch(one), 1.0)["ranking"].item() != other.loss(first_batch(one), 1.0)["ranking"].item()


@pytest.mark.parametrize("candidates", [4096, 3])
def test_new_item_is_never_a_negative(fresh: MakeModel, candidates: int) -> None:
    """It is no candidate, gets no gradient, and its ID embeddings stay as they began while the others move."""
    model = fresh(candidates=candidates, batch_users=2)
    before = {name: table.detach().clone() for name, table in model.network.named_parameters() if name.endswith("_id")}
    rng = np.random.default_rng(0)

    rows = {row for batch in model.batches(rng) for row in batch.candidates.tolist()}
    steps(model, 10)

    assert rows == set(range(1, 10))
    assert set(before) == {"item_id", "history_id"}
    for name, table in before.items():
        now = model.network.get_parameter(name).detach()
        assert torch.equal(now[0], table[0])
        assert (now[1:] != table[1:]).any(dim=1).all()
        gradient = model.network.get_parameter(name).grad
        assert gradient is not None
        assert not gradient[0].any()


def test_features_of_new_items_do_not_shape_the_model(make_board: MakeBoard, fresh: MakeModel) -> None:
    """A new item's features enter neither the standardisation nor a step: with others, warm rows are bit for bit."""
    one, other = (make_board(12, 10, new=[0]) for _ in range(2))
    for features in other.features.values():
        features.matrix[0] = 1e6 * features.present[0]
    models = fresh(one), fresh(other)

    for model in models:
        steps(model)

    assert np.array_equal(models[0].embeddings().items[1:], models[1].embeddings().items[1:])


def test_users_are_their_folded_in_histories(trained: Any) -> None:
    """The user table is what the manifest's rule makes of the training histories, one by one."""
    tables, data, rule = trained.model.embeddings(), trained.prepared.data, trained.model.history_rule

    for user, row in enumerate(tables.users):
        items = data.indices[data.indptr[user] : data.indptr[user + 1]]
        np.testing.assert_allclose(row, rule.encode(tables.history[items]), rtol=1e-5, atol=1e-6)


def test_any_history_can_be_folded_in(trained: Any) -> None:
    """Users the model never saw are encoded by the same rule; the training histories give the user table."""
    model, data = trained.model, trained.prepared.data
    tables = model.embeddings()

    users = model.fold_in(np.array([0, 3, 3]), np.array([0, 13, 22], np.int32))

    np.testing.assert_allclose(users[0], model.history_rule.encode(tables.history[[0, 13, 22]]), rtol=1e-5, atol=1e-6)
    assert not users[1].any()
    assert np.array_equal(model.fold_in(data.indptr, data.indices), tables.users)


def test_embeddings_of_other_features_see_what_is_missing_there(trained: Any) -> None:
    """Given its own features a model gives its own tables; with an item's modalities gone, that item alone moves.

    A user moves with it exactly if the item is in the history.
    """
    model, data = trained.model, trained.prepared.data
    keep = np.arange(data.n_items) != 13
    gone = {name: features.masked(keep) for name, features in data.features.items()}
    before = model.embeddings()

    same, other = model.embeddings(data.features), model.embeddings(gone)

    knows = np.array([13 in data.indices[a:b] for a, b in pairwise(data.indptr)])
    assert trained.prepared.dataset.present[13].any()
    assert all(np.array_equal(one, again) for one, again in zip(before, same, strict=True))
    assert np.array_equal((before.items != other.items).any(axis=1), ~keep)
    assert np.array_equal((before.history != other.history).any(axis=1), ~keep)
    assert np.array_equal((before.users != other.users).any(axis=1), knows)


def test_training_encodes_users_by_the_same_rule(fresh: MakeModel) -> None:
    """White-box: a batch's users are encoded from their given items as the published rule would."""
    model = fresh(alpha=0.7)
    batch = first_batch(model)
    history = torch.randn(len(batch.candidates), 6, generator=torch.Generator().manual_seed(0))

    users = model._encode_users(batch, history)

    for user in range(batch.n_users):
        rows = history.numpy()[batch.history_items[batch.history_users == user]]
        np.testing.assert_allclose(users[user], model.history_rule.encode(rows), rtol=1e-5, atol=1e-6)


def test_new_items_are_where_the_encoder_places_them(trained: Any) -> None:
    """Their rows are those of ``as_new`` and of the encoder; warm rows, which know their clicks, are others."""
    dataset, model = trained.prepared.dataset, trained.model
    tables = model.embeddings()

    with torch.no_grad():
        encoded, history, _ = model.encoder()(*features_of(dataset), torch.from_numpy(dataset.present))

    assert np.array_equal(tables.items[:12], model.as_new()[:12])
    np.testing.assert_allclose(tables.items[:12], encoded[:12], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(tables.history[:12], history[:12], rtol=1e-5, atol=1e-6)
    assert np.abs(tables.items[12:] - encoded[12:].numpy()).max(axis=1).min() > 1e-3


def test_calibration_scales_new_items_alone(fresh: MakeModel) -> None:
    """Gain 3 triples the new item's row and ``as_new``; warm items, history rows and users stay."""
    model = fresh()
    steps(model)
    before, as_new = model.embeddings(), model.as_new()

    model.calibrate(3.0)

    after = model.embeddings()
    np.testing.assert_allclose(after.items[0], 3 * before.items[0], rtol=1e-6)
    np.testing.assert_allclose(model.as_new(), 3 * as_new, rtol=1e-6)
    np.testing.assert_allclose(after.items[1:], before.items[1:], rtol=1e-5, atol=1e-7)
    assert np.array_equal(after.history, before.history)
    assert np.array_equal(after.users, before.users)


def test_calibrated_model_calibrates_to_the_ratio_of_norms(trained: Any) -> None:
    """After ``new_item_gain`` warm items seen as new have on average the norm of their trained rows."""
    model, warm = trained.model, trained.prepared.data.popularity() > 0

    gain = new_item_gain(model.embeddings().items, model.as_new(), warm)

    trained_norm, content_norm = (
        np.linalg.norm(table[warm], axis=1).mean() for table in (model.embeddings().items, gain * model.as_new())
    )
    assert gain > 1  # softmax training keeps what it is unsure of short
    assert content_norm == pytest.approx(trained_norm, rel=1e-5)


@pytest.mark.parametrize("bare", [[], [3, 4, 5], range(10)])
def test_loss_is_finite_whatever_is_missing(make_board: MakeBoard, fresh: MakeModel, bare: list[int]) -> None:
    """Some items, or all of them, may lack every modality: terms and gradients stay finite."""
    model = fresh(make_board(12, 10, bare=bare, missing=0.5))

    terms = model.loss(first_batch(model), 0.5)
    torch.stack(list(terms.values())).sum().backward()

    assert list(terms) == ["ranking", "environments", "invariance", "bottleneck"]
    assert all(math.isfinite(term.item()) for term in terms.values())
    assert terms["ranking"].item() > 0
    gradients = [p.grad for p in model.network.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_environment_without_items_takes_no_part(make_board: MakeBoard, fresh: MakeModel) -> None:
    """Where no item has an image, text is the only environment: its risk alone counts, and varies with nothing.

    Counted as a risk of 0, the empty one would halve the mean and make V-REx push the other towards 0.
    """
    board = make_board(12, 10, missing=0.0)
    nowhere = np.zeros(10, bool)
    lost = Dataset(
        board.users,
        board.items,
        board.interactions,
        {"image": board.features["image"].masked(nowhere), "text": board.features["text"]},
    )

    both, alone = fresh(board), fresh(lost)
    complete, incomplete = (model.loss(first_batch(model), 1.0) for model in (both, alone))

    assert complete["invariance"].item() > 0
    assert incomplete["invariance"].item() == 0
    assert incomplete["environments"].item() == pytest.approx(complete["environments"].item(), rel=0.2)


def test_schedule_lets_bottleneck_and_invariance_in_slowly(fresh: MakeModel) -> None:
    """With warmup 0.2 they weigh nothing at the start, half after 10 % and all after 20 % of the epochs."""
    start, half, full, late = (
        model.loss(first_batch(model), progress)
        for model, progress in ((fresh(warmup=0.2), progress) for progress in (0.0, 0.1, 0.2, 0.9))
    )
    at_once = (model := fresh(warmup=0.0)).loss(first_batch(model), 0.0)

    for term in ("invariance", "bottleneck"):
        assert start[term].item() == 0
        assert half[term].item() == pytest.approx(full[term].item() / 2)
        assert full[term].item() == late[term].item() == at_once[term].item() > 0
    for term in ("ranking", "environments"):
        assert start[term].item() == full[term].item() > 0


def test_weights_scale_their_terms(fresh: MakeModel) -> None:
    """Twice the weight is twice the term, and the ranking risk is the same."""
    weights = {"environments": "environment_weight", "invariance": "invariance_weight", "bottleneck": "kl_weight"}
    models = fresh(), fresh(**{name: 2 * getattr(TrainConfig(), name) for name in weights.values()})

    single, double = (model.loss(first_batch(model), 1.0) for model in models)

    assert double["ranking"].item() == single["ranking"].item()
    for term in weights:
        assert double[term].item() == pytest.approx(2 * single[term].item())


def test_judge_assembles_the_sampled_softmax() -> None:
    """White-box: one user among five candidates, of a population of 8 of which 3 were sampled: 1, 2 and 3.

    Scores are logs of 1, 2, 3, 4, 5. Item 0 is a target that was not sampled, item 1 one that was; item 2 is in the
    history and item 4 is another user's. So 3 is the only negative and stands for 8/3 items: the partition sum is
    1 + 2 + 4·8/3 = 41/3. Risk: the mean of log(41/3) - log 1 and log(41/3) - log 2 = log(41/3) - log(2)/2. With item 1
    alone judged it is log(41/3) - log 2, with nobody's items judged 0.
    """
    batch = Batch(
        candidates=np.arange(10, 15),
        sampled=np.array([False, True, True, True, False]),
        n_population=8,
        history_users=np.array([0]),
        history_items=np.array([2]),
        target_users=np.array([0, 0]),
        target_items=np.array([0, 1]),
        n_users=1,
    )
    items = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]]).log()

    judge = _Judge(batch, torch.ones(1, 1))

    only_1 = torch.tensor([False, True, True, False, True])
    neither = torch.tensor([False, False, True, True, True])
    assert judge.risk(items).item() == pytest.approx(math.log(41 / 3) - math.log(2) / 2, abs=1e-6)
    assert judge.risk(items, only_1).item() == pytest.approx(math.log(41 / 3) - math.log(2), abs=1e-6)
    assert judge.risk(items, neither).item() == 0
    assert (judge.judges(only_1), judge.judges(neither)) == (True, False)


def test_dropout_keeps_the_mean(fresh: MakeModel) -> None:
    """White-box: with dropout 1/4 three quarters remain, scaled by 4/3; with 0 everything remains as it is."""
    x = torch.ones(20_000)

    dropped = fresh(dropout=0.25)._drop(x)

    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert dropped.mean().item() == pytest.approx(1, abs=5 * math.sqrt(1 / 3 / 20_000))
    assert torch.equal(fresh(dropout=0.0)._drop(x), x)


def test_constant_feature_column_is_harmless(make_board: MakeBoard, fresh: MakeModel) -> None:
    """A column that never varies is centred and left at its scale; a modality of zero warm items is left as it is."""
    board = make_board(12, 10, missing=0.0)
    board.features["text"].matrix[:, 0] = 5.0
    content = fresh(board).encoder()
    bare = fresh(make_board(12, 10, bare=range(10))).encoder()

    assert content.center[1][0] == 5
    assert content.scale[1][0] == 1
    np.testing.assert_allclose(content.center[1], board.features["text"].matrix.mean(axis=0), atol=1e-6)
    assert not bare.center[0].any()
    assert (bare.scale[0] == 1).all()
