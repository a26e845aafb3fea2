"""The cores and GPUs of a trial, and how many trials run at a time: counted node by node, since a trial runs on one."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bts_tune.data.parallel import available_cpus
from bts_tune.errors import ConfigError
from bts_tune.experiment.execution.nodes.node import Node, describe_nodes
from bts_tune.experiment.planning.environment import hardware
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.text import plural

# On CPUs a trial gets at least this many cores where there are as many: fewer, and the cost of many processes (memory,
# start-up, a long trial left over at the end) outweighs what the better use of cores gains.
CORES_PER_TRIAL = 4

# On nodes of different sizes no share divides all of them: so many of all cores must be in use at least.
_CORES_IN_USE = 0.8


@dataclass(frozen=True)
class TrialResources:
    """What each trial gets.

    Attributes:
        cpus: cores, which are also the trial's CPU threads: the same on every node, because on CPUs the last bits of a
            trial's figures depend on them.
        gpus: GPUs, or the fraction of one; 0 on CPUs.
        concurrent: how many trials run at a time.
        device: the device of a trial: 'cpu' or 'cuda'.
        memory: bytes that are set aside for it; 0 sets none aside.
    """

    cpus: int
    gpus: float
    concurrent: int
    device: str
    memory: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)

    def slots(self, nodes: Sequence[Node]) -> int:
        """Return how many trials fit some nodes at a time."""
        return sum(self.slots_of(node) for node in nodes)

    def slots_of(self, node: Node) -> int:
        """Return how many trials fit a node at a time."""
        return _slots(node, self.cpus, self.gpus, self.memory)

    def describe(self) -> str:
        """Return what a trial gets, in words."""
        memory = f" and {self.memory / 2**30:g} GiB of memory" if self.memory else ""
        if self.gpus:
            return f"{self.gpus:g} GPU and {plural(self.cpus, 'core')}{memory}"
        return f"{plural(self.cpus, 'CPU core')}{memory}"


def allocate(options: RunOptions, *, nodes: Sequence[Node], trials: int) -> TrialResources:
    """Divide the cores and GPUs of a cluster's nodes evenly among as many trials as run at a time.

    Raises:
        ConfigError: what is asked for is not there, or fits no node; the sentence says what each node has.
    """
    require_possible(options)
    asked = options.gpus_per_trial
    gpus = sum(node.gpus for node in nodes)
    use_gpu = gpus > 0 if options.device == "auto" else options.device == "cuda"
    if options.autoscaling and options.device == "auto":
        use_gpu = use_gpu or asked is not None
    if use_gpu and not gpus and not options.autoscaling:
        raise ConfigError(f"--device {options.device!r}: there is no GPU; allowed here are auto and cpu.")
    if asked is not None and not use_gpu:
        given = asked if isinstance(asked, str) else f"{asked:g}"
        raise ConfigError(f"--gpus-per-trial {given}: there is no GPU to share; leave the option out.")
    per_trial = 0.0
    if use_gpu:
        # 'auto' has been replaced by a number before anything is trained; see `packing.with_measured_gpus_per_trial`.
        per_trial = asked if isinstance(asked, float) else 1.0
    memory = (options.memory_per_trial or 0.0) * 2**30
    device = "cuda" if use_gpu else "cpu"
    if options.autoscaling:
        assert options.concurrent is not None
        assert options.cpus_per_trial is not None
        return TrialResources(
            options.cpus_per_trial, per_trial, max(1, min(options.concurrent, trials)), device, memory
        )
    _require_room(options, nodes, per_trial, memory)
    most = sum(_slots(node, options.cpus_per_trial or 1, per_trial, memory) for node in nodes)
    cores = sum(node.cpus for node in nodes)
    if options.concurrent is not None and not use_gpu and options.concurrent > most:
        what = "cores" if most == cores else f"cores, which take {most} trials at a time"
        raise ConfigError(f"--concurrent {options.concurrent}: there are {cores} {what}; it must be at most {most}.")
    concurrent = most if use_gpu else options.concurrent or _usual_concurrency(options, nodes, memory)
    if options.concurrent is not None:
        concurrent = min(options.concurrent, concurrent)
    concurrent = max(1, min(concurrent, trials))
    cpus = options.cpus_per_trial or _largest_share(nodes, per_trial, memory, concurrent)
    return TrialResources(cpus, per_trial, concurrent, device, memory)


def require_possible(options: RunOptions) -> None:
    """Refuse what no machine can give.

    Raises:
        ConfigError: an option contradicts another, or lacks one that it needs.
    """
    asked = options.gpus_per_trial
    if asked is not None and options.device == "cpu":
        given = asked if isinstance(asked, str) else f"{asked:g}"
        raise ConfigError(f"--gpus-per-trial {given}: there is no GPU to share with --device cpu; leave one out.")
    if isinstance(asked, float) and asked > 1 and not asked.is_integer():
        raise ConfigError(f"--gpus-per-trial {asked:g}: must be a fraction below 1 or a whole number.")
    if options.autoscaling and (options.concurrent is None or options.cpus_per_trial is None):
        raise ConfigError(
            "--autoscaling needs --concurrent N and --cpus-per-trial N: what the nodes that come will have, nobody can "
            "count yet."
        )


def require_room_here(options: RunOptions) -> None:
    """Refuse, before Ray is started on this machine, what it cannot have.

    Ray sets a part of the memory aside, so that what needs nearly all of it is refused only once Ray is there.

    Raises:
        ConfigError: what is asked for is not there, or fits no node.
    """
    allocate(options, nodes=[this_node()], trials=1)


def this_node() -> Node:
    """Return what this machine has, without Ray."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Node("", socket.gethostname(), available_cpus(), float(len(hardware()["gpus"])), float(memory))


def _require_room(options: RunOptions, nodes: Sequence[Node], per_trial: float, memory: float) -> None:
    """Refuse what fits no node.

    Raises:
        ConfigError: a trial needs more than any node has.
    """
    if sum(_slots(node, options.cpus_per_trial or 1, per_trial, memory) for node in nodes):
        return
    has = describe_nodes(nodes)
    gpus = sum(node.gpus for node in nodes)
    if per_trial > gpus:
        raise ConfigError(f"--gpus-per-trial {per_trial:g}: there are {gpus:g} GPUs; it must be at most that.")
    asked = [f"--gpus-per-trial {per_trial:g}"] if per_trial else []
    asked += [f"--cpus-per-trial {options.cpus_per_trial}"] if options.cpus_per_trial else []
    asked += [f"--memory-per-trial {options.memory_per_trial:g}"] if options.memory_per_trial else []
    wanted = " ".join(asked) or "a trial, which needs a core"
    raise ConfigError(
        f"{wanted}: fits no node, and a trial runs on one ({has}); ask for less, or, where nodes will come, give "
        "--autoscaling."
    )


def _usual_concurrency(options: RunOptions, nodes: Sequence[Node], memory: float) -> int:
    """Return how many trials run on CPUs at a time unless a number is asked for.

    Each gets the largest share, of at least `CORES_PER_TRIAL` where a node has as many, that leaves few cores unused.
    """
    if options.cpus_per_trial is not None:
        return sum(_slots(node, options.cpus_per_trial, 0.0, memory) for node in nodes)
    cores = sum(node.cpus for node in nodes)
    shares = sorted({_own_share(node) for node in nodes if node.cpus} | set(range(1, CORES_PER_TRIAL + 1)))
    largest = max(_own_share(node) for node in nodes)
    for share in reversed([one for one in shares if one <= largest]):
        if share * sum(node.cpus // share for node in nodes) >= _CORES_IN_USE * cores:
            break
    return max(1, sum(_slots(node, share, 0.0, memory) for node in nodes))


def _own_share(node: Node) -> int:
    """Return the share of a trial on a node that is alone."""
    return node.cpus // max(1, node.cpus // CORES_PER_TRIAL)


def _largest_share(nodes: Sequence[Node], per_trial: float, memory: float, concurrent: int) -> int:
    """Return the most cores that so many trials can have each, all of them alike; at least 1."""
    most = max(node.cpus for node in nodes)
    return next(
        (
            share
            for share in range(most, 1, -1)
            if sum(_slots(node, share, per_trial, memory) for node in nodes) >= concurrent
        ),
        1,
    )


def _slots(node: Node, cpus: int, gpus: float, memory: float) -> int:
    count = node.cpus // cpus
    if gpus >= 1:
        count = min(count, int(node.gpus // gpus))
    elif gpus:
        # A fraction is of one GPU: Ray does not put it together from several.
        count = min(count, int(node.gpus) * math.floor(1 / gpus + 1e-9))
    return min(count, int(node.memory // memory)) if memory else count


def cores_of_largest_node(nodes: Sequence[Node]) -> int:
    """Return the cores of the largest of some nodes, at least 1: a trial that asks for them has it for itself."""
    return max([1, *(node.cpus for node in nodes)])
