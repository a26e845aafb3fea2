"""The stages of a run on a connected cluster: the search, the final stage, the evaluation of the models."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean
from typing import Any

from rich.console import Console

from bts_tune.config import TrialConfig
from bts_tune.console import say
from bts_tune.data.training_share import Counted, images_of_share
from bts_tune.errors import RunStoppedError
from bts_tune.experiment.callbacks.console import ProgressView
from bts_tune.experiment.callbacks.ray_metrics import RayMetrics
from bts_tune.experiment.callbacks.record import Recorder
from bts_tune.experiment.callbacks.tracking import Tracking
from bts_tune.experiment.execution.cluster.connection import Cluster, lost_sentence, resume_elsewhere
from bts_tune.experiment.execution.duration import SpeedKeeper, this_machine
from bts_tune.experiment.execution.evaluation import Nodes, evaluate_models
from bts_tune.experiment.execution.files.model_storage import ModelStorage
from bts_tune.experiment.execution.files.node_files import Shipping
from bts_tune.experiment.execution.final_stage import describe_final_stage, plan_final
from bts_tune.experiment.execution.nodes.preflight import Preflight
from bts_tune.experiment.execution.nodes.resources import TrialResources, allocate
from bts_tune.experiment.execution.trials.cpu_precision import measure_cpu_precision
from bts_tune.experiment.execution.trials.node_watch import NodeWatch
from bts_tune.experiment.execution.trials.tune_callback import Outcome
from bts_tune.experiment.execution.trials.tuner import no_node, tune_trials
from bts_tune.experiment.planning.cpu_precision import (
    CpuPrecision,
    kinds_of_trials,
    kinds_worth_measuring,
    rough_seconds,
)
from bts_tune.experiment.planning.duration import Duration, estimate, jobs_of_plan
from bts_tune.experiment.planning.inputs import cache_folder
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.experiment.planning.plan import NOTHING, Plan, plan_rest_of_final
from bts_tune.experiment.planning.trial_inputs import TrialInputs
from bts_tune.experiment.search.warm_start import earlier_trials
from bts_tune.results.record.objective import Objective
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.space import Final, ResolvedSearch, ResolvedSpace
from bts_tune.training.bfloat16 import bfloat16_flags
from bts_tune.training.speed import known_speed


@dataclass(frozen=True)
class Stages:
    """The stages of one run; the cluster and the run's lock are the caller's.

    Attributes:
        folder: the run.
        inputs: what its trials need.
        options: how it is carried out.
        tracking: is told of every trial.
        console: where progress is shown.
        retry_failed: whether trials that failed are run again.
        shipping: how files reach the nodes of a cluster that is not the run's own.
        storage: the actor that does it, which ends when nobody holds it.
        preflight: looks at the nodes of such a cluster that join it.
        elsewhere: where the run keeps its models, if that is not in its folder.
    """

    folder: RunFolder
    inputs: TrialInputs
    options: RunOptions
    tracking: Tracking
    console: Console
    retry_failed: bool = False
    shipping: Shipping | None = None
    storage: Any = None
    preflight: Preflight | None = None
    elsewhere: ModelStorage | None = None

    def resources(self, cluster: Cluster, plan: Plan) -> TrialResources:
        """Return what each trial of a plan gets.

        Raises:
            ConfigError: the cluster does not have what is asked for.
        """
        # By the trials of the whole run, not by those that are left: on CPUs a trial's figures depend on its threads.
        trials = max(1, len(self.folder.trials()) + plan.to_search)
        return allocate(self.options, nodes=cluster.nodes(), trials=trials)

    def say(self, text: str) -> None:
        """Print a sentence."""
        say(self.console, text)

    def train(self, cluster: Cluster, plan: Plan, search: ResolvedSearch | None, time_budget: float | None) -> Outcome:
        """Run the trials of one stage.

        Raises:
            RunStoppedError: nothing more can be written, the cluster is gone, or no node of it is left.
        """
        if not plan.trials:
            return "complete"
        resources = self.resources(cluster, plan)
        epochs = sum(trial.config.epochs - trial.recorded for trial in plan.fixed)
        epochs += plan.to_search * search.epochs if search is not None else 0
        run = self.folder.read_run()
        objective = Objective.of_run(run)
        view = ProgressView(
            self.console,
            trials=plan.trials,
            epochs=epochs,
            concurrent=resources.concurrent,
            objective=objective,
            seconds_of_epoch=self._seconds_of_epoch(cluster, resources),
            search=search is not None,
        )
        metrics = RayMetrics(self.folder.path.name, objective, self.folder.trials())
        observers = [view, *self._speed_keeper(cluster, resources), self.tracking, metrics]
        with (
            view,
            Recorder(
                self.folder, *observers, objective=objective, clock=time.time, elsewhere=self.elsewhere
            ) as recorder,
        ):
            outcome = tune_trials(
                self.folder,
                plan,
                search,
                self.inputs,
                resources,
                recorder,
                time_budget=time_budget,
                max_failures=self.options.max_failures,
                trial_timeout=self.options.trial_timeout,
                cluster_lost=cluster.lost,
                earlier=earlier_trials(run) if search is not None else (),
                nodes=self._watch(cluster, resources),
                shipping=self.shipping,
                elsewhere=self.elsewhere,
            )
        if outcome == "lost":
            raise RunStoppedError(lost_sentence(resume_elsewhere(self.folder.resume_command, cluster.address)))
        return outcome

    def duration(self, cluster: Cluster, plan: Plan, space: ResolvedSpace) -> Duration | None:
        """Return how long what is planned takes, as far as earlier trainings on this machine tell; else None."""
        if cluster.address is not None:
            return None
        resources = self.resources(cluster, plan)
        machine, cache = this_machine(resources), cache_folder(self.options)
        return estimate(
            jobs_of_plan(plan, space),
            [self._split()],
            lambda config: known_speed(config, machine, cache),
            concurrent=resources.concurrent,
            at_most=space.search is not None,
            counted=self._counted(),
        )

    def decide_cpu_precision(self, cluster: Cluster, plan: Plan, space: ResolvedSpace, *, new: bool) -> CpuPrecision:
        """Return what `precision: auto` is on CPUs, which a new run may measure, and records.

        One that goes on keeps what it began with. In a cluster it is float32: nodes differ, and a trial's figures must
        not depend on which one it runs on. So it is in short runs, which would not get the time back.
        """
        if not new:
            return CpuPrecision.of_run(self.folder.read_run())
        resources = self.resources(cluster, plan)
        if cluster.address is not None or resources.device != "cpu" or not bfloat16_flags():
            return CpuPrecision()
        duration, jobs = self.duration(cluster, plan, space), jobs_of_plan(plan, space)
        seconds = (
            rough_seconds(jobs, sum(self._split()), threads=resources.cpus, concurrent=resources.concurrent)
            if duration is None
            else duration.seconds
        )
        configs = kinds_of_trials(space, kinds_worth_measuring(seconds))
        found = measure_cpu_precision(configs, this_machine(resources), cache_folder(self.options), self.say)
        if found.measured:
            self.folder.update_run(cpu_precision=found.to_list())
            self.say(found.text())
        return found

    def _split(self) -> tuple[int, int]:
        """Return the training and validation images of each trial; of folds, their mean."""
        images = self.folder.read_run().get("dataset", {}).get("splits", {})
        train, valid = images.get("train", 0), images.get("valid", 0)
        if folds := self.options.folds:
            return round((train + valid) * (folds - 1) / folds), round((train + valid) / folds)
        return train, valid

    def _counted(self) -> Counted:
        """Return the training images of each share of them; a run of an earlier version has none on record."""
        recorded = self.folder.read_run().get("dataset", {}).get("train_shares", ())
        return {one["share"]: one["images"] for one in recorded}

    def _seconds_of_epoch(self, cluster: Cluster, resources: TrialResources) -> Callable[[TrialConfig], float | None]:
        """Return what tells how long an epoch of a configuration takes here, where earlier trainings have shown it."""
        if cluster.address is not None:
            return lambda config: None
        machine, cache, split = this_machine(resources), cache_folder(self.options), self._split()
        counted = self._counted()

        def seconds(config: TrialConfig) -> float | None:
            speed = known_speed(config, machine, cache)
            images = mean(images_of_share([split[0]], config.train_share, counted))
            return None if speed is None else speed.epoch(images, split[1])

        return seconds

    def _speed_keeper(self, cluster: Cluster, resources: TrialResources) -> list[SpeedKeeper]:
        if cluster.address is not None:
            return []
        machine, cache = this_machine(resources), cache_folder(self.options)
        return [SpeedKeeper(machine, self._split(), cache, self._counted())]

    def _watch(self, cluster: Cluster, resources: TrialResources) -> NodeWatch:
        return NodeWatch(
            cluster,
            resources,
            self.say,
            preflight=self.preflight,
            fixed=self.options.concurrent is not None,
            autoscaling=self.options.autoscaling,
        )

    def finish(self, cluster: Cluster, final: Final | None, reason: str) -> Outcome:
        """Run the final stage, where there is one, and measure the models.

        Args:
            cluster: where.
            final: what is trained again.
            reason: why the search was closed, for its unfinished trials.

        Raises:
            RunStoppedError: nothing more can be written, the cluster is gone, or no node of it is left.
        """
        plan = NOTHING
        if final is not None:
            plan_final(self.folder, final, reason)
            plan = plan_rest_of_final(self.folder, retry_failed=self.retry_failed)
            self.say(describe_final_stage(self.folder.trials()))
            # The time budget is the search's.
            outcome = self.train(cluster, plan, None, None)
            if outcome != "complete":
                return outcome
        try:
            resources = self.resources(cluster, plan)
            watch = self._watch(cluster, resources)
            nodes = Nodes(resources, watch, self.shipping, self.options.max_failures)
            if self.elsewhere is not None:
                self.elsewhere.fetch(self.folder)
            evaluate_models(self.folder, self.inputs, nodes, self.options, self.console)
            if self.elsewhere is not None:
                models = self.folder.path / "models"
                self.elsewhere.drop_others([path.name for path in models.glob("*")], self.say)
        except KeyboardInterrupt:
            return "interrupted"
        except RunStoppedError as error:
            raise no_node(self.folder, error) from None
        return "complete"
