"""The default preset: known answers on a checkerboard, and its promises about new and incomplete items."""

import math
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config import TrainConfig
from training.dataset import Dataset
from training.datasets.synthetic import withheld_items
from training.errors import NothingToLearn
from training.evaluation import evaluate
from training.metrics import ranking_metrics
from training.models import i3mrec
from training.models.contract import TrainingData
from training.models.i3mrec import I3MRec
from training.models.i3mrec_encoder import LinearSolver
from training.prepared import prepare_data
from training.splits import hold_out_items

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


def first_batch(model: I3MRec, seed: int = 0) -> NDArray[np.int64]:
    """One batch."""
    return next(model.batches(np.random.default_rng(seed)))


def steps(model: I3MRec, n_epochs: int = 2) -> list[float]:
    """Some training steps; the mean loss of each epoch."""
    optimizer = torch.optim.Adam([p for p in model.network.parameters() if p.requires_grad], lr=0.01)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(n_epochs):
        values = []
        for batch in model.batches(rng):
            loss = torch.stack(list(model.loss(batch, 1.0).values())).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values.append(loss.item())
        losses.append(float(np.mean(values)))
    return losses


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


def test_bare_item_is_found_by_its_clicks(trained: Any) -> None:
    """A warm item without any modality has a factor, and ranks first among warm items where it is withheld."""
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
    """Nothing gives 0 and something more, for every item; both give more than one for most of them."""
    dataset = trained.prepared.dataset
    patterns = [[False, False], [True, False], [True, True]]

    with torch.no_grad():
        nothing, image, both = (
            trained.model.encoder()(*features_of(dataset), torch.tensor([pattern] * dataset.n_items))[2]
            for pattern in patterns
        )

    assert not nothing.any()
    assert (image > nothing).all()
    assert (both > image).float().mean() > 0.5
    assert both.max() <= 1


def test_same_seed_gives_the_same_model(make_board: MakeBoard, learn: Learn) -> None:
    """Two runs of one seed agree to the bit in all three tables; another seed gives other numbers."""
    board = make_board(20, 12, new=[0], missing=0.3)
    before = torch.random.get_rng_state()

    one, same, other = (learn(board, epochs=3, seed=seed).model.embeddings() for seed in (5, 5, 6))

    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seed_decides_the_beginning_and_the_noise(fresh: MakeModel) -> None:
    """Experts and factors begin elsewhere with another seed; from the same ones the noise of a step is other noise."""
    one, other = fresh(seed=1), fresh(seed=2)
    beginnings = [dict(model.network.named_parameters()) for model in (one, other)]

    assert not any(
        torch.equal(beginnings[0][name], beginnings[1][name]) for name in ("items", "content.trunk.0.weight")
    )
    other.network.load_state_dict(one.network.state_dict())
    assert one.loss(first_batch(one), 1.0)["risk"].item() != other.loss(first_batch(one), 1.0)["risk"].item()


@pytest.mark.parametrize(("batch_items", "sizes"), [(2, [2] * 11), (512, [3] * 7 + [1])])
def test_epoch_visits_every_item_with_clicks_once(
    make_board: MakeBoard, fresh: MakeModel, batch_items: int, sizes: list[int]
) -> None:
    """Shuffled, in steps of at most ``batch_items`` and an eighth of them; a new item is never learned from."""
    model = fresh(make_board(30, 24, new=[0, 5]), batch_items=batch_items)

    one, other = (list(model.batches(np.random.default_rng(seed))) for seed in (0, 1))

    for batches in (one, other):
        assert sorted(np.concatenate(batches).tolist()) == [row for row in range(24) if row not in {0, 5}]
        assert [len(batch) for batch in batches] == sizes
    assert not np.array_equal(one[0], other[0])


def test_solver_is_gone_once_the_factors_are_solved_for(fresh: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold what it solves with as long as the run takes."""
    made: list[weakref.ref[LinearSolver]] = []

    def make(*arguments: Any) -> LinearSolver:
        solver = LinearSolver(*arguments)
        made.append(weakref.ref(solver))
        return solver

    monkeypatch.setattr(i3mrec, "LinearSolver", make)

    model = fresh()

    assert [solver() for solver in made] == [None]
    assert np.isfinite(model.embeddings().items).all()


def test_factors_are_not_learned_by_steps(fresh: MakeModel) -> None:
    """The items' factors and the linear map are solved for, once; the experts alone learn."""
    model = fresh()
    before = {name: value.detach().clone() for name, value in model.network.named_parameters()}

    steps(model)

    moved = {name for name, value in model.network.named_parameters() if not torch.equal(value, before[name])}
    assert {"items", "content.linear", "content.spread"} <= set(before) - moved
    assert {"content.trunk.0.weight", "content.mean.1.weight", "content.log_precision.0.bias"} <= moved


def test_features_of_new_items_do_not_shape_the_model(make_board: MakeBoard, fresh: MakeModel) -> None:
    """A new item's features enter neither standardisation, factors nor steps: with others, the rest is bit for bit."""
    one, other = (make_board(12, 10, new=[0]) for _ in range(2))
    for features in other.features.values():
        features.matrix[0] = 1e6 * features.present[0]
    models = fresh(one), fresh(other)

    for model in models:
        steps(model)

    tables = [model.embeddings() for model in models]
    assert one.present[0].any()
    assert not np.array_equal(tables[0].items[0], tables[1].items[0])
    assert np.array_equal(tables[0].items[1:], tables[1].items[1:])
    assert np.array_equal(tables[0].users, tables[1].users)
    assert np.array_equal(models[0].as_new()[1:], models[1].as_new()[1:])


def test_users_are_their_folded_in_histories(trained: Any) -> None:
    """The user table is what the manifest's rule makes of the training histories, one by one."""
    tables, data, rule = trained.model.embeddings(), trained.prepared.data, trained.model.history_rule

    for user, row in enumerate(tables.users):
        items = data.indices[data.indptr[user] : data.indptr[user + 1]]
        np.testing.assert_allclose(row, rule.encode(tables.history[items]), rtol=0, atol=1e-4)


def test_any_history_can_be_folded_in(trained: Any) -> None:
    """Users the model never saw are encoded by the same rule; the training histories give the user table."""
    model, data = trained.model, trained.prepared.data
    tables = model.embeddings()

    users = model.fold_in(np.array([0, 3, 3]), np.array([0, 13, 22], np.int32))

    np.testing.assert_allclose(users[0], model.history_rule.encode(tables.history[[0, 13, 22]]), rtol=0, atol=1e-4)
    assert not users[1].any()
    assert np.array_equal(model.fold_in(data.indptr, data.indices), tables.users)


def test_embeddings_of_other_features_see_what_is_missing_there(trained: Any) -> None:
    """With the modalities of a warm and of a new item gone, these two move; users stay as training made them.

    A bare new item is where the encoder places any bare item.
    """
    model, data = trained.model, trained.prepared.data
    keep = ~np.isin(np.arange(data.n_items), [0, 13])
    gone = {name: features.masked(keep) for name, features in data.features.items()}

    same, other = model.embeddings(data.features), model.embeddings(gone)

    present = trained.prepared.dataset.present
    nothing = np.flatnonzero(~present[:12].any(axis=1))
    assert present[[0, 13]].any(axis=1).all()
    assert np.array_equal((same.items != other.items).any(axis=1), ~keep)
    assert np.array_equal((same.history != other.history).any(axis=1), ~keep)
    assert np.array_equal(same.users, other.users)
    assert np.array_equal(model.embeddings().users, other.users)
    assert len(nothing)
    np.testing.assert_allclose(other.items[[0] * len(nothing)], other.items[nothing], rtol=1e-5, atol=1e-6)


def test_embeddings_of_its_own_features_are_nearly_its_own(trained: Any) -> None:
    """New items to the bit; a warm item is one half-step further, which the sweeps have brought nearly to rest."""
    model = trained.model
    own, again = model.embeddings(), model.embeddings(trained.prepared.data.features)

    assert np.array_equal(own.users, again.users)
    assert np.array_equal(own.items[:12], again.items[:12])
    cosines = (own.items * again.items).sum(axis=1) / np.prod(
        [np.linalg.norm(t.items, axis=1) for t in (own, again)], 0
    )
    assert cosines.min() > 0.99


def test_without_content_weight_clicks_alone_place_warm_items(make_board: MakeBoard, fresh: MakeModel) -> None:
    """The prior mean is then zero: whatever is missing, factors stay; with a weight they do not."""
    board = make_board(12, 10, new=[0], bare=[3])
    for weight in (0.0, 0.6):
        model = fresh(board, content_weight=weight)
        features = board.features
        nowhere = {name: modality.masked(np.zeros(10, bool)) for name, modality in features.items()}

        one, other = (model.embeddings(given).items[1:] for given in (features, nowhere))

        assert np.array_equal(one, other) == (weight == 0)


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


@pytest.mark.parametrize("penalty", ["variance", "gradient"])
@pytest.mark.parametrize("bare", [[], [3, 4, 5], range(10)])
def test_loss_is_finite_whatever_is_missing(
    make_board: MakeBoard, fresh: MakeModel, bare: list[int], penalty: str
) -> None:
    """Some items, or all of them, may lack every modality: terms, gradients and tables stay finite."""
    model = fresh(make_board(12, 10, bare=bare, missing=0.5), penalty=penalty, mixup=0.5, kl_weight=0.1)

    for batch in model.batches(np.random.default_rng(0)):
        terms = model.loss(batch, 0.5)
        torch.stack(list(terms.values())).sum().backward()

        assert list(terms) == ["risk", "environments", "invariance", "bottleneck"]
        assert all(math.isfinite(term.item()) for term in terms.values())
        assert terms["risk"].item() > 0
    gradients = [p.grad for p in model.network.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert all(np.isfinite(table).all() for table in model.embeddings())


def test_risk_is_the_squared_error_in_units_of_the_spread(make_board: MakeBoard, fresh: MakeModel) -> None:
    """Without any content and before any step 0 is predicted: the risk is the mean square of factors / their SD."""
    model = fresh(make_board(12, 10, bare=range(10)))
    batch = first_batch(model)
    items = model.embeddings().items

    terms = model.loss(batch, 1.0)

    assert terms["risk"].item() == pytest.approx(float(np.square(items[batch] / items.std()).mean()), rel=1e-5)
    assert terms["environments"].item() == terms["invariance"].item() == 0


@pytest.mark.parametrize("options", [{"penalty": "gradient"}, {"mixup": 0.5}, {"penalty": "gradient", "mixup": 0.5}])
def test_other_environments_and_penalties_train(
    make_board: MakeBoard, fresh: MakeModel, options: dict[str, Any]
) -> None:
    """IRMv1 and mixtures enter the loss, which stays finite and falls; with one modality or three."""
    for modalities in ({"text": 5}, {"audio": 3, "image": 4, "text": 5}):
        board = make_board(24, 20, modalities=modalities, missing=0.3, bare=[3])
        model = fresh(board, **options)

        losses = steps(model, 20)

        assert all(math.isfinite(loss) for loss in losses)
        assert losses[-1] < 0.8 * losses[0]
        assert all(np.isfinite(table).all() for table in model.embeddings())


@pytest.mark.parametrize(
    ("options", "changed"),
    [({"penalty": "gradient"}, {"invariance"}), ({"mixup": 0.5}, {"environments", "invariance"})],
)
def test_options_change_the_terms_they_are_about(fresh: MakeModel, options: dict[str, Any], changed: set[str]) -> None:
    """The penalty is another one; mixtures are environments beside the modalities alone."""
    plain, other = (fresh(**given).loss(np.arange(1, 10), 1.0) for given in ({}, options))

    assert {name for name in plain if plain[name].item() != other[name].item()} == changed


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

    complete, incomplete = (fresh(given, dropout=0.0).loss(np.arange(10), 1.0) for given in (board, lost))

    assert complete["invariance"].item() > 0
    assert incomplete["invariance"].item() == 0
    assert incomplete["environments"].item() == pytest.approx(complete["environments"].item(), rel=0.2)


def test_schedule_lets_bottleneck_and_invariance_in_slowly(fresh: MakeModel) -> None:
    """With warmup 0.2 they weigh nothing at the start, half after 10 % and all after 20 % of the epochs."""
    start, half, full, late = (
        model.loss(first_batch(model), progress)
        for model, progress in ((fresh(warmup=0.2, kl_weight=0.1), progress) for progress in (0.0, 0.1, 0.2, 0.9))
    )
    at_once = (model := fresh(warmup=0.0, kl_weight=0.1)).loss(first_batch(model), 0.0)

    for term in ("invariance", "bottleneck"):
        assert start[term].item() == 0
        assert half[term].item() == pytest.approx(full[term].item() / 2)
        assert full[term].item() == late[term].item() == at_once[term].item() > 0
    for term in ("risk", "environments"):
        assert start[term].item() == full[term].item() > 0


def test_weights_scale_their_terms(fresh: MakeModel) -> None:
    """Twice the weight is twice the term, and the risk is the same."""
    weights = {"environments": "environment_weight", "invariance": "invariance_weight", "bottleneck": "kl_weight"}
    models = fresh(**dict.fromkeys(weights.values(), 0.1)), fresh(**dict.fromkeys(weights.values(), 0.2))

    single, double = (model.loss(first_batch(model), 1.0) for model in models)

    assert double["risk"].item() == single["risk"].item()
    for term in weights:
        assert double[term].item() == pytest.approx(2 * single[term].item())


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


def test_item_with_nothing_present_has_the_prior_code(trained: Any) -> None:
    """White-box: half the spread times the intercept and the prior's mean, whatever the item."""
    encoder = trained.model.encoder()
    n_items = trained.prepared.dataset.n_items

    with torch.no_grad():
        _, code, _ = encoder(*features_of(trained.prepared.dataset), torch.zeros(n_items, 2, dtype=torch.bool))
        expected = 0.5 * encoder.spread * (encoder.linear[-1] + encoder.prior_mean)

    np.testing.assert_allclose(code, expected.expand(n_items, -1), rtol=1e-5, atol=1e-6)
    assert encoder.prior_mean.detach().any()


def test_user_without_training_interactions_has_a_zero_row(make_board: MakeBoard, fresh: MakeModel) -> None:
    """Nothing is known of the user; all others have a row, and everything is finite."""
    board = make_board(12, 10)
    kept = board.interactions.take(board.interactions.users != 5)

    tables = fresh(replace(board, interactions=kept)).embeddings()

    assert np.flatnonzero(~tables.users.any(axis=1)).tolist() == [5]
    assert all(np.isfinite(table).all() for table in tables)


def test_items_nobody_ever_touched_are_placed_by_content(make_board: MakeBoard, fresh: MakeModel) -> None:
    """Half of a catalogue may have no interactions in any part: it has the encoder's rows, and bends nothing else."""
    board = make_board(12, 10, missing=0.0)
    touched = replace(board, interactions=board.interactions.take(board.interactions.items >= 5))
    model = fresh(touched)

    steps(model)

    tables = model.embeddings()
    assert np.array_equal(tables.items[:5], model.as_new()[:5])
    assert tables.items[:5].any(axis=1).all()
    assert all(np.isfinite(table).all() for table in tables)
    assert {row for batch in model.batches(np.random.default_rng(0)) for row in batch.tolist()} == set(range(5, 10))


def test_single_interaction_is_enough(make_board: MakeBoard, fresh: MakeModel) -> None:
    """One user who likes one item: tables are finite, and that user alone has a row."""
    board = make_board(12, 10, bare=range(10))
    model = fresh(
        replace(board, interactions=board.interactions.take(np.flatnonzero(board.interactions.split == 0)[:1]))
    )

    steps(model)

    tables = model.embeddings()
    assert all(np.isfinite(table).all() for table in tables)
    assert np.count_nonzero(tables.users.any(axis=1)) == 1


def test_without_interactions_there_is_nothing_to_learn(make_board: MakeBoard) -> None:
    """Refused before anything is computed."""
    data = TrainingData(make_board(12, 10).features, np.zeros(13, np.int64), np.zeros(0, np.int32), 10)

    with pytest.raises(NothingToLearn, match="expected at least one training interaction, found none"):
        I3MRec(data, TrainConfig(d=4, hidden=4, device="cpu"), torch.device("cpu"))
