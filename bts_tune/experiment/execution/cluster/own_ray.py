"""A Ray of the run's own, on this machine."""

from __future__ import annotations

import logging
from typing import Any

from bts_tune.data.parallel import available_cpus
from bts_tune.experiment.execution.cluster.ray_environment import isolated_start
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.version import __version__


def start_own_ray(options: RunOptions, run: str) -> Any:
    """Start Ray on this machine, and return what `ray.init` returned; the environment variables are the caller's.

    Nothing else may compute in this process meanwhile. Ray forks this process to start its own, and a fork waits for
    ever where another thread is in the middle of a matrix product: before a fork, OpenBLAS ends the threads that the
    product waits for.

    Args:
        options: what to show, and whether there is a dashboard.
        run: what Ray's list of jobs calls it.

    Raises:
        Exception: Ray could not be started; some of its processes may be there already.
    """
    import ray

    with isolated_start():
        try:
            return _init(options, run)
        except Exception:
            # Ray gives its own processes 30 seconds, which a machine that is busy for a moment may not hold.
            ray.shutdown()
            return _init(options, run)


def _init(options: RunOptions, run: str) -> Any:
    import ray

    # 'local': neither a cluster that RAY_ADDRESS names nor one that somebody else runs here.
    return ray.init(
        address="local",
        num_cpus=available_cpus(),
        include_dashboard=options.dashboard,
        dashboard_host="127.0.0.1",
        **init_options(options, run),
    )


def init_options(options: RunOptions, run: str) -> dict[str, Any]:
    """Return what any `ray.init` of a run is given, which Ray's list of jobs calls by the run's name."""
    from ray.job_config import JobConfig

    return {
        "log_to_driver": options.verbose,
        "logging_level": logging.INFO if options.verbose else logging.ERROR,
        "namespace": "bts-tune",
        "job_config": JobConfig(metadata={"job_name": run, "bts_tune": __version__}),
    }
