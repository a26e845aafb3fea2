"""What lies with a node or a process, and not with the trial that met it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from bts_tune.errors import ConfigError
from bts_tune.experiment.execution.files.node_files import NodeFaultError
from bts_tune.experiment.execution.nodes.preflight import version_fault, versions_here
from bts_tune.experiment.execution.trials.retries import FaultKind
from bts_tune.plugins import restore
from bts_tune.text import first_line


class BrokenProcessError(Exception):
    """A trial failed in a way that may have left its process in disorder; the message is the trial's reason.

    Ray ends a process that raises, and reuses one that reports.

    Attributes:
        kind: 'oom', 'died' for what a fresh process may get past, 'node' for what another node gets past, or 'failed'
            for what would only happen again.
        node: the id of the node that it happened on.
    """

    def __init__(self, reason: str, kind: FaultKind = "failed", node: str = "") -> None:
        super().__init__(reason, kind, node)
        self.kind: FaultKind = kind
        self.node = node

    def __str__(self) -> str:
        """The reason alone."""
        return str(self.args[0])


def anywhere_but(left_out: Sequence[str]) -> dict[str, str]:
    """Return Ray's label selector of every node but some, which it knows by their ids."""
    return {"ray.io/node-id": f"!in({','.join(left_out)})"}


def node_id() -> str:
    """Return Ray's name of the node that this process runs on; empty outside of Ray."""
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


@contextlib.contextmanager
def node_faults() -> Iterator[None]:
    """Tell what lies with this node from what lies with the model.

    Raises:
        BrokenProcessError: it lies with the node.
    """
    try:
        yield
    except NodeFaultError as error:
        raise BrokenProcessError(str(error), "node", node_id()) from None
    except Exception as error:
        if not is_of_this_node(error):
            raise
        raise BrokenProcessError(
            f"{type(error).__name__}: {first_line(error).rstrip('.')}", "node", node_id()
        ) from None


def restore_on_node(plugins: Sequence[dict[str, str]]) -> None:
    """Load the plugins that the driver has loaded.

    Raises:
        NodeFaultError: they cannot be loaded here.
    """
    try:
        restore(plugins)
    except ConfigError as error:
        raise NodeFaultError(str(error).rstrip(".")) from None


def require_able_node(versions: Mapping[str, str], device: str) -> None:
    """Refuse a node that differs from the driver, or has no CUDA where trials run on GPUs; it may have joined late.

    Raises:
        NodeFaultError: in what.
    """
    import torch

    if fault := version_fault(versions_here(), versions):
        raise NodeFaultError(fault)
    if device == "cuda" and not torch.cuda.is_available():
        raise NodeFaultError("it has no CUDA")


def is_of_this_node(error: Exception) -> bool:
    """Whether an error lies with the node: its disk, a file, a package or the driver of its GPUs."""
    from ray.exceptions import RayError

    if isinstance(error, ConnectionError | RayError):
        return False
    without_gpu = "No CUDA GPUs are available" in str(error) or "CUDA driver version is insufficient" in str(error)
    return isinstance(error, OSError | ImportError) or without_gpu
