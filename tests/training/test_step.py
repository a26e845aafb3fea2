from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from bts_tune.errors import ConfigError
from bts_tune.losses.base import Loss
from bts_tune.losses.dice_bce import DiceBCE
from bts_tune.training import step as step_module
from bts_tune.training.device import MixedPrecision
from bts_tune.training.loop import rows
from bts_tune.training.step import TrainingStep
from bts_tune.training.trial import Row, Trial
from tests.training.builders import data, opened, tiny

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
CPU = MixedPrecision.choose(torch.device("cpu"), "float32")


def batch(count: int = 4, size: int = 32, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    image = torch.randn(count, 1, size, size, generator=generator)
    return image.to(device), (image > 1).float().to(device)


def gradients(model: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def test_gradients_are_those_of_the_last_batch_alone() -> None:
    model, loss = nn.Conv2d(1, 1, 3, padding=1), DiceBCE(tiny())
    step = TrainingStep(model, loss, CPU)
    step(*batch(3))
    step(*batch(4))
    found = gradients(model)
    model.zero_grad()
    image, truth = batch(4)
    loss(model(image), truth).backward()
    assert all(torch.equal(one, other) for one, other in zip(found, gradients(model), strict=True))


@pytest.mark.parametrize(
    ("returns", "sentence"),
    [
        (lambda found: found.item(), "returned a float"),
        (lambda found: found.detach(), "returned a tensor that no gradients flow through"),
        (lambda found: found.reshape(1, 1), r"returned a tensor of shape \[1, 1\]"),
    ],
)
def test_a_loss_that_returns_no_scalar_of_gradients_is_named(returns: Callable[..., Any], sentence: str) -> None:
    class Mine(DiceBCE):
        name = "mine"

        def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = returns(super().forward(logits, truth))
            return found

    step = TrainingStep(nn.Conv2d(1, 1, 3, padding=1), Mine(tiny()), CPU)
    with pytest.raises(ConfigError, match=f"^loss 'mine': {sentence}; it must return a scalar tensor"):
        step(*batch())


def test_sums_are_of_one_epoch_and_count_images() -> None:
    model, loss = nn.Conv2d(1, 1, 3, padding=1), DiceBCE(tiny())
    step = TrainingStep(model, loss, CPU)
    step(*batch(5))
    step.begin_epoch()
    expected, parts = 0.0, torch.zeros(3, dtype=torch.float64)
    for image, truth in (batch(4), batch(2)):
        step(image, truth)
        with torch.no_grad():
            probability = torch.sigmoid(model(image))
            expected += float(loss(model(image), truth)) * len(image)
            parts += torch.stack([(probability * truth).sum(), probability.sum(), truth.sum()])
    loss_sum, dice_sums = step.sums()
    assert loss_sum == pytest.approx(expected)
    assert dice_sums == pytest.approx(parts.tolist())
    assert step.describe() == "eager"


# --- CUDA graphs ---


def on_gpu(**changes: Any) -> Trial:
    return opened(tiny(**{"precision": "float32", **changes}), data(train=22), device="cuda")


def trained(trial: Trial) -> list[Row]:
    try:
        return list(rows(trial))
    finally:
        trial.close()


@needs_gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])  # float16's first gradients overflow
def test_a_graph_computes_the_gradients_of_plain_steps(precision: str) -> None:
    trial = on_gpu(precision=precision)
    trial.model.train()
    for module in trial.model.modules():  # a repeated forward pass must not depend on the one before it
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    trial.step.begin_epoch()
    for _ in range(step_module._EAGER_STEPS):
        trial.step(*batch(4, device="cuda"))
    trial.step(*batch(3, device="cuda"))  # of another size
    image, truth = batch(4, device="cuda")
    image = image.flip(0).contiguous()
    for _ in range(2):
        trial.step(image, truth)
        replayed = gradients(trial.model)
        assert trial.step.describe() == "CUDA graph"
        again = torch.autograd.grad(
            trial.amp.scaler.scale(_loss(trial, image, truth)), list(trial.model.parameters()), allow_unused=True
        )
        plain = [one for one in again if one is not None]
        assert len(plain) == len(replayed)
        scale = max(float(one.abs().max()) for one in plain)
        for one, other in zip(replayed, plain, strict=True):
            assert float((one - other).abs().max()) <= 2e-2 * scale
        image, truth = image.flip(0).contiguous(), truth.flip(0).contiguous()
    trial.close()


def _loss(trial: Trial, image: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    with trial.amp.autocast():
        logits = trial.model(image)
    return trial.step.loss(logits.float(), truth)


@needs_gpu
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "bfloat16", "weight_average": "ema", "schedule": "one-cycle"},
        {"precision": "float16", "optimizer": "sgd"},
        {"freeze": "epochs", "freeze_epochs": 2, "epochs": 4},
        {"decoder": "unet", "encoder": "efficientnet-b0", "decoder_dropout": 0.5, "augmentation": "medium"},
        {"loss": "lovasz"},
        {"loss": "focal-tversky"},
    ],
)
def test_a_trial_with_a_graph_learns_as_one_without(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    graph = on_gpu(**changes)
    found = list(rows(graph))
    assert graph.step.describe() == "CUDA graph"
    graph.close()
    monkeypatch.setattr(step_module, "_EAGER_STEPS", -1)
    plain = trained(on_gpu(**changes))
    for one, other in zip(found, plain, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=0.05)
        assert one.trainable_parameters == other.trainable_parameters


class _Waits(Loss):
    """A loss that reads a value back, which no graph can."""

    name, definition, source = "waits", "a loss that waits", "a test"

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        scale = max(1.0, float(truth.sum().item()))
        return nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="sum") / scale


@needs_gpu
def test_what_cannot_be_captured_is_computed_without_a_graph() -> None:
    trial = on_gpu(decoder_dropout=0.5, decoder="unet")
    trial.step = TrainingStep(trial.model, _Waits(trial.config), trial.amp)
    found = list(rows(trial))
    assert trial.step.describe().startswith("eager, no CUDA graph: ")
    trial.close()
    assert all(math.isfinite(row.train_loss) for row in found)
    assert found[-1].train_loss < found[0].train_loss
    torch.rand(3, device="cuda")  # random numbers are drawn as before
    # A later trial of the process has its graph.
    later = on_gpu(decoder_dropout=0.5, decoder="unet")
    assert len(list(rows(later))) == 3
    assert later.step.describe() == "CUDA graph"
    later.close()


@needs_gpu
def test_close_gives_the_memory_of_the_graph_back() -> None:
    trained(on_gpu())
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    trained(on_gpu())
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= before + 2**21
