"""How long a run will take on this machine, by the speed of its models: for the dry run, and before the first epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from bts_tune.config import TrialConfig
from bts_tune.data.training_share import Counted, images_of_share
from bts_tune.experiment.planning.plan import Plan
from bts_tune.space import Final, ResolvedSearch, ResolvedSpace
from bts_tune.text import plural
from bts_tune.training.speed import Speed

SpeedOf = Callable[[TrialConfig], Speed | None]
"""Returns how fast a configuration is; None where nobody knows."""

Split = tuple[int, int]
"""Training and validation images."""


@dataclass(frozen=True)
class Job:
    """Trainings of one configuration.

    Attributes:
        config: what is trained.
        epochs: of each training.
        count: how many trainings; a search's are shared out among its models.
    """

    config: TrialConfig
    epochs: int
    count: float = 1.0


@dataclass(frozen=True)
class Duration:
    """How long a run will take.

    Attributes:
        seconds: about so many.
        at_most: whether early stopping may save some of it.
        models: how many models there are, and of how many the speed is known; the others count as their mean.
        how: how many trials run at a time, and on what, in words.
    """

    seconds: float
    at_most: bool
    models: tuple[int, int]
    how: str = ""

    def text(self) -> str:
        """Return it in words, such as `at most about 3 h 20 min (12 of 20 models timed)`."""
        of_all, known = self.models
        guess = (
            f" ({known} of {plural(of_all, 'model')} timed, the others taken for their mean)" if known < of_all else ""
        )
        return f"{'at most ' if self.at_most else ''}about {duration_words(self.seconds)}{guess}"


def duration_words(seconds: float) -> str:
    """Return a duration as one says it: `40 s`, `12 min`, `3 h 20 min`, `2 days 5 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{plural(hours // 24, 'day')} {hours % 24} h"


def jobs_of_space(space: ResolvedSpace, folds: int = 1) -> list[Job]:
    """Return everything that a space trains."""
    jobs = [Job(named.config, named.config.epochs, folds) for named in space.named]
    if space.search is not None:
        jobs += _searched(space.search, space.search.num_trials)
    return jobs + (_final(space, space.final) if space.final is not None else [])


def jobs_of_plan(plan: Plan, space: ResolvedSpace) -> list[Job]:
    """Return what is left to train of the search stage, and the whole final stage."""
    jobs = [Job(trial.config, trial.config.epochs - trial.recorded) for trial in plan.fixed]
    if space.search is not None and plan.to_search:
        jobs += _searched(space.search, plan.to_search)
    return jobs + (_final(space, space.final) if space.final is not None else [])


def _searched(search: ResolvedSearch, count: float) -> list[Job]:
    models = search.all_models()
    names = ["image_size", "channels", "train_share", "batch_size", "precision", "epochs"]
    freezing = ("freeze", "freeze_stages", "freeze_epochs")
    if not search.parameters.keys() & set(freezing):  # each is allowed with some values of the others only
        names += freezing
    fields = TrialConfig().to_dict() | {name: search.fields[name] for name in names if name in search.fields}
    return [
        Job(
            TrialConfig.parse({**fields, "decoder": decoder, "encoder": encoder}, search.where),
            search.epochs,
            count / len(models),
        )
        for decoder, encoder in models
    ]


def _final(space: ResolvedSpace, final: Final) -> list[Job]:
    baselines = {named.name: named.in_full for named in space.named if named.baseline}
    jobs = [Job(config, config.epochs, final.seeds) for config in baselines.values()]
    if space.search is not None:
        return jobs + _searched(space.search.in_full, final.top * final.seeds)
    others = {named.name: named.in_full for named in space.named if not named.baseline}
    longest = sorted(others.values(), key=lambda config: -config.epochs)[: final.top]
    return jobs + [Job(config, config.epochs, final.seeds) for config in longest]


def estimate(
    jobs: Sequence[Job],
    splits: Sequence[Split],
    speed_of: SpeedOf,
    *,
    concurrent: int,
    at_most: bool,
    counted: Counted | None = None,
) -> Duration | None:
    """Return how long some trainings take together; None where no speed is known.

    Args:
        jobs: the trainings.
        splits: the images of each fold, or of the one split; each training is of their mean size.
        speed_of: how fast a configuration is.
        concurrent: how many trainings run at a time.
        at_most: whether early stopping may save some of it.
        counted: training images of each share of them.
    """
    train, valid = zip(*splits, strict=True)
    speeds = {job.config.config_id: speed_of(job.config) for job in jobs}
    models = {(job.config.decoder, job.config.encoder): False for job in jobs}
    epochs: dict[str, float] = {}
    for job in jobs:
        if (speed := speeds[job.config.config_id]) is not None:
            images = images_of_share(train, job.config.train_share, counted or {})
            epochs[job.config.config_id] = speed.epoch(mean(images), mean(valid))
            models[job.config.decoder, job.config.encoder] = True
    if not epochs:
        return None
    usual = mean(epochs.values())
    seconds = [epochs.get(job.config.config_id, usual) * job.epochs for job in jobs]
    whole = sum(one * job.count for one, job in zip(seconds, jobs, strict=True))
    # Whatever runs side by side, nothing ends before its longest training.
    longest = max((one for one, job in zip(seconds, jobs, strict=True) if job.count >= 1), default=0.0)
    return Duration(max(longest, whole / max(1, concurrent)), at_most, (len(models), sum(models.values())))


def distinct_configs(jobs: Iterable[Job]) -> list[TrialConfig]:
    """Return each configuration whose speed may differ, once, in order."""
    found: dict[tuple[object, ...], TrialConfig] = {}
    for job in jobs:
        one = job.config
        found.setdefault(
            (one.decoder, one.encoder, one.freeze, one.image_size, one.batch_size, one.precision, one.channels), one
        )
    return list(found.values())
