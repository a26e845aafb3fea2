"""Whole runs: real Ray, real files, real signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bts_tune.config import PreprocessingPart, TrialConfig
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.prepare import prepare
from bts_tune.models.weights import EncoderWeights
from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.results.record.scores import pooled_dice_loss, read_scores
from bts_tune.testing.runs import make_baselines, make_run, write_run
from bts_tune.training.loop import open_trial, rows
from bts_tune.training.trial import TrialSetup
from tests.experiment.conftest import Command, Finished, write_space
from tests.results.record.test_run_folder import held_by_another_process

TIMINGS = {"seconds", "train_seconds", "images_per_second", "time", "trial"}


def figures(record_rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what depends on the clock."""
    return [{name: value for name, value in row.items() if name not in TIMINGS} for row in record_rows]


def wait_for_rows(folder: Path, count: int, process: subprocess.Popen[Any], timeout: float = 300) -> None:
    """Wait until the run has recorded this many rows."""
    deadline = time.monotonic() + timeout
    file = folder / "rows.jsonl"
    while time.monotonic() < deadline:
        if file.exists() and file.read_bytes().count(b"\n") >= count:
            return
        if process.poll() is not None:
            pytest.fail(f"the run ended early: {process.communicate()}")
        time.sleep(0.05)
    pytest.fail(f"no {count} rows in {timeout} s")


@pytest.fixture(scope="module")
def one(made_once: Callable[[str, Callable[[Path], None]], Path], small_data: Path, cache: Path) -> Finished:
    """A run of two trials."""

    def make(folder: Path) -> None:
        command = Command(folder, small_data, cache)
        # An empty folder, as an earlier version left one, does not block a name.
        (folder / "results" / "one").mkdir(parents=True)
        code, output, errors = command(*command.run_arguments(write_space(folder), "one", "--concurrent", "1"))
        assert code == 0, errors
        (folder / "output").write_text(output)
        (folder / "errors").write_text(errors)

    folder = made_once("one", make)
    run = RunFolder.open(folder / "results" / "one")
    return Finished(run, (folder / "output").read_text(), (folder / "errors").read_text())


def serial_figures(trial: TrialRecord, data: Path, cache: Path) -> list[dict[str, Any]]:
    """What the training loop alone makes of a trial's configuration, with as many threads."""
    config = TrialConfig.parse(trial.config)
    prepared = prepare(open_dataset(data), config.part(PreprocessingPart), cache=cache)
    threads = trial.started["torch_threads"]
    opened = open_trial(config, prepared, TrialSetup(EncoderWeights(config.encoder), device="cpu", threads=threads))
    found = [row.to_dict() for row in rows(opened)]
    opened.close()
    return figures(found)


def test_a_run_records_reports_and_equals_the_serial_loop(
    one: Finished, command: Command, space_file: Callable[..., Path], small_data: Path, cache: Path
) -> None:
    folder, output = command.copy_of(one.folder), one.output
    assert one.errors == ""
    trials = folder.trials()
    assert [(t.trial, t.status, len(t.rows)) for t in trials] == [("plain", "complete", 2), ("frozen", "complete", 2)]
    assert trials[1].started["trainable_parameters"] < trials[0].started["trainable_parameters"]
    assert all(t.test for t in trials)

    for trial in trials:
        assert figures(trial.rows) == serial_figures(trial, small_data, cache)

    run = folder.read_run()
    assert run["status"] == "complete"
    assert run["profile"] == "data"
    assert run["dataset"]["fingerprint"]
    assert run["versions"]["ray"]
    board = pd.read_csv(folder.path / "leaderboard.csv")
    assert list(board["rank"]) == [1, 2]
    assert "DEMO" not in (folder.path / "report.md").read_text()
    for trial in trials:
        assert (folder.model_folder(trial.trial) / "model.safetensors").is_file()
        scores = read_scores(folder.scores_file(trial.trial))
        assert trial.best_row is not None
        assert scores.epoch == trial.best_row["epoch"]
        for split, expected in (("valid", trial.best_row["val_dice_loss"]), ("test", trial.test["test_dice_loss"])):
            assert pooled_dice_loss(scores.splits[split].sums.sum(axis=0)) == pytest.approx(expected, abs=1e-9)
        assert not (folder.model_folder(trial.trial) / "last.pt").exists()
    assert list((folder.path / "tensorboard" / "plain").glob("events.out*"))
    assert "results/one/report.md" in output
    assert output.count("results/one/report.html") == 2  # from the start, and at the end
    assert output.index("made anew every few minutes: ") < output.index("epoch 1/2")
    page = (folder.path / "report.html").read_text()
    assert "of resamples" in page
    assert "data-live=" not in page.split("<script>")[0]
    assert "bts-tune predict results/one" in output

    image = next(small_data.glob("test/*.png"))
    code, output, errors = command.here("predict", "one", image, "--out", "masks")
    assert (code, errors) == (0, "")
    assert (command.folder / "masks" / f"{image.stem}_mask.png").is_file()
    code, output, errors = command.here("report", "one")
    assert (code, errors) == (0, "")
    assert "plain" in output

    code, _, errors = command.here(*command.run_arguments(space_file(), "one"))
    assert code == 2
    assert "exists already" in errors


def test_a_search_by_another_metric_stops_trials_early_and_never_a_baseline(
    command: Command, space_file: Callable[..., Path]
) -> None:
    # A baseline that cannot learn: a plain ASHA would stop it at its first rung.
    hopeless = """
  hopeless:
    description: It never moves.
    baseline: true
    config: {decoder: unet, learning_rate: 1.0e-9}
"""
    space = space_file(epochs=4, search=True, extra="objective: iou\n")
    space.write_text(space.read_text().replace("search:\n  num_trials: 4", f"{hopeless}\nsearch:\n  num_trials: 5"))
    options = ("--concurrent", "1", "--set", "batch_norm_momentum=0.2")
    code, output, errors = command.here(*command.run_arguments(space, "search", *options))
    assert code == 0, errors
    folder = command.record("search")
    trials = folder.trials()
    assert [t.status for t in trials if t.baseline] == ["complete"] * 3
    searched = [t for t in trials if not t.baseline]
    assert [t.trial for t in searched] == [f"search-{n:04d}" for n in range(1, 6)]
    stopped = [t for t in searched if t.status == "stopped"]
    assert stopped, "no trial was stopped early"
    assert all(len(t.rows) < 4 and t.reason.startswith(("behind", "no prospect")) for t in stopped)
    assert len({t.config_id for t in searched}) == len(searched)

    assert "ranked by IoU" in " ".join(output.split())
    assert folder.read_run()["objective"]["metric"] == "iou"
    for record in trials:
        assert record.config["objective"] == "iou"
        assert record.best_row is not None
        assert record.best_row["val_iou"] == max(row["val_iou"] for row in record.rows)
        assert record.best_row["val_iou"] == record.rows[-1]["best_val_iou"]
    kept = {path.name for path in (folder.path / "models").iterdir()}
    best = max((t for t in trials if t.full_budget), key=lambda t: t.best_row["val_iou"])  # type: ignore[index]
    assert kept == {"plain", "frozen", "hopeless", best.trial}
    board = pd.read_csv(folder.path / "leaderboard.csv")
    assert board.loc[board["status"] != "complete", "rank"].isna().all()
    assert board.loc[board["rank"].notna(), "val_iou"].is_monotonic_decreasing
    assert "ordered by IoU, then Dice loss" in (folder.path / "report.md").read_text(encoding="utf-8")

    # A run by another metric is not ranked beside it.
    other = write_run(command.folder / "results" / "dice", make_baselines(epochs=2), make_run())
    code, output, _ = command.here("compare", folder.path, other.path)
    assert "different objectives (IoU; Dice loss)" in " ".join(output.split())


def priority_of_the_trial(folder: RunFolder) -> tuple[int, bool]:
    """The nice value of the process of the first trial, and whether its threads wait without work for the processor."""
    pid = folder.trials()[0].started["pid"]
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return os.getpriority(os.PRIO_PROCESS, pid), b"OMP_WAIT_POLICY=passive" in variables


def test_ctrl_c_reports_what_there_is_and_resume_finishes_it(
    command: Command, space_file: Callable[..., Path], small_data: Path, cache: Path
) -> None:
    epochs = list(range(1, 13))
    arguments = command.run_arguments(space_file(epochs=len(epochs)), "cut", "--concurrent", "1")
    process = command.start(*arguments)
    wait_for_rows(command.folder / "results" / "cut", 1, process)
    assert priority_of_the_trial(command.record("cut")) == (os.getpriority(os.PRIO_PROCESS, process.pid), True)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert "bts-tune --resume results/cut" in output
    folder = command.record("cut")
    assert folder.read_run()["status"] == "interrupted"
    assert "PARTIAL" in (folder.path / "report.md").read_text()
    assert folder.trials()[0].status == "interrupted"

    code, output, errors = command.here("--resume", "cut", "--no-dashboard")
    assert code == 0, errors
    assert folder.read_run()["status"] == "complete"
    assert [[row["epoch"] for row in t.rows] for t in folder.trials()] == [epochs] * 2
    lines = [json.loads(line) for line in folder.rows_file.read_text().splitlines()]
    assert len(lines) == 2 * len(epochs), "an epoch was recorded twice"
    assert [figures(t.rows) for t in folder.trials()] == [
        serial_figures(trial, small_data, cache) for trial in folder.trials()
    ]


@pytest.mark.slow
def test_a_killed_run_is_resumed(command: Command, space_file: Callable[..., Path]) -> None:
    process = command.start(*command.run_arguments(space_file(epochs=6), "killed", "--concurrent", "1"))
    wait_for_rows(command.folder / "results" / "killed", 3, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    folder = command.record("killed")
    assert folder.read_run()["status"] == "running"
    code, _, errors = command("report", "killed")
    assert code == 0, errors
    assert "PARTIAL" in (folder.path / "report.md").read_text()
    code, _, errors = command("--resume", "killed", "--no-dashboard")
    assert code == 0, errors
    assert [[row["epoch"] for row in t.rows] for t in folder.trials()] == [[1, 2, 3, 4, 5, 6]] * 2


def test_a_changed_dataset_is_not_resumed(one: Finished, command: Command, small_data: Path, tmp_path: Path) -> None:
    folder = command.copy_of(one.folder)
    copy = tmp_path / "copy"
    shutil.copytree(small_data, copy)
    shutil.copyfile(next(copy.glob("valid/*.png")), next(copy.glob("train/*.png")))
    code, _, errors = command.here("--resume", "one", "--data", copy, "--no-dashboard")
    assert code == 2
    assert "this run began with something else than there is now: the dataset (fingerprint" in errors
    assert folder.read_run()["status"] == "complete"


def test_a_run_that_another_process_writes_is_refused(one: Finished, command: Command) -> None:
    with held_by_another_process(command.copy_of(one.folder)) as holder:
        code, _, errors = command.here("--resume", "one", "--no-dashboard")
    assert code == 2
    assert f"process {holder.pid}" in errors
