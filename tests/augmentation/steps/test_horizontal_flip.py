from __future__ import annotations

import pytest

from bts_tune.augmentation.steps.base import Step
from bts_tune.augmentation.steps.horizontal_flip import HorizontalFlip
from bts_tune.testing.augmentation import StepContract


class TestHorizontalFlip(StepContract):
    magnitude = "probability"

    @pytest.fixture
    def step(self) -> Step:
        return HorizontalFlip(0.5)
