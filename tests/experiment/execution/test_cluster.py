from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bts_tune.errors import ConfigError
from bts_tune.experiment.execution.cluster import share_out
from bts_tune.experiment.planning.options import RunOptions

OPTIONS = RunOptions(space="baseline")


def options(**fields: object) -> RunOptions:
    return OPTIONS.replaced(**fields)


@given(cpus=st.integers(1, 256), gpus=st.integers(0, 16), trials=st.integers(1, 100))
def test_nothing_is_shared_out_twice(cpus: int, gpus: int, trials: int) -> None:
    share = share_out(OPTIONS, cpus=cpus, gpus=gpus, trials=trials)
    assert 1 <= share.concurrent <= trials
    assert share.gpus * share.concurrent <= gpus
    assert share.device == ("cuda" if gpus else "cpu")
    if share.concurrent <= cpus:
        assert share.cpus * share.concurrent <= cpus


def test_two_cores_go_to_one_trial_and_sixteen_to_four() -> None:
    assert share_out(OPTIONS, cpus=2, gpus=0, trials=3).cpus == 2
    share = share_out(OPTIONS, cpus=16, gpus=0, trials=10)
    assert (share.cpus, share.concurrent) == (4, 4)


def test_a_gpu_can_be_shared() -> None:
    share = share_out(options(gpus_per_trial=0.25), cpus=16, gpus=2, trials=100)
    assert (share.gpus, share.concurrent, share.cpus) == (0.25, 8, 2)


def test_the_cpu_can_be_asked_for_beside_a_gpu() -> None:
    assert share_out(options(device="cpu"), cpus=8, gpus=1, trials=4).gpus == 0


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
        share_out(options(**fields), cpus=4, gpus=gpus, trials=4)
