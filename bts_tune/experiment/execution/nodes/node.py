"""The nodes of the connected Ray cluster: what each has, and what is free on it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bts_tune.text import plural


@dataclass(frozen=True)
class Node:
    """What a node of a cluster has for trials.

    Attributes:
        id: Ray's own name of it.
        name: of its host; with the beginning of its id where several nodes share a host.
        cpus, gpus: that Ray may hand out.
        memory: bytes that Ray may hand out.
        driver: whether this process is connected to the cluster through it.
    """

    id: str
    name: str
    cpus: int
    gpus: float = 0.0
    memory: float = 0.0
    driver: bool = False

    def describe(self) -> str:
        """Return what the node has, in words."""
        gpus = f", {self.gpus:g} GPU{'s' if self.gpus != 1 else ''}" if self.gpus else ""
        memory = f", {self.memory / 2**30:.1f} GiB of memory" if self.memory else ""
        return f"{self.name}: {plural(self.cpus, 'core')}{gpus}{memory}"


def alive_nodes() -> list[Node]:
    """Return the nodes of the connected cluster that are alive, by name."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    alive = [node for node in ray.nodes() if node["Alive"]]
    hosts = Counter(node["NodeManagerHostname"] for node in alive)
    found = []
    for node in alive:
        has, host = node["Resources"], node["NodeManagerHostname"]
        found.append(
            Node(
                id=node["NodeID"],
                name=host if hosts[host] == 1 else f"{host}/{node['NodeID'][:6]}",
                cpus=int(has.get("CPU", 0)),
                gpus=float(has.get("GPU", 0)),
                memory=float(has.get("memory", 0)),
                driver=node["NodeID"] == own,
            )
        )
    return sorted(found, key=lambda node: (not node.driver, node.name))


def taken_back() -> frozenset[str]:
    """Return the ids of the nodes that are to leave the connected cluster soon, as spot nodes do with notice."""
    with contextlib.suppress(Exception):  # not public; without it, they leave without notice
        from ray._private.state import state

        return frozenset(state.get_draining_nodes())
    return frozenset()


def describe_nodes(nodes: Sequence[Node]) -> str:
    """Return what each node has, in words; of many nodes, those that are alike together."""
    if not nodes:
        return "no node"
    if len(nodes) <= 8:
        return "; ".join(node.describe() for node in nodes)
    alike = Counter(node.describe().partition(": ")[2] for node in nodes)
    return "; ".join(f"{plural(count, 'node')} of {what}" for what, count in alike.most_common(8))


def describe_free(nodes: Sequence[Node]) -> str:
    """Return what is free on each of some nodes, in words; an empty text where Ray does not tell."""
    with contextlib.suppress(Exception):  # not public, and only told
        from ray._private.state import available_resources_per_node

        free = available_resources_per_node()
        words = []
        for node in nodes[:8]:
            has = free.get(node.id, {})
            gpus = f" and {has.get('GPU', 0):g} of {node.gpus:g} GPUs" if node.gpus else ""
            words.append(f"{node.name}: {has.get('CPU', 0):g} of {plural(node.cpus, 'core')}{gpus}")
        more = f"; and {len(nodes) - 8} more nodes" if len(nodes) > 8 else ""
        return "; ".join(words) + more
    return ""
