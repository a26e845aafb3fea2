"""One trial: a generator of epoch rows. Ray is not known here; a serial caller and Ray consume the same generator."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bts_tune.config import ModelPart, OptimizationPart, TrialConfig
from bts_tune.data.prepared.prepare import PreparedData, PreparedSplit
from bts_tune.errors import RunError
from bts_tune.losses.dice_bce import Objective
from bts_tune.metrics.pooled import Metrics, image_sums, metrics_from_sums, soft_dice_loss
from bts_tune.models.build import build_model, count_parameters, to_device
from bts_tune.models.freezing import EncoderFreeze, set_mode
from bts_tune.models.weights import EncoderWeights
from bts_tune.training import checkpoint
from bts_tune.training.device import Arithmetic, give_back_memory, keep_freed_memory, resolve_device
from bts_tune.training.loader import BatchLoader
from bts_tune.training.optimization import Schedule, build_optimizer


class DivergedError(Exception):
    """The loss or a metric is no longer a finite number; the message says which and in which epoch."""


@dataclass(frozen=True)
class Row:
    """One epoch of one trial. Seconds are wall-clock; images per second count the training steps alone.

    `train_dice_loss` is the pooled soft Dice loss of the epoch's own training batches, augmentation and dropout on.
    """

    epoch: int
    train_loss: float
    train_dice_loss: float
    val_loss: float
    val_dice_loss: float
    val_iou: float
    val_dice_image: float | None
    val_iou_image: float | None
    val_empty_false_positive_rate: float | None
    best_val_dice_loss: float
    best_epoch: int
    learning_rate: float
    trainable_parameters: int
    seconds: float
    train_seconds: float
    images_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """Return the columns by name."""
        return asdict(self)


@dataclass(frozen=True)
class TrialSetup:
    """Where and with what a trial runs; nothing here changes its figures on a CPU with the same number of threads.

    Attributes:
        weights: the encoder's weights.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        threads: CPU threads of the trial; 0 leaves torch's own choice.
        folder: where the last checkpoint and the best weights are kept; None keeps nothing.
    """

    weights: EncoderWeights
    device: str = "auto"
    threads: int = 0
    folder: Path | None = None


@dataclass
class Trial:
    """A trial ready to run: everything that `rows` needs, built by `open_trial`.

    Attributes:
        done: the epochs that it has been through.
        lost: why the checkpoint that there was could not be taken up; empty where it was, or there was none.
    """

    config: TrialConfig
    data: PreparedData
    folder: Path | None
    arithmetic: Arithmetic
    model: nn.Module
    freeze: EncoderFreeze
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    objective: Objective
    loader: BatchLoader
    done: list[Row] = field(default_factory=list)
    lost: str = ""

    def describe(self) -> dict[str, Any]:
        """Return what the record keeps of how the trial runs."""
        return {
            "device": self.arithmetic.describe(),
            "precision": self.arithmetic.precision,
            "torch_threads": torch.get_num_threads(),
            "augmented": self.loader.augmentation,
            "parameters": count_parameters(self.model),
            "trainable_parameters": count_parameters(self.model, trainable_only=True),
            "kept_epochs": len(self.done),
            **({"lost": self.lost} if self.lost else {}),
        }

    def close(self) -> None:
        """End the loader's threads and give the device's memory back."""
        self.loader.close()
        # The generator of rows, and whoever holds it, still refer to this object: what it holds has to go.
        self.optimizer.state.clear()
        self.optimizer.param_groups.clear()
        self.model.to("meta")
        gc.collect()
        if self.arithmetic.device.type == "cuda":
            torch.cuda.empty_cache()
        give_back_memory()


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
        trial.arithmetic.scaler.load_state_dict(state["scaler"])
        trial.done = [Row(**row) for row in state["rows"]]
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError):  # another version's, or not what it says
        trial.close()
        trial = _build(config, data, setup)
        trial.lost = "its checkpoint does not fit"
    return trial


def _build(config: TrialConfig, data: PreparedData, setup: TrialSetup) -> Trial:
    if setup.threads:
        torch.set_num_threads(setup.threads)
    arithmetic = Arithmetic.choose(resolve_device(setup.device), config.precision)
    if arithmetic.device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(config.seed)
    model = to_device(build_model(config.part(ModelPart), setup.weights), arithmetic.device)
    freeze = EncoderFreeze(model, config)
    freeze.apply(epoch=1)
    optimizer = build_optimizer(config.part(OptimizationPart), model)
    loader = BatchLoader(data, config, arithmetic.device, arithmetic.loader_threads(setup.threads))
    schedule = Schedule(config.part(OptimizationPart), optimizer, loader.steps_per_epoch)
    objective = Objective(config.part(OptimizationPart))
    return Trial(config, data, setup.folder, arithmetic, model, freeze, optimizer, schedule, objective, loader)


def rows(trial: Trial) -> Generator[Row, None, None]:
    """Train to the full budget and yield a row an epoch, first those that a checkpoint holds already.

    Each epoch depends on the weights and optimiser before it and on (seed, epoch) alone, so that a trial taken up from
    a checkpoint gives the rows of one that never stopped.

    Raises:
        DivergedError: the loss or a metric is not finite.
    """
    config, done = trial.config, trial.done
    yield from done
    best = min(done, key=lambda row: (row.val_dice_loss, row.epoch), default=None)
    for epoch in range(len(done) + 1, config.epochs + 1):
        started = time.perf_counter()
        torch.manual_seed(int(np.random.SeedSequence((config.seed, epoch)).generate_state(1)[0]))
        learning_rate = trial.schedule.learning_rate
        trial.freeze.apply(epoch)
        train_loss, train_dice_loss = _train_epoch(trial, epoch)
        train_seconds = time.perf_counter() - started
        _require_finite(epoch, train_loss=train_loss)
        validation = evaluate(trial.model, trial.data.valid, trial.loader, trial.arithmetic, config)
        _require_finite(epoch, val_loss=validation.loss, val_dice_loss=validation.dice_loss)
        trial.schedule.after_epoch(validation.dice_loss)
        improved = best is None or validation.dice_loss < best.val_dice_loss
        row = Row(
            epoch=epoch,
            train_loss=train_loss,
            train_dice_loss=train_dice_loss,
            **validation.columns("val"),  # type: ignore[arg-type]
            best_val_dice_loss=validation.dice_loss if best is None or improved else best.val_dice_loss,
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
    arithmetic = trial.arithmetic
    set_mode(trial.model, training=True)
    loss_sum = torch.zeros((), dtype=torch.float64, device=arithmetic.device)
    dice_sums = torch.zeros(3, dtype=torch.float64, device=arithmetic.device)
    for image, truth in trial.loader.training(epoch):
        with arithmetic.autocast():
            logits = trial.model(image)
        logits = logits.float()
        loss = trial.objective(logits, truth)
        trial.optimizer.zero_grad(set_to_none=True)
        arithmetic.scaler.scale(loss).backward()
        arithmetic.scaler.step(trial.optimizer)
        arithmetic.scaler.update()
        trial.schedule.after_step()
        with torch.no_grad():
            probability = torch.sigmoid(logits.detach())
            loss_sum += loss.detach().double() * len(image)
            dice_sums += torch.stack([(probability * truth).sum(), probability.sum(), truth.sum()]).double()
    overlap, predicted, true = dice_sums.tolist()
    return float(loss_sum) / trial.loader.images_per_epoch, soft_dice_loss(overlap, predicted, true)


def split_sums(
    model: nn.Module,
    split: PreparedSplit,
    loader: BatchLoader,
    arithmetic: Arithmetic,
    watch: Callable[[torch.Tensor, torch.Tensor], None] | None = None,
) -> np.ndarray:
    """Return the sums of each image of a split, float64 [N, 7]; columns as in `scores.SUMS`.

    `watch` is given the logits and the truth of every batch, both [n, 1, S, S], in the order of the split.
    """
    set_mode(model, training=False)
    sums = []
    with torch.inference_mode():
        for image, truth in loader.evaluation(split):
            with arithmetic.autocast():
                logits = model(image)
            sums.append(image_sums(logits, truth))
            if watch is not None:
                watch(logits, truth)
    return torch.cat(sums).cpu().numpy()


def evaluate(
    model: nn.Module, split: PreparedSplit, loader: BatchLoader, arithmetic: Arithmetic, config: TrialConfig
) -> Metrics:
    """Return a model's metrics on a split."""
    sums = split_sums(model, split, loader, arithmetic)
    return metrics_from_sums(sums, config.image_size**2, config.part(OptimizationPart))


def _require_finite(epoch: int, **figures: float) -> None:
    for name, value in figures.items():
        if not math.isfinite(value):
            raise DivergedError(f"{name} is {value} in epoch {epoch}")
