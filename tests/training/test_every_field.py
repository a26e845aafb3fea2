"""Every field of `TrialConfig` takes effect: changing it changes just what it is said to change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bts_tune.config import FIELDS, PreprocessingPart, TrialConfig
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.prepare import prepare
from bts_tune.data.records import Dataset
from bts_tune.metrics.base import objective
from bts_tune.models.encoders import build_encoder
from bts_tune.models.weights import resolve_weights
from bts_tune.training.loop import open_trial
from bts_tune.training.trial import Trial, TrialSetup
from tests.data.builders import write_coco
from tests.training.builders import tiny

AUGMENTED = {"augmentation": "medium"}

# For each field: what the trial is otherwise, the value that it is changed to, and all that has to change with it.
CASES: dict[str, tuple[dict[str, Any], Any, set[str]]] = {
    "decoder": ({}, "unet", {"layers", "weights"}),
    "encoder": ({}, "tu-test_resnet", {"layers", "weights"}),
    "encoder_weights": ({}, "FILE", {"weights"}),
    "freeze": ({}, "all", {"trained"}),
    "freeze_stages": ({"freeze": "stages", "freeze_stages": 1}, 3, {"trained"}),
    "freeze_epochs": ({"freeze": "epochs", "freeze_epochs": 1}, 2, {"trained"}),
    "decoder_dropout": ({}, 0.4, {"layers"}),
    "batch_norm_momentum": ({}, 0.3, {"layers"}),
    "head_dropout": ({}, 0.4, {"layers"}),
    "image_size": ({}, 64, {"batches", "loss", "training loss"}),
    "equalization": ({"equalization": "none"}, "histogram", {"batches"}),
    "channels": ({}, 3, {"layers", "weights", "batches"}),
    "train_share": ({}, 0.5, {"batches", "rates"}),
    "augmentation": ({}, "light", {"batches"}),
    "augmentation_kind": (AUGMENTED, "intensity", {"batches"}),
    "augmentation_strength": (AUGMENTED, 0.5, {"batches"}),
    "epochs": ({"schedule": "cosine"}, 5, {"rates", "trained"}),
    "batch_size": ({"schedule": "cosine"}, 2, {"batches", "rates"}),
    "optimizer": ({}, "adamw", {"optimizer"}),
    "learning_rate": ({}, 0.02, {"optimizer", "rates"}),
    "weight_decay": ({}, 0.1, {"optimizer"}),
    "momentum": ({"optimizer": "sgd"}, 0.5, {"optimizer"}),
    "schedule": ({}, "cosine", {"rates"}),
    "loss": ({}, "focal", {"loss", "training loss"}),
    "dice_weight": ({}, 0.5, {"loss", "training loss"}),
    "bce_weight": ({}, 0.5, {"loss", "training loss"}),
    "label_smoothing": ({}, 0.2, {"training loss"}),
    "weight_average": ({}, "ema", {"average"}),
    "ema_decay": ({"weight_average": "ema"}, 0.2, {"average"}),
    "swa_start": ({"weight_average": "swa"}, 0.1, {"average"}),
    "objective": ({}, "iou", {"objective"}),
    "precision": ({}, "bfloat16", {"amp"}),
    "seed": ({}, 1, {"weights", "batches"}),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(write_coco(tmp_path_factory.mktemp("coco"), count=8))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(99)
    file = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(build_encoder("tu-test_efficientnet").state_dict(), file)
    return file


def built(config: TrialConfig, dataset: Dataset, cache: Path) -> dict[str, Any]:
    """Return all that a trial is made of, in a form that can be compared."""
    data = prepare(dataset, config.part(PreprocessingPart), cache=cache)
    weights = resolve_weights(config.encoder, config.encoder_weights)
    trial = open_trial(config, data, TrialSetup(weights, device="cpu", threads=1))
    try:
        return {
            "layers": str(trial.model),
            "weights": _digest(trial.model.state_dict().values()),
            "trained": _trained(trial),
            "optimizer": (type(trial.optimizer).__name__, _hyperparameters(trial.optimizer)),
            "batches": _digest(tensor for batch in trial.loader.training(1) for tensor in batch),
            "loss": _loss(trial, trial.loss),
            "training loss": _loss(trial, trial.step.loss),
            "amp": trial.amp.precision,
            "rates": _rates(trial),
            "objective": objective(trial.config.objective),
            "average": _average(trial),
        }
    finally:
        trial.close()


def _digest(tensors: Any) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _trained(trial: Trial) -> list[list[str]]:
    found = []
    for epoch in range(1, trial.config.epochs + 1):
        trial.freeze.apply(epoch)
        found.append(["frozen" for parameter in trial.model.parameters() if not parameter.requires_grad])
    return found


def _hyperparameters(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in group.items() if name not in ("params", "initial_lr")}
        for group in optimizer.param_groups
    ]


def _loss(trial: Trial, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> float:
    size = trial.config.image_size
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, size, size, generator=generator)
    return float(loss(logits, (torch.rand(2, 1, size, size, generator=generator) > 0.8).float()))


def _rates(trial: Trial) -> list[float]:
    found = []
    for _ in range(trial.config.epochs):
        for _ in range(trial.loader.steps_per_epoch):
            found.append(trial.schedule.learning_rate)
            trial.optimizer.step()
            trial.schedule.after_step()
        trial.schedule.after_epoch(0.5)
    return found


def _average(trial: Trial) -> tuple[list[bool], str] | None:
    """Return after which epochs there is an average, and the averaged weights after steps of one size."""
    if trial.average is None:
        return None
    started = []
    with torch.no_grad():
        for parameter in trial.model.parameters():
            parameter.zero_()
        for epoch in range(1, trial.config.epochs + 1):
            for _ in range(4):
                for parameter in trial.model.parameters():
                    parameter.add_(0.01)
                trial.average.after_step(trial.model)
            trial.average.after_epoch(trial.model, epoch, trial.data.train, trial.loader, trial.amp)
            started.append(trial.average.started)
        return started, _digest(trial.average.model.parameters())


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_changes_what_it_is_said_to_change(
    field: str, dataset: Dataset, cache: Path, weights_file: Path
) -> None:
    base, value, expected = CASES[field]
    before = tiny(**base)
    changes: dict[str, Any] = {field: str(weights_file) if value == "FILE" else value}
    assert getattr(before, field) != changes[field]
    one, other = built(before, dataset, cache), built(before.replaced(changes), dataset, cache)
    assert {part for part in one if one[part] != other[part]} == expected


def test_nothing_changes_by_itself(dataset: Dataset, cache: Path) -> None:
    config = tiny(augmentation="strong", decoder_dropout=0.3)
    assert built(config, dataset, cache) == built(config, dataset, cache)
