"""Every node of a cluster is looked at before it trains: versions, code, CUDA, room on its disk, what it shares."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bts_tune.errors import RunError
from bts_tune.experiment.execution.nodes import node_check
from bts_tune.experiment.execution.nodes.node import Node
from bts_tune.experiment.planning.changes import SOURCES
from bts_tune.experiment.planning.disk import size_text
from bts_tune.results.record.files import write_atomically
from bts_tune.text import first_line, shortened

# Of these, by major and minor version, a trial's figures depend.
PACKAGES = ("torch", "segmentation-models-pytorch", "timm", "albumentations", "opencv-python-headless", "numpy")

# And of these files of bts-tune; driver and trials have to speak the same language, too.
CODE = (*SOURCES, "experiment/execution/**/*.py")

_PATIENCE = 60.0  # seconds, with a node that starts a process
_SHOWN = 8

_NONCE = ".shared"


@dataclass(frozen=True)
class Preflight:
    """Looks at nodes.

    Attributes:
        results: the run's folder.
        nonce: what the file in it says that shows which nodes share it.
        needed: bytes of the data and weights that a node needs which does not share them.
        cuda: whether trials run on GPUs.
    """

    results: Path
    nonce: str
    needed: int
    cuda: bool

    @classmethod
    def of(cls, results: Path, *, needed: int, cuda: bool) -> Preflight:
        """Put the file in place that shows which nodes share the run's folder."""
        nonce = secrets.token_hex(16)
        write_atomically(results / _NONCE, nonce)
        return cls(results.resolve(), nonce, needed, cuda)

    @staticmethod
    def tidy(results: Path) -> None:
        """Remove that file again."""
        with contextlib.suppress(OSError):
            (results / _NONCE).unlink()

    @property
    def shared(self) -> tuple[str, str]:
        """The path and the content of that file."""
        return str(self.results / _NONCE), self.nonce

    def check(self, nodes: Sequence[Node], say: Callable[[str], None]) -> dict[str, str]:
        """Look at some nodes, say what they are like, and return why some cannot train, by their id."""
        found = self._inspect(nodes)
        expected = versions_here()
        left_out = {}
        for node in nodes:
            answer = found[node.id]
            reason = answer if isinstance(answer, str) else self._fault(answer, expected)
            if reason:
                left_out[node.id] = reason
                say(f"Node {node.name} is left out: {reason}")
            elif len(nodes) <= _SHOWN and not isinstance(answer, str):
                shares = "shares the results" if "results" in answer["shared"] else "results come back through Ray"
                say(f"Node {node.describe()}; {shares}; {size_text(answer['free'])} free")
        return left_out

    def _inspect(self, nodes: Sequence[Node]) -> dict[str, Any]:
        """Return each node's answer by its id; a text where there is none."""
        import ray
        from ray import cloudpickle
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cloudpickle.register_pickle_by_value(node_check)
        try:
            task = ray.remote(node_check.inspect_node)
            asked = {
                task.options(
                    name="preflight",
                    num_cpus=0,
                    max_retries=1,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
                ).remote(PACKAGES, CODE, {"results": self.shared}, cuda=self.cuda and node.gpus > 0): node
                for node in nodes
            }
        finally:
            cloudpickle.unregister_pickle_by_value(node_check)
        done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_PATIENCE) if asked else ([], [])
        found: dict[str, Any] = {node.id: f"it does not answer within {_PATIENCE:g} s" for node in nodes}
        for reference in done:
            try:
                found[asked[reference].id] = ray.get(reference)
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None) or error
                found[asked[reference].id] = shortened(first_line(cause), 200).rstrip(".")
        return found

    def _fault(self, found: Mapping[str, Any], expected: Mapping[str, str]) -> str:
        if different := version_fault(found["versions"], expected):
            return different
        if not found["cuda"]:
            return "it has no CUDA"
        if "results" not in found["shared"] and found["free"] < self.needed:
            return f"its disk has {size_text(found['free'])} free, and the data takes {size_text(self.needed)}"
        return ""


def versions_here() -> dict[str, str]:
    """Return the versions that this process has of what every node has to have."""
    return node_check.inspect_versions(PACKAGES, CODE)


def version_fault(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """Return in what a node differs from the driver, in words; empty where they agree."""
    different = [
        f"{name} {'is not installed' if found.get(name) == 'none' else f'is {found.get(name)}, here {version}'}"
        for name, version in expected.items()
        if found.get(name) != version
    ]
    different = [text.replace("bts-tune is ", "the code of bts-tune is ") for text in different]
    return "; ".join(different)


def no_node_left(left_out: Mapping[str, str], names: Mapping[str, str]) -> RunError:
    """Return the error of a run for which no node is left."""
    alike: dict[str, list[str]] = {}
    for node, reason in left_out.items():
        alike.setdefault(reason, []).append(names.get(node, node[:6]))
    reasons = "; ".join(f"{', '.join(nodes[:_SHOWN])}: {reason}" for reason, nodes in list(alike.items())[:_SHOWN])
    return RunError(f"no node of the cluster can train this run ({reasons}).")
