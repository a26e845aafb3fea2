from __future__ import annotations

import pytest

from bts_tune.augmentation.steps.base import Step
from bts_tune.augmentation.steps.noise import Noise
from bts_tune.testing.augmentation import StepContract


class TestNoise(StepContract):
    magnitude = "deviation"

    @pytest.fixture
    def step(self) -> Step:
        return Noise(1, deviation=0.06)
