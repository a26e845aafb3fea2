from __future__ import annotations

import importlib

import pytest

from bts_tune.registry import AUGMENTATION_STEPS
from bts_tune.testing.augmentation import StepContract


@pytest.mark.parametrize("name", AUGMENTATION_STEPS)
def test_every_step_keeps_the_contract(name: str) -> None:
    """Its tests, in the file of its name, inherit it."""
    tests = importlib.import_module(f"tests.augmentation.steps.test_{name.replace('-', '_')}")
    classes = [each for each in vars(tests).values() if isinstance(each, type) and each is not StepContract]
    assert any(issubclass(each, StepContract) and each.__name__.startswith("Test") for each in classes)
