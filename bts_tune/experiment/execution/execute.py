"""Executes a run whose inputs are ready: its cluster, its folder, its stages, its end."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from bts_tune.console import say
from bts_tune.errors import RunError
from bts_tune.experiment.callbacks.trackers.base import Tracker
from bts_tune.experiment.callbacks.tracking import Tracking
from bts_tune.experiment.execution.cluster.address import cluster_address, ignored_address
from bts_tune.experiment.execution.cluster.connection import Cluster, connected, dashboard_hint, priorities
from bts_tune.experiment.execution.cluster.signals import signals_as_ctrl_c
from bts_tune.experiment.execution.evaluation import left_to_measure, models_that_lack
from bts_tune.experiment.execution.files.model_storage import ModelStorage
from bts_tune.experiment.execution.files.shipping import handed_out, start_storage
from bts_tune.experiment.execution.final_stage import configurations_to_repeat, final_stage_lacks
from bts_tune.experiment.execution.nodes.node import describe_nodes
from bts_tune.experiment.execution.nodes.preflight import Preflight, no_node_left
from bts_tune.experiment.execution.nodes.resources import TrialResources, require_room_here
from bts_tune.experiment.execution.run_record import NewRun, ResumedRun, now, record_start
from bts_tune.experiment.execution.stages import Stages
from bts_tune.experiment.execution.trials.packing import with_measured_gpus_per_trial
from bts_tune.experiment.execution.trials.tune_callback import Outcome
from bts_tune.experiment.planning.disk import bytes_on_disk, estimate_disk_usage, require_free_space
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.experiment.planning.plan import NOTHING, Plan, plan_rest_of_final, plan_search
from bts_tune.experiment.planning.trial_inputs import TrialInputs
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.space import ResolvedSpace
from bts_tune.text import first_line, plural


class Report(Protocol):
    """Makes the report of a run."""

    def __call__(self, folder: RunFolder, /) -> Any:
        """Make the report of a run that has ended, of one that failed too."""

    def live(self, folder: RunFolder, /) -> contextlib.AbstractContextManager[Any]:
        """Make the page `report.html` anew from time to time, as long as it is entered."""


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
        report: makes the page while the run goes on, and the report when it has ended, whichever way.
    """
    with contextlib.ExitStack() as held:
        execution = _Execution(run, space, inputs, options, console, resumed, trackers, skip_search, report, held)
        try:
            outcome = execution.run_stages()
        except BaseException as error:
            execution.failed(error)
            raise
        return execution.ended(outcome)


class _Execution:
    """The course of one run. `held` keeps what lasts to its end: its lock, its signals, what is to be tidied."""

    def __init__(
        self,
        run: NewRun | RunFolder,
        space: ResolvedSpace,
        inputs: TrialInputs,
        options: RunOptions,
        console: Console,
        resumed: ResumedRun | None,
        trackers: Sequence[Tracker],
        skip_search: bool,
        report: Report,
        held: contextlib.ExitStack,
    ) -> None:
        self._new = run if isinstance(run, NewRun) else None
        self._space, self._options, self._resumed = space, options, resumed
        self._skip_search, self._report, self._held = skip_search, report, held
        self._tracking = Tracking(trackers, lambda text: say(console, text, style="yellow"))
        self._began = False
        """Whether there is something on record that the end of the run must not lose."""
        folder = RunFolder(run.path)
        if self._new is None:
            held.enter_context(folder.locked())
        retry_failed = resumed is not None and resumed.retry_failed
        self._stages = Stages(folder, inputs, options, self._tracking, console, retry_failed=retry_failed)
        if ignored := ignored_address(options.address):
            self._stages.say(ignored)

    @property
    def _folder(self) -> RunFolder:
        return self._stages.folder

    def run_stages(self) -> Outcome:
        """Run the search and the final stage, and measure the models; the page follows."""
        with contextlib.ExitStack() as followed:
            return self._run_stages(followed)

    def _run_stages(self, followed: contextlib.ExitStack) -> Outcome:
        final = self._space.final
        if self._new is None and self._nothing_left():
            self._report_alone()
            return "complete"
        if cluster_address(self._options.address) is None:
            require_room_here(self._options)
        with self._connected() as cluster:
            self._open(cluster)
            plan = self._plan(cluster)
            self._began = True
            followed.enter_context(self._report.live(self._folder))
            self._stages.say(f"Report, made anew every few minutes: {self._folder.path / 'report.html'}")
            outcome = self._stages.train(cluster, plan, self._space.search, self._options.time_budget)
            if outcome == "complete":
                outcome = self._stages.finish(cluster, final, "the search was closed")
        if outcome == "out-of-time" and final and configurations_to_repeat(self._folder.trials(), final.top):
            self._stages.say("The time budget is spent: the search is closed, and its final stage follows.")
            # What was still training holds its cores and GPUs until Ray ends.
            with self._connected() as cluster:
                self._reach_nodes(cluster)
                self._stages = _after_preflight(self._stages, cluster)
                outcome = self._stages.finish(cluster, final, "the time budget of the search was spent")
        if outcome == "complete":
            # Ray's own logs and states are a cache of the record; of a complete run nothing needs them.
            shutil.rmtree(self._folder.path / "ray", ignore_errors=True)
        return outcome

    def _nothing_left(self) -> bool:
        """Whether the run came to its end before, and nothing was asked for since that it has not."""
        folder, final = self._folder, self._space.final
        extended = self._resumed is not None and self._resumed.extended_by is not None
        if extended or folder.read_run().get("status") != "complete":
            return False
        retry = self._stages.retry_failed
        if not self._skip_search and plan_search(folder, self._space, self._options.folds, retry_failed=retry).trials:
            return False
        if final is not None and (
            final_stage_lacks(folder.trials(), final) or plan_rest_of_final(folder, retry_failed=retry).trials
        ):
            return False
        if (elsewhere := ModelStorage.of_run(folder)) is not None:
            elsewhere.fetch(folder)
        left = left_to_measure(folder, self._options)
        if left.waiting or left.variants:
            return False
        left.say_if_no_ensemble(self._stages.console)
        return True

    def _report_alone(self) -> None:
        """Put on record that the run was taken up again; its report follows."""
        record_start(self._folder, self._options, None, self._resumed)
        self._began = True
        self._stages.say(
            f"Run {self._folder}: complete, and nothing is left to train or to measure; Ray is not started"
        )
        for line in self._tracking.start_run(self._folder.path, self._folder.read_run()):
            self._stages.say(line)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Cluster]:
        resume, name = (lambda: self._folder.resume_command), self._folder.path.name
        with connected(self._options, resume=resume, run=name) as cluster:
            # Ray took SIGTERM over when it started.
            self._held.enter_context(signals_as_ctrl_c())
            yield cluster

    def _reach_nodes(self, cluster: Cluster) -> None:
        """Make ready how files reach the nodes of a cluster that is not the run's own."""
        if cluster.address is not None:
            storage, shipping = start_storage(self._stages.inputs)
            self._stages = replace(self._stages, shipping=shipping, storage=storage)

    def _open(self, cluster: Cluster) -> None:
        """Find out what each trial gets, and make the folder of a new run."""
        if cluster.address is not None:
            self._stages.say(f"Ray cluster at {cluster.address}: {describe_nodes(cluster.nodes())}")
        self._reach_nodes(cluster)
        self._stages = replace(self._stages, options=_with_measured_gpus(self._stages, self._space, cluster))
        if self._new is None:
            before = self._folder.read_run()
            self._stages = replace(self._stages, elsewhere=ModelStorage.of_run(self._folder))
            self._stages = replace(self._stages, options=_with_threads_as_before(self._stages, before, cluster))
        else:
            self._stages.resources(cluster, NOTHING)  # what cannot be had is refused before there is a folder
            folder = self._new.create_folder()
            self._held.enter_context(folder.locked())
            self._held.callback(lambda: None if self._began else shutil.rmtree(folder.path, ignore_errors=True))
            self._stages = replace(self._stages, folder=folder)
            if self._options.storage is not None:
                elsewhere = ModelStorage.claim(self._options.storage, folder)
                self._held.callback(lambda: None if self._began else elsewhere.give_back())
                self._stages = replace(self._stages, elsewhere=elsewhere)
        self._held.callback(lambda: Preflight.tidy(self._folder.path))
        self._stages = _after_preflight(self._stages, cluster)
        record_start(self._folder, self._options, self._stages.resources(cluster, NOTHING), self._resumed)
        self._began = self._new is None
        self._folder.update_run(gpus_per_trial=self._stages.options.gpus_per_trial)

    def _plan(self, cluster: Cluster) -> Plan:
        """Plan the search, and say what follows from it."""
        plan = NOTHING
        if not self._skip_search:
            retry = self._stages.retry_failed
            plan = plan_search(self._folder, self._space, self._options.folds, retry_failed=retry)
        resources = self._stages.resources(cluster, plan)
        self._folder.update_run(resources=resources.to_dict())
        if cluster.address is not None:
            # As nodes come and go, a trial's share stays: on CPUs its figures depend on its threads.
            share = {"cpus_per_trial": resources.cpus, "device": resources.device}
            self._stages = replace(self._stages, options=self._stages.options.replaced(**share))
        parameters = self._stages.inputs.parameters
        needed = estimate_disk_usage(self._space, parameters, resources.concurrent, self._options.folds or 1)
        at_most = needed.total if self._stages.elsewhere is None else needed.kept + needed.logs
        to_write = max(0, at_most - bytes_on_disk([self._folder.path]))
        room = require_free_space(self._folder.path, to_write, "results, checkpoints and models")
        self._stages.say(f"Disk: {room}")
        if self._stages.elsewhere is not None:
            self._stages.say(f"Models and checkpoints are kept at {self._stages.elsewhere.place}")
        _announce(self._stages, cluster, resources, plan.trials)
        new = self._new is not None
        precision = self._stages.decide_cpu_precision(cluster, plan, self._space, new=new)
        self._stages = replace(self._stages, inputs=replace(self._stages.inputs, cpu_precision=precision))
        if plan.trials and (duration := self._stages.duration(cluster, plan, self._space)) is not None:
            self._stages.say(f"Time: {duration.text()}")
        for line in self._tracking.start_run(self._folder.path, self._folder.read_run()):
            self._stages.say(line)
        if cluster.address is not None:
            self._stages.say(f"Priority of the cluster's trials (nice): {', '.join(map(str, priorities()))}")
        return plan

    def failed(self, error: BaseException) -> None:
        """Put on record that the run ended with an error."""
        if isinstance(error, KeyboardInterrupt):  # the second one: at once, without a report
            if self._began:
                self._folder.update_run(status="interrupted", ended=now())
            if self._began or self._new is None:
                self._say_how_to_resume()
            self._tracking.end_run("interrupted")
        elif self._began:  # a resume that was refused leaves the run as it was
            self._tracking.end_run("failed")
            with contextlib.suppress(OSError, RunError):  # on a full disk, which `error` tells of
                self._folder.update_run(status="failed", ended=now(), reason=first_line(error))
                self._report(self._folder)
                self._tracking.report_written(self._folder.path)

    def ended(self, outcome: Outcome) -> FinishedRun:
        """Put on record how the run ended, and report."""
        try:
            # Ray gave SIGTERM back to the system when it ended, behind Python's back.
            self._held.enter_context(signals_as_ctrl_c())
            lacking = models_that_lack(self._folder) if outcome == "complete" else []
            self._folder.update_run(status=outcome, ended=now(), models_lacking=lacking)
            self._tracking.end_run(outcome)
            report = self._report(self._folder)
            self._tracking.report_written(self._folder.path)
            return FinishedRun(self._folder, outcome, report)
        except KeyboardInterrupt:
            self._say_how_to_resume()
            raise

    def _say_how_to_resume(self) -> None:
        self._stages.say(f"The run can go on: {self._folder.resume_command}")


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


def _after_preflight(stages: Stages, cluster: Cluster) -> Stages:
    """Look at every node of a cluster that is not the run's own, and leave out those that cannot train.

    Raises:
        RunError: none can.
    """
    if cluster.address is None or stages.shipping is None:
        return stages
    resources = stages.resources(cluster, NOTHING)
    paths = [Path(path) for path in handed_out(stages.inputs)]
    needed = sum(bytes_on_disk([path]) if path.is_dir() else path.stat().st_size for path in paths)
    preflight = Preflight.of(stages.folder.path, needed=needed, cuda=resources.device == "cuda")
    nodes = cluster.nodes()
    cluster.left_out.update(preflight.check(nodes, stages.say))
    # Without its GPUs, a run that began on some would go on with the cores of whatever is left.
    if nodes and not resources.slots(cluster.nodes()) and not stages.options.autoscaling:
        raise no_node_left(cluster.left_out, {node.id: node.name for node in nodes})
    shipping = replace(stages.shipping, nonce=preflight.shared)
    return replace(stages, shipping=shipping, preflight=preflight)


def _announce(stages: Stages, cluster: Cluster, resources: TrialResources, trials: int) -> None:
    each = f"{resources.concurrent} at a time, each on {resources.describe()}"
    stages.say(f"Run {stages.folder}: {plural(trials, 'trial')}, {each}")
    nodes = cluster.nodes()
    if cluster.address is not None:
        slots = [f"{node.name} {resources.slots_of(node)}" for node in nodes[:8]]
        more = f" and {len(nodes) - 8} more nodes" if len(nodes) > 8 else ""
        stages.say(f"Room for trials by node: {', '.join(slots)}{more}")
    if cluster.dashboard is not None:
        stages.say(dashboard_hint(cluster.dashboard, protected=cluster.protected))
