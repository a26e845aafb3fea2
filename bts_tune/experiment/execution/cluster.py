"""The Ray cluster that a run uses, and how its cores and GPUs are shared out among trials."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bts_tune.data.parallel import available_cpus
from bts_tune.errors import ConfigError, RunError
from bts_tune.experiment.execution.own_processes import apart, variables
from bts_tune.experiment.execution.watch import Address, ClusterWatch
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.text import first_line

# On CPUs a trial gets at least this many cores where there are as many: fewer, and the cost of many processes (memory,
# start-up, a long trial left over at the end) outweighs what the better use of cores gains.
CORES_PER_TRIAL = 4

_PATIENCE = 20.0  # seconds, with a cluster that is to answer


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
    """A connected cluster.

    Attributes:
        cpus, gpus: of all nodes together.
        dashboard: its address, where there is one.
        lost: set when the head of the cluster, or this machine's part of it, is gone.
    """

    cpus: int
    gpus: float
    dashboard: str | None
    lost: threading.Event


def lost_sentence(resume: str) -> str:
    """Return what there is to say when the cluster is gone; `resume` is the command that goes on with the run."""
    return (
        "the Ray cluster is gone (its head, or this machine's part of it, no longer answers); what the run recorded is "
        f"intact. Go on with: {resume}"
    )


def cores_of_largest_node() -> int:
    """Return the cores of the cluster's largest node, at least 1: a trial that asks for them has it for itself."""
    import ray

    return max([1, *(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])])


@contextlib.contextmanager
def connected(options: RunOptions, *, resume: Callable[[], str]) -> Iterator[Cluster]:
    """Start Ray on this machine, or connect to the cluster at `options.address`, and leave it at the end.

    A cluster that is gone sets `Cluster.lost`. Whoever does not leave then, because a call into Ray keeps them, is
    ended with the process, in bounded time and with `lost_sentence`.

    Args:
        options: the address, the priority of trials, and what to show.
        resume: returns the command that goes on with the run.

    Raises:
        RunError: Ray cannot be started or reached.
    """
    with variables(options):
        import ray

        level = logging.INFO if options.verbose else logging.ERROR
        common = {"log_to_driver": options.verbose, "logging_level": level, "namespace": "bts-tune"}
        try:
            with apart():
                if options.address is not None:
                    _require_answer(options.address)
                    context = ray.init(address=options.address, **common)
                else:
                    # 'local': neither a cluster that RAY_ADDRESS names nor one that somebody else runs here.
                    context = ray.init(
                        address="local",
                        num_cpus=available_cpus(),
                        include_dashboard=options.dashboard,
                        dashboard_host="127.0.0.1",
                        **common,
                    )
        except Exception as error:  # a plain one where the machine is too busy to start it in time
            ray.shutdown()  # of a start that failed, some processes may be there already
            where = f"at --address {options.address}" if options.address else "on this machine"
            token = options.address and not isinstance(error, OSError) and "RAY_AUTH_MODE" not in os.environ
            hint = " If it asks for a token, set RAY_AUTH_MODE=token here." if token else ""
            raise RunError(f"Ray cannot be used {where}: {first_line(error)}{hint}") from None
        except BaseException:  # Ctrl-C
            ray.shutdown()
            raise
        for name in ("ray.tune", "ray.train", "ray.air"):
            logging.getLogger(name).setLevel(level if options.verbose else logging.CRITICAL)

        def last_words() -> str:
            return f"bts-tune: error: {lost_sentence(resume())}"

        with ClusterWatch(_servers(context), last_words) as watch:
            try:
                resources = ray.cluster_resources()
                url = context.dashboard_url
                yield Cluster(
                    int(resources.get("CPU", 1)),
                    float(resources.get("GPU", 0)),
                    f"http://{url}" if url else None,
                    watch.lost,
                )
            finally:
                ray.shutdown()


def priorities() -> list[int]:
    """Return the nice values, each once, at which the nodes of the connected cluster run trials."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(_nice)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    where = [NodeAffinitySchedulingStrategy(node, soft=True) for node in nodes]
    return sorted(set(ray.get([task.options(num_cpus=0, scheduling_strategy=one).remote() for one in where])))


def _require_answer(address: str) -> None:
    """Raise an OSError where nobody answers at HOST:PORT, which Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()


def _nice() -> int:
    return os.nice(0)


def _servers(context: Any) -> list[Address]:
    """Return where the head and this machine's part of the cluster listen; nothing for a client of a remote one."""
    info = getattr(context, "address_info", None)
    if info is None:
        return []
    host, _, port = info["gcs_address"].rpartition(":")
    return [(host.strip("[]"), int(port)), str(info["raylet_socket_name"])]
