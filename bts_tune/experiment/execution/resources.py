"""The cores and GPUs of a trial, and how many trials run at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bts_tune.errors import ConfigError
from bts_tune.experiment.planning.options import RunOptions

# On CPUs a trial gets at least this many cores where there are as many: fewer, and the cost of many processes (memory,
# start-up, a long trial left over at the end) outweighs what the better use of cores gains.
CORES_PER_TRIAL = 4


@dataclass(frozen=True)
class TrialResources:
    """What each trial gets.

    Attributes:
        cpus: cores, which are also the trial's CPU threads.
        gpus: GPUs, or the fraction of one; 0 on CPUs.
        concurrent: how many trials run at a time.
        device: the device of a trial: 'cpu' or 'cuda'.
    """

    cpus: int
    gpus: float
    concurrent: int
    device: str


def allocate(options: RunOptions, *, cpus: int, gpus: float, trials: int) -> TrialResources:
    """Divide a cluster's cores and GPUs evenly among as many trials as run at a time.

    Raises:
        ConfigError: GPUs are asked for that are not there, or more trials at a time than cores.
    """
    use_gpu = gpus > 0 if options.device == "auto" else options.device == "cuda"
    if use_gpu and not gpus:
        raise ConfigError(f"--device {options.device!r}: there is no GPU; allowed here are auto and cpu.")
    asked = options.gpus_per_trial
    if asked is not None and not use_gpu:
        given = asked if isinstance(asked, str) else f"{asked:g}"
        raise ConfigError(f"--gpus-per-trial {given}: there is no GPU to share; leave the option out.")
    per_trial = 0.0
    if use_gpu:
        # 'auto' has been replaced by a number before anything is trained; see `packing.with_measured_gpus_per_trial`.
        per_trial = asked if isinstance(asked, float) else 1.0
        if per_trial > gpus:
            raise ConfigError(f"--gpus-per-trial {per_trial:g}: there are {gpus:g} GPUs; it must be at most that.")
        if per_trial > 1 and not per_trial.is_integer():
            raise ConfigError(f"--gpus-per-trial {per_trial:g}: must be a fraction below 1 or a whole number.")
        concurrent = math.floor(gpus / per_trial + 1e-9)
    else:
        concurrent = max(1, cpus // CORES_PER_TRIAL)
    if options.concurrent is not None:
        if options.concurrent > cpus:
            raise ConfigError(f"--concurrent {options.concurrent}: there are {cpus} cores; it must be at most that.")
        concurrent = min(options.concurrent, concurrent) if use_gpu else options.concurrent
    concurrent = max(1, min(concurrent, trials))
    return TrialResources(max(1, cpus // concurrent), per_trial, concurrent, "cuda" if use_gpu else "cpu")


def cores_of_largest_node() -> int:
    """Return the cores of the cluster's largest node, at least 1: a trial that asks for them has it for itself."""
    import ray

    return max([1, *(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])])
