"""What a step computes on a GPU, where there is none: on tensors that have a device and a shape, but no values.

PyTorch's fake tensors refuse an operation on tensors of two devices as a GPU does, and they have nothing to read back:
a step that waited for the device to learn a value could not be carried out on them. Autograd and autocast need a real
GPU, so that the backward pass and the precision are not seen here.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from bts_tune.augmentation import policies
from bts_tune.augmentation.batch_wise import BatchAugmenter
from bts_tune.config import AugmentationPart, TrialConfig
from bts_tune.losses.dice_bce import DiceBCE
from bts_tune.models.build import build_model
from bts_tune.models.freezing import set_mode
from bts_tune.models.weights import EncoderWeights
from bts_tune.training.loader import standardize
from bts_tune.training.measure import image_sums
from tests.training.builders import tiny

GPU = torch.device("cuda", 0)
SIZE = 64


class FakeGenerator:
    """Stands in for `torch.Generator` on a GPU: fake tensors draw no numbers, so that nothing is asked of it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def manual_seed(self, seed: int) -> None:
        pass


@pytest.fixture
def no_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "Generator", FakeGenerator)
    for name in ("uniform_", "normal_"):
        filled = getattr(torch.Tensor, name)

        def fill(tensor: torch.Tensor, *limits: float, filled: Any = filled, generator: Any = None) -> torch.Tensor:
            return filled(tensor, *limits)

        monkeypatch.setattr(torch.Tensor, name, fill)


def greys(device: torch.device) -> torch.Tensor:
    return torch.empty((4, 1, SIZE, SIZE), dtype=torch.uint8, device=device)


def on_gpu(config: TrialConfig) -> torch.nn.Module:
    """Build a model on the GPU; `Module.to` cannot move fake parameters."""
    with torch.device(GPU):
        model = build_model(config, EncoderWeights(config.encoder))
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, torch.nn.Parameter(torch.empty(parameter.shape, device=GPU)))
    return model


@pytest.mark.parametrize("augmentation", ["light", "medium", "strong"])
@pytest.mark.usefixtures("no_generator")
def test_a_batch_is_augmented_without_leaving_the_gpu(augmentation: str) -> None:
    config = tiny(augmentation=augmentation, image_size=SIZE)
    with FakeTensorMode():
        augmenter = BatchAugmenter.of(policies.steps(config.part(AugmentationPart), SIZE), SIZE, GPU)
        assert augmenter is not None
        drawn = augmenter.draw(4, seed=1)
        assert drawn.device.type == "cpu"
        image, mask = augmenter(greys(GPU), greys(GPU), drawn.to(GPU), 1)
        image = standardize(image, 80.0, 40.0)
    for tensor in (image, mask):
        assert (tensor.device, tensor.dtype, tensor.shape) == (GPU, torch.float32, (4, 1, SIZE, SIZE))
    assert image.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("decoder", ["unet", "unetplusplus", "manet", "fpn", "linknet"])
@torch.no_grad()
def test_loss_and_metrics_are_computed_without_leaving_the_gpu(decoder: str) -> None:
    config = tiny(decoder=decoder, image_size=SIZE, decoder_dropout=0.5, head_dropout=0.5)
    with FakeTensorMode():
        model = on_gpu(config)
        image, truth = standardize(greys(GPU), 80.0, 40.0), greys(GPU).float()
        set_mode(model, training=True)
        loss = DiceBCE(config)(model(image), truth)
        set_mode(model, training=False)
        sums = image_sums(model(image), truth)
    assert (loss.device, loss.shape) == (GPU, ())
    assert (sums.device, sums.dtype, sums.shape) == (GPU, torch.float64, (4, 6))


@pytest.mark.usefixtures("no_generator")
def test_what_would_leave_the_gpu_is_noticed() -> None:
    config = tiny(augmentation="medium", image_size=SIZE)
    with FakeTensorMode():
        augmenter = BatchAugmenter.of(policies.steps(config.part(AugmentationPart), SIZE), SIZE, GPU)
        assert augmenter is not None
        with pytest.raises(RuntimeError, match=r"device"):
            augmenter(greys(GPU), greys(GPU), augmenter.draw(4, seed=1), 1)
        with pytest.raises(DataDependentOutputException):
            greys(GPU).sum().item()
