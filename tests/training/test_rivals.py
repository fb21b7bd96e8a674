"""What every published rival promises as a preset: one suite for all of them, on a board whose answers are known."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_store import LeastSquaresRule, ModelStore
from training.calibration import new_item_gain
from training.commands import main
from training.config import TrainConfig
from training.dataset import Dataset
from training.loop import train
from training.metrics import ranking_metrics
from training.models import DEFAULTS, PRESETS, Model, configure
from training.prepared import Prepared, prepare_data
from training.writing import write_dataset

RIVALS = sorted(set(PRESETS) - {"i3mrec"})
COMMUNITIES = 4
NEW = range(12)  # three items of each community
BARE = range(20, 24)  # one item of each community
SMALL = {"d": 16, "lr": 0.02, "batch_pairs": 64, "epochs": 20, "evaluate_every": 20, "device": "cpu"}

MakeBoard = Callable[..., Dataset]
Trained = tuple[Model, Prepared, list[float]]

every_rival = pytest.mark.parametrize("preset", RIVALS)


def build(preset: str, dataset: Dataset, **options: Any) -> tuple[Model, Prepared, TrainConfig]:
    """An untrained model of a board."""
    config = configure(preset, **(SMALL | options))
    prepared = prepare_data(dataset, 0)
    return PRESETS[preset](prepared.data, config, torch.device("cpu")), prepared, config


def fit(preset: str, dataset: Dataset, **options: Any) -> Trained:
    """A trained model, its data and the mean loss of each epoch."""
    model, prepared, config = build(preset, dataset, **options)
    outcome = train(model, prepared.split, config, lambda _: None)
    return model, prepared, [progress.loss for progress in outcome.history]


@pytest.fixture(scope="module")
def board(make_board: MakeBoard) -> Dataset:
    """New, bare and incomplete items."""
    return make_board(communities=COMMUNITIES, new=NEW, bare=BARE, missing=0.3)


@pytest.fixture(scope="module", params=RIVALS)
def trained(request: pytest.FixtureRequest, board: Dataset) -> Trained:
    """Each rival, trained once; tests leave it as it is."""
    return fit(request.param, board)


def encode(model: Model, dataset: Dataset, present: NDArray[np.bool_], absent: float = 0.0) -> list[Tensor]:
    """What the encoder gives; absent rows hold ``absent``."""
    mask = torch.from_numpy(present)
    matrices = [torch.from_numpy(features.matrix) for features in dataset.features.values()]
    shown = [torch.where(mask[:, m : m + 1], matrix, absent) for m, matrix in enumerate(matrices)]
    with torch.no_grad():
        return list(model.encoder()(*shown, mask))


def favoured_community(users: NDArray[np.float32], items: NDArray[np.float32]) -> NDArray[np.int64]:
    """Per item the community whose users score it highest on average, against the item's usual score."""
    profiles = np.stack([users[community::COMMUNITIES].mean(axis=0) for community in range(COMMUNITIES)])
    return (profiles @ items.T).argmax(axis=0)


def test_every_preset_has_defaults() -> None:
    """The registry and the defaults name the same presets, and each default can be meant."""
    assert set(DEFAULTS) == set(PRESETS)
    for preset in PRESETS:
        assert configure(preset).preset == preset


def test_given_options_beat_the_presets_own() -> None:
    """The preset's default, unless the caller has another wish; the rest is what it is everywhere."""
    assert (configure("milk").lr, configure("milk").d) == (1e-3, 64)
    assert configure("milk", lr=0.5).lr == 0.5
    assert configure("milk").seed == TrainConfig().seed
    assert configure() == TrainConfig()


def test_loss_falls(trained: Trained) -> None:
    """Training lowers what it minimises, clearly."""
    losses = trained[2]

    assert losses[-1] < 0.7 * losses[0]


def test_withheld_item_is_found(trained: Trained) -> None:
    """Among 20 warm items that a user has not got, the one withheld is among the first three; by chance 1 in 7."""
    model, prepared, _ = trained
    tables, warm = model.embeddings(), np.flatnonzero(prepared.data.popularity())

    result = ranking_metrics(tables.users, tables.items, prepared.split.test, prepared.split.train, (3,), warm)

    assert result.mean()["users"] >= 30
    assert result.mean()["recall@3"] > 0.8


def test_new_items_land_with_their_community(trained: Trained) -> None:
    """Placed by content alone, new items are favoured by their own users; chance is one in four."""
    model, prepared, _ = trained
    tables = model.embeddings()
    placed = [row for row in NEW if prepared.dataset.present[row].any()]

    favoured = favoured_community(tables.users, tables.items)[placed]

    assert len(placed) >= 8
    assert np.mean(favoured == np.array(placed) % COMMUNITIES) > 0.8


def test_tables_are_finite_and_users_exist_as_rows_alone(trained: Trained) -> None:
    """Shapes and types as promised, no history side."""
    model = trained[0]
    tables = model.embeddings()

    assert (tables.users.shape, tables.items.shape) == ((60, tables.items.shape[1]), (40, tables.users.shape[1]))
    assert tables.users.dtype == tables.items.dtype == np.float32
    assert np.isfinite(tables.users).all()
    assert np.isfinite(tables.items).all()
    assert tables.history is None
    assert model.history_rule is None


def test_new_items_are_where_the_encoder_places_them(trained: Trained) -> None:
    """The table's new rows, ``as_new`` and the encoder agree."""
    model, prepared, _ = trained

    embedding, confidence = encode(model, prepared.dataset, prepared.dataset.present)

    np.testing.assert_allclose(model.embeddings().items[:12], embedding[:12], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.as_new(), embedding, rtol=1e-4, atol=1e-6)
    assert confidence.tolist() == pytest.approx(prepared.dataset.present.mean(axis=1).tolist())


@pytest.mark.parametrize("garbage", [math.nan, math.inf, 3e38, -3e38])
def test_contents_of_an_absent_row_change_no_bit(trained: Trained, garbage: float) -> None:
    """Embedding and confidence are the same whatever stands where a modality is absent, and finite."""
    model, prepared, _ = trained
    present = prepared.dataset.present

    clean, dirty = encode(model, prepared.dataset, present), encode(model, prepared.dataset, present, garbage)

    assert all(torch.isfinite(output).all() for output in clean)
    assert all(torch.equal(one, other) for one, other in zip(clean, dirty, strict=True))


@every_rival
def test_preset_is_trained_and_published_by_command(preset: str, board: Dataset, tmp_path: Path) -> None:
    """From a directory to a promoted bundle: the export's own check (torch, absent rows) accepts the encoder.

    What is not given as a flag is the preset's own default.
    """
    write_dataset(tmp_path / "data", board)
    flags = ["--preset", preset, "--data", tmp_path / "data", "--store", tmp_path / "store", "--promote"]
    short = ["--epochs", "2", "--evaluate-every", "1", "--batch-pairs", "64", "--device", "cpu"]

    status = main(["train", *map(str, flags), *short])

    bundle = ModelStore(tmp_path / "store").load()
    assert status == 0
    assert bundle.manifest.preset == preset
    assert isinstance(bundle.manifest.history, LeastSquaresRule)
    assert bundle.manifest.d == 64
    assert (bundle.manifest.training["lr"], bundle.manifest.training["epochs"]) == (1e-3, 2)


@every_rival
def test_users_who_were_never_trained_are_published_as_nobody(
    preset: str, make_board: MakeBoard, tmp_path: Path
) -> None:
    """What their rows began as says nothing; a zero row gets the popular list. By all their history they are known."""
    board = make_board(communities=2, validation=True)
    write_dataset(tmp_path / "data", board)
    lines = (tmp_path / "data" / "interactions.tsv").read_text(encoding="utf-8").splitlines()
    header = lines[0].split("\t")
    cells = dict(zip(header, lines[1].split("\t"), strict=True)) | {"user": "late", "split": "test"}
    lines.append("\t".join(cells[name] for name in header))
    (tmp_path / "data" / "interactions.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    short = ["--epochs", "1", "--evaluate-every", "1", "--batch-pairs", "64", "--device", "cpu"]

    norms = {}
    for history in ("train", "all"):
        store = tmp_path / history
        flags = ["--preset", preset, "--data", tmp_path / "data", "--store", store, "--promote", "--history", history]
        assert main(["train", *map(str, flags), *short]) == 0
        bundle = ModelStore(store).load()
        norms[history] = np.linalg.norm(bundle.user_embeddings, axis=1)
        late = bundle.users.row("late")
        assert (np.delete(norms[history], late) > 0).all()

    assert norms["train"][late] == 0
    assert norms["all"][late] > 0


def test_folded_in_users_find_what_trained_ones_find(trained: Trained) -> None:
    """A user placed by the history alone still has the withheld item among the first three."""
    model, prepared, _ = trained
    warm = np.flatnonzero(prepared.data.popularity())

    users = model.fold_in(prepared.data.indptr, prepared.data.indices)

    items = model.embeddings().items
    result = ranking_metrics(users, items, prepared.split.test, prepared.split.train, (3,), warm)
    assert result.mean()["recall@3"] > 0.8


def test_other_features_move_what_is_computed_from_content(trained: Trained) -> None:
    """Given its own features a model has its own tables; without an image items stand elsewhere."""
    model, prepared, _ = trained
    features = prepared.dataset.features
    blind = {**features, "image": features["image"].masked(np.zeros(40, bool))}

    same, other = model.embeddings(features), model.embeddings(blind)

    assert np.array_equal(same.items, model.embeddings().items)
    assert np.array_equal(same.users, model.embeddings().users)
    changed = features["image"].present
    assert (same.items[changed] != other.items[changed]).any(axis=1).all()


@every_rival
def test_calibration_scales_new_items_alone(preset: str, board: Dataset) -> None:
    """Gain 3 triples new items, ``as_new`` and the encoder; warm items and users stay bit for bit."""
    model, prepared, _ = build(preset, board)
    before, as_new = model.embeddings(), model.as_new()

    model.calibrate(3.0)

    after = model.embeddings()
    np.testing.assert_allclose(after.items[:12], 3 * before.items[:12], rtol=1e-6)
    np.testing.assert_allclose(model.as_new(), 3 * as_new, rtol=1e-6)
    np.testing.assert_allclose(encode(model, board, board.present)[0], 3 * as_new, rtol=1e-5, atol=1e-6)
    assert np.array_equal(after.items[12:], before.items[12:])
    assert np.array_equal(after.users, before.users)
    assert new_item_gain(before.items, as_new, prepared.data.popularity() > 0) > 0


@every_rival
def test_same_seed_gives_the_same_model(preset: str, board: Dataset) -> None:
    """Two runs of one seed agree to the bit, another seed differs, and torch's own generator is left alone."""
    before = torch.random.get_rng_state()

    one, same, other = (fit(preset, board, epochs=3, seed=seed)[0].embeddings() for seed in (5, 5, 6))

    assert np.array_equal(one.users, same.users)
    assert np.array_equal(one.items, same.items)
    assert not np.array_equal(one.items, other.items)
    assert torch.equal(torch.random.get_rng_state(), before)


@every_rival
def test_new_items_shape_nothing(preset: str, make_board: MakeBoard) -> None:
    """Whatever their features are, warm items and users become the same bit for bit; they are never negatives."""
    one, other = (make_board(24, 20, new=[0, 1], missing=0.2) for _ in range(2))
    for features in other.features.values():
        features.matrix[:2] = 100 * features.present[:2, None]

    models = [fit(preset, board, epochs=6)[0] for board in (one, other)]

    tables = [model.embeddings() for model in models]
    assert np.array_equal(tables[0].users, tables[1].users)
    assert np.array_equal(tables[0].items[2:], tables[1].items[2:])
    batches = list(models[0].batches(np.random.default_rng(0)))
    assert not {0, 1} & {int(row) for batch in batches for row in batch.negatives}


@every_rival
@pytest.mark.parametrize("modalities", [{"text": 5}, {"audio": 3, "image": 4, "text": 5}])
def test_any_number_of_modalities_will_do(preset: str, make_board: MakeBoard, modalities: dict[str, int]) -> None:
    """One or three: every term and gradient is finite, and it learns."""
    model, _, losses = fit(preset, make_board(24, 20, modalities=modalities, missing=0.3, bare=[3]), epochs=6)

    batch = next(iter(model.batches(np.random.default_rng(0))))
    torch.stack(list(model.loss(batch, 0.5).values())).sum().backward()

    assert losses[-1] < losses[0]
    gradients = [p.grad for p in model.network.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@every_rival
def test_nothing_is_there_at_all(preset: str, make_board: MakeBoard) -> None:
    """Without any content, losses and tables stay finite and all new items are alike."""
    model, _, losses = fit(preset, make_board(24, 20, new=[0, 1], bare=range(20)), epochs=3)

    assert all(math.isfinite(loss) for loss in losses)
    items = model.embeddings().items
    assert np.isfinite(items).all()
    assert np.array_equal(items[0], items[1])


@every_rival
def test_loss_leaves_the_network_as_it_is(preset: str, board: Dataset) -> None:
    """Asking for the loss changes no parameter and no statistic; only the optimiser does."""
    model, _, _ = build(preset, board)
    batch = next(iter(model.batches(np.random.default_rng(0))))
    before = {name: value.clone() for name, value in model.network.named_parameters()}

    model.loss(batch, 0.0)

    assert all(torch.equal(value, before[name]) for name, value in model.network.named_parameters())
