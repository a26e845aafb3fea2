from __future__ import annotations

import pytest

from bts_tune.augmentation.steps.base import Step
from bts_tune.augmentation.steps.vertical_flip import VerticalFlip
from bts_tune.testing.augmentation import StepContract


class TestVerticalFlip(StepContract):
    magnitude = "probability"

    @pytest.fixture
    def step(self) -> Step:
        return VerticalFlip(0.5)
