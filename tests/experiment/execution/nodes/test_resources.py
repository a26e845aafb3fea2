from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bts_tune.errors import ConfigError
from bts_tune.experiment.execution.nodes.node import Node
from bts_tune.experiment.execution.nodes.resources import TrialResources, allocate
from bts_tune.experiment.planning.options import RunOptions

OPTIONS = RunOptions(space="baseline")
GIB = 2**30


def options(**fields: object) -> RunOptions:
    return OPTIONS.replaced(**fields)


def nodes(*sizes: int, gpus: tuple[float, ...] = (), memory: float = 0) -> list[Node]:
    """Nodes of so many cores, the first of them with so many GPUs."""
    shares = [*gpus, *[0.0] * len(sizes)]
    return [Node(str(place), f"n{place}", cpus, shares[place], memory) for place, cpus in enumerate(sizes)]


@given(
    sizes=st.lists(st.integers(0, 64), min_size=1, max_size=6),
    gpus=st.lists(st.integers(0, 8), max_size=6),
    trials=st.integers(1, 100),
    share=st.sampled_from([None, 0.25, 0.3, 0.5, 1.0, 2.0]),
)
def test_whatever_runs_at_a_time_fits_the_nodes(
    sizes: list[int], gpus: list[int], trials: int, share: float | None
) -> None:
    found = nodes(*sizes, gpus=tuple(gpus[: len(sizes)]))
    try:
        resources = allocate(options(gpus_per_trial=share), nodes=found, trials=trials)
    except ConfigError:  # shown below
        return
    assert 1 <= resources.concurrent <= trials
    # Each node is filled on its own, as Ray does it: no trial is put together from two.
    room = 0
    for node in found:
        cpus, left = node.cpus, [1.0] * int(node.gpus)
        while cpus >= resources.cpus and _take(left, resources.gpus):
            cpus -= resources.cpus
            room += 1
    assert room >= resources.concurrent
    assert room == resources.slots(found)


def _take(left: list[float], share: float) -> bool:
    """Take a share of the GPUs of a node, as Ray hands them out."""
    if share >= 1:
        whole = [place for place, rest in enumerate(left) if rest == 1.0][: int(share)]
        for place in whole:
            left[place] = 0.0
        return len(whole) == int(share)
    for place, rest in enumerate(left):
        if rest >= share - 1e-9:
            left[place] -= share
            return True
    return not share


@given(cpus=st.integers(1, 256), gpus=st.integers(0, 16), trials=st.integers(1, 100))
def test_one_node_is_divided_as_ever(cpus: int, gpus: int, trials: int) -> None:
    resources = allocate(OPTIONS, nodes=nodes(cpus, gpus=(gpus,)), trials=trials)
    concurrent = max(1, min(min(gpus, cpus) if gpus else max(1, cpus // 4), trials))
    assert (resources.concurrent, resources.cpus) == (concurrent, cpus // concurrent)
    assert resources.gpus == (1 if gpus else 0)
    assert resources.device == ("cuda" if gpus else "cpu")


@given(cpus=st.integers(1, 64), asked=st.integers(1, 64), trials=st.integers(1, 100))
def test_so_many_at_a_time_as_are_asked_for(cpus: int, asked: int, trials: int) -> None:
    if asked > cpus:
        with pytest.raises(ConfigError, match="it must be at most"):
            allocate(options(concurrent=asked), nodes=nodes(cpus), trials=trials)
        return
    resources = allocate(options(concurrent=asked), nodes=nodes(cpus), trials=trials)
    assert resources.concurrent == min(asked, trials)
    assert resources.cpus == cpus // resources.concurrent


def test_two_cores_go_to_one_trial_and_sixteen_to_four() -> None:
    assert allocate(OPTIONS, nodes=nodes(2), trials=3).cpus == 2
    resources = allocate(OPTIONS, nodes=nodes(16), trials=10)
    assert (resources.cpus, resources.concurrent) == (4, 4)


@pytest.mark.parametrize(
    ("sizes", "cpus", "concurrent"),
    [
        ((1, 1, 1), 1, 3),
        ((2, 1, 4), 2, 3),
        ((0, 8, 8), 4, 4),
        ((7, 7), 7, 2),
        ((2, 64, 64), 4, 32),
    ],
)
def test_threads_are_the_same_on_nodes_of_every_size(sizes: tuple[int, ...], cpus: int, concurrent: int) -> None:
    resources = allocate(OPTIONS, nodes=nodes(*sizes), trials=100)
    assert (resources.cpus, resources.concurrent) == (cpus, concurrent)


def test_nodes_without_gpus_beside_others_train_nothing_on_gpus() -> None:
    resources = allocate(OPTIONS, nodes=nodes(64, 8, gpus=(0, 2)), trials=100)
    assert (resources.device, resources.concurrent, resources.cpus) == ("cuda", 2, 4)


def test_a_gpu_can_be_shared() -> None:
    resources = allocate(options(gpus_per_trial=0.25), nodes=nodes(16, gpus=(2,)), trials=100)
    assert (resources.gpus, resources.concurrent, resources.cpus) == (0.25, 8, 2)


def test_a_share_of_a_gpu_is_of_one_gpu() -> None:
    assert allocate(options(gpus_per_trial=0.4), nodes=nodes(16, gpus=(2,)), trials=100).concurrent == 4


def test_the_cpu_can_be_asked_for_beside_a_gpu() -> None:
    assert allocate(options(device="cpu"), nodes=nodes(8, gpus=(1,)), trials=4).gpus == 0


def test_memory_is_counted_where_it_is_asked_for() -> None:
    resources = allocate(options(memory_per_trial=3.0), nodes=nodes(16, 16, memory=8 * GIB), trials=100)
    assert (resources.concurrent, resources.memory) == (4, 3 * GIB)


def test_nodes_that_will_come_are_not_counted() -> None:
    asked = options(autoscaling=True, concurrent=12, cpus_per_trial=4, gpus_per_trial=1.0)
    assert allocate(asked, nodes=nodes(0), trials=100) == TrialResources(4, 1.0, 12, "cuda")
    with pytest.raises(ConfigError, match="--autoscaling needs --concurrent N and --cpus-per-trial N"):
        allocate(options(autoscaling=True), nodes=nodes(0), trials=100)


@pytest.mark.parametrize(
    ("fields", "gpus", "sentence"),
    [
        ({"device": "cuda"}, 0, "there is no GPU"),
        ({"gpus_per_trial": 0.5}, 0, "there is no GPU to share"),
        ({"gpus_per_trial": 2.0}, 1, "there are 1 GPUs"),
        ({"gpus_per_trial": 1.5}, 4, "a fraction below 1 or a whole number"),
        ({"concurrent": 9}, 0, "there are 4 cores"),
        ({"cpus_per_trial": 5}, 0, r"--cpus-per-trial 5: fits no node.*\(n0: 4 cores, 4.0 GiB of memory\)"),
        ({"memory_per_trial": 5.0}, 0, r"--memory-per-trial 5: fits no node.*n0: 4 cores"),
    ],
)
def test_what_cannot_be_had_is_refused(fields: dict[str, object], gpus: float, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        allocate(options(**fields), nodes=nodes(4, gpus=(gpus,), memory=4 * GIB), trials=4)


def test_what_is_there_in_sum_alone_is_refused_with_what_each_node_has() -> None:
    with pytest.raises(ConfigError, match=r"fits no node.*n0: 4 cores, 1 GPU; n1: 4 cores, 1 GPU"):
        allocate(options(gpus_per_trial=2.0), nodes=nodes(4, 4, gpus=(1, 1)), trials=4)
