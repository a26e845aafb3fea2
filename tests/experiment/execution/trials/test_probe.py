from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bts_tune.config import PreprocessingPart
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.prepare import prepare
from bts_tune.experiment.execution.trials.probe import ThroughputWorker, architecture, measure_peak_memory
from tests.training.builders import tiny


@pytest.fixture
def prepared(small_data: Path, cache: Path) -> str:
    return str(prepare(open_dataset(small_data), tiny().part(PreprocessingPart), cache=cache).folder)


def test_a_worker_trains_for_as_long_as_it_is_told(prepared: str) -> None:
    worker = ThroughputWorker(tiny(), prepared, [], "cpu", 1)
    assert worker.train(0.0) > 0
    assert worker.train(0.3) > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="measures a GPU")
def test_the_configuration_that_takes_most_memory_is_found(prepared: str) -> None:
    small, large = tiny(batch_size=2), tiny(batch_size=32)
    found = measure_peak_memory([small, large, small], [prepared] * 3, [])
    assert found.config.batch_size == 32
    assert 0 < found.peak < found.total


def test_a_model_in_words() -> None:
    assert architecture(tiny(decoder="unet", encoder="resnet18")) == "unet on resnet18"
