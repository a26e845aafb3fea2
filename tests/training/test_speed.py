from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bts_tune.config import TrialConfig
from bts_tune.training.speed import Machine, Speed, keep_speed, known_speed, timed_speed

HERE = Machine("cpu", "a processor", 1)


def small(**fields: object) -> TrialConfig:
    return TrialConfig.parse(
        {"encoder": "resnet18", "encoder_weights": "none", "image_size": 32, "batch_size": 4, **fields}
    )


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"batch_size": 2},
        {"freeze": "all", "batch_size": 16},
        {"channels": 3},
        {"channels": 4, "freeze": "stages", "freeze_stages": 1},
    ],
)
def test_a_few_steps_tell_the_speed(fields: dict[str, object]) -> None:
    threads = torch.get_num_threads()
    found = timed_speed(small(**fields), HERE)
    assert found is not None
    assert found.train > 0
    assert found.valid > 0
    assert torch.get_num_threads() == threads


def test_a_speed_is_that_of_a_model_on_a_machine(tmp_path: Path) -> None:
    keep_speed(small(), HERE, Speed(0.5, 0.25), tmp_path)
    assert known_speed(small(seed=3, learning_rate=0.1), HERE, tmp_path) == Speed(0.5, 0.25)
    for other in ({"image_size": 64}, {"channels": 3}, {"freeze": "all"}, {"encoder": "resnet34"}, {"batch_size": 8}):
        assert known_speed(small(**other), HERE, tmp_path) is None
    for machine in (Machine("cpu", "a processor", 2), Machine("cuda", "a processor", 1, 1.0)):
        assert known_speed(small(), machine, tmp_path) is None


def test_of_a_model_that_cannot_take_such_images_none_is_known() -> None:
    assert timed_speed(small(decoder="pan"), HERE) is None


def test_an_epoch_is_training_and_validation() -> None:
    assert Speed(0.5, 0.25).epoch(100, 20) == 55
