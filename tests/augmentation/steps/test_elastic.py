from __future__ import annotations

import pytest

from bts_tune.augmentation.steps.base import Step
from bts_tune.augmentation.steps.elastic import Elastic
from bts_tune.testing.augmentation import StepContract


class TestElastic(StepContract):
    magnitude = "alpha"

    @pytest.fixture
    def step(self) -> Step:
        return Elastic(1, alpha=20, sigma=4)
