"""What `precision: auto` is on CPUs: float32, but for kinds of trials for which a run has found bfloat16 faster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bts_tune.config import Precision, TrialConfig
from bts_tune.errors import ConfigError
from bts_tune.experiment.planning.duration import Job
from bts_tune.space import ResolvedSpace
from bts_tune.training.bfloat16 import FASTER, step_fields

LONG_ENOUGH = 600.0
"""Seconds of training, about, from which on it is measured."""

MOST = 24
"""Most kinds of trials that are measured."""

_PIXELS_PER_SECOND = 250_000
"""That a thread trains on, about, for runs of whose speed nothing is known yet."""


@dataclass(frozen=True)
class CpuPrecision:
    """What a run has decided: `run.json` keeps it, and nothing is measured again.

    Attributes:
        measured: the gain of bfloat16 with the fields that tell kinds of trials apart, each.
    """

    measured: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def of_run(cls, run: Mapping[str, Any]) -> CpuPrecision:
        """Return what a run recorded; of one that measured nothing, float32 for everything."""
        found = run.get("cpu_precision")
        return cls([one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else ())

    def of(self, config: TrialConfig) -> Precision:
        """Return what 'auto' is for a configuration; float32 where nobody measured."""
        fields = step_fields(config)
        for one in self.measured:
            if all(one.get(name) == value for name, value in fields.items()):
                return "bfloat16" if one.get("precision") == "bfloat16" else "float32"
        return "float32"

    def to_list(self) -> list[dict[str, Any]]:
        """Return it in the types of JSON."""
        return [dict(one) for one in self.measured]

    def text(self) -> str:
        """Return it in words."""
        gains = [one["gain"] for one in self.measured if one["precision"] == "bfloat16"]
        kinds = len(self.measured)
        if not gains:
            return f"Precision: auto is float32, since bfloat16 is not {FASTER:g} times as fast for any trial measured"
        low, high = f"{min(gains):.2f}", f"{max(gains):.2f}"
        many = low if low == high else f"{low} to {high}"
        of_all = "" if len(gains) == kinds == 1 else f" for {len(gains)} of {kinds} kinds of trials"
        rest = "" if len(gains) == kinds else ", float32 for the others"
        return f"Precision: auto is bfloat16{of_all}, which trains {many} times as many images a second here{rest}"


def decided(config: TrialConfig, gain: float, threads: int) -> dict[str, Any]:
    """Return what the record keeps of a measurement."""
    precision = "bfloat16" if gain >= FASTER else "float32"
    return {**step_fields(config), "threads": threads, "gain": round(gain, 3), "precision": precision}


def kinds_worth_measuring(seconds: float) -> int:
    """Return of how many kinds of trials it pays to measure the steps, in a run of so many seconds of training.

    It takes about four seconds for each. There is one for each minute from ten on, so that they take a fifteenth.
    """
    return min(MOST, int(10 * seconds / LONG_ENOUGH)) if seconds >= LONG_ENOUGH else 0


def kinds_of_trials(space: ResolvedSpace, most: int) -> list[TrialConfig]:
    """Return a configuration of each kind of trial of a space whose precision is auto: named ones, then searched.

    Args:
        space: the trials.
        most: how many kinds, at most; further ones are left out.
    """
    found: dict[tuple[Any, ...], TrialConfig] = {}
    for config in _one_after_the_other(space):
        if len(found) == most:
            break
        if config.precision == "auto":
            found.setdefault(tuple(step_fields(config).values()), config)
    return list(found.values())


def _one_after_the_other(space: ResolvedSpace) -> Iterator[TrialConfig]:
    configs = [config for named in space.named for config in (named.config, named.in_full)]
    yield from configs
    base = configs[0] if configs else TrialConfig()
    for one in _searched(space):
        freeze = "all" if one["freeze"] == "all" else "none"
        plain = {"encoder_weights": "none", "freeze": freeze, "freeze_stages": 0, "freeze_epochs": 0}
        yield base.replaced({**one, **plain})


def _searched(space: ResolvedSpace) -> list[dict[str, Any]]:
    try:
        if space.search is None:
            return []
        # At a lower fidelity, what the final stage trains is of another kind.
        return space.search.all_steps() + (space.search.in_full.all_steps() if space.search.full else [])
    except ConfigError:  # more than anybody would measure
        return []


def rough_seconds(jobs: Sequence[Job], images: int, *, threads: int, concurrent: int) -> float:
    """Return about how long some trainings take on a machine of which nothing is known.

    Args:
        jobs: the trainings.
        images: of an epoch.
        threads: of each training.
        concurrent: how many run at a time.
    """
    pixels = sum(job.count * job.epochs * images * job.config.image_size**2 for job in jobs)
    return pixels / (_PIXELS_PER_SECOND * threads * concurrent)
