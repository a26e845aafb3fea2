from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bts_tune.config import PreprocessingPart
from bts_tune.errors import ConfigError
from bts_tune.experiment.cluster import share_out
from bts_tune.experiment.options import RunOptions
from bts_tune.experiment.packing import CONTEXT, MOST, USABLE, candidates, packed, trials_per_gpu
from bts_tune.experiment.plan import preprocessings
from bts_tune.space import load_space

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
    assert share_out(options, cpus=64, gpus=2, trials=100).concurrent == 2 * count


def test_every_architecture_of_a_space_is_tried_whole() -> None:
    space = load_space("extended").resolve()
    configs = candidates(space)
    assert space.search is not None
    choices = [space.search.parameters[name].choices or [] for name in ("decoder", "encoder")]
    pairs = {(config.decoder, config.encoder) for config in configs}
    assert pairs == {(decoder, encoder) for decoder in choices[0] for encoder in choices[1]}
    assert len(configs) == len(set(configs)) < 3 * len(pairs)
    assert {config.freeze for config in configs} == {"none"}
    assert {config.part(PreprocessingPart) for config in configs} <= set(preprocessings(space))


def test_a_space_without_a_search_is_its_named_trials() -> None:
    configs = candidates(load_space("baseline").resolve())
    assert {config.encoder for config in configs} == {"efficientnet-b0", "efficientnet-b5"}


@pytest.mark.parametrize(("device", "gpus"), [("auto", 0.0), ("cpu", 1.0)])
def test_without_a_gpu_it_is_refused(device: str, gpus: float) -> None:
    options = RunOptions.parse({"space": "baseline", "gpus_per_trial": "auto", "device": device})
    space = load_space("baseline").resolve()
    with pytest.raises(ConfigError, match="--gpus-per-trial auto: there is no GPU to share"):
        packed(options, space, {}, gpus=gpus, say=print)
    with pytest.raises(ConfigError, match="--gpus-per-trial auto: there is no GPU to share"):
        share_out(options, cpus=4, gpus=0, trials=4)


def test_a_share_that_was_given_is_left_alone() -> None:
    options = RunOptions.parse({"space": "baseline", "gpus_per_trial": 0.5})
    assert packed(options, load_space("baseline").resolve(), {}, gpus=1, say=print) is options


@pytest.mark.parametrize("share", ["half", 0, -1.0, float("inf"), float("nan")])
def test_what_is_no_share_is_refused_with_a_sentence(share: object) -> None:
    with pytest.raises(ConfigError, match=r"--gpus-per-trial: must be a number above 0, or 'auto'"):
        RunOptions.parse({"space": "baseline", "gpus_per_trial": share})
