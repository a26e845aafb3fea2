from __future__ import annotations

import pytest

from bts_tune.augmentation.steps.base import Step
from bts_tune.augmentation.steps.grid_distortion import GridDistortion
from bts_tune.testing.augmentation import StepContract


class TestGridDistortion(StepContract):
    magnitude = "limit"

    @pytest.fixture
    def step(self) -> Step:
        return GridDistortion(1, limit=0.2)
