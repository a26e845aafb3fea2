"""A Ray that starts while the run does something else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bts_tune.experiment.execution.cluster import connected
from bts_tune.experiment.execution.own_ray import starting_ray
from bts_tune.experiment.planning.options import RunOptions
from scripts.processes import descendants


def process_id() -> int:
    return os.getpid()


OPTIONS = RunOptions(space="baseline", device="cpu", dashboard=False)


def test_it_starts_meanwhile_and_ends_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.chdir(tmp_path)
    before = {process.pid for process in descendants(os.getpid())}
    with starting_ray(OPTIONS, run="run") as started:
        assert started is not None
        seen = set()
        while not started.ready:
            seen.add(os.getcwd())  # the thread that starts Ray works in a folder of its own
            time.sleep(0.01)
        assert seen <= {str(tmp_path)}
        with connected(OPTIONS, resume=str, started=started) as cluster:
            assert cluster.address is None
            assert ray.get(ray.remote(process_id).remote()) != os.getpid()
        assert not ray.is_initialized()
    assert {process.pid for process in descendants(os.getpid()) if process.alive()} <= before


def test_a_run_that_ends_before_it_used_it_leaves_nothing() -> None:
    import ray

    before = {process.pid for process in descendants(os.getpid())}
    with pytest.raises(ValueError, match="a broken dataset"), starting_ray(OPTIONS, run="run"):
        raise ValueError("a broken dataset")
    assert not ray.is_initialized()
    assert {process.pid for process in descendants(os.getpid()) if process.alive()} <= before


def test_where_a_cluster_is_named_none_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    with starting_ray(OPTIONS.replaced(address="127.0.0.1:6379"), run="run") as started:
        assert started is None
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    # The run says that the variable is ignored: it must still be there to be seen.
    with starting_ray(OPTIONS, run="run") as started:
        assert started is None
        assert os.environ["RAY_ADDRESS"] == "127.0.0.1:6379"
