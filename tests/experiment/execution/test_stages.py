from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest
from rich.console import Console

from bts_tune.errors import ConfigError
from bts_tune.experiment.callbacks.tracking import Tracking
from bts_tune.experiment.execution.cluster.connection import Cluster
from bts_tune.experiment.execution.nodes.node import Node
from bts_tune.experiment.execution.stages import Stages
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.experiment.planning.plan import Plan
from bts_tune.experiment.planning.trial_inputs import TrialInputs
from bts_tune.testing.runs import make_baselines, write_run

NOTHING = Plan((), (), 0, 0)


def stages(folder: Path, **options: object) -> Stages:
    console = Console(file=io.StringIO())
    run = write_run(folder, make_baselines())
    chosen = RunOptions.parse({"space": "baseline", **options})
    return Stages(run, TrialInputs({}, {}, {}), chosen, Tracking([], console.print), console)


def cluster(cpus: int = 8, gpus: float = 0) -> Cluster:
    return Cluster(None, threading.Event(), alive=lambda: [Node("a", "host", cpus, gpus)])


def test_a_stage_without_trials_is_complete(tmp_path: Path) -> None:
    assert stages(tmp_path / "run").train(cluster(), NOTHING, None, None) == "complete"


def test_cores_are_shared_by_the_trials_of_the_whole_run(tmp_path: Path) -> None:
    """Three trials are on record, none is left: on CPUs a trial's figures depend on its threads."""
    found = stages(tmp_path / "run").resources(cluster(cpus=8), NOTHING)
    assert (found.concurrent, found.cpus) == (2, 4)


def test_what_the_cluster_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no GPU"):
        stages(tmp_path / "run", device="cuda").resources(cluster(), NOTHING)
