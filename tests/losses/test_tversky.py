from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from bts_tune.config import TrialConfig
from bts_tune.errors import ConfigError
from bts_tune.losses.tversky import Tversky
from bts_tune.testing.losses import LossContract, example


class TestTversky(LossContract):
    name = "tversky"


class TestOtherParameters(LossContract):
    name = "tversky"
    parameters: ClassVar = {"tversky_alpha": 0.7, "tversky_beta": 0.3}


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.7), (0.5, 0.5), (1.0, 0.0)])
def test_the_formula_of_the_paper(alpha: float, beta: float) -> None:
    logits, truth = example(empty=1)
    p = torch.sigmoid(logits.double())
    tp, fp, fn = (p * truth).sum(), (p * (1 - truth)).sum(), ((1 - p) * truth).sum()
    config = TrialConfig.parse({"loss": "tversky", "tversky_alpha": alpha, "tversky_beta": beta})
    assert float(Tversky(config)(logits, truth)) == pytest.approx(float(1 - tp / (tp + alpha * fp + beta * fn)))


def test_weights_that_are_both_0_train_nothing_and_are_refused() -> None:
    fields = {"loss": "tversky", "tversky_alpha": 0, "tversky_beta": 0}
    with pytest.raises(ConfigError, match="x: tversky_alpha and tversky_beta are both 0; at least one"):
        TrialConfig.parse(fields, "x")
    TrialConfig.parse({**fields, "tversky_beta": 0.1})
