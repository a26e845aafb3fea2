from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from bts_tune.config import TrialConfig
from bts_tune.losses.focal import Focal
from bts_tune.testing.losses import LossContract, example


class TestFocal(LossContract):
    name = "focal"


class TestOtherParameters(LossContract):
    name = "focal"
    parameters: ClassVar = {"focal_gamma": 1.0, "focal_alpha": 0.9}


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (5.0, 0.7)])
def test_the_formula_of_the_paper(gamma: float, alpha: float) -> None:
    logits, truth = example(empty=1)
    p = torch.sigmoid(logits.double())
    p_true = torch.where(truth > 0, p, 1 - p)
    weight = torch.where(truth > 0, alpha, 1 - alpha)
    expected = (-weight * (1 - p_true) ** gamma * p_true.log()).mean()
    config = TrialConfig.parse({"loss": "focal", "focal_gamma": gamma, "focal_alpha": alpha})
    assert float(Focal(config)(logits, truth)) == pytest.approx(float(expected), rel=1e-5)
