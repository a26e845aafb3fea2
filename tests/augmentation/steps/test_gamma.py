from __future__ import annotations

import pytest

from bts_tune.augmentation.steps.base import Step
from bts_tune.augmentation.steps.gamma import Gamma
from bts_tune.testing.augmentation import StepContract


class TestGamma(StepContract):
    magnitude = "limit"

    @pytest.fixture
    def step(self) -> Step:
        return Gamma(1, limit=0.4)


class TestGammaOfSomeImages(StepContract):
    magnitude = "probability"

    @pytest.fixture
    def step(self) -> Step:
        return Gamma(0.5, limit=0.4)
