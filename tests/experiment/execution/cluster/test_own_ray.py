"""A Ray of the run's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bts_tune.experiment.execution.cluster.connection import connected
from bts_tune.experiment.planning.options import RunOptions
from scripts.processes import descendants

OPTIONS = RunOptions(space="baseline", device="cpu", dashboard=False)


def process_id() -> int:
    return os.getpid()


def test_it_is_there_when_connected_and_ends_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.chdir(tmp_path)
    before = {process.pid for process in descendants(os.getpid())}
    with connected(OPTIONS, resume=str) as cluster:
        assert cluster.address is None
        assert ray.get(ray.remote(process_id).remote()) != os.getpid()
        assert os.getcwd() == str(tmp_path)
    assert not ray.is_initialized()
    assert {process.pid for process in descendants(os.getpid()) if process.alive()} <= before


def test_a_start_that_fails_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    start, tries = ray.init, []

    def init(*args: Any, **options: Any) -> Any:
        tries.append(options["address"])
        if len(tries) == 1:
            raise RuntimeError("the node timed out during startup")
        return start(*args, **options)

    monkeypatch.setattr(ray, "init", init)
    with connected(OPTIONS, resume=str):
        assert ray.is_initialized()
    assert tries == ["local", "local"]
