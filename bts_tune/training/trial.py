"""A trial that is ready to run."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bts_tune.config import Precision, TrialConfig
from bts_tune.data.prepared.prepare import PreparedData
from bts_tune.losses.base import Loss
from bts_tune.models.build import count_parameters
from bts_tune.models.freezing import EncoderFreeze
from bts_tune.models.weights import EncoderWeights
from bts_tune.training.averaging import WeightAverage
from bts_tune.training.device import MixedPrecision, give_back_memory
from bts_tune.training.loader import BatchLoader
from bts_tune.training.row import Row
from bts_tune.training.schedule import Schedule
from bts_tune.training.step import TrainingStep


@dataclass(frozen=True)
class TrialSetup:
    """Where and with what a trial runs.

    On a CPU with the same number of threads, nothing but `cpu_precision` changes its figures.

    Attributes:
        weights: the encoder's weights.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        threads: CPU threads of the trial; 0 leaves torch's own choice.
        folder: where the last checkpoint and the best weights are kept; None keeps nothing.
        cpu_precision: what `precision: auto` is on a CPU.
    """

    weights: EncoderWeights
    device: str = "auto"
    threads: int = 0
    folder: Path | None = None
    cpu_precision: Precision = "float32"


@dataclass
class Trial:
    """A trial ready to run: everything that `rows` needs, built by `open_trial`.

    Attributes:
        done: the epochs that it has been through.
        average: of the weights along the training, where the configuration asks for one.
        lost: why the checkpoint that there was could not be taken up; empty where it was, or there was none.
    """

    config: TrialConfig
    data: PreparedData
    folder: Path | None
    amp: MixedPrecision
    model: nn.Module
    freeze: EncoderFreeze
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    loss: Loss
    step: TrainingStep
    loader: BatchLoader
    average: WeightAverage | None = None
    done: list[Row] = field(default_factory=list)
    lost: str = ""

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and kept: with the average of the weights, as soon as there is one."""
        if self.average is not None and self.average.started:
            model: nn.Module = self.average.model
            return model
        return self.model

    def describe(self) -> dict[str, Any]:
        """Return what the record keeps of how the trial runs."""
        return {
            "device": self.amp.describe(),
            "precision": self.amp.precision,
            "torch_threads": torch.get_num_threads(),
            "augmented": self.loader.augmentation,
            "steps": self.step.describe(),
            "parameters": count_parameters(self.model),
            "trainable_parameters": count_parameters(self.model, trainable_only=True),
            "kept_epochs": len(self.done),
            **({"lost": self.lost} if self.lost else {}),
        }

    def close(self) -> None:
        """End the loader's threads and give the device's memory back."""
        self.loader.close()
        # The generator of rows, and whoever holds it, still refer to this object: what it holds has to go.
        self.step.close()
        self.optimizer.state.clear()
        self.optimizer.param_groups.clear()
        self.model.to("meta")
        if self.average is not None:
            self.average.model.to("meta")
        gc.collect()
        if self.amp.device.type == "cuda":
            torch.cuda.empty_cache()
        give_back_memory()
