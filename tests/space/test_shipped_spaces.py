"""The spaces that come with the program: what is documented of them holds."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from bts_tune.config import TrialConfig, allowed_values
from bts_tune.space import list_spaces, load_space
from tests.space.builders import searching

DOCUMENTED: dict[str, dict[str, Any]] = {
    "unet-b0": {"decoder_dropout": 0.5, "head_dropout": 0.5},
    "unet-b0-frozen": {"decoder_dropout": 0.5, "head_dropout": 0.5, "freeze": "all"},
    "unetplusplus-b5": {"decoder": "unetplusplus", "encoder": "efficientnet-b5", "learning_rate": 1e-4},
}


def test_are_found_by_name() -> None:
    assert [space.name for space in list_spaces()] == ["baseline", "extended"]
    for space in list_spaces():
        assert space.source.is_file()
        assert load_space(str(space.source)) == load_space(space.name) == space


@pytest.mark.parametrize("name", ["baseline", "extended"])
def test_hold_the_documented_models(name: str) -> None:
    named = load_space(name).resolve().named
    assert [trial.trial for trial in named] == list(DOCUMENTED)
    for trial in named:
        assert trial.config == TrialConfig.parse(DOCUMENTED[trial.name])
        assert trial.baseline
        assert trial.description
        assert trial.changed == ()


def test_documented_conditions() -> None:
    for trial in load_space("baseline").resolve().named:
        config = trial.config
        assert (config.epochs, config.image_size, config.optimizer) == (35, 224, "adam")
        assert (config.equalization, config.augmentation, config.encoder_weights) == (
            "histogram",
            "none",
            "imagenet",
        )
        assert config.dice_weight == config.bce_weight == 1.0


def test_figures_were_published_for_the_third_model_alone() -> None:
    published = {trial.name: trial.published for trial in load_space("extended").resolve().named}
    third = published.pop("unetplusplus-b5")
    assert third is not None
    assert (third["dice_loss"], third["iou"]) == (0.3057, 0.5426)
    assert "not known" in third["source"]
    assert set(published.values()) == {None}


@pytest.mark.parametrize("demo", [False, True])
def test_baselines_lie_in_the_extended_space(demo: bool) -> None:
    resolved = load_space("extended").resolve(demo=demo)
    for trial in resolved.named:
        values = searching(resolved).values_of(trial.config)
        assert values is not None
        assert values.items() <= trial.config.to_dict().items()


def test_a_baseline_can_be_drawn_exactly() -> None:
    resolved = load_space("extended").resolve()
    for trial in resolved.named:
        values = searching(resolved).values_of(trial.config)
        assert values is not None
        assert searching(resolved).sample(optuna.trial.FixedTrial(values)) == trial.config


def test_baseline_searches_nothing() -> None:
    assert load_space("baseline").resolve().search is None


def test_demo_profile_is_small_and_needs_no_download() -> None:
    for space in list_spaces():
        resolved = space.resolve(demo=True)
        for trial in resolved.named:
            assert trial.config.image_size == 64
            assert trial.config.epochs <= 10
            assert trial.config.encoder_weights == "none"
            assert set(trial.changed) == set(space.file.demo) | set(space.file.trials[trial.name].demo)
        if resolved.search:
            assert resolved.search.num_trials < 10
            assert resolved.search.grace_period < resolved.search.epochs
            assert {weights for _, weights in resolved.search.all_encoders()} == {"none"}


def test_the_searched_words_are_in_the_extended_space() -> None:
    parameters = searching(load_space("extended").resolve()).parameters
    for name in ("freeze", "equalization", "augmentation", "augmentation_kind", "schedule"):
        assert parameters[name].choices == list(allowed_values(name) or ())
