from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from bts_tune.config import TrialConfig
from bts_tune.training.bfloat16 import bfloat16_flags, keep_gain, known_gain, measured_gain
from bts_tune.training.speed import Machine

HERE = Machine("cpu", "a processor", 1)


def small(**fields: object) -> TrialConfig:
    return TrialConfig.parse(
        {"encoder": "resnet18", "encoder_weights": "none", "image_size": 32, "batch_size": 4, **fields}
    )


@pytest.mark.parametrize(
    ("lines", "flags"),
    [
        (
            "model name\t: a processor\nflags\t\t: fpu avx512f avx512_bf16 amx_bf16 amx_tile\n",
            ["avx512_bf16", "amx_bf16"],
        ),
        ("flags\t\t: fpu avx512_bf16\nflags\t\t: fpu\n", ["avx512_bf16"]),
        ("flags\t\t: fpu avx2\n", []),
        ("CPU implementer\t: 0x41\n", []),
    ],
)
def test_the_processor_says_whether_it_multiplies_bfloat16(tmp_path: Path, lines: str, flags: list[str]) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(lines)
    assert bfloat16_flags(file) == flags


def test_a_system_without_cpuinfo_has_no_flags(tmp_path: Path) -> None:
    assert bfloat16_flags(tmp_path / "cpuinfo") == []


@pytest.mark.parametrize("fields", [{}, {"freeze": "all"}, {"freeze": "epochs", "freeze_epochs": 2, "channels": 3}])
def test_steps_of_both_precisions_tell_the_gain(fields: dict[str, object]) -> None:
    threads = torch.get_num_threads()
    gain = measured_gain(small(**fields), 1)
    assert gain > 0
    assert math.isfinite(gain)
    assert torch.get_num_threads() == threads


def test_a_gain_is_that_of_a_step_on_a_machine(tmp_path: Path) -> None:
    assert known_gain(small(), HERE, tmp_path) is None
    keep_gain(small(), HERE, 1.5, tmp_path)
    # Neither the seed nor what is frozen for some epochs changes a step of the whole network.
    assert known_gain(small(seed=3, freeze="epochs", freeze_epochs=2), HERE, tmp_path) == 1.5
    for other in ({"image_size": 64}, {"freeze": "all"}, {"encoder": "resnet34"}, {"batch_size": 8}, {"channels": 3}):
        assert known_gain(small(**other), HERE, tmp_path) is None
    for machine in (Machine("cpu", "a processor", 2), Machine("cpu", "another", 1)):
        assert known_gain(small(), machine, tmp_path) is None
