"""Executes a run whose inputs are ready: its cluster, its folder, its stages, its end."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bts_tune.errors import RunError
from bts_tune.experiment.callbacks.trackers.base import Tracker
from bts_tune.experiment.callbacks.tracking import Tracking
from bts_tune.experiment.execution.address import ignored_address
from bts_tune.experiment.execution.cluster import Cluster, connected, priorities
from bts_tune.experiment.execution.evaluation import models_that_lack
from bts_tune.experiment.execution.final_stage import configurations_to_repeat
from bts_tune.experiment.execution.nodes import describe_nodes
from bts_tune.experiment.execution.packing import with_measured_gpus_per_trial
from bts_tune.experiment.execution.preflight import Preflight, no_node_left
from bts_tune.experiment.execution.resources import TrialResources
from bts_tune.experiment.execution.run_record import NewRun, ResumedRun, now, record_start
from bts_tune.experiment.execution.shipping import handed_out, start_storage
from bts_tune.experiment.execution.signals import signals_as_ctrl_c
from bts_tune.experiment.execution.stages import Stages
from bts_tune.experiment.execution.tune_callback import Outcome
from bts_tune.experiment.planning.disk import bytes_on_disk, estimate_disk_usage, require_free_space
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.experiment.planning.plan import NOTHING, plan_search
from bts_tune.experiment.planning.trial_inputs import TrialInputs
from bts_tune.results.run_folder import RunFolder
from bts_tune.space import ResolvedSpace
from bts_tune.text import first_line, plural

Report = Callable[[RunFolder], Any]
"""Makes the report of a run that has ended, of one that failed too."""


@dataclass(frozen=True)
class FinishedRun:
    """How a run ended.

    Attributes:
        folder: the run.
        outcome: how it ended.
        report: what the caller's `report` returned.
    """

    folder: RunFolder
    outcome: Outcome
    report: Any


def execute(
    run: NewRun | RunFolder,
    space: ResolvedSpace,
    inputs: TrialInputs,
    options: RunOptions,
    console: Console,
    resumed: ResumedRun | None = None,
    *,
    trackers: Sequence[Tracker] = (),
    skip_search: bool = False,
    report: Report,
) -> FinishedRun:
    """Run the search stage and the final stage, evaluate, and report.

    A new run has a folder from when its cluster is there, and has none again where it ends before its first trial.

    Args:
        run: a new one, or the folder of one that goes on.
        space: its trials.
        inputs: what the trials need.
        options: how the run is carried out.
        console: where progress is shown.
        resumed: of a run that goes on.
        trackers: are told how the run goes.
        skip_search: whether the search stage is left as it is.
        report: called when the run has ended, whichever way.
    """
    new = run if isinstance(run, NewRun) else None
    folder = RunFolder(run.path)
    tracking = Tracking(trackers, lambda text: console.print(text, style="yellow", markup=False, soft_wrap=True))
    with contextlib.ExitStack() as held:
        if new is None:
            held.enter_context(folder.locked())
        if ignored := ignored_address(options.address):
            _say(console, ignored)
        stages = Stages(folder, inputs, options, tracking, console)
        stages = replace(stages, retry_failed=resumed is not None and resumed.retry_failed)
        outcome: Outcome = "complete"
        began = False
        try:
            with connected(options, resume=lambda: folder.resume_command) as cluster:
                # Ray took SIGTERM over when it started.
                held.enter_context(signals_as_ctrl_c())
                if cluster.address is not None:
                    _say(console, f"Ray cluster at {cluster.address}: {describe_nodes(cluster.nodes())}")
                    storage, shipping = start_storage(inputs)
                    stages = replace(stages, shipping=shipping, storage=storage)
                stages = replace(stages, options=_with_measured_gpus(stages, space, cluster))
                if new is None:
                    stages = replace(stages, options=_with_threads_as_before(stages, folder.read_run(), cluster))
                if new is not None:
                    stages.resources(cluster, NOTHING)
                    folder = new.create_folder()
                    held.enter_context(folder.locked())
                    held.callback(lambda: None if began else shutil.rmtree(folder.path, ignore_errors=True))
                    stages = replace(stages, folder=folder)
                held.callback(lambda: Preflight.tidy(folder.path))
                stages = _after_preflight(stages, cluster, folder)
                record_start(folder, options, stages.resources(cluster, NOTHING), resumed)
                began = new is None
                folder.update_run(gpus_per_trial=stages.options.gpus_per_trial)
                plan = NOTHING
                if not skip_search:
                    plan = plan_search(folder, space, options.folds, retry_failed=stages.retry_failed)
                resources = stages.resources(cluster, plan)
                folder.update_run(resources=resources.to_dict())
                if cluster.address is not None:
                    # As nodes come and go, a trial's share stays: on CPUs its figures depend on its threads.
                    share = {"cpus_per_trial": resources.cpus, "device": resources.device}
                    stages = replace(stages, options=stages.options.replaced(**share))
                needed = estimate_disk_usage(space, inputs.parameters, resources.concurrent, options.folds or 1)
                to_write = max(0, needed.total - bytes_on_disk([folder.path]))
                _say(console, f"Disk: {require_free_space(folder.path, to_write, 'results, checkpoints and models')}")
                _announce(folder, cluster, resources, plan.trials, console)
                for line in tracking.start_run(folder.path, folder.read_run()):
                    _say(console, line)
                if cluster.address is not None:
                    nice = ", ".join(map(str, priorities()))
                    _say(console, f"Priority of the cluster's trials (nice): {nice}")
                began = True
                outcome = stages.train(cluster, plan, space.search, options.time_budget)
                if outcome == "complete":
                    outcome = stages.finish(cluster, space.final, "the search was closed")
            if outcome == "out-of-time" and space.final and configurations_to_repeat(folder.trials(), space.final.top):
                console.print("The time budget is spent: the search is closed, and its final stage follows.")
                # What was still training holds its cores and GPUs until Ray ends.
                with connected(options, resume=lambda: folder.resume_command) as cluster:
                    held.enter_context(signals_as_ctrl_c())
                    if cluster.address is not None:
                        storage, shipping = start_storage(inputs)
                        stages = replace(stages, shipping=shipping, storage=storage)
                        stages = _after_preflight(stages, cluster, folder)
                    outcome = stages.finish(cluster, space.final, "the time budget of the search was spent")
            if outcome == "complete":
                # Ray's own logs and states are a cache of the record; of a complete run nothing needs them.
                shutil.rmtree(folder.path / "ray", ignore_errors=True)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):  # the second one: at once, without a report
                if began:
                    folder.update_run(status="interrupted", ended=now())
                if began or new is None:
                    _say_how_to_resume(folder, console)
                tracking.end_run("interrupted")
            elif began:  # a resume that was refused leaves the run as it was
                tracking.end_run("failed")
                with contextlib.suppress(OSError, RunError):  # on a full disk, which `error` tells of
                    folder.update_run(status="failed", ended=now(), reason=first_line(error))
                    report(folder)
            raise
        try:
            # Ray gave SIGTERM back to the system when it ended, behind Python's back.
            held.enter_context(signals_as_ctrl_c())
            lacking = models_that_lack(folder) if outcome == "complete" else []
            folder.update_run(status=outcome, ended=now(), models_lacking=lacking)
            tracking.end_run(outcome)
            return FinishedRun(folder, outcome, report(folder))
        except KeyboardInterrupt:
            _say_how_to_resume(folder, console)
            raise


def _with_measured_gpus(stages: Stages, space: ResolvedSpace, cluster: Cluster) -> RunOptions:
    # The folds of a dataset are of a size.
    folders = {part: folder for (part, _), folder in stages.inputs.prepared.items()}
    nodes = cluster.nodes()
    nodes = [node for node in nodes if node.gpus] or nodes
    return with_measured_gpus_per_trial(
        stages.options,
        space,
        folders,
        cpus=sum(node.cpus for node in nodes),
        gpus=sum(node.gpus for node in nodes),
        say=stages.say,
        shipping=stages.shipping,
    )


def _with_threads_as_before(stages: Stages, run: Mapping[str, Any], cluster: Cluster) -> RunOptions:
    """Return the options of a run that goes on in a cluster: on CPUs, trials keep the threads that they had.

    The last bits of their figures depend on them, and a cluster's nodes may be others by now.
    """
    options, before = stages.options, run.get("resources") or {}
    threads = before.get("cpus")
    if cluster.address is None or options.cpus_per_trial is not None or not isinstance(threads, int):
        return options
    if before.get("device") != "cpu" or threads < 1:
        return options
    if not any(node.cpus >= threads for node in cluster.nodes()):
        stages.say(
            f"Trials had {plural(threads, 'thread')} so far, and no node has as many cores: the figures of those that "
            "follow may differ in their last digits."
        )
        return options
    return options.replaced(cpus_per_trial=threads)


def _after_preflight(stages: Stages, cluster: Cluster, folder: RunFolder) -> Stages:
    """Look at every node of a cluster that is not the run's own, and leave out those that cannot train.

    Raises:
        RunError: none can.
    """
    if cluster.address is None or stages.shipping is None:
        return stages
    resources = stages.resources(cluster, NOTHING)
    paths = [Path(path) for path in handed_out(stages.inputs)]
    needed = sum(bytes_on_disk([path]) if path.is_dir() else path.stat().st_size for path in paths)
    preflight = Preflight.of(folder.path, needed=needed, cuda=resources.device == "cuda")
    nodes = cluster.nodes()
    cluster.left_out.update(preflight.check(nodes, stages.say))
    # Without its GPUs, a run that began on some would go on with the cores of whatever is left.
    if nodes and not resources.slots(cluster.nodes()) and not stages.options.autoscaling:
        raise no_node_left(cluster.left_out, {node.id: node.name for node in nodes})
    shipping = replace(stages.shipping, nonce=preflight.shared)
    return replace(stages, shipping=shipping, preflight=preflight)


def _announce(folder: RunFolder, cluster: Cluster, resources: TrialResources, trials: int, console: Console) -> None:
    where = resources.describe()
    _say(console, f"Run {folder}: {plural(trials, 'trial')}, {resources.concurrent} at a time, each on {where}")
    nodes = cluster.nodes()
    if cluster.address is not None:
        slots = [f"{node.name} {resources.slots_of(node)}" for node in nodes[:8]]
        more = f" and {len(nodes) - 8} more nodes" if len(nodes) > 8 else ""
        _say(console, f"Room for trials by node: {', '.join(slots)}{more}")
    dashboard = cluster.dashboard
    if dashboard is not None:
        path = os.environ.get("RAY_AUTH_TOKEN_PATH")
        token = f"RAY_AUTH_TOKEN_PATH={shlex.quote(path)} ray get-auth-token" if path else "ray get-auth-token"
        _say(console, f"Ray dashboard: {dashboard} (it asks for a token: {token})")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _say_how_to_resume(folder: RunFolder, console: Console) -> None:
    _say(console, f"The run can go on: {folder.resume_command}")
