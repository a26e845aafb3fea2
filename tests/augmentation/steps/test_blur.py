from __future__ import annotations

import pytest

from bts_tune.augmentation.steps.base import Step
from bts_tune.augmentation.steps.blur import Blur
from bts_tune.testing.augmentation import StepContract


class TestBlur(StepContract):
    magnitude = "sigma"

    @pytest.fixture
    def step(self) -> Step:
        return Blur(1, sigma=1.5)
