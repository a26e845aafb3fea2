"""Runs that cross-validate: `--folds`."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from bts_tune.cli.main import main
from bts_tune.data.splits.split import read_folds, read_split
from bts_tune.experiment.planning.plan import plan_search
from bts_tune.results.ranking.configurations import configurations
from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.results.record.scores import read_scores
from bts_tune.space import load_space
from tests.experiment.conftest import PATIENT, Command


def test_every_named_trial_is_planned_once_a_fold_and_a_seed(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {"run": "run"})
    space = load_space("baseline").resolve(only=["unet-b0", "unetplusplus-b5"], seeds=[0, 1])
    plan = plan_search(folder, space, folds=2)
    assert [(one.trial, one.fold) for one in plan.fixed] == [
        (f"{name}-seed{seed}-fold{fold}", fold)
        for fold in (1, 2)
        for name in ("unet-b0", "unetplusplus-b5")
        for seed in (0, 1)
    ]
    assert plan_search(folder, space, folds=2) == plan
    assert {one.name for one in folder.trials()} == {"unet-b0", "unetplusplus-b5"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--space", "extended", "--folds", "3"], "cannot go with a search"),
        (["--space", "baseline", "--folds", "3", "--final-seeds", "2"], "a final stage cannot go with folds"),
        (["--space", "baseline", "--folds", "1"], "--folds: input should be greater than or equal to 2"),
        (["--resume", "x", "--folds", "3"], "--folds cannot go with --resume"),
    ],
)
def test_what_folds_cannot_go_with(capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_more_folds_than_groups_are_refused(capsys: pytest.CaptureFixture[str], small_data: Path) -> None:
    arguments = ["--space", "baseline", "--data", str(small_data), "--folds", "99", "--set", "encoder_weights=none"]
    assert main([*arguments, "--dry-run"]) == 2
    assert "--folds 99: must be from 2 to" in capsys.readouterr().err


def test_a_dry_run_counts_the_folds(capsys: pytest.CaptureFixture[str], small_data: Path) -> None:
    options = ["--split", "grouped", "--group-by", PATIENT, "--epochs", "2"]
    assert (
        main(["--space", "baseline", "--data", str(small_data), "--folds", "3", "--dry-run", "--no-timing", *options])
        == 0
    )
    output = capsys.readouterr().out
    assert "Cross-validation: 3 folds" in output
    assert "Cost: 9 trials, 18 epochs of " in output


@pytest.mark.slow
def test_a_cross_validation(command: Command, space_file: Callable[..., Path]) -> None:
    options = ("--split", "grouped", "--group-by", PATIENT, "--folds", "2")
    code, _, errors = command(*command.run_arguments(space_file(epochs=1), "folds", *options), timeout=400)
    assert code == 0, errors
    folder = command.record("folds")
    trials = folder.trials()
    assert [(one.trial, one.fold, one.status) for one in trials] == [
        (f"{name}-fold{fold}", fold, "complete") for fold in (1, 2) for name in ("plain", "frozen")
    ]
    folds, splits = read_folds(folder.split_file), read_split(folder.split_file)
    assert set(folds) == {name for name, split in splits.items() if split != "test"}
    tested = {name for name, split in splits.items() if split == "test"}
    for one in trials:
        scores = read_scores(folder.scores_file(one.trial))
        assert {*scores.splits["valid"].names} == {name for name, fold in folds.items() if fold == one.fold}
        assert {*scores.splits["test"].names} == tested
        assert one.test
    assert [len(one.trials) for one in configurations(trials)] == [2, 2]
    kept = {one.best.trial for one in configurations(trials)}
    assert {path.name for path in (folder.path / "models").iterdir()} == kept

    code, _, errors = command("--resume", "folds", "--no-dashboard")
    assert code == 0, errors
    code, _, errors = command("final", "folds")
    assert code == 2
    assert "a final stage cannot go with folds" in errors
    with folder.split_file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    moved = {"1": "2", "2": "1", "": ""}
    lines = [f"{row['file']},{row['split']},{row['group']},{moved[row['fold']]}\n" for row in rows]
    write_atomically(folder.split_file, "file,split,group,fold\n" + "".join(lines))
    code, _, errors = command("--resume", "folds", "--no-dashboard")
    assert code == 2
    assert "the folds are no longer what run folds began with" in errors
