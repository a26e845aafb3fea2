"""Hands a plan to Ray Tune and waits until it is done, interrupted or out of time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler

from bts_tune.errors import RunStoppedError
from bts_tune.experiment.callbacks.record import Recorder
from bts_tune.experiment.execution.cluster.signals import stop_requested
from bts_tune.experiment.execution.files.model_storage import ModelStorage
from bts_tune.experiment.execution.files.node_files import Shipping
from bts_tune.experiment.execution.nodes.preflight import versions_here
from bts_tune.experiment.execution.nodes.resources import TrialResources, cores_of_largest_node
from bts_tune.experiment.execution.trials.node_watch import NodeWatch
from bts_tune.experiment.execution.trials.retries import RetryPolicy, is_unwritable
from bts_tune.experiment.execution.trials.trainable import TrialActor
from bts_tune.experiment.execution.trials.tune_callback import (
    NoNodeLeft,
    Outcome,
    StopTuning,
    TuneCallback,
    UnwritableRecord,
)
from bts_tune.experiment.planning.options import DEFAULT_MAX_FAILURES
from bts_tune.experiment.planning.plan import Plan, PlannedTrial
from bts_tune.experiment.planning.trial_inputs import TrialInputs
from bts_tune.experiment.search.scheduler import ASHAWithProtectedTrials
from bts_tune.experiment.search.searcher import PlanSearcher
from bts_tune.plugins import plugins_to_restore
from bts_tune.results.record.objective import Objective
from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.space import ResolvedSearch
from bts_tune.text import first_line


def tune_trials(
    folder: RunFolder,
    plan: Plan,
    search: ResolvedSearch | None,
    inputs: TrialInputs,
    resources: TrialResources,
    recorder: Recorder,
    *,
    time_budget: float | None,
    max_failures: int = DEFAULT_MAX_FAILURES,
    trial_timeout: float | None = None,
    cluster_lost: threading.Event | None = None,
    earlier: Sequence[TrialRecord] = (),
    nodes: NodeWatch,
    shipping: Shipping | None = None,
    elsewhere: ModelStorage | None = None,
) -> Outcome:
    """Run every trial of the plan; a connected cluster and the run's lock are the caller's.

    Trials of a search are stopped early, baselines are not; without a search all run to their full budget in order.

    Args:
        time_budget: seconds after which the run ends, whatever is still running.
        max_failures: how often a trial is retried after its process died or hung.
        trial_timeout: seconds without a new epoch after which a trial counts as hung; the first epoch includes
            building the model.
        cluster_lost: set when the cluster's head is gone.
        earlier: trials of an earlier run, for the searcher alone.
        nodes: of the cluster.
        shipping: how files reach the nodes of a cluster that is not the run's own.
        elsewhere: where the run keeps its models, if that is not in its folder.

    Raises:
        RunStoppedError: nothing more can be written, or no node is left; what was recorded is intact.
    """
    objective = Objective.of_run(folder.read_run())
    retries = RetryPolicy(max_failures)
    plugins = plugins_to_restore()
    versions = versions_here()

    def describe(trial: PlannedTrial) -> dict[str, Any]:
        config = trial.config
        alone = retries.needs_all_resources(trial.trial)
        return {
            "run": folder.path.name,
            "trial": trial.trial,
            "attempt": retries.failed_attempts(trial.trial) + 1,
            "protected": search is None or trial.baseline,
            "objective": objective,
            "config": config.to_dict(),
            "plugins": plugins,
            "prepared": inputs.prepared_for(config, trial.fold),
            "weights": inputs.weights[config.encoder, config.encoder_weights].to_dict(),
            "folder": str(folder.model_folder(trial.trial).resolve()),
            "device": resources.device,
            "cpu_precision": inputs.cpu_precision.of(config),
            "threads": resources.cpus,
            "cpus": cores_of_largest_node(nodes.nodes()) if alone and not resources.gpus else resources.cpus,
            "gpus": max(1.0, resources.gpus) if alone and resources.gpus else resources.gpus,
            "memory": resources.memory,
            "left_out": nodes.left_out(),
            "shipping": shipping,
            "elsewhere": elsewhere,
            "versions": versions,
        }

    for trial in plan.fixed:
        recorder.add(trial, known=True)
    searcher = PlanSearcher(
        plan,
        search,
        describe,
        lambda trial: recorder.add(trial, known=False),
        earlier,
        objective=objective,
        concurrent=nodes.concurrent,
    )
    scheduler = None if search is None else _scheduler(search, plan, folder, objective)
    deadline = None if time_budget is None else time.monotonic() + time_budget
    with stop_requested() as requested:
        tuner = tune.Tuner(
            TrialActor,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=FIFOScheduler() if scheduler is None else scheduler,
                num_samples=-1,  # the searcher knows when there is no more, which depends on what is retried
                max_concurrent_trials=resources.concurrent,
                reuse_actors=True,
                trial_name_creator=_own_name,
                trial_dirname_creator=_name_of_attempt,
            ),
            run_config=tune.RunConfig(
                name=f"tune-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}",
                storage_path=str((folder.path / "ray").resolve()),
                verbose=0,
                # The trial keeps its own checkpoints in the run folder, which outlive Ray's state.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[
                    TuneCallback(
                        recorder, searcher, scheduler, retries, requested, deadline, trial_timeout, cluster_lost, nodes
                    )
                ],
            ),
        )
        try:
            tuner.fit()
        except StopTuning as stop:
            return stop.outcome
        except NoNodeLeft as error:
            raise no_node(folder, error) from None
        except UnwritableRecord as error:
            raise _unwritable(folder, str(error)) from None
        except Exception as error:
            if is_unwritable(error):  # Ray's own state lies in the run folder too
                raise _unwritable(folder, first_line(error)) from None
            if isinstance(error.__cause__, ray.exceptions.OutOfMemoryError):
                raise RunStoppedError(
                    f"{folder}: the run was stopped: the cluster's memory monitor ended a trial's process, which Ray "
                    "Tune cannot go on after; start the cluster with RAY_memory_monitor_refresh_ms=0, or run fewer "
                    f"trials at a time. What was recorded is intact; go on with: {folder.resume_command}"
                ) from None
            raise
        # A signal may have come after the last step.
        return "interrupted" if requested.is_set() else "complete"


def no_node(folder: RunFolder, reason: BaseException) -> RunStoppedError:
    """Return the error of a run that stopped because no node is left, for the reason that a `NodeWatch` gave."""
    return RunStoppedError(
        f"{folder}: the run was stopped: {str(reason).rstrip('.')}. What was recorded is intact; go on with: "
        f"{folder.resume_command}"
    )


def _scheduler(search: ResolvedSearch, plan: Plan, folder: RunFolder, objective: Objective) -> ASHAWithProtectedTrials:
    """Return the scheduler of a search, told of every epoch on record."""
    named = [trial.config.epochs for trial in plan.fixed] + [record.config["epochs"] for record in plan.finished]
    scheduler = ASHAWithProtectedTrials(
        epochs=search.epochs,
        longest=max([search.epochs, *named]),
        grace_period=search.grace_period,
        reduction_factor=search.reduction_factor,
        min_complete_trials=search.outlook_after,
        objective=objective,
    )
    for record in plan.finished:
        scheduler.replay(record.trial, record.rows)
    recorded = {record.trial: record.rows for record in folder.trials()}
    for trial in plan.fixed:
        # The last epoch is decided on when the trial reports it again: a process may have been killed between recording
        # it and ending the trial there.
        scheduler.replay(trial.trial, recorded[trial.trial][:-1])
    return scheduler


def _unwritable(folder: RunFolder, reason: str) -> RunStoppedError:
    return RunStoppedError(
        f"{folder}: the run was stopped, because it cannot write any more ({reason.rstrip('.')}); what it recorded is "
        f"intact. Make room, then go on with: {folder.resume_command}"
    )


def _own_name(trial: Any) -> str:
    return str(trial.config["trial"])


def _name_of_attempt(trial: Any) -> str:
    return f"{trial.config['trial']}-attempt-{trial.config['attempt']}"
