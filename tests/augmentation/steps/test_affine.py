from __future__ import annotations

import pytest

from bts_tune.augmentation.steps.affine import Affine
from bts_tune.augmentation.steps.base import Step
from bts_tune.testing.augmentation import StepContract


class TestRotation(StepContract):
    magnitude = "rotate"

    @pytest.fixture
    def step(self) -> Step:
        return Affine(1, rotate=45, scale=0, shift=0, shear=0)


class TestScale(StepContract):
    magnitude = "scale"

    @pytest.fixture
    def step(self) -> Step:
        return Affine(1, rotate=0, scale=0.25, shift=0, shear=0)


class TestShift(StepContract):
    magnitude = "shift"

    @pytest.fixture
    def step(self) -> Step:
        return Affine(1, rotate=0, scale=0, shift=0.12, shear=0)


class TestShear(StepContract):
    magnitude = "shear"

    @pytest.fixture
    def step(self) -> Step:
        return Affine(1, rotate=0, scale=0, shift=0, shear=10)
