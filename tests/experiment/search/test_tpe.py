from __future__ import annotations

import math

import pytest

from bts_tune.config import TrialConfig
from bts_tune.experiment.planning.plan import PlannedTrial
from bts_tune.experiment.search.tpe import OptunaTPE
from bts_tune.results.record.run_folder import TrialStatus
from bts_tune.space import ResolvedSearch, load_space
from tests.experiment.builders import record


@pytest.fixture
def search() -> ResolvedSearch:
    resolved = load_space("extended").resolve(demo=True).search
    assert resolved is not None
    return resolved


def quality(config: TrialConfig) -> float:
    """A made-up Dice loss that falls towards a learning rate of 1e-3 without dropout."""
    return min(1.0, 0.2 + 0.15 * abs(math.log10(config.learning_rate) + 3) + 0.5 * config.decoder_dropout)


def run_trials(sampler: OptunaTPE, first: int, last: int) -> list[TrialConfig]:
    configs = []
    for number in range(first, last):
        config = sampler.suggest(f"t{number}")
        sampler.report(f"t{number}", 1, quality(config))
        sampler.finish(f"t{number}", "complete", quality(config))
        configs.append(config)
    return configs


def test_suggestions_follow_from_the_seed_and_what_was_told(search: ResolvedSearch) -> None:
    assert run_trials(OptunaTPE(search), 0, 8) == run_trials(OptunaTPE(search), 0, 8)


def test_a_sampler_fed_from_the_record_goes_on_as_one_that_never_stopped(search: ResolvedSearch) -> None:
    whole = OptunaTPE(search)
    configs = run_trials(whole, 0, 8)
    resumed = OptunaTPE(search)
    for number, config in enumerate(configs):
        trial = PlannedTrial(f"t{number}", f"t{number}", number, False, config)
        resumed.replay(record(trial, [quality(config)]))
    assert run_trials(whole, 8, 12) == run_trials(resumed, 8, 12)


def test_it_learns(search: ResolvedSearch) -> None:
    sampler = OptunaTPE(search)
    configs = run_trials(sampler, 0, 60)
    early = sum(map(quality, configs[:10])) / 10
    late = sum(map(quality, configs[-20:])) / 20
    assert late < early - 0.05


@pytest.mark.parametrize("status", ["complete", "stopped", "diverged", "failed", "interrupted"])
def test_every_way_to_end_is_taken(search: ResolvedSearch, status: TrialStatus) -> None:
    sampler = OptunaTPE(search)
    config = sampler.suggest("t0")
    sampler.report("t0", 1, 0.7)
    sampler.finish("t0", status, None if status in ("failed", "diverged") else 0.7)
    assert sampler.suggest("t1") != config


def test_a_diverged_trial_is_the_worst_of_all(search: ResolvedSearch) -> None:
    sampler = OptunaTPE(search)
    for trial, status, value in (("good", "complete", 0.3), ("slow", "stopped", 0.8), ("wild", "diverged", None)):
        sampler.suggest(trial)
        sampler.report(trial, 1, 0.2 if trial == "wild" else 0.8)
        sampler.finish(trial, status, value)
    told = sampler._study.trials
    last = {t.number: max(t.intermediate_values) for t in told if t.state.name == "PRUNED"}
    assert last[2] < last[1], "TPE ranks pruned trials by their last step; the diverged one must come last"


def test_baselines_are_points_of_the_search() -> None:
    space = load_space("extended").resolve()
    assert space.search is not None
    sampler = OptunaTPE(space.search)
    for named in space.named:
        sampler.add(named.trial, named.config)
        sampler.finish(named.trial, "complete", 0.4)
    assert [t.value for t in sampler._study.trials] == [0.4] * len(space.named)
