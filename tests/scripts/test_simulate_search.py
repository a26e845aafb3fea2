from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from scipy import stats

from bts_tune.config import TrialConfig, known_fields
from bts_tune.errors import ConfigError
from bts_tune.space import ResolvedSearch, load_space
from scripts import simulate_search
from scripts.simulate_search import Curve, Found, Surrogate, read_curves, replay, resolve, summarize

EPOCHS = 12

SPACE = """
name: space
description: Made-up curves.
defaults: {encoder_weights: none, epochs: 12}
seeds: [0]
trials:
  base:
    description: The baseline.
    baseline: true
    config: {learning_rate: 1.0e-5}
search:
  num_trials: 100
  parameters:
    learning_rate: {float: [1.0e-5, 1.0e-1], log: true}
    decoder: {choices: [unet, fpn]}
    optimizer: {choices: [adam, adamw]}
    weight_decay: {float: [1.0e-5, 1.0e-1], log: true, when: {optimizer: [adamw]}}
  searcher: {startup_trials: 8, seed: 0}
  scheduler: {grace_period: 1, reduction_factor: 3}
"""


def quality(config: TrialConfig) -> float:
    """A made-up Dice loss at the end of the training."""
    return 0.2 + 0.15 * abs(np.log10(config.learning_rate) + 3) + (0.1 if config.decoder == "fpn" else 0.0)


def curve(config: TrialConfig, trial: str, *, baseline: bool = False, seconds: float = 10.0) -> Curve:
    losses = quality(config) + 0.5 * np.exp(-np.arange(1, EPOCHS + 1) / 3)
    return Curve(trial, baseline, config, np.minimum.accumulate(losses), np.full(EPOCHS, seconds))


def write_run(folder: Path, curves: list[Curve]) -> None:
    """Write the two files as a run does, of which a replay reads some columns."""
    folder.mkdir(exist_ok=True)
    with (folder / "leaderboard.csv").open("w", newline="") as file:
        board = csv.writer(file)
        board.writerow(["rank", "trial", "status", "baseline", *known_fields()])
        for rank, one in enumerate(curves, start=1):
            fields = one.config.to_dict()
            board.writerow([rank, one.trial, "complete", one.baseline, *(fields.get(name) for name in known_fields())])
    with (folder / "epochs.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["trial", "epoch", "val_dice_loss", "seconds"])
        for one in curves:
            for epoch, (loss, seconds) in enumerate(zip(one.best, one.seconds, strict=True), start=1):
                table.writerow([one.trial, epoch, loss, seconds])


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> ResolvedSearch:
    path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text(SPACE)
    resolved = load_space(str(path)).resolve().search
    assert resolved is not None
    return resolved


@pytest.fixture(scope="module")
def curves(search: ResolvedSearch) -> list[Curve]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=5))
    configs = [search.sample(study.ask()) for _ in range(80)]
    named = curve(
        search.sample(optuna.trial.FixedTrial({"learning_rate": 1e-5, "decoder": "unet", "optimizer": "adam"})),
        "base",
        baseline=True,
    )
    return [named, *(curve(config, f"search-{number:04d}") for number, config in enumerate(configs, start=1))]


def test_what_a_run_writes_is_read_back(tmp_path: Path, curves: list[Curve]) -> None:
    tversky = curves[1].config.replaced({"loss": "tversky", "tversky_alpha": 0.7})
    curves = [*curves, curve(tversky, "parameters-of-a-loss")]
    write_run(tmp_path, curves)
    read = read_curves(tmp_path)
    assert [(one.trial, one.baseline, one.config) for one in read] == [(o.trial, o.baseline, o.config) for o in curves]
    for one, expected in zip(read, curves, strict=True):
        np.testing.assert_allclose(one.best, expected.best)
        np.testing.assert_allclose(one.seconds, expected.seconds)


def test_a_published_table_is_read() -> None:
    """The reader knows the columns that a run really writes."""
    reference = Path(__file__).parents[2] / "results" / "reference"
    folder_files = {name: reference / f"unet-b0-lite0-128px-10epochs-{name}.csv" for name in ("epochs", "leaderboard")}
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for name, file in folder_files.items():
            (Path(folder) / f"{name}.csv").write_bytes(file.read_bytes())
        (one,) = read_curves(Path(folder))
    assert (one.trial, one.baseline, len(one.best), one.config.image_size) == ("unet-b0", True, 10, 128)
    assert one.best[-1] == pytest.approx(0.24079966472)
    assert (np.diff(one.best) <= 0).all()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda board, epochs: (board, epochs[:-1]), "must have epochs 1 to 12, once each"),
        (lambda board, epochs: ([board[0]], epochs), "no trial is complete"),
        (lambda board, epochs: ([[c for c in row if c != "status"] for row in board], epochs), "has no column status"),
        (lambda board, epochs: (board, [*epochs[:-1], [*epochs[-1][:2], "nan", "1"]]), "must be finite"),
        (lambda board, epochs: (board, [*epochs[:-1], [*epochs[-1][:2], "low", "1"]]), "line 973"),
        (lambda board, epochs: ([*board[:-1], ["81x" if c == "12" else c for c in board[-1]]], epochs), "epochs: "),
    ],
)
def test_what_cannot_be_replayed_is_refused_with_a_sentence(
    damage: Any, sentence: str, tmp_path: Path, curves: list[Curve]
) -> None:
    write_run(tmp_path, curves)
    files = [tmp_path / "leaderboard.csv", tmp_path / "epochs.csv"]
    tables = [list(csv.reader(file.open(newline=""))) for file in files]
    for file, table in zip(files, damage(*tables), strict=True):
        with file.open("w", newline="") as opened:
            csv.writer(opened).writerows(table)
    with pytest.raises(ConfigError, match=sentence):
        read_curves(tmp_path)


def test_configurations_that_were_not_recorded_are_ranked_as_they_are(
    search: ResolvedSearch, curves: list[Curve]
) -> None:
    surrogate = Surrogate(curves, search)
    assert surrogate.r2 > 0.7
    assert surrogate.rank_correlation > 0.85
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=99))
    configs = [search.sample(study.ask()) for _ in range(60)]
    rng = np.random.default_rng(0)
    drawn = [float(np.mean([surrogate.curve(config, rng).best[-1] for _ in range(5)])) for config in configs]
    assert stats.spearmanr(drawn, [quality(config) for config in configs]).statistic > 0.8


def test_trials_of_one_configuration_differ_as_seeds_do(search: ResolvedSearch, curves: list[Curve]) -> None:
    noise = np.random.default_rng(1)
    noisy = [replace(one, best=np.clip(one.best + 0.1 * noise.standard_normal(), 0, 1)) for one in curves]
    rng = np.random.default_rng(0)

    def spread(surrogate: Surrogate) -> float:
        return float(np.std([surrogate.curve(curves[5].config, rng).best[-1] for _ in range(100)]))

    assert 0.05 < spread(Surrogate(noisy, search)) < 0.2
    assert spread(Surrogate(curves, search)) < 0.05


def test_curves_fall_within_zero_and_one_and_take_the_recorded_time(
    search: ResolvedSearch, curves: list[Curve]
) -> None:
    surrogate = Surrogate(curves, search)
    rng = np.random.default_rng(0)
    for one in curves[:20]:
        drawn = surrogate.curve(one.config, rng)
        assert (np.diff(drawn.best) <= 0).all()
        assert ((drawn.best >= 0) & (drawn.best <= 1)).all()
        np.testing.assert_allclose(drawn.seconds, 10)


def test_too_few_curves_are_refused(search: ResolvedSearch, curves: list[Curve]) -> None:
    with pytest.raises(ConfigError, match="12 recorded configurations lie in this space, and a surrogate needs 20"):
        Surrogate(curves[:12], search)


def test_random_search_pays_the_full_budget_of_every_trial(search: ResolvedSearch, curves: list[Curve]) -> None:
    surrogate = Surrogate(curves, search)
    found = replay(surrogate, search, "random", concurrent=1, replay_seed=0, max_trials=2000)
    assert found.reached
    assert (found.trials - 1) * EPOCHS < found.epochs <= found.trials * EPOCHS
    assert found.seconds == pytest.approx(found.epochs * 10)


def test_several_trials_at_a_time_take_less_time_for_their_epochs(search: ResolvedSearch, curves: list[Curve]) -> None:
    found = replay(Surrogate(curves, search), search, "random", concurrent=4, replay_seed=0, max_trials=2000)
    assert found.epochs * 10 / 4 <= found.seconds <= found.epochs * 10 / 4 + 10


def test_a_search_that_never_gets_there_says_so(search: ResolvedSearch, curves: list[Curve]) -> None:
    best = min(curves, key=lambda one: one.best[-1])
    # The best is out of reach: a baseline outside the space, which no suggestion leads to.
    outside = Curve("outside", False, best.config.replaced({"learning_rate": 0.5}), best.best / 2, best.seconds)
    found = replay(Surrogate([*curves, outside], search), search, "asha", concurrent=2, replay_seed=0, max_trials=9)
    assert (found.reached, found.trials) == (False, 9)


def test_early_stopping_and_learning_pay_on_curves_that_can_be_learnt(
    search: ResolvedSearch, curves: list[Curve]
) -> None:
    surrogate = Surrogate(curves, search)

    def median(method: str) -> float:
        found = [replay(surrogate, search, method, concurrent=2, replay_seed=s, max_trials=2000) for s in range(5)]
        assert all(one.reached for one in found)
        return summarize(found, method, search, 2).epochs_median

    random, asha, both = median("random"), median("asha"), median("asha+tpe")
    assert asha < 0.6 * random
    assert both < asha


def test_a_replay_follows_from_its_seed(search: ResolvedSearch, curves: list[Curve]) -> None:
    surrogate = Surrogate(curves, search)
    found: list[list[Found]] = [
        [replay(surrogate, search, "default", concurrent=3, replay_seed=s, max_trials=60) for s in (1, 2)] for _ in "ab"
    ]
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]


def test_the_shipped_settings_are_replayed_at_the_length_of_the_curves(curves: list[Curve], tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    search = resolve(curves, str(tmp_path / "space.yaml"), "extended")
    shipped = load_space("extended").resolve(overrides={"epochs": EPOCHS}).search
    assert shipped is not None
    assert (search.grace_period, search.startup_trials) == (shipped.grace_period, shipped.startup_trials)
    assert search.epochs == EPOCHS
    assert "learning_rate" in search.parameters
    alike = [one for one in curves if one.config.decoder == "unet"]
    assert "decoder" not in resolve(alike, str(tmp_path / "space.yaml"), "extended").parameters


def test_the_command_compares_methods_and_settings(
    curves: list[Curve], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "curves", curves)
    (tmp_path / "curves" / "space.yaml").write_text(SPACE)
    options = ["--replays", "3", "--workers", "2", "--concurrent", "2", "--json"]
    grid = ["--grid", "grace_period=1,3", "--grid", "concurrent=1,2"]
    assert simulate_search.main([str(tmp_path / "curves"), "--methods", "random", "default", *options, *grid]) == 0
    result = json.loads(capsys.readouterr().out)
    rows = result["methods"]
    assert {(row["grace_period"], row["concurrent"]) for row in rows if row["method"] == "default"} >= {
        (1, 1),
        (1, 2),
        (3, 1),
        (3, 2),
    }
    assert all(row["ratio_to_random"] > 0 for row in rows)
    assert all(row["epochs_lower_quartile"] <= row["epochs_median"] <= row["epochs_upper_quartile"] for row in rows)
    assert simulate_search.main([str(tmp_path / "curves"), "--grid", "grace=1"]) == 2
    assert "--grid 'grace=1'" in capsys.readouterr().err
