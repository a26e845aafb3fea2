"""Begins what brings files to the nodes of a cluster, and brings back what their trials keep."""

from __future__ import annotations

import secrets
from typing import Any

from bts_tune.experiment.execution.files.node_files import Shipping
from bts_tune.experiment.execution.files.storage import Storage
from bts_tune.experiment.planning.trial_inputs import TrialInputs

_PREFIX = "storage-"


def runs_on_cluster() -> int:
    """Return how many runs use the connected cluster: each has such an actor, which ends with it."""
    from ray.util import list_named_actors

    return max(1, sum(name.startswith(_PREFIX) for name in list_named_actors()))


def handed_out(inputs: TrialInputs) -> list[str]:
    """Return the folders and files that trials need."""
    weights = [one.path for one in inputs.weights.values() if one.path is not None]
    return sorted({*inputs.prepared.values(), *weights})


def start_storage(inputs: TrialInputs) -> tuple[Any, Shipping]:
    """Start the actor of `Storage` beside this process; it ends when nobody holds the first thing returned any more."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    name = f"{_PREFIX}{secrets.token_hex(8)}"
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(Storage).options(
        name=name, num_cpus=0, scheduling_strategy=here, max_restarts=-1, max_task_retries=2
    )
    return actor.remote(handed_out(inputs)), Shipping(name)
