from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from segmentation_models_pytorch.losses import DiceLoss
from torch.nn import functional as F

from bts_tune.config import TrialConfig
from bts_tune.losses.dice_bce import DiceBCE
from bts_tune.testing.losses import LossContract


class TestDiceBCE(LossContract):
    name = "dice-bce"


class TestDiceAlone(LossContract):
    name = "dice-bce"
    parameters: ClassVar = {"bce_weight": 0}


def example() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 1, 8, 8, generator=generator, requires_grad=True)
    return logits, (torch.rand(3, 1, 8, 8, generator=generator) > 0.7).float()


@pytest.mark.parametrize(("dice", "bce"), [(1.0, 1.0), (0.25, 4.0), (1.0, 0.0), (0.0, 2.0)])
def test_weighted_sum_of_dice_loss_and_cross_entropy(dice: float, bce: float) -> None:
    logits, truth = example()
    expected = dice * DiceLoss("binary")(logits, truth) + bce * F.binary_cross_entropy_with_logits(logits, truth)
    loss = DiceBCE(TrialConfig(dice_weight=dice, bce_weight=bce))(logits, truth)
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0


def test_a_loss_of_no_weight_is_not_computed() -> None:
    logits = torch.full((1, 1, 2, 2), torch.inf)  # infinite cross-entropy where the truth is 0
    truth = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    assert torch.isfinite(DiceBCE(TrialConfig(bce_weight=0))(logits, truth))
