from __future__ import annotations

import pytest

from bts_tune.augmentation.steps.base import Step
from bts_tune.augmentation.steps.downscale import Downscale
from bts_tune.testing.augmentation import StepContract


class TestDownscale(StepContract):
    magnitude = "loss"

    @pytest.fixture
    def step(self) -> Step:
        return Downscale(1, loss=0.4)
