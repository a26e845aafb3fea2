from __future__ import annotations

import pytest

from bts_tune.augmentation.steps.base import Step
from bts_tune.augmentation.steps.brightness_contrast import BrightnessContrast
from bts_tune.testing.augmentation import StepContract


class TestBrightness(StepContract):
    magnitude = "brightness"

    @pytest.fixture
    def step(self) -> Step:
        return BrightnessContrast(1, brightness=0.08, contrast=0)


class TestContrast(StepContract):
    magnitude = "contrast"

    @pytest.fixture
    def step(self) -> Step:
        return BrightnessContrast(1, brightness=0, contrast=0.35)
