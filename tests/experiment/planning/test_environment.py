from __future__ import annotations

import json
import platform

import torch

from bts_tune.experiment.planning.environment import hardware, versions


def test_versions_are_those_that_are_imported() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    assert torch.__version__.startswith(found["torch"])
    assert all(found.values())


def test_the_hardware_can_be_recorded() -> None:
    found = json.loads(json.dumps(hardware(), allow_nan=False))
    assert found["cpu_cores"] >= 1
    assert found["memory_gib"] > 0
    assert found["processor"]
    assert len(found["gpus"]) == torch.cuda.device_count()
