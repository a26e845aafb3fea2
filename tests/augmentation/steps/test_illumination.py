from __future__ import annotations

import pytest

from bts_tune.augmentation.steps.base import Step
from bts_tune.augmentation.steps.illumination import Illumination
from bts_tune.testing.augmentation import StepContract


class TestIllumination(StepContract):
    magnitude = "highest"

    @pytest.fixture
    def step(self) -> Step:
        return Illumination(1, lowest=0.01, highest=0.15)
