"""A search: what it draws, and what it says of everything that it can draw."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import optuna
import pytest

from bts_tune.config import FIELDS, PreprocessingPart, TrialConfig
from bts_tune.space import Space
from tests.space.builders import EXTENDED, RandomTrial, from_text, searching


@pytest.mark.parametrize("demo", [False, True])
def test_whatever_is_drawn_is_valid_and_can_be_told_from_the_configuration(small: Space, demo: bool) -> None:
    for space in (small, EXTENDED):
        search = searching(space.resolve(demo=demo))
        for seed in range(300):
            drawn = RandomTrial(seed)
            config = search.sample(drawn)
            assert search.values_of(config) == drawn.params
            assert drawn.params.items() <= config.to_dict().items()
            assert config.epochs == search.epochs
            # What was not drawn is as the space says, but for the counts, which go with the mode.
            for name in set(FIELDS) - drawn.params.keys() - {"freeze_stages", "freeze_epochs"}:
                assert getattr(config, name) == search.fields[name]


@pytest.mark.parametrize("demo", [False, True])
def test_optuna_draws_from_it(demo: bool) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = searching(EXTENDED.resolve(demo=demo))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen: dict[str, set[Any]] = {}
    for _ in range(300):
        trial = study.ask()
        config = search.sample(trial)
        assert search.values_of(config) == trial.params
        for name, value in trial.params.items():
            seen.setdefault(name, set()).add(value)
        study.tell(trial, config.learning_rate)
    assert seen.keys() == search.parameters.keys()
    for name, parameter in search.parameters.items():
        if parameter.choices:
            assert seen[name] == set(parameter.choices)
    assert sorted(seen["head_dropout"]) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_tpe_learns_from_it_and_takes_the_baselines_as_points() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    resolved = EXTENDED.resolve()
    search = searching(resolved)
    sampler = optuna.samplers.TPESampler(multivariate=True, group=True, n_startup_trials=5, seed=0)
    study = optuna.create_study(sampler=sampler)
    for named in resolved.named:
        study.enqueue_trial(search.values_of(named.config) or {})
    configs = []
    for _ in range(20):
        trial = study.ask()
        configs.append(search.sample(trial))
        study.tell(trial, abs(configs[-1].head_dropout - 0.3))
    assert configs[:3] == [named.config for named in resolved.named]
    assert len({config.config_id for config in configs}) == len(configs)


def test_a_baseline_without_the_parameters_of_the_searched_loss_cannot_be_drawn(tmp_path: Path) -> None:
    text = """
include: [baseline]
defaults: {loss: tversky}
search:
  num_trials: 3
  parameters:
    tversky_alpha: {float: [0.1, 0.9]}
"""
    resolved = from_text(tmp_path, text).resolve()
    search = searching(resolved)
    assert [search.values_of(named.config) for named in resolved.named] == [None] * 3
    drawn = RandomTrial(0)
    assert search.values_of(search.sample(drawn)) == drawn.params


def test_settings(small: Space) -> None:
    search = searching(small.resolve())
    assert (search.startup_trials, search.sampler_seed) == (2, 7)
    assert (search.grace_period, search.reduction_factor, search.epochs) == (3, 2, 12)
    assert search.outlook_after == 3
    short = searching(small.resolve(demo=True))
    assert (short.startup_trials, short.sampler_seed) == (1, 7)
    assert (short.grace_period, short.reduction_factor, short.epochs) == (1, 2, 2)


def test_can_be_pickled() -> None:
    resolved = EXTENDED.resolve(overrides={"freeze": "all"})
    assert pickle.loads(pickle.dumps(resolved)) == resolved


@pytest.mark.parametrize(
    ("changes", "inside"),
    [
        ({}, True),
        ({"learning_rate": 1e-5}, True),
        ({"learning_rate": 9e-6}, False),
        ({"learning_rate": 2e-2}, False),
        ({"head_dropout": 0.3}, True),
        ({"head_dropout": 0.25}, False),
        ({"head_dropout": 0.7}, False),
        ({"freeze": "stages", "freeze_stages": 4}, True),
        ({"freeze": "stages", "freeze_stages": 5}, False),
        ({"augmentation": "medium"}, False),
        ({"augmentation": "strong", "augmentation_strength": 1.5}, True),
        ({"augmentation": "strong", "augmentation_strength": 1.6}, False),
        # drawn for 'strong' alone, so that with 'light' it is no concern of the search
        ({"augmentation": "light", "augmentation_strength": 1.6}, True),
        # not searched at all
        ({"batch_size": 64, "decoder": "unet", "seed": 9, "epochs": 99}, True),
    ],
)
def test_what_lies_in_the_space(small: Space, changes: dict[str, Any], inside: bool) -> None:
    values = searching(small.resolve()).values_of(TrialConfig().replaced(changes))
    assert (values is not None) == inside


def test_a_drawn_step_lies_in_the_space_however_it_was_rounded(tmp_path: Path) -> None:
    space = from_text(tmp_path, "search: {parameters: {head_dropout: {float: [0.1, 0.7], step: 0.2}}}\n")
    search = searching(space.resolve())
    for value in (0.1, 0.1 + 0.2, 0.1 + 2 * 0.2, 0.1 + 3 * 0.2, 0.7):
        assert search.values_of(TrialConfig(head_dropout=value)) == {"head_dropout": value}


def test_all_preprocessing(small: Space) -> None:
    # the size is searched under a condition, and otherwise the space's default
    assert searching(small.resolve()).all_preprocessing() == [
        PreprocessingPart(image_size=size, equalization="histogram") for size in (128, 64, 96)
    ]
    assert searching(EXTENDED.resolve()).all_preprocessing() == [
        PreprocessingPart(image_size=224, equalization="none"),
        PreprocessingPart(image_size=224, equalization="histogram"),
        PreprocessingPart(image_size=224, equalization="clahe"),
    ]
    fixed = EXTENDED.resolve(overrides={"equalization": "clahe", "image_size": 64})
    assert searching(fixed).all_preprocessing() == [PreprocessingPart(image_size=64, equalization="clahe")]


def test_all_encoders_follows_conditions(tmp_path: Path) -> None:
    space = from_text(
        tmp_path,
        """
defaults: {encoder_weights: none}
search:
  parameters:
    decoder: {choices: [unet, fpn]}
    encoder: {choices: [resnet34, resnet50], when: {decoder: [fpn]}}
    encoder_weights: {choices: [imagenet, none], when: {encoder: [resnet50]}}
""",
    )
    search = searching(space.resolve())
    assert search.all_encoders() == [
        ("efficientnet-b0", "none"),
        ("resnet34", "none"),
        ("resnet50", "imagenet"),
        ("resnet50", "none"),
    ]
    configs = [search.sample(RandomTrial(seed)) for seed in range(100)]
    assert {(config.encoder, config.encoder_weights) for config in configs} == set(search.all_encoders())


def test_everything_drawn_was_announced(small: Space) -> None:
    for space in (small, EXTENDED):
        search = searching(space.resolve())
        configs = [search.sample(RandomTrial(seed)) for seed in range(300)]
        assert {config.part(PreprocessingPart) for config in configs} == set(search.all_preprocessing())
        assert {(c.encoder, c.encoder_weights) for c in configs} == set(search.all_encoders())
