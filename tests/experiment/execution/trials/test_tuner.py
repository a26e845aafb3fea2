"""Plans that are handed to Ray Tune, on a small cluster in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bts_tune.config import PreprocessingPart
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.prepare import prepare
from bts_tune.experiment.callbacks.record import Recorder
from bts_tune.experiment.execution.cluster.connection import Cluster, connected
from bts_tune.experiment.execution.nodes.resources import TrialResources
from bts_tune.experiment.execution.trials.node_watch import NodeWatch
from bts_tune.experiment.execution.trials.tune_callback import Outcome
from bts_tune.experiment.execution.trials.tuner import tune_trials
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.experiment.planning.plan import Plan, PlannedTrial
from bts_tune.experiment.planning.trial_inputs import TrialInputs
from bts_tune.models.weights import EncoderWeights
from bts_tune.results.record.run_folder import RunFolder
from tests.training.builders import tiny


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with connected(RunOptions(space="baseline", device="cpu", dashboard=False), resume=str) as one:
        yield one


def test_a_cluster_of_ones_own_has_the_cores_of_this_machine(cluster: Cluster) -> None:
    (node,) = cluster.nodes()
    assert node.cpus >= 1
    assert cluster.address is None
    assert cluster.dashboard is None
    assert not cluster.lost.is_set()


def run(
    cluster: Cluster, folder: RunFolder, epochs: int, data: Path, cache: Path, *, time_budget: float | None = None
) -> Outcome:
    config = tiny(epochs=epochs)
    part = config.part(PreprocessingPart)
    prepared = prepare(open_dataset(data), part, cache=cache)
    inputs = TrialInputs(
        {(part, None): str(prepared.folder)},
        {(config.encoder, "none"): EncoderWeights(config.encoder)},
        {(config.decoder, config.encoder): 1},
    )
    trials = tuple(
        PlannedTrial(name, name, index, True, config.replaced({"seed": index})) for index, name in enumerate("ab")
    )
    for trial in trials:
        folder.append_event("planned", trial.trial, **trial.event())
    resources = TrialResources(1, 0.0, 1, "cpu")
    with Recorder(folder, clock=lambda: 0.0) as recorder:
        return tune_trials(
            folder,
            Plan(trials, (), 0, 0),
            None,
            inputs,
            resources,
            recorder,
            time_budget=time_budget,
            nodes=NodeWatch(cluster, resources, print),
        )


def test_every_trial_of_a_plan_is_run_in_order(cluster: Cluster, small_data: Path, cache: Path, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {"run": "run"})
    assert run(cluster, folder, 2, small_data, cache) == "complete"
    assert [(one.trial, one.status, len(one.rows)) for one in folder.trials()] == [
        ("a", "complete", 2),
        ("b", "complete", 2),
    ]


def test_a_time_budget_ends_what_is_running(cluster: Cluster, small_data: Path, cache: Path, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {"run": "run"})
    assert run(cluster, folder, 1000, small_data, cache, time_budget=1.0) == "out-of-time"
    statuses = [one.status for one in folder.trials()]
    assert "complete" not in statuses
    assert statuses[1] == "waiting"
