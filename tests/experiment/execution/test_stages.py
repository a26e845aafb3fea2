from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest
from rich.console import Console

from bts_tune.errors import ConfigError
from bts_tune.experiment.callbacks.tracking import Tracking
from bts_tune.experiment.execution.cluster.connection import Cluster
from bts_tune.experiment.execution.duration import this_machine
from bts_tune.experiment.execution.nodes.node import Node
from bts_tune.experiment.execution.stages import Stages
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.experiment.planning.plan import Plan, from_named
from bts_tune.experiment.planning.trial_inputs import TrialInputs
from bts_tune.space import Space
from bts_tune.testing.runs import make_baselines, write_run
from bts_tune.training.bfloat16 import keep_gain

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


@pytest.mark.parametrize(
    ("address", "gpus", "flags", "epochs", "measured"),
    [
        (None, 0.0, ["avx512_bf16"], 10_000, 1),
        (None, 0.0, ["avx512_bf16"], 1, 0),  # short
        (None, 0.0, [], 10_000, 0),  # a processor that does not multiply bfloat16
        (None, 1.0, ["avx512_bf16"], 10_000, 0),  # trained on a GPU
        ("head:6379", 0.0, ["avx512_bf16"], 10_000, 0),  # nodes differ
    ],
)
def test_what_auto_is_on_cpus_is_decided_by_long_new_runs_on_one_machine(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str | None,
    gpus: float,
    flags: list[str],
    epochs: int,
    measured: int,
) -> None:
    fields = {"encoder": "resnet18", "encoder_weights": "none", "image_size": 32, "epochs": epochs}
    trials = {"plain": {"description": "A trial.", "config": fields}}
    space = Space.from_document({"name": "some", "source": "some.yaml", "description": "Some.", "trials": trials})
    resolved = space.resolve()
    here = stages(tmp_path / "run", cache=str(tmp_path / "cache"))
    plan = Plan((from_named(resolved.named[0], 0),), (), 0, 0)
    cluster = Cluster(None, threading.Event(), address, alive=lambda: [Node("a", "host", 4, gpus)])
    monkeypatch.setattr("bts_tune.experiment.execution.stages.bfloat16_flags", lambda: flags)
    threads = here.resources(cluster, plan)
    keep_gain(resolved.named[0].config, this_machine(threads), 1.5, tmp_path / "cache")
    found = here.decide_cpu_precision(cluster, plan, resolved, new=True)
    assert len(found.measured) == measured
    again = here.decide_cpu_precision(cluster, plan, resolved, new=False)
    assert list(again.measured) == list(found.measured)
