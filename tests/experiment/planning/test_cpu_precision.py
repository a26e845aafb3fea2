from __future__ import annotations

import pytest

from bts_tune.config import TrialConfig
from bts_tune.experiment.planning.cpu_precision import CpuPrecision, decided, kinds_of_trials, rough_seconds
from bts_tune.experiment.planning.duration import Job
from bts_tune.space import Space

SMALL = {"encoder": "resnet18", "encoder_weights": "none", "image_size": 64}


def config(**fields: object) -> TrialConfig:
    return TrialConfig.parse({**SMALL, **fields})


def space(search: dict[str, object] | None = None, **trials: dict[str, object]) -> Space:
    document = {
        "name": "some",
        "source": "some.yaml",
        "description": "Some trials.",
        "defaults": SMALL,
        "trials": {name: {"description": "A trial.", "config": fields} for name, fields in trials.items()},
        **({"search": search} if search else {}),
    }
    return Space.from_document(document)


def test_bfloat16_is_chosen_from_a_tenth_on_and_only_where_it_was_measured() -> None:
    found = CpuPrecision([decided(config(), 1.1, 2), decided(config(image_size=32), 1.09, 2)])
    assert found.of(config(seed=3, learning_rate=0.1)) == "bfloat16"
    assert found.of(config(image_size=32)) == "float32"
    for other in ({"batch_size": 8}, {"freeze": "all"}, {"encoder": "resnet34"}, {"channels": 3}):
        assert found.of(config(**other)) == "float32"
    assert found.text() == (
        "Precision: auto is bfloat16 for 1 of 2 kinds of trials, which trains 1.10 times as many images a second here, "
        "float32 for the others"
    )


def test_what_a_run_recorded_is_what_it_has_decided() -> None:
    found = CpuPrecision([decided(config(), 1.3, 2)])
    assert CpuPrecision.of_run({"cpu_precision": found.to_list()}).of(config()) == "bfloat16"
    assert CpuPrecision.of_run({}).of(config()) == "float32"


@pytest.mark.parametrize(
    ("gain", "sentence"), [(1.25, "auto is bfloat16, which trains 1.25 times"), (0.8, "auto is float32")]
)
def test_one_kind_of_trial_is_told_plainly(gain: float, sentence: str) -> None:
    assert sentence in CpuPrecision([decided(config(), gain, 2)]).text()


def test_kinds_of_trials_are_those_whose_steps_differ() -> None:
    search = {
        "num_trials": 4,
        "parameters": {
            "learning_rate": {"float": [1e-5, 1e-2], "log": True},
            "image_size": {"choices": [64, 96]},
            "freeze": {"choices": ["none", "all"]},
        },
    }
    resolved = space(search, plain={}, again={"learning_rate": 0.1}, fixed={"precision": "float32"}).resolve()
    found = [(one.image_size, one.freeze) for one in kinds_of_trials(resolved, 9)]
    assert found == [(64, "none"), (64, "all"), (96, "none"), (96, "all")]
    assert [one.image_size for one in kinds_of_trials(resolved, 3)] == [64, 64, 96]
    assert kinds_of_trials(resolved, 0) == []


def test_a_search_of_more_kinds_than_can_be_counted_is_left_in_float32() -> None:
    wide = {
        "num_trials": 4,
        "parameters": {"batch_size": {"int": [2, 400]}, "image_size": {"int": [32, 2048], "step": 32}},
    }
    assert len(kinds_of_trials(space(wide, plain={}).resolve(), 24)) == 1


def test_a_guess_counts_pixels() -> None:
    jobs = [Job(config(image_size=96), 10, 2), Job(config(image_size=192), 10)]
    one = rough_seconds(jobs, 100, threads=1, concurrent=1)
    assert one == (2 * 10 * 100 * 96**2 + 10 * 100 * 192**2) / 250_000
    assert rough_seconds(jobs, 100, threads=2, concurrent=3) == one / 6
