from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bts_tune.config import PreprocessingPart
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.prepare import prepare
from bts_tune.errors import ConfigError, RunError
from bts_tune.experiment.execution.cluster.connection import Cluster, connected
from bts_tune.experiment.execution.nodes.node import Node
from bts_tune.experiment.execution.nodes.resources import allocate
from bts_tune.experiment.execution.trials.packing import (
    CONTEXT,
    GAIN,
    MOST,
    USABLE,
    best_count,
    folder_of_size,
    largest_configurations,
    measure_throughput,
    trials_per_gpu,
    with_measured_gpus_per_trial,
)
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.experiment.planning.plan import preprocessings
from bts_tune.space import load_space
from bts_tune.space.parameter import Parameter
from tests.training.builders import tiny

GIB = 2**30


@given(peak=st.integers(1, 200 * GIB), total=st.integers(GIB, 200 * GIB))
def test_as_many_trials_as_fit_and_no_more(peak: int, total: int) -> None:
    count = trials_per_gpu(peak, total)
    assert 1 <= count <= MOST
    if count > 1:
        assert count * (peak + CONTEXT) <= USABLE * total
    if count < MOST:
        assert (count + 1) * (peak + CONTEXT) > USABLE * total


@given(peak=st.integers(1, 80 * GIB))
def test_the_share_that_it_leads_to_is_one_that_a_gpu_can_be_split_into(peak: int) -> None:
    count = trials_per_gpu(peak, 80 * GIB)
    options = RunOptions(space="baseline", gpus_per_trial=1 / count)
    assert allocate(options, nodes=[Node("a", "host", 64, 2)], trials=100).concurrent == 2 * count


def test_every_architecture_of_a_space_is_tried_whole() -> None:
    space = load_space("extended").resolve()
    configs = largest_configurations(space)
    assert space.search is not None
    choices = [space.search.parameters[name].choices or [] for name in ("decoder", "encoder")]
    pairs = {(config.decoder, config.encoder) for config in configs}
    assert pairs == {(decoder, encoder) for decoder in choices[0] for encoder in choices[1]}
    assert len(configs) == len(set(configs)) < 3 * len(pairs)
    assert {config.freeze for config in configs} == {"none"}
    assert {config.part(PreprocessingPart) for config in configs} <= set(preprocessings(space))


def test_every_precision_that_is_searched_is_tried() -> None:
    space = load_space("extended").resolve()
    assert space.search is not None
    choices = Parameter(choices=["float32", "bfloat16"])
    search = replace(space.search, parameters={**space.search.parameters, "precision": choices})
    configs = largest_configurations(replace(space, search=search))
    assert {config.precision for config in configs} >= {"float32", "bfloat16"}


def test_any_equalisation_will_do_for_what_is_measured_of_a_size() -> None:
    space = load_space("extended").resolve(overrides={"equalization": "clahe"})
    prepared = {part: f"{part.image_size} {part.equalization}" for part in preprocessings(space)}
    assert {folder_of_size(config, prepared) for config in largest_configurations(space)} == {"224 clahe"}


def test_a_space_without_a_search_is_its_named_trials() -> None:
    configs = largest_configurations(load_space("baseline").resolve())
    assert {config.encoder for config in configs} == {"efficientnet-b0", "efficientnet-b5"}


@pytest.mark.parametrize(("device", "gpus"), [("auto", 0.0), ("cpu", 1.0)])
def test_without_a_gpu_it_is_refused(device: str, gpus: float) -> None:
    options = RunOptions.parse({"space": "baseline", "gpus_per_trial": "auto", "device": device})
    space = load_space("baseline").resolve()
    with pytest.raises(ConfigError, match="--gpus-per-trial auto: there is no GPU to share"):
        with_measured_gpus_per_trial(options, space, {}, cpus=4, gpus=gpus, say=print)
    with pytest.raises(ConfigError, match="--gpus-per-trial auto: there is no GPU to share"):
        allocate(options, nodes=[Node("a", "host", 4)], trials=4)


def test_a_share_that_was_given_is_left_alone() -> None:
    options = RunOptions.parse({"space": "baseline", "gpus_per_trial": 0.5})
    assert (
        with_measured_gpus_per_trial(options, load_space("baseline").resolve(), {}, cpus=4, gpus=1, say=print)
        is options
    )


@given(st.dictionaries(st.sampled_from([1, 2, 3, 4, 8]), st.floats(0.1, 1e5), min_size=1))
def test_more_at_a_time_have_to_gain(found: dict[int, float]) -> None:
    chosen = best_count(found)
    assert chosen in found
    counts = [count for count in sorted(found) if count <= chosen]
    assert all(found[more] >= GAIN * found[fewer] for fewer, more in pairwise(counts))
    later = [count for count in sorted(found) if count > chosen]
    assert not later or found[later[0]] < GAIN * found[chosen]


def prepared_folder(small_data: Path, cache: Path) -> str:
    return str(prepare(open_dataset(small_data), tiny().part(PreprocessingPart), cache=cache).folder)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with connected(RunOptions(space="baseline", device="cpu", dashboard=False), resume=str) as one:
        yield one


def test_trials_that_share_are_measured_and_leave_nothing_behind(
    cluster: Cluster, small_data: Path, cache: Path
) -> None:
    import ray

    found = measure_throughput(tiny(), prepared_folder(small_data, cache), 2, device="cpu", threads=1, seconds=0.3)
    assert set(found) == {1, 2}
    assert all(speed > 0 for speed in found.values())
    deadline = time.monotonic() + 60
    while ray.available_resources().get("CPU") != cluster.nodes()[0].cpus:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_what_cannot_be_trained_is_told_in_a_sentence(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"--gpus-per-trial auto: cannot train linknet on tu-test_efficientnet: .*\.$"):
        measure_throughput(tiny(), str(tmp_path / "gone"), 2, device="cpu", threads=1, seconds=0.3)


@pytest.mark.parametrize("share", ["half", 0, -1.0, float("inf"), float("nan")])
def test_what_is_no_share_is_refused_with_a_sentence(share: object) -> None:
    with pytest.raises(ConfigError, match=r"--gpus-per-trial: must be a number above 0, or 'auto'"):
        RunOptions.parse({"space": "baseline", "gpus_per_trial": share})
