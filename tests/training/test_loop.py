from __future__ import annotations

import gc
import math
import threading
import weakref
from itertools import cycle, islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from bts_tune.config import Optimizer, Schedule
from bts_tune.errors import ConfigError
from bts_tune.losses.dice_bce import DiceBCE
from bts_tune.metrics.iou_image import ImageIoU
from bts_tune.training.checkpoint import LAST, load_model
from bts_tune.training.loop import DivergedError, rows
from bts_tune.training.measure import Measured, SplitMeter, measure
from bts_tune.training.trial import Row, Trial
from tests.training.builders import data, opened, split, timeless, tiny, trained

OPTIMIZERS = get_args(Optimizer)
OTHER_SCHEDULES = [schedule for schedule in get_args(Schedule) if schedule != "one-cycle"]


def all_timeless(found: list[Row]) -> list[dict[str, Any]]:
    return [timeless(row) for row in found]


# --- determinism ---


@pytest.mark.parametrize("changes", [{}, {"augmentation": "strong", "decoder_dropout": 0.4, "head_dropout": 0.4}])
def test_the_same_configuration_gives_the_same_rows(changes: dict[str, Any]) -> None:
    config = tiny(**changes)
    torch.manual_seed(123)
    first = trained(config)
    torch.manual_seed(456)
    torch.rand(7)
    np.random.seed(3)
    assert all_timeless(trained(config)) == all_timeless(first)


def test_another_seed_gives_other_rows() -> None:
    assert timeless(trained(tiny(seed=0, epochs=1))[0]) != timeless(trained(tiny(seed=1, epochs=1))[0])


def test_random_numbers_of_others_between_two_epochs_change_nothing() -> None:
    config = tiny(augmentation="light", decoder_dropout=0.4)
    undisturbed = all_timeless(trained(config))
    trial = opened(config)
    disturbed = []
    for row in rows(trial):
        disturbed.append(timeless(row))
        torch.rand(11)
    trial.close()
    assert disturbed == undisturbed


# --- resuming ---

FREEZES: list[dict[str, Any]] = [
    {"freeze": "epochs", "freeze_epochs": 1},
    {"freeze": "epochs", "freeze_epochs": 2},
    {"freeze": "stages", "freeze_stages": 2},
    {"freeze": "all"},
]


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"schedule": schedule, "optimizer": optimizer}
            for schedule, optimizer in zip(OTHER_SCHEDULES, cycle(OPTIMIZERS))
        ),
        *({"schedule": "one-cycle", "optimizer": optimizer} for optimizer in OPTIMIZERS),  # it moves the momentum too
        *FREEZES,
        {"decoder_dropout": 0.4, "head_dropout": 0.4, "augmentation": "medium"},
    ],
    ids=str,
)
def test_taken_up_from_a_checkpoint_it_gives_the_rows_of_one_that_never_stopped(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    config = tiny(epochs=3, weight_decay=0.01, **changes)
    uninterrupted = all_timeless(trained(config))
    trial = opened(config, folder=tmp_path)
    list(islice(rows(trial), 1))
    trial.close()
    again = opened(config, folder=tmp_path)
    assert len(again.done) == 1
    assert all_timeless(list(rows(again))) == uninterrupted
    again.close()


def test_a_finished_trial_is_not_trained_again(tmp_path: Path) -> None:
    config = tiny(epochs=2)
    first = trained(config, folder=tmp_path)
    trial = opened(config, folder=tmp_path)
    before = {key: tensor.clone() for key, tensor in trial.model.state_dict().items()}
    assert list(rows(trial)) == first  # seconds too: these are the rows of then
    assert all(torch.equal(tensor, before[key]) for key, tensor in trial.model.state_dict().items())
    trial.close()


@pytest.mark.parametrize("damage", ["of another configuration", "broken", "does not fit"])
def test_a_checkpoint_that_cannot_be_taken_up_is_told_and_the_trial_begins_anew(tmp_path: Path, damage: str) -> None:
    config = tiny(epochs=2)
    uninterrupted = all_timeless(trained(config))
    file = tmp_path / LAST
    trained(tiny(epochs=2, seed=5) if damage == "of another configuration" else config, folder=tmp_path)
    if damage == "broken":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "does not fit":
        state = torch.load(file, weights_only=True)
        state["model"].popitem()
        torch.save(state, file)
    trial = opened(config, folder=tmp_path)
    assert damage in trial.lost
    assert trial.describe()["lost"] == trial.lost
    assert trial.describe()["kept_epochs"] == 0
    assert all_timeless(list(rows(trial))) == uninterrupted, "something of the checkpoint was trained on"
    trial.close()


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trained(tiny(epochs=1))
    assert list(tmp_path.iterdir()) == []


# --- learning ---


def test_a_trial_learns() -> None:
    found = trained(tiny(epochs=12, batch_size=2, batch_norm_momentum=0.2), data(train=12))
    assert found[-1].train_loss < 0.6 * found[0].train_loss
    assert found[-1].train_dice_loss < found[0].train_dice_loss
    assert found[-1].best["best_val_dice_loss"] < 0.35
    assert max(row.validation["val_iou"] or 0 for row in found) > 0.6


def test_a_learning_rate_far_too_high_diverges() -> None:
    with pytest.raises(DivergedError, match=r"(train_loss|val_loss|val_dice_loss) is (nan|inf) in epoch \d"):
        trained(tiny(optimizer="sgd", learning_rate=10, weight_decay=1, epochs=30, batch_size=2))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_trial(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = opened(tiny())
    monkeypatch.setattr(trial.step, "loss", lambda logits, truth: logits.sum() * value)
    with pytest.raises(DivergedError, match=r"train_loss is (nan|-?inf) in epoch 1"):
        next(rows(trial))
    trial.close()


def test_a_metric_that_is_not_finite_ends_the_trial_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin's may be; no record could hold it."""
    monkeypatch.setattr(ImageIoU, "compute", lambda self, images: np.float32("nan"))
    trial = opened(tiny())
    with pytest.raises(DivergedError, match="val_iou_image is nan in epoch 1"):
        next(rows(trial))
    trial.close()


def test_weights_that_broke_in_the_last_step_end_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = opened(tiny())
    after_step = trial.schedule.after_step

    def break_weights() -> None:
        after_step()
        if trial.optimizer.state[next(trial.model.parameters())]["step"] == 2:
            next(trial.model.parameters()).data.fill_(math.nan)

    monkeypatch.setattr(trial.schedule, "after_step", break_weights)
    with pytest.raises(DivergedError, match="val_loss is nan in epoch 1"):
        next(rows(trial))
    trial.close()


# --- rows ---


def test_rows() -> None:
    config = tiny(epochs=4)
    found = trained(config)
    assert [row.epoch for row in found] == [1, 2, 3, 4]
    for number, row in enumerate(found, start=1):
        losses = [earlier.val_dice_loss for earlier in found[:number]]
        assert row.best == {"best_val_dice_loss": min(losses)}
        assert row.best_epoch == losses.index(min(losses)) + 1
        assert row.learning_rate == config.learning_rate
        assert 0 < row.train_seconds < row.seconds
        assert row.images_per_second == pytest.approx(8 / row.train_seconds)
        assert row.validation["val_empty_false_positive_rate"] is None


def test_rows_tell_the_rate_that_the_epoch_began_with() -> None:
    rates = [row.learning_rate for row in trained(tiny(epochs=4, schedule="cosine", learning_rate=0.01))]
    assert rates == pytest.approx([0.01 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)])


def test_plateau_lowers_the_rate_where_nothing_improves() -> None:
    config = tiny(epochs=6, schedule="plateau", learning_rate=1e-6, optimizer="sgd", batch_norm_momentum=1e-9)
    rates = [row.learning_rate / 1e-6 for row in trained(config, data(train=4))]
    assert rates == pytest.approx([1, 1, 1, 1, 0.5, 0.5])


def test_tumour_free_images_are_counted() -> None:
    row = trained(tiny(epochs=1), data(empty=(0, 2)))[0]
    assert row.validation["val_empty_false_positive_rate"] in (0, 0.5, 1)


def test_trainable_parameters_follow_the_freeze() -> None:
    whole, frozen = (trained(tiny(epochs=1, **changes))[0] for changes in ({}, {"freeze": "all"}))
    assert frozen.trainable_parameters < whole.trainable_parameters
    thawing = trained(tiny(epochs=3, freeze="epochs", freeze_epochs=2))
    assert [row.trainable_parameters for row in thawing] == [
        frozen.trainable_parameters,
        frozen.trainable_parameters,
        whole.trainable_parameters,
    ]


@pytest.mark.parametrize("changes", FREEZES, ids=str)
def test_a_frozen_encoder_stays_as_it_was_through_whole_epochs(changes: dict[str, Any]) -> None:
    trial = opened(tiny(weight_decay=0.1, **changes))
    before = {key: tensor.clone() for key, tensor in trial.model.encoder.state_dict().items()}  # type: ignore[union-attr]
    unchanged = []
    for _ in rows(trial):
        state = trial.model.encoder.state_dict()  # type: ignore[union-attr]
        unchanged.append([torch.equal(tensor, before[key]) for key, tensor in state.items()])
    trial.close()
    frozen = trial.config.epochs if changes["freeze"] == "all" else changes.get("freeze_epochs", 0)
    assert [all(same) for same in unchanged] == [epoch <= frozen for epoch in range(1, trial.config.epochs + 1)]
    assert any(unchanged[-1]) == (changes["freeze"] != "epochs")


# --- validation ---


def validated(trial: Trial) -> Measured:
    return measure(trial.model, trial.data.valid, trial.loader, trial.amp, trial.loss)


@pytest.mark.parametrize("freeze", ["none", "all"])
def test_two_validation_passes_are_identical(freeze: str) -> None:
    trial = opened(tiny(encoder="efficientnet-b0", freeze=freeze, decoder_dropout=0.5, head_dropout=0.5))
    next(rows(trial))
    one, other = (validated(trial).images.sums for _ in range(2))
    trial.close()
    assert np.array_equal(one, other)


def test_validation_does_not_depend_on_the_batch_size() -> None:
    found = []
    for batch_size in (2, 4, 64):
        trial = opened(tiny(batch_size=batch_size), data(valid=9, empty=(1, 4)))
        found.append(validated(trial).columns("val"))
        trial.close()
    for metrics in found[1:]:
        assert metrics == pytest.approx(found[0], abs=1e-5)


def test_validation_is_what_the_metrics_say_of_the_whole_split_as_one_batch() -> None:
    config = tiny(bce_weight=0.7)
    trial = opened(config, data(valid=6, empty=(3,)))
    found = validated(trial)
    valid = trial.data.valid
    images = torch.from_numpy((valid.images - trial.data.mean) / trial.data.std).float().unsqueeze(1)
    truth = torch.from_numpy(valid.masks).float().unsqueeze(1)
    with torch.no_grad():
        logits = trial.model.eval()(images)
    meter = SplitMeter(DiceBCE(config))
    meter.add(logits, truth)
    assert found.columns("val") == pytest.approx(meter.result().columns("val"), abs=1e-5)
    assert found.loss == pytest.approx(float(DiceBCE(config)(logits, truth)), rel=1e-4)
    trial.close()


# --- device and memory ---


def test_bfloat16_on_the_cpu() -> None:
    found = trained(tiny(precision="bfloat16", epochs=2))
    assert all(math.isfinite(row.validation["val_loss"] or 0) for row in found)
    assert timeless(found[0]) != timeless(trained(tiny(precision="float32", epochs=1))[0])


def test_float16_on_the_cpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="float16 needs a GPU"):
        opened(tiny(precision="float16"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_on_a_gpu(precision: str) -> None:
    trial = opened(tiny(precision=precision), device="cuda")
    assert all(math.isfinite(row.validation["val_loss"] or 0) for row in rows(trial))
    trial.close()


def test_describe() -> None:
    trial = opened(tiny(freeze="all"))
    described = trial.describe()
    trial.close()
    assert described["device"] == "cpu"
    assert described["precision"] == "float32"
    assert described["torch_threads"] == 1
    assert 0 < described["trainable_parameters"] < described["parameters"]


def test_close_gives_memory_and_threads_back() -> None:
    trial = opened(tiny())
    generator = rows(trial)
    next(generator)
    held = [weakref.ref(tensor) for tensor in trial.model.state_dict(keep_vars=True).values()]
    held += [weakref.ref(tensor) for state in trial.optimizer.state.values() for tensor in state.values()]
    assert len(held) > 100
    trial.close()
    gc.collect()
    assert [reference for reference in held if reference() is not None] == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_one_image_more_than_whole_batches() -> None:
    assert trained(tiny(epochs=1), data(train=9))[0].epoch == 1


def test_a_test_split_without_images() -> None:
    prepared = data(test=1)
    object.__setattr__(prepared, "test", split(0))
    assert trained(tiny(epochs=1), prepared)


def test_the_objective_chooses_the_best_epoch_and_the_weights(tmp_path: Path) -> None:
    config = tiny(epochs=6, objective="iou", batch_norm_momentum=0.2)
    trial = opened(config, folder=tmp_path)
    found = list(rows(trial))
    trial.close()
    values = [row.validation["val_iou"] or 0.0 for row in found]
    assert found[-1].best == {"best_val_iou": max(values)}
    assert found[-1].best_epoch == values.index(max(values)) + 1
    assert load_model(tmp_path).epoch == found[-1].best_epoch
    alike = trained(tiny(epochs=6, batch_norm_momentum=0.2))
    assert [row.validation for row in alike] == [row.validation for row in found]


def test_an_objective_that_is_not_defined_counts_as_its_worst() -> None:
    found = trained(tiny(epochs=2, objective="empty-false-positive-rate"))
    assert [row.best for row in found] == [{"best_val_empty_false_positive_rate": 1.0}] * 2
    assert found[-1].best_epoch == 1
