"""The Ray cluster that a run uses, and how its cores and GPUs are shared out among trials."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass

from bts_tune.errors import ConfigError, RunError
from bts_tune.experiment.environment import available_cpus
from bts_tune.experiment.options import RunOptions

# On CPUs a trial gets at least this many cores where there are as many: fewer, and the cost of many processes (memory,
# start-up, a long trial left over at the end) outweighs what the better use of cores gains.
CORES_PER_TRIAL = 4

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
}


@dataclass(frozen=True)
class Share:
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


def share_out(options: RunOptions, *, cpus: int, gpus: float, trials: int) -> Share:
    """Share a cluster's cores and GPUs evenly among as many trials as run at a time.

    Raises:
        ConfigError: GPUs are asked for that are not there, or more trials at a time than cores.
    """
    use_gpu = gpus > 0 if options.device == "auto" else options.device == "cuda"
    if use_gpu and not gpus:
        raise ConfigError(f"--device {options.device!r}: there is no GPU; allowed here are auto and cpu.")
    asked = options.gpus_per_trial
    if asked is not None and not use_gpu:
        share = asked if isinstance(asked, str) else f"{asked:g}"
        raise ConfigError(f"--gpus-per-trial {share}: there is no GPU to share; leave the option out.")
    per_trial = 0.0
    if use_gpu:
        # 'auto' has been replaced by a number before anything is trained; see `packing.packed`.
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
    return Share(max(1, cpus // concurrent), per_trial, concurrent, "cuda" if use_gpu else "cpu")


@dataclass(frozen=True)
class Cluster:
    """A connected cluster."""

    cpus: int
    gpus: float
    dashboard: str | None


@contextlib.contextmanager
def connected(options: RunOptions) -> Iterator[Cluster]:
    """Start Ray on this machine, or connect to the cluster at `options.address`, and leave it at the end.

    Raises:
        RunError: Ray cannot be started or reached.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    level = logging.INFO if options.verbose else logging.ERROR
    common = {"log_to_driver": options.verbose, "logging_level": level, "namespace": "bts-tune"}
    try:
        if options.address is not None:
            context = ray.init(address=options.address, **common)
        else:
            context = ray.init(
                num_cpus=available_cpus(), include_dashboard=options.dashboard, dashboard_host="127.0.0.1", **common
            )
    except (ConnectionError, RuntimeError, OSError, ValueError) as error:
        where = f"at --address {options.address}" if options.address else "on this machine"
        raise RunError(f"Ray cannot be used {where}: {str(error).splitlines()[0]}.") from None
    for name in ("ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(level if options.verbose else logging.CRITICAL)
    try:
        resources = ray.cluster_resources()
        url = context.dashboard_url
        yield Cluster(int(resources.get("CPU", 1)), float(resources.get("GPU", 0)), f"http://{url}" if url else None)
    finally:
        ray.shutdown()
