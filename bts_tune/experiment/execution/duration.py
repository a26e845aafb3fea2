"""How long trainings take on this machine: what is known of its speed, a few models timed, what runs have shown."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console

from bts_tune.data.training_share import Counted, images_of_share
from bts_tune.errors import ConfigError
from bts_tune.experiment.callbacks.record import Observer
from bts_tune.experiment.execution.nodes.resources import TrialResources, allocate, this_node
from bts_tune.experiment.planning.duration import Duration, Split, distinct_configs, estimate, jobs_of_space
from bts_tune.experiment.planning.environment import hardware
from bts_tune.experiment.planning.inputs import cache_folder
from bts_tune.experiment.planning.options import AUTO, RunOptions
from bts_tune.experiment.planning.plan import PlannedTrial
from bts_tune.progress_bar import progress_bar
from bts_tune.results.record.status import TrialStatus
from bts_tune.space import ResolvedSpace
from bts_tune.training.speed import Machine, Speed, keep_speed, known_speed, timed_speed

MOST_TIMED = 4
"""Most models that a dry run times; a next one times others."""

_PATIENCE = 15.0
"""Seconds after which a dry run times no further model."""


def this_machine(resources: TrialResources) -> Machine:
    """Return what the speed of a trial depends on here."""
    found = hardware()
    name = found["gpus"][0]["name"] if resources.gpus and found["gpus"] else found["processor"]
    return Machine(resources.device, str(name), resources.cpus, resources.gpus)


def duration_here(
    space: ResolvedSpace,
    splits: Sequence[Split],
    options: RunOptions,
    console: Console,
    *,
    timed: bool,
    counted: Counted | None = None,
) -> Duration | None:
    """Return how long a run takes on this machine, if it has it for itself; None where nothing is known.

    Nothing is known of resources that this machine does not have.

    Args:
        space: its trials.
        splits: training and validation images of each fold, or of the one split.
        options: how it is carried out.
        console: where progress is shown.
        timed: whether a few models are timed whose speed is not known.
        counted: training images of each share of them.

    Raises:
        ConfigError: a model cannot be built.
    """
    jobs = jobs_of_space(space, len(splits))
    options = options.replaced(gpus_per_trial=None) if options.gpus_per_trial == AUTO else options
    trials = round(sum(job.count for job in jobs))
    try:
        resources = allocate(options, nodes=[this_node()], trials=max(1, trials))
    except ConfigError:  # what is asked for is another machine's
        return None
    machine, cache = this_machine(resources), cache_folder(options)
    if timed:
        unknown = [one for one in distinct_configs(jobs) if known_speed(one, machine, cache) is None][:MOST_TIMED]
        until = time.monotonic() + _PATIENCE
        with progress_bar(console, "timing models") as progress:
            for number, config in enumerate(unknown):
                if time.monotonic() < until:
                    speed = timed_speed(config, machine)
                    if speed is not None:
                        keep_speed(config, machine, speed, cache)
                    progress(number + 1, len(unknown))
    found = estimate(
        jobs,
        splits,
        lambda config: known_speed(config, machine, cache),
        concurrent=resources.concurrent,
        at_most=space.search is not None,
        counted=counted,
    )
    return (
        None
        if found is None
        else replace(found, how=f"{resources.concurrent} at a time, each on {resources.describe()}")
    )


class SpeedKeeper(Observer):
    """Keeps how fast the trials of a run train, for what later runs on this machine say before they begin.

    Args:
        machine: this one.
        split: the run's training and validation images.
        cache: folder of the cache.
        counted: training images of each share of them.
    """

    def __init__(self, machine: Machine, split: Split, cache: Path, counted: Counted | None = None) -> None:
        self._machine, self._split, self._cache, self._counted = machine, split, cache, counted or {}
        self._trials: dict[str, PlannedTrial] = {}

    def planned(self, trial: PlannedTrial) -> None:
        """A trial will be run."""
        self._trials[trial.trial] = trial

    def started(self, trial: str) -> None:
        """A trial begins."""

    def lost(self, trial: str, first: int, last: int, reason: str) -> None:
        """Epochs have to be trained again."""

    def row(self, trial: str, row: Mapping[str, Any]) -> None:
        """A trial finished an epoch: the second is the first that shows its usual speed."""
        train, valid = self._split
        if row["epoch"] == 2 and train and valid:
            rest = max(0.0, row["seconds"] - row["train_seconds"])
            config = self._trials[trial].config
            images = mean(images_of_share([train], config.train_share, self._counted))
            if images:
                speed = Speed(row["train_seconds"] / images, rest / valid)
                keep_speed(config, self._machine, speed, self._cache)

    def retried(self, trial: str, reason: str) -> None:
        """An attempt failed."""

    def ended(self, trial: str, status: TrialStatus, reason: str) -> None:
        """A trial ended."""
