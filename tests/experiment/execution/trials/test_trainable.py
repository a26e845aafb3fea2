"""A process that runs trial after trial: nothing of one is left in the next."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bts_tune.config import PreprocessingPart, TrialConfig
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.prepare import prepare
from bts_tune.experiment.execution.trials.faults import BrokenProcessError
from bts_tune.experiment.execution.trials.trainable import TrialActor
from bts_tune.models.weights import EncoderWeights
from bts_tune.results.record.objective import DICE_LOSS
from tests.experiment.conftest import Watched
from tests.processes import forking
from tests.training.builders import TIMING, TINY

# What a trial can leave behind, each followed by a trial that would show it.
SEQUENCE: list[tuple[str, dict[str, Any], int]] = [
    ("first", {}, 1),
    ("frozen", {"freeze": "all", "seed": 3}, 1),
    ("thawing", {"freeze": "epochs", "freeze_epochs": 1}, 1),
    ("dropout", {"decoder_dropout": 0.5, "head_dropout": 0.5, "decoder": "unet"}, 1),
    ("other-encoder", {"encoder": "resnet18", "decoder": "fpn", "batch_norm_momentum": 0.3}, 1),
    ("two-threads", {"optimizer": "sgd", "learning_rate": 0.1, "schedule": "one-cycle"}, 2),
    ("bfloat16", {"precision": "bfloat16"}, 1),
    ("augmented", {"augmentation": "strong", "augmentation_strength": 1.5}, 1),
    ("diverging", {"optimizer": "sgd", "learning_rate": 10.0, "bce_weight": 1.0e38}, 1),
    ("first-again", {}, 1),
]

Result = list[dict[str, Any]]


def run(actor: TrialActor) -> Result:
    """Train to the end; return the reports without what depends on the clock and the process."""
    reports: Result = []
    while not reports or not reports[-1]["done"]:
        report = actor.train()
        kept = [*(name for name in report if name.startswith(("train_", "val_", "best_")) and name not in TIMING)]
        reports.append({name: report[name] for name in (*kept, "epoch", "outcome", "done")})
    return reports


def in_one_process(plans: Sequence[dict[str, Any]], answers: Any) -> None:
    """Run every plan in this process and send the results."""
    actor = TrialActor(dict(plans[0]))
    results = [run(actor)]
    for plan in plans[1:]:
        assert actor.reset(dict(plan))
        results.append(run(actor))
    answers.send(results)


def in_a_process(plans: Sequence[dict[str, Any]]) -> list[Result]:
    """Run plans in a new process, forked from one that has imported what trials need and run nothing."""
    context = forking()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=in_one_process, args=(plans, sender))
    process.start()
    sender.close()
    try:
        results: list[Result] = receiver.recv()
    finally:
        process.join(60)
    return results


@pytest.fixture
def plan(small_data: Path, cache: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Makes what Ray would hand to the process of a trial."""

    def make(name: str, fields: dict[str, Any], threads: int = 1) -> dict[str, Any]:
        config = TrialConfig.parse({**TINY, "epochs": 2, "batch_size": 8, **fields})
        data = prepare(open_dataset(small_data), config.part(PreprocessingPart), cache=cache)
        return {
            "run": "run",
            "trial": name,
            "config": config.to_dict(),
            "prepared": str(data.folder),
            "weights": EncoderWeights(config.encoder).to_dict(),
            "folder": str(tmp_path / "models" / name),
            "device": "cpu",
            "cpu_precision": "float32",
            "threads": threads,
            "gpus": 0,
            "shipping": None,
            "elsewhere": None,
            "plugins": [],
            "objective": DICE_LOSS,
        }

    return make


def test_a_reused_process_gives_the_rows_of_a_fresh_one(plan: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    plans = [plan(*one) for one in SEQUENCE]
    reused = in_a_process(plans)
    for number, (one, found) in enumerate(zip(plans, reused, strict=True)):
        fresh = in_a_process([{**one, "folder": str(tmp_path / f"fresh{number}")}])[0]
        assert found == fresh, f"{one['trial']} differs after {[p['trial'] for p in plans[:number]]}"
    assert reused[0] == reused[-1]
    outcomes = [result[-1]["outcome"] for result in reused]
    assert outcomes == ["diverged" if name == "diverging" else "complete" for name, _, _ in SEQUENCE]


def test_an_ended_trial_gives_its_memory_back_before_the_next_begins(plan: Callable[..., dict[str, Any]]) -> None:
    import gc

    import torch

    def held() -> int:
        gc.collect()
        tensors = (thing for thing in gc.get_objects() if isinstance(thing, torch.Tensor))
        return sum(tensor.numel() for tensor in tensors if tensor.device.type != "meta")

    before = held()
    actor = TrialActor(plan("a", {"encoder": "resnet18", "decoder": "unet"}))
    actor.train()
    assert held() > before + 10_000_000
    while not actor.train()["done"]:
        pass
    assert held() < before + 100_000
    actor.reset(plan("b", {"encoder": "resnet18", "decoder": "unet"}))
    actor.train()
    actor.reset(plan("c", {}))  # stopped early: the process is told nothing before the next trial
    assert held() < before + 100_000


def test_a_failure_that_nobody_foresaw_ends_the_process(
    plan: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a matrix that cannot be inverted")

    monkeypatch.setattr("bts_tune.training.loop._train_epoch", fail)
    actor = TrialActor(plan("a", {}))
    with pytest.raises(BrokenProcessError, match="RuntimeError: a matrix that cannot be inverted"):
        actor.step()


def test_a_network_that_cannot_take_such_images_fails_with_a_sentence(plan: Callable[..., dict[str, Any]]) -> None:
    report = TrialActor(plan("pan", {"encoder": "resnet18", "decoder": "pan", "image_size": 64})).step()
    assert (report["outcome"], report["done"]) == ("failed", True)
    assert "image_size is 64 with decoder: pan, which takes images of 128 px and more" in report["reason"]


def test_trials_of_a_run_share_a_process_until_one_fails_in_it(with_bad_trials: Watched) -> None:
    assert with_bad_trials.code == 1
    assert with_bad_trials.errors == ""
    trials = {trial.trial: trial for trial in with_bad_trials.folder.trials()}
    assert {name: trial.status for name, trial in trials.items()} == {
        "plain": "complete",
        "frozen": "complete",
        "wild": "diverged",
        "raises": "failed",
        "killed-once": "complete",
        "last": "complete",
    }
    assert "epoch" in trials["wild"].reason
    report = (with_bad_trials.folder.path / "report.md").read_text()
    assert trials["wild"].reason in report
    assert trials["raises"].reason in report
    assert trials["raises"].reason.startswith("ValueError: a matrix that cannot be inverted")
    assert trials["plain"].started["pid"] == trials["frozen"].started["pid"] != trials["last"].started["pid"]
    assert trials["plain"].started["pid"] != os.getpid()
    # Between two steps the title is Ray's own, and a short epoch may be over before it is seen.
    seen = {title for title in with_bad_trials.titles if " epoch " in title}
    assert seen
    best = {f"{row['best_val_dice_loss']:.4f}" for trial in trials.values() for row in trial.rows}
    for title in seen:
        name, _, epoch = title.removeprefix("ray::").partition(" epoch ")
        number, _, so_far = epoch.partition(" best ")
        assert name in trials
        assert number in {f"{epoch}/3" for epoch in range(1, 4)}
        assert so_far in best if so_far else number == "1/3"
