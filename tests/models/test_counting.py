from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.models import build
from bts_tune.models.counting import parameters_of


def test_a_model_is_built_once_to_count_its_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = parameters_of("unet", "resnet18", tmp_path)
    assert counted == build.parameters_of("unet", "resnet18")
    monkeypatch.setattr(build, "parameters_of", lambda *_: pytest.fail("it was built again"))
    assert parameters_of("unet", "resnet18", tmp_path) == counted
