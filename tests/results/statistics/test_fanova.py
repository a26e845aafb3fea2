"""fANOVA: the shares are those that Optuna finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from bts_tune.results.statistics.fanova import fanova

COUNT = 60


@pytest.fixture
def parameters() -> dict[str, list[Any]]:
    random = np.random.default_rng(3)
    return {
        "rate": (10 ** random.uniform(-5, -2, COUNT)).tolist(),
        "depth": random.integers(1, 5, COUNT).tolist(),
        "kind": random.choice(["none", "some", "all"], COUNT).tolist(),
        "unused": random.uniform(0, 1, COUNT).tolist(),
    }


def costs_of(parameters: dict[str, list[Any]]) -> list[float]:
    kinds = {"none": 0.0, "some": 0.1, "all": 0.3}
    parts = zip(parameters["rate"], parameters["depth"], parameters["kind"], strict=True)
    return [abs(np.log10(rate) + 3) * 0.1 + 0.05 * depth + kinds[kind] for rate, depth, kind in parts]


def test_the_shares_are_those_of_optuna(parameters: dict[str, list[Any]]) -> None:
    costs = costs_of(parameters)
    distributions = {
        "rate": FloatDistribution(min(parameters["rate"]), max(parameters["rate"]), log=True),
        "depth": IntDistribution(min(parameters["depth"]), max(parameters["depth"])),
        "kind": CategoricalDistribution(sorted(set(parameters["kind"]))),
        "unused": FloatDistribution(min(parameters["unused"]), max(parameters["unused"])),
    }
    study = optuna.create_study()
    for number, cost in enumerate(costs):
        values = {name: of[number] for name, of in parameters.items()}
        study.add_trial(optuna.trial.create_trial(params=values, distributions=distributions, value=cost))
    theirs = get_param_importances(study, evaluator=FanovaImportanceEvaluator(n_trees=16, seed=5))
    ours = fanova(parameters, costs, trees=16, seed=5)
    assert list(ours) == list(theirs)
    assert ours == pytest.approx(theirs, rel=1e-9)


def test_equal_costs_explain_nothing(parameters: dict[str, list[Any]]) -> None:
    with pytest.raises(RuntimeError, match="no tree found a difference"):
        fanova(parameters, [0.5] * COUNT, trees=4, seed=0)
