"""Keeps count of a cluster's nodes while trials run: those that join, leave or are left out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from bts_tune.errors import RunStoppedError
from bts_tune.experiment.execution.cluster.connection import Cluster
from bts_tune.experiment.execution.nodes.node import Node, describe_free, describe_nodes
from bts_tune.experiment.execution.nodes.preflight import Preflight, no_node_left
from bts_tune.experiment.execution.nodes.resources import TrialResources
from bts_tune.text import plural

_EVERY = 5.0  # seconds between two looks at the nodes
_SILENCE = 30.0  # seconds without a running trial after which the run says what it waits for


class NodeWatch:
    """What Tune's callback and the searcher ask about the nodes of a cluster.

    Args:
        cluster: the connected cluster.
        resources: what each trial gets.
        say: is told of what changes, in sentences.
        preflight: looks at nodes that join; None for a Ray of the run's own, whose one node stays as it is.
        fixed: whether the number of trials at a time was asked for.
        autoscaling: whether nodes come for what waits.
    """

    def __init__(
        self,
        cluster: Cluster,
        resources: TrialResources,
        say: Callable[[str], None],
        *,
        preflight: Preflight | None = None,
        fixed: bool = False,
        autoscaling: bool = False,
    ) -> None:
        self._cluster, self._resources, self._say, self._preflight = cluster, resources, say, preflight
        self._fixed = fixed or autoscaling
        self._autoscaling = autoscaling
        self._known = {node.id: node for node in cluster.alive()}
        self._taken_back: frozenset[str] = frozenset()
        self._runs = 1
        self._names = {node.id: node.name for node in self._known.values()}
        self._concurrent = resources.concurrent
        self._slots = resources.slots(self.nodes())
        self._looked = self._quiet_since = time.monotonic()
        self._patience = _SILENCE
        if preflight is not None:
            self._share(self._slots, cluster.runs())

    def concurrent(self) -> int:
        """Return how many trials may run at a time now."""
        return self._concurrent

    def left_out(self) -> list[str]:
        """Return the ids of the nodes that no trial may begin on."""
        return sorted((set(self._cluster.left_out) | self._taken_back) & set(self._known))

    def is_taken_back(self, node: str) -> bool:
        """Whether a node, by its id, is to leave the cluster soon: what runs on it has to go on elsewhere."""
        return node in self._taken_back

    def name(self, node: str) -> str:
        """Return what people call a node, by its id."""
        return self._names.get(node, node[:6])

    def nodes(self) -> list[Node]:
        """Return the nodes that trials may begin on, as they were seen last."""
        left_out = self.left_out()
        return [node for node in self._known.values() if node.id not in left_out]

    def leave_out(self, node: str, reason: str) -> None:
        """Run no further trial on a node.

        Raises:
            RunStoppedError: it was the last one.
        """
        if node not in self._cluster.left_out:
            self._cluster.left_out[node] = reason
            self._say(f"Node {self.name(node)} is left out for the rest of the run: {reason}")
        self._look()
        self.require_node()

    def require_node(self) -> None:
        """Refuse to go on where no node is left that could train a trial, all others being left out.

        Raises:
            RunStoppedError: there is none.
        """
        # Others come in the place of nodes that are taken back.
        there = [node for node in self._known.values() if node.id not in self._cluster.left_out]
        if self._cluster.left_out and not self._autoscaling and not self._resources.slots(there):
            raise RunStoppedError(str(no_node_left(self._cluster.left_out, self._names)))

    def update(self, running: int, silence: str = "No trial is running") -> None:
        """Look at the nodes now and then; say what a run waits for whose trials do not start.

        Args:
            running: whether something goes on: how many trials run, or models were measured since the last look.
            silence: what there is to say where nothing does, before the time that it has lasted.

        Raises:
            RunStoppedError: no node is left.
        """
        now = time.monotonic()
        if self._preflight is None:
            return
        if now - self._looked > _EVERY:
            self._look()
            self.require_node()
        if running:
            self._quiet_since, self._patience = now, _SILENCE
        elif now - self._quiet_since > self._patience:
            self._say(self._what_it_waits_for(silence, now - self._quiet_since))
            self._patience *= 4

    def _look(self) -> None:
        if self._preflight is None:
            return
        alive = {node.id: node for node in self._cluster.alive()}
        self._looked = time.monotonic()
        for node in self._known.values():
            if node.id not in alive:
                self._say(f"Node {node.name} has left the cluster")
        joined = [node for node in alive.values() if node.id not in self._known]
        self._names |= {node.id: node.name for node in joined}
        if joined:
            self._say(f"Joined the cluster: {describe_nodes(joined)}")
            self._cluster.left_out.update(self._preflight.check(joined, self._say))
        self._known = alive
        leaving = self._cluster.taken_back() & set(alive)
        for one in sorted(leaving - self._taken_back):
            self._say(f"Node {self.name(one)} is taken back soon: its trials go on elsewhere after their epoch")
        self._taken_back = leaving
        self._share(self._resources.slots(self.nodes()), self._cluster.runs())

    def _share(self, slots: int, runs: int) -> None:
        """Take as many trials at a time as there is room for, divided by the runs that use the cluster.

        A number that was asked for stays.
        """
        before, self._slots, self._runs = (self._slots, self._runs), slots, runs
        if self._fixed or (slots, runs) == before:
            return
        self._concurrent = max(1, math.ceil(slots / runs))
        if slots != before[0]:
            self._say(f"From now on there is room for {plural(slots, 'trial')} at a time")
        if runs > 1:
            self._say(
                f"{runs} runs use the cluster: this one takes at most {plural(self._concurrent, 'trial')} at a time"
            )
        elif runs != before[1]:
            self._say("No other run uses the cluster any more")

    def _what_it_waits_for(self, silence: str, seconds: float) -> str:
        nodes = self.nodes()
        free = describe_free(nodes)
        what = f"free now: {free}" if free else describe_nodes(nodes)
        others = (
            f" {self._runs} runs use the cluster; each begins when a trial of another ends." if self._runs > 1 else ""
        )
        return (
            f"{silence} for {seconds:.0f} s: the next one waits for {self._resources.describe()} on one node; "
            f"{what}.{others} What other programs hold has to be given back, or nodes have to join; Ctrl-C ends the "
            "run."
        )
