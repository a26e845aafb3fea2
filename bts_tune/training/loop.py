"""One trial: a generator of epoch rows. Ray is not known here; a serial caller and Ray consume the same generator."""

from __future__ import annotations

import math
import time
from collections.abc import Generator

import numpy as np
import torch

from bts_tune.config import OptimizationPart, TrialConfig
from bts_tune.data.prepared.prepare import PreparedData
from bts_tune.data.training_share import require_batch
from bts_tune.errors import ConfigError, RunError
from bts_tune.metrics.base import objective
from bts_tune.models.build import build_model, count_parameters, to_device
from bts_tune.models.freezing import EncoderFreeze, set_mode
from bts_tune.registry import DECODERS, LOSSES
from bts_tune.results.record.scores import pooled_dice_loss
from bts_tune.training import checkpoint
from bts_tune.training.averaging import WeightAverage
from bts_tune.training.device import MixedPrecision, keep_freed_memory, resolve_device
from bts_tune.training.loader import BatchLoader
from bts_tune.training.measure import measure
from bts_tune.training.optimizer import build_optimizer
from bts_tune.training.schedule import Schedule
from bts_tune.training.step import TrainingStep
from bts_tune.training.trial import Row, Trial, TrialSetup


class DivergedError(Exception):
    """The loss or a metric is no longer a finite number; the message says which and in which epoch."""


def open_trial(config: TrialConfig, data: PreparedData, setup: TrialSetup) -> Trial:
    """Build a trial, or take up one that left a checkpoint in `setup.folder`.

    A checkpoint that is broken or of another configuration is passed over, and `Trial.lost` says so: training begins
    anew and writes over it.

    Raises:
        ConfigError: the configuration cannot be built on this device.
        WeightsError: the weights do not fit.
    """
    trial = _build(config, data, setup)
    if setup.folder is None:
        return trial
    try:
        state = checkpoint.load_last(setup.folder, config)
    except RunError as error:
        trial.lost = str(error)
        return trial
    if state is None:
        return trial
    try:
        trial.model.load_state_dict(state["model"])
        trial.optimizer.load_state_dict(state["optimizer"])
        trial.schedule.load_state_dict(state["schedule"])
        trial.amp.scaler.load_state_dict(state["scaler"])
        if trial.average is not None:
            trial.average.load_state_dict(state["average"])
        trial.done = [Row.from_dict(row) for row in state["rows"]]
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError):  # another version's, or not what it says
        trial.close()
        trial = _build(config, data, setup)
        trial.lost = "its checkpoint does not fit"
    return trial


def _build(config: TrialConfig, data: PreparedData, setup: TrialSetup) -> Trial:
    require_batch(config.train_share, len(data.train), config.batch_size)
    smallest = DECODERS.get(config.decoder).smallest_image
    if config.image_size < smallest:
        raise ConfigError(
            f"image_size is {config.image_size} with decoder: {config.decoder}, which takes images of {smallest} px "
            "and more."
        )
    if setup.threads:
        torch.set_num_threads(setup.threads)
    amp = MixedPrecision.choose(resolve_device(setup.device), config.precision, setup.cpu_precision)
    if amp.device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(config.seed)
    model = to_device(build_model(config, setup.weights), amp.device)
    freeze = EncoderFreeze(model, config, config.channels)
    freeze.apply(epoch=1)
    optimizer = build_optimizer(config.part(OptimizationPart), model)
    loader = BatchLoader(data, config, amp.device, amp.loader_threads(setup.threads))
    schedule = Schedule(config.part(OptimizationPart), optimizer, loader.steps_per_epoch)
    loss = LOSSES.get(config.loss)(config).to(amp.device)
    average = WeightAverage(model, config) if config.weight_average != "none" else None
    step = TrainingStep(model, loss, amp, config.label_smoothing)
    return Trial(config, data, setup.folder, amp, model, freeze, optimizer, schedule, loss, step, loader, average)


def rows(trial: Trial) -> Generator[Row, None, None]:
    """Train to the full budget and yield a row an epoch, first those that a checkpoint holds already.

    Each epoch depends on the weights and optimiser before it and on (seed, epoch) alone, so that a trial taken up from
    a checkpoint gives the rows of one that never stopped.

    Raises:
        DivergedError: the loss or a metric is not finite.
    """
    config, done = trial.config, trial.done
    yield from done
    aim = objective(config.objective)
    best = min(done, key=lambda row: (aim.cost_of(row.validation), row.epoch), default=None)
    for epoch in range(len(done) + 1, config.epochs + 1):
        started = time.perf_counter()
        torch.manual_seed(int(np.random.SeedSequence((config.seed, epoch)).generate_state(1)[0]))
        learning_rate = trial.schedule.learning_rate
        trial.freeze.apply(epoch)
        train_loss, train_dice_loss = _train_epoch(trial, epoch)
        train_seconds = time.perf_counter() - started
        _require_finite(epoch, train_loss=train_loss)
        if trial.average is not None:
            trial.average.after_epoch(trial.model, epoch, trial.data.train, trial.loader, trial.amp)
        measured = measure(trial.evaluated, trial.data.valid, trial.loader, trial.amp, trial.loss)
        validation = measured.columns("val")
        _require_finite(epoch, **validation)
        value = aim.value(validation)
        trial.schedule.after_epoch(value)
        improved = best is None or aim.cost(value) < aim.cost_of(best.validation)
        row = Row(
            epoch=epoch,
            train_loss=train_loss,
            train_dice_loss=train_dice_loss,
            validation=validation,
            best={aim.best_column: value if best is None or improved else aim.value(best.validation)},
            best_epoch=epoch if best is None or improved else best.epoch,
            learning_rate=learning_rate,
            trainable_parameters=count_parameters(trial.model, trainable_only=True),
            seconds=time.perf_counter() - started,
            train_seconds=train_seconds,
            images_per_second=trial.loader.images_per_epoch / train_seconds,
        )
        best = row if improved else best
        done.append(row)
        if trial.folder is not None:
            checkpoint.save(trial, improved=improved)
        yield row


def _train_epoch(trial: Trial, epoch: int) -> tuple[float, float]:
    """Update the weights on every training image once; return the mean loss and the pooled soft Dice loss."""
    set_mode(trial.model, training=True)
    trial.step.begin_epoch()
    for image, truth in trial.loader.training(epoch):
        trial.step(image, truth)
        trial.amp.scaler.step(trial.optimizer)
        trial.amp.scaler.update()
        trial.schedule.after_step()
        if trial.average is not None:
            trial.average.after_step(trial.model)
    loss_sum, dice_sums = trial.step.sums()
    totals = np.array([0.0, 0.0, 0.0, *dice_sums])
    return loss_sum / trial.loader.images_per_epoch, float(pooled_dice_loss(totals))


def _require_finite(epoch: int, **metrics: float | None) -> None:
    for name, value in metrics.items():
        if value is not None and not math.isfinite(value):
            raise DivergedError(f"{name} is {value} in epoch {epoch}")
