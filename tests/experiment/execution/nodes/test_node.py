from __future__ import annotations

from bts_tune.experiment.execution.nodes.node import Node, describe_nodes

GIB = 2**30


def test_what_a_node_has_is_said_in_words() -> None:
    assert Node("a", "host", 1).describe() == "host: 1 core"
    assert Node("a", "host", 8, 2.0, 64 * GIB).describe() == "host: 8 cores, 2 GPUs, 64.0 GiB of memory"


def test_of_many_nodes_those_that_are_alike_are_counted() -> None:
    many = [Node(str(place), f"n{place}", 8 if place % 3 else 4) for place in range(12)]
    assert describe_nodes(many) == "8 nodes of 8 cores; 4 nodes of 4 cores"
    assert describe_nodes(many[:2]) == "n0: 4 cores; n1: 8 cores"
    assert describe_nodes([]) == "no node"
