from __future__ import annotations

from typing import ClassVar

import pytest

from bts_tune.config import TrialConfig
from bts_tune.errors import ConfigError
from bts_tune.losses.focal_tversky import FocalTversky
from bts_tune.losses.tversky import Tversky
from bts_tune.testing.losses import LossContract, example


class TestFocalTversky(LossContract):
    name = "focal-tversky"


class TestOtherParameters(LossContract):
    name = "focal-tversky"
    parameters: ClassVar = {"focal_tversky_gamma": 2.0, "focal_tversky_alpha": 0.5}


@pytest.mark.parametrize("gamma", [0.75, 1.0, 2.0])
def test_it_is_a_power_of_the_tversky_loss(gamma: float) -> None:
    logits, truth = example()
    base = float(Tversky(TrialConfig.parse({"loss": "tversky"}))(logits, truth))
    config = TrialConfig.parse({"loss": "focal-tversky", "focal_tversky_gamma": gamma})
    assert float(FocalTversky(config)(logits, truth)) == pytest.approx(base**gamma, rel=1e-5)


def test_weights_that_are_both_0_train_nothing_and_are_refused() -> None:
    fields = {"loss": "focal-tversky", "focal_tversky_alpha": 0, "focal_tversky_beta": 0}
    with pytest.raises(ConfigError, match="x: focal_tversky_alpha and focal_tversky_beta are both 0; at least one"):
        TrialConfig.parse(fields, "x")
    TrialConfig.parse({**fields, "focal_tversky_beta": 0.1})
