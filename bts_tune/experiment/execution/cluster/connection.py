"""The Ray cluster that a run uses: its own on this machine, or one that is there already."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bts_tune.errors import RunError
from bts_tune.experiment.execution.cluster.address import (
    cluster_address,
    found_address,
    is_protected,
)
from bts_tune.experiment.execution.cluster.health_check import Address, ClusterHealthCheck
from bts_tune.experiment.execution.cluster.own_ray import init_options, start_own_ray
from bts_tune.experiment.execution.cluster.ray_environment import environment_variables, isolated_start
from bts_tune.experiment.execution.files.shipping import runs_on_cluster
from bts_tune.experiment.execution.nodes.node import Node, alive_nodes, taken_back
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.text import first_line


@dataclass(frozen=True)
class Cluster:
    """A connected cluster.

    Attributes:
        dashboard: its address, where there is one.
        lost: set when the head of the cluster, or this machine's part of it, is gone.
        address: of a cluster that others may use too; None for a Ray of the run's own.
        left_out: why no trial runs on a node, by the node's id.
        alive: returns the nodes that are alive.
        taken_back: returns the ids of those that are to leave soon.
        runs: returns how many runs use the cluster, this one included.
        protected: whether its dashboard asks for a token.
    """

    dashboard: str | None
    lost: threading.Event
    address: str | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    alive: Callable[[], list[Node]] = alive_nodes
    taken_back: Callable[[], frozenset[str]] = taken_back
    runs: Callable[[], int] = runs_on_cluster
    protected: bool = True

    def nodes(self) -> list[Node]:
        """Return the nodes that trials may run on."""
        return [node for node in self.alive() if node.id not in self.left_out]


def dashboard_hint(url: str, *, protected: bool, environment: Mapping[str, str] = os.environ) -> str:
    """Return where the dashboard is, what it asks for, and how to see it with a browser on another machine."""
    text = f"Ray dashboard: {url}"
    if protected and environment.get("RAY_AUTH_MODE") != "disabled":
        path = environment.get("RAY_AUTH_TOKEN_PATH")
        token = f"RAY_AUTH_TOKEN_PATH={shlex.quote(path)} ray get-auth-token" if path else "ray get-auth-token"
        text += f" (it asks for a token: {token})"
    # Client's address and port, then this machine's.
    session = environment.get("SSH_CONNECTION", "").split()
    where = urlsplit(url)
    if len(session) == 4 and where.port:
        text += (
            f"; on the machine with your browser: ssh -N -L {where.port}:{where.hostname}:{where.port} {session[2]}, "
            f"then http://127.0.0.1:{where.port}"
        )
    return text


def resume_elsewhere(resume: str, address: str | None) -> str:
    """Return what goes on with a run whose cluster is gone: its recorded address is of no use then."""
    return resume if address is None else f"{resume} --address local (or HOST:PORT of another cluster)"


def lost_sentence(resume: str) -> str:
    """Return what there is to say when the cluster is gone; `resume` is the command that goes on with the run."""
    return (
        "the Ray cluster is gone (its head, or this machine's part of it, no longer answers); what the run recorded is "
        f"intact. Go on with: {resume}"
    )


@contextlib.contextmanager
def connected(options: RunOptions, *, resume: Callable[[], str], run: str = "bts-tune") -> Iterator[Cluster]:
    """Start Ray on this machine, or connect to the cluster that `options.address` means, and leave it at the end.

    A cluster that is gone sets `Cluster.lost`. Whoever does not leave then, because a call into Ray keeps them, is
    ended with the process, in bounded time and with `lost_sentence`.

    Args:
        options: the address, the priority of trials, and what to show.
        resume: returns the command that goes on with the run.
        run: what Ray's list of jobs calls it.

    Raises:
        RunError: Ray cannot be started or reached.
    """
    address = cluster_address(options.address)
    with environment_variables(options, address):
        import ray

        protected = True
        if address is not None:
            address = found_address(address)
            protected = is_protected(address)
            if protected:
                _send_token()
        try:
            if address is not None:
                with isolated_start():
                    context = ray.init(address=address, **init_options(options, run))
            else:
                context = start_own_ray(options, run)
        except Exception as error:  # a plain one where the machine is too busy to start it in time
            ray.shutdown()  # some processes may be there already
            where = f"at --address {address}" if address else "on this machine"
            raise RunError(f"Ray cannot be used {where}: {first_line(error)}") from None
        except BaseException:  # Ctrl-C
            ray.shutdown()
            raise
        for name in ("ray.tune", "ray.train", "ray.air"):
            logging.getLogger(name).setLevel(logging.INFO if options.verbose else logging.CRITICAL)

        def exit_message() -> str:
            return f"bts-tune: error: {lost_sentence(resume_elsewhere(resume(), address))}"

        with ClusterHealthCheck(_servers(context), exit_message) as health:
            try:
                url = context.dashboard_url
                yield Cluster(f"http://{url}" if url else None, health.lost, address, protected=protected)
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


def _send_token() -> None:
    """Have Ray send the token that is at hand, as it does of itself for 'auto' alone."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        os.environ["RAY_AUTH_MODE"] = "token"
        with contextlib.suppress(ImportError, AttributeError):
            # Ray has read its configuration when it was imported. Not public.
            from ray._private.authentication.authentication_token_setup import _enable_token_auth

            _enable_token_auth()


def _nice() -> int:
    return os.nice(0)


def _servers(context: Any) -> list[Address]:
    """Return where the head and this machine's part of the cluster listen; nothing for a client of a remote one."""
    info = getattr(context, "address_info", None)
    if info is None:
        return []
    host, _, port = info["gcs_address"].rpartition(":")
    return [(host.strip("[]"), int(port)), str(info["raylet_socket_name"])]
