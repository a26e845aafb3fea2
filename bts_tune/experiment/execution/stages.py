"""Carries out the stages of a run whose inputs are there: the search, the final stage, evaluation, the report."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bts_tune.errors import RunError, RunStoppedError
from bts_tune.experiment.callbacks.console import ProgressView
from bts_tune.experiment.callbacks.record import Recorder
from bts_tune.experiment.execution.cluster import Cluster, Share, connected, lost_sentence, priorities, share_out
from bts_tune.experiment.execution.evaluation import evaluate_models
from bts_tune.experiment.execution.final_stage import announcement, plan_final, repeated
from bts_tune.experiment.execution.packing import packed
from bts_tune.experiment.execution.signals import signals_as_ctrl_c
from bts_tune.experiment.execution.tuning import Outcome, tune_trials
from bts_tune.experiment.planning.changes import code_hash, device_changes, refuse
from bts_tune.experiment.planning.disk import needed_by, require_room, written
from bts_tune.experiment.planning.environment import hardware, versions
from bts_tune.experiment.planning.materials import Materials
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.experiment.planning.plan import Plan, plan_rest_of_final, plan_search
from bts_tune.experiment.search.warm_start import earlier_trials
from bts_tune.results.run_folder import RunExistsError, RunFolder
from bts_tune.space import Final, ResolvedSearch, ResolvedSpace
from bts_tune.text import first_line, plural

Report = Callable[[RunFolder], Any]
"""Makes the report of a run that has ended, of one that failed too."""


@dataclass(frozen=True)
class Finished:
    """How a run ended.

    Attributes:
        folder: the run.
        outcome: how it ended.
        report: what the caller's `report` returned.
    """

    folder: RunFolder
    outcome: Outcome
    report: Any


@dataclass(frozen=True)
class GoingOn:
    """What the `run.json` of a run that goes on is to say besides."""

    changed: list[str]
    allow_changed: bool
    extended_by: int | None
    dataset: dict[str, Any]
    weights: list[dict[str, Any]]


@dataclass(frozen=True)
class NewRun:
    """A run that has not begun.

    Attributes:
        path: where its folder will be.
        record: the content of its `run.json`, but for its name.
        fill: writes what else the folder holds from the beginning.
        named: whether the user has chosen the name; another one is taken otherwise, where somebody else has it.
    """

    path: Path
    record: dict[str, Any]
    fill: Callable[[RunFolder], None]
    named: bool

    def begin(self) -> RunFolder:
        """Make the folder.

        Raises:
            RunError: its name is taken, or it cannot be written.
        """
        path = self.path
        while True:
            try:
                return RunFolder.create(path, {"run": path.name, **self.record}, self.fill)
            except RunExistsError:
                if self.named:
                    raise
                path = free_path(self.path)


def free_path(path: Path) -> Path:
    """Return `path`, or what follows it by number where something is there already."""
    number, free = 2, path
    while os.path.lexists(free):
        number, free = number + 1, path.with_name(f"{path.name}_{number}")
    return free


def carry_out(
    run: NewRun | RunFolder,
    space: ResolvedSpace,
    materials: Materials,
    options: RunOptions,
    console: Console,
    going_on: GoingOn | None = None,
    *,
    closes: bool = False,
    report: Report,
) -> Finished:
    """Run the search stage and the final stage, evaluate, and report.

    A new run has a folder from when its cluster is there, and has none again where it ends before its first trial.

    Args:
        run: a new one, or the folder of one that goes on.
        going_on: of a run that goes on.
        closes: whether the search stage is left as it is.
        report: called when the run has ended, whichever way.
    """
    new = run if isinstance(run, NewRun) else None
    folder = RunFolder(run.path)
    with contextlib.ExitStack() as held:
        if new is None:
            held.enter_context(folder.locked())
        if options.address is None and os.environ.get("RAY_ADDRESS"):
            _say(console, "RAY_ADDRESS is ignored: without --address, a run starts a Ray of its own.")
        stages = _Stages(folder, materials, options, console)
        outcome: Outcome = "complete"
        began = False
        try:
            with connected(options, resume=lambda: folder.resume_command) as cluster:
                # Ray took SIGTERM over when it started.
                held.enter_context(signals_as_ctrl_c())
                stages = replace(stages, options=_packed(options, space, materials, cluster, console))
                if new is not None:
                    stages.share(cluster, Plan((), (), 0, 0))
                    folder = new.begin()
                    held.enter_context(folder.locked())
                    held.callback(lambda: None if began else shutil.rmtree(folder.path, ignore_errors=True))
                    stages = replace(stages, folder=folder)
                _record_start(folder, options, stages.share(cluster, Plan((), (), 0, 0)), going_on)
                began = new is None
                folder.update_run(gpus_per_trial=stages.options.gpus_per_trial)
                plan = Plan((), (), 0, 0) if closes else plan_search(folder, space, options.folds)
                share = stages.share(cluster, plan)
                needed = needed_by(space, materials.parameters, share.concurrent, options.folds or 1)
                to_write = max(0, needed.total - written([folder.path]))
                _say(console, f"Disk: {require_room(folder.path, to_write, 'results, checkpoints and models')}")
                _announce(folder, cluster.dashboard, share, plan.trials, console)
                if options.address is not None:
                    nice = ", ".join(map(str, priorities()))
                    _say(console, f"Priority of the cluster's trials (nice): {nice}")
                began = True
                outcome = stages.train(cluster, plan, space.search, options.time_budget)
                if outcome == "complete":
                    outcome = stages.conclude(cluster, space.final, "the search was closed")
            if outcome == "out-of-time" and space.final is not None and repeated(folder.trials(), space.final.top):
                console.print("The time budget is spent: the search is closed, and its final stage follows.")
                # What was still training holds its cores and GPUs until Ray ends.
                with connected(options, resume=lambda: folder.resume_command) as cluster:
                    held.enter_context(signals_as_ctrl_c())
                    outcome = stages.conclude(cluster, space.final, "the time budget of the search was spent")
            if outcome == "complete":
                # Ray's own logs and states are a cache of the record; of a complete run nothing needs them.
                shutil.rmtree(folder.path / "ray", ignore_errors=True)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):  # the second one: at once, without a report
                if began:
                    folder.update_run(status="interrupted", ended=now())
                if began or new is None:
                    _say_how_to_go_on(folder, console)
            elif began:  # a resume that was refused leaves the run as it was
                with contextlib.suppress(OSError, RunError):  # on a full disk, which `error` tells of
                    folder.update_run(status="failed", ended=now(), reason=first_line(error))
                    report(folder)
            raise
        try:
            # Ray gave SIGTERM back to the system when it ended, behind Python's back.
            held.enter_context(signals_as_ctrl_c())
            folder.update_run(status=outcome, ended=now())
            return Finished(folder, outcome, report(folder))
        except KeyboardInterrupt:
            _say_how_to_go_on(folder, console)
            raise


def _record_start(folder: RunFolder, options: RunOptions, share: Share, going_on: GoingOn | None) -> None:
    """Record that the run goes on from here, on what, and with what changed.

    Raises:
        RunError: trials would run on another kind of device than before.
    """
    run = folder.read_run()
    updates: dict[str, Any] = {"status": "running", "ended": None, "reason": None, "device": _device(share)}
    if going_on is not None:
        changed = going_on.changed + device_changes(run, updates["device"])
        if changed and not going_on.allow_changed:
            raise refuse(folder, changed)
        updates |= {"options": options.to_dict(), "dataset": going_on.dataset}
        if changed:
            updates["changes"] = [*run.get("changes", []), {"time": now(), "changed": changed}]
            # What is there now is what the next resume is compared with; `changes` tells what was there before.
            updates |= {"versions": versions(), "code": code_hash(), "weights": going_on.weights}
        if going_on.extended_by is not None:
            extension = {"time": now(), "trials": going_on.extended_by}
            updates["extensions"] = [*run.get("extensions", []), extension]
    folder.update_run(**updates)


def _device(share: Share) -> str:
    gpus = sorted({gpu["name"] for gpu in hardware()["gpus"]}) if share.device == "cuda" else []
    return f"{share.device} ({', '.join(gpus)})" if gpus else share.device


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _say_how_to_go_on(folder: RunFolder, console: Console) -> None:
    _say(console, f"The run can go on: {folder.resume_command}")


@dataclass(frozen=True)
class _Stages:
    """The stages of one run, on a cluster that is connected to."""

    folder: RunFolder
    materials: Materials
    options: RunOptions
    console: Console

    def share(self, cluster: Cluster, plan: Plan) -> Share:
        # By the trials of the whole run, not by those that are left: on CPUs a trial's figures depend on its threads.
        trials = max(1, len(self.folder.trials()) + plan.to_search)
        return share_out(self.options, cpus=cluster.cpus, gpus=cluster.gpus, trials=trials)

    def train(self, cluster: Cluster, plan: Plan, search: ResolvedSearch | None, time_budget: float | None) -> Outcome:
        """Run the trials of one stage."""
        if not plan.trials:
            return "complete"
        share = self.share(cluster, plan)
        epochs = sum(trial.config.epochs - trial.recorded for trial in plan.fixed)
        epochs += plan.to_search * search.epochs if search is not None else 0
        view = ProgressView(self.console, trials=plan.trials, epochs=epochs, concurrent=share.concurrent)
        with view, Recorder(self.folder, view, time.time) as recorder:
            outcome = tune_trials(
                self.folder,
                plan,
                search,
                self.materials,
                share,
                recorder,
                time_budget=time_budget,
                max_failures=self.options.max_failures,
                trial_timeout=self.options.trial_timeout,
                cluster_lost=cluster.lost,
                earlier=earlier_trials(self.folder.read_run()) if search is not None else (),
            )
        if outcome == "lost":
            raise RunStoppedError(lost_sentence(self.folder.resume_command))
        return outcome

    def conclude(self, cluster: Cluster, final: Final | None, reason: str) -> Outcome:
        """Run the final stage, where there is one, and measure the models.

        Args:
            final: what is trained again.
            reason: why the search was closed, for its unfinished trials.
        """
        plan = Plan((), (), 0, 0)
        if final is not None:
            plan_final(self.folder, final, reason)
            plan = plan_rest_of_final(self.folder)
            text = announcement(self.folder.trials())
            _say(self.console, text)
            # The time budget is the search's.
            outcome = self.train(cluster, plan, None, None)
            if outcome != "complete":
                return outcome
        try:
            evaluate_models(self.folder, self.materials, self.share(cluster, plan), self.console)
        except KeyboardInterrupt:
            return "interrupted"
        return "complete"


def _packed(
    options: RunOptions, space: ResolvedSpace, materials: Materials, cluster: Cluster, console: Console
) -> RunOptions:
    # The folds of a dataset are of a size.
    folders = {part: folder for (part, _), folder in materials.prepared.items()}
    say = functools.partial(_say, console)
    return packed(options, space, folders, cpus=cluster.cpus, gpus=cluster.gpus, say=say)


def _announce(folder: RunFolder, dashboard: str | None, share: Any, trials: int, console: Console) -> None:
    where = f"{share.gpus:g} GPU and {share.cpus} cores" if share.gpus else plural(share.cpus, "CPU core")
    _say(console, f"Run {folder}: {plural(trials, 'trial')}, {share.concurrent} at a time, each on {where}")
    if dashboard is not None:
        path = os.environ.get("RAY_AUTH_TOKEN_PATH")
        token = f"RAY_AUTH_TOKEN_PATH={shlex.quote(path)} ray get-auth-token" if path else "ray get-auth-token"
        _say(console, f"Ray dashboard: {dashboard} (it asks for a token: {token})")
    _say(console, f"TensorBoard logs: {folder.path / 'tensorboard'}")


def now() -> str:
    """Return the time as `run.json` has it: ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
