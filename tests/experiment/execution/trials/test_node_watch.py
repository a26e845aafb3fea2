from __future__ import annotations

import threading

import pytest

from bts_tune.errors import RunStoppedError
from bts_tune.experiment.execution.cluster.connection import Cluster
from bts_tune.experiment.execution.nodes.node import Node
from bts_tune.experiment.execution.nodes.preflight import Preflight
from bts_tune.experiment.execution.nodes.resources import TrialResources
from bts_tune.experiment.execution.trials import node_watch
from bts_tune.experiment.execution.trials.node_watch import NodeWatch


class Checks(Preflight):
    """Leaves out every node whose name begins with 'bad'."""

    def __init__(self) -> None:
        pass

    def check(self, nodes: object, say: object) -> dict[str, str]:
        assert isinstance(nodes, list)
        return {node.id: "it has no CUDA" for node in nodes if node.name.startswith("bad")}


class Watched:
    """A cluster that changes as told, and the watch over it."""

    def __init__(self, *names: str, fixed: bool = False, autoscaling: bool = False, runs: int = 1) -> None:
        self.nodes = [Node(name, name, 4) for name in names]
        self.said: list[str] = []
        self.taken_back: frozenset[str] = frozenset()
        self.runs = runs
        self.cluster = Cluster(
            None,
            threading.Event(),
            "head:6379",
            alive=lambda: list(self.nodes),
            taken_back=lambda: self.taken_back,
            runs=lambda: self.runs,
        )
        resources = TrialResources(2, 0.0, 2 * len(names), "cpu")
        self.watch = NodeWatch(
            self.cluster, resources, self.said.append, preflight=Checks(), fixed=fixed, autoscaling=autoscaling
        )

    def change(self, *names: str) -> None:
        self.nodes = [Node(name, name, 4) for name in names]
        self.watch.update(running=1)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_watch, "_EVERY", -1.0)


def test_nodes_that_join_and_leave_change_how_many_trials_run() -> None:
    watched = Watched("a")
    assert watched.watch.concurrent() == 2
    watched.change("a", "b")
    assert watched.watch.concurrent() == 4
    watched.change("b")
    assert watched.watch.concurrent() == 2
    text = "\n".join(watched.said)
    assert "Joined the cluster: b: 4 cores" in text
    assert "Node a has left the cluster" in text


def test_a_number_that_was_asked_for_stays() -> None:
    watched = Watched("a", fixed=True)
    watched.change("a", "b")
    assert watched.watch.concurrent() == 2


def test_a_node_that_joins_and_cannot_train_is_left_out() -> None:
    watched = Watched("a")
    watched.change("a", "bad")
    assert watched.watch.concurrent() == 2
    assert watched.watch.left_out() == ["bad"]
    assert [node.name for node in watched.watch.nodes()] == ["a"]


def test_the_last_node_that_is_left_out_ends_the_run() -> None:
    watched = Watched("a", "b")
    watched.watch.leave_out("a", "its disk is full")
    assert watched.watch.concurrent() == 2
    with pytest.raises(RunStoppedError, match=r"a: its disk is full; b: it has no CUDA"):
        watched.watch.leave_out("b", "it has no CUDA")


def test_nodes_that_are_only_gone_may_come_back() -> None:
    watched = Watched("a")
    watched.change()
    assert watched.watch.concurrent() == 1  # one may wait


def test_a_node_that_is_taken_back_gets_no_further_trial_and_is_not_left_out_for_good() -> None:
    watched = Watched("a", "b")
    watched.taken_back = frozenset({"a"})
    watched.change("a", "b")
    assert watched.watch.is_taken_back("a")
    assert not watched.watch.is_taken_back("b")
    assert watched.watch.left_out() == ["a"]
    assert watched.watch.concurrent() == 2
    watched.change("a", "b")
    assert sum("is taken back soon" in text for text in watched.said) == 1
    watched.watch.leave_out("a", "its disk is full")
    with pytest.raises(RunStoppedError, match="the last one"):
        watched.watch.leave_out("b", "the last one")


def test_no_run_ends_because_its_nodes_are_taken_back() -> None:
    watched = Watched("a", "b")
    watched.watch.leave_out("a", "its disk is full")
    watched.taken_back = frozenset({"b"})
    watched.change("a", "b")
    assert watched.watch.left_out() == ["a", "b"]
    watched.change("a", "c")
    assert [node.name for node in watched.watch.nodes()] == ["c"]


def test_runs_that_share_a_cluster_divide_its_room() -> None:
    watched = Watched("a", "b", runs=2)
    assert watched.watch.concurrent() == 2
    watched.runs = 3
    watched.change("a", "b")
    assert watched.watch.concurrent() == 2  # none of the room is left unused
    watched.runs = 1
    watched.change("a", "b")
    assert watched.watch.concurrent() == 4
    assert watched.said == [
        "2 runs use the cluster: this one takes at most 2 trials at a time",
        "3 runs use the cluster: this one takes at most 2 trials at a time",
        "No other run uses the cluster any more",
    ]
    asked = Watched("a", "b", runs=2, fixed=True)
    assert asked.watch.concurrent() == 4


def test_silence_is_explained_by_the_other_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_watch, "_SILENCE", -1.0)
    watched = Watched("a", runs=2)
    watched.watch.update(running=0, silence="No model was measured")
    assert watched.said[-1].startswith("No model was measured for ")
    assert "2 runs use the cluster; each begins when a trial of another ends." in watched.said[-1]


def test_where_nodes_will_come_none_is_the_last() -> None:
    watched = Watched("a", autoscaling=True)
    watched.watch.leave_out("a", "its disk is full")


def test_silence_is_explained_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_watch, "_SILENCE", -1.0)
    watched = Watched("a")
    watched.watch.update(running=1)
    assert watched.said == []
    watched.watch.update(running=0)
    (sentence,) = watched.said
    assert "the next one waits for 2 CPU cores on one node; a: 4 cores" in sentence
