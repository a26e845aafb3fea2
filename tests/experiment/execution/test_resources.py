from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bts_tune.errors import ConfigError
from bts_tune.experiment.execution.resources import allocate
from bts_tune.experiment.planning.options import RunOptions

OPTIONS = RunOptions(space="baseline")


def options(**fields: object) -> RunOptions:
    return OPTIONS.replaced(**fields)


@given(cpus=st.integers(1, 256), gpus=st.integers(0, 16), trials=st.integers(1, 100))
def test_nothing_is_allocated_twice(cpus: int, gpus: int, trials: int) -> None:
    resources = allocate(OPTIONS, cpus=cpus, gpus=gpus, trials=trials)
    assert 1 <= resources.concurrent <= trials
    assert resources.gpus * resources.concurrent <= gpus
    assert resources.device == ("cuda" if gpus else "cpu")
    if resources.concurrent <= cpus:
        assert resources.cpus * resources.concurrent <= cpus


def test_two_cores_go_to_one_trial_and_sixteen_to_four() -> None:
    assert allocate(OPTIONS, cpus=2, gpus=0, trials=3).cpus == 2
    resources = allocate(OPTIONS, cpus=16, gpus=0, trials=10)
    assert (resources.cpus, resources.concurrent) == (4, 4)


def test_a_gpu_can_be_shared() -> None:
    resources = allocate(options(gpus_per_trial=0.25), cpus=16, gpus=2, trials=100)
    assert (resources.gpus, resources.concurrent, resources.cpus) == (0.25, 8, 2)


def test_the_cpu_can_be_asked_for_beside_a_gpu() -> None:
    assert allocate(options(device="cpu"), cpus=8, gpus=1, trials=4).gpus == 0


@pytest.mark.parametrize(
    ("fields", "gpus", "sentence"),
    [
        ({"device": "cuda"}, 0, "there is no GPU"),
        ({"gpus_per_trial": 0.5}, 0, "there is no GPU to share"),
        ({"gpus_per_trial": 2.0}, 1, "there are 1 GPUs"),
        ({"gpus_per_trial": 1.5}, 4, "a fraction below 1 or a whole number"),
        ({"concurrent": 9}, 0, "there are 4 cores"),
    ],
)
def test_what_cannot_be_had_is_refused(fields: dict[str, object], gpus: float, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        allocate(options(**fields), cpus=4, gpus=gpus, trials=4)
