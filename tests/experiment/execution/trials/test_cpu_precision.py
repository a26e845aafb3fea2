from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bts_tune.config import TrialConfig
from bts_tune.experiment.planning.environment import hardware
from bts_tune.results.record.scores import pooled_dice_loss, read_scores
from bts_tune.training.bfloat16 import FASTER, keep_gain, known_gain
from bts_tune.training.prediction.segmenter import Segmenter
from bts_tune.training.speed import Machine
from tests.experiment.conftest import Command

HERE = Machine("cpu", str(hardware()["processor"]), 1)


@pytest.fixture
def all_worth_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bts_tune.experiment.planning.cpu_precision.LONG_ENOUGH", 1e-6)
    monkeypatch.setattr("bts_tune.experiment.execution.stages.bfloat16_flags", lambda: ["avx512_bf16"])


def test_a_run_decides_once_what_auto_is_and_keeps_to_it(
    command: Command, space_file: Callable[..., Path], cache: Path, all_worth_measuring: None
) -> None:
    """Of one kind of trial the cache knows that bfloat16 pays; of the other it is measured, and is what it is."""
    fields = {"image_size": 32, "batch_size": 8, "encoder": "tu-test_efficientnet", "encoder_weights": "none"}
    plain, frozen = (TrialConfig.parse({**fields, "freeze": freeze}) for freeze in ("none", "all"))
    keep_gain(plain, HERE, 2.0, cache)
    options = ("--concurrent", "1", "--cpus-per-trial", "1")
    code, output, errors = command.here(*command.run_arguments(space_file(epochs=1), "run", *options))
    assert code == 0, errors
    assert "Precision: auto is " in output
    run = command.record("run")
    decided = {one["frozen"]: one for one in run.read_run()["cpu_precision"]}
    assert (decided[False]["gain"], decided[False]["precision"]) == (2.0, "bfloat16")
    gain = known_gain(frozen, HERE, cache)
    assert gain is not None
    assert decided[True]["precision"] == ("bfloat16" if gain >= FASTER else "float32")
    started = {record.trial: record.started["precision"] for record in run.trials()}
    assert started == {"plain": "bfloat16", "frozen": decided[True]["precision"]}
    # Its evaluation and whoever uses the model compute as the training did.
    record = next(record for record in run.trials() if record.trial == "plain")
    assert record.config["precision"] == "auto"
    measured = pooled_dice_loss(read_scores(run.scores_file("plain")).splits["valid"].sums.sum(axis=0))
    assert measured == pytest.approx(record.rows[0]["val_dice_loss"], abs=1e-9)
    folder = run.model_folder("plain")
    assert json.loads((folder / "model.json").read_text())["cpu_precision"] == "bfloat16"
    assert Segmenter.load(folder, "cpu")(torch.zeros(1, 1, 32, 32)).dtype == torch.bfloat16

    keep_gain(plain, HERE, 0.5, cache)  # a run that goes on does not ask again
    code, output, errors = command.here("final", "run", "--final-top", "1", "--final-seeds", "1", "--no-dashboard")
    assert code == 0, errors
    again = {record.trial: record.started["precision"] for record in run.trials() if record.stage == "final"}
    assert again == {"final-plain-s1": "bfloat16", "final-frozen-s1": decided[True]["precision"]}
    assert {one["frozen"]: one for one in run.read_run()["cpu_precision"]} == decided
