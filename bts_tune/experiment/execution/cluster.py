"""The Ray cluster that a run uses: its own on this machine, or one that is there already."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bts_tune.data.parallel import available_cpus
from bts_tune.errors import RunError
from bts_tune.experiment.execution.health_check import Address, ClusterHealthCheck
from bts_tune.experiment.execution.ray_environment import environment_variables, isolated_start
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.text import first_line

_PATIENCE = 20.0  # seconds, with a cluster that is to answer


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
    with environment_variables(options):
        import ray

        level = logging.INFO if options.verbose else logging.ERROR
        common = {"log_to_driver": options.verbose, "logging_level": level, "namespace": "bts-tune"}
        try:
            with isolated_start():
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

        def exit_message() -> str:
            return f"bts-tune: error: {lost_sentence(resume())}"

        with ClusterHealthCheck(_servers(context), exit_message) as health:
            try:
                resources = ray.cluster_resources()
                url = context.dashboard_url
                yield Cluster(
                    int(resources.get("CPU", 1)),
                    float(resources.get("GPU", 0)),
                    f"http://{url}" if url else None,
                    health.lost,
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
