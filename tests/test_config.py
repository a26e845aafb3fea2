"""A `TrialConfig` round-trips, refuses what it does not know, and keeps its identifiers for ever."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bts_tune import config as module
from bts_tune.config import (
    FIELDS,
    SYNONYMS,
    AugmentationPart,
    ModelPart,
    OptimizationPart,
    Part,
    PreprocessingPart,
    TrialConfig,
    allowed_values,
)
from bts_tune.errors import ConfigError
from bts_tune.registry import LOSSES

PARTS = (ModelPart, PreprocessingPart, AugmentationPart, OptimizationPart)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@st.composite
def configs(draw: st.DrawFn) -> TrialConfig:
    """Any valid configuration."""
    fields: dict[str, Any] = {
        "image_size": 32 * draw(st.integers(1, 64)),
        "encoder": draw(NAMES),
        "encoder_weights": draw(st.sampled_from(["imagenet", "none", "weights/b0.safetensors"])),
        "train_share": draw(st.floats(0.0, 1.0, exclude_min=True)),
        "decoder_dropout": draw(st.floats(0.0, 1.0, exclude_max=True)),
        "head_dropout": draw(st.floats(0.0, 1.0, exclude_max=True)),
        "augmentation_strength": draw(st.floats(0.0, 3.0)),
        "epochs": draw(st.integers(1, 100_000)),
        "batch_size": draw(st.integers(2, 4096)),
        "learning_rate": draw(st.floats(0.0, 10.0, exclude_min=True)),
        "weight_decay": draw(st.floats(0.0, 1e6)),
        "momentum": draw(st.floats(0.0, 1.0, exclude_max=True)),
        "dice_weight": draw(st.floats(0.0, 1e6)),
        "bce_weight": draw(st.floats(0.0, 1e6, exclude_min=True)),
        "seed": draw(st.integers(0, 2**31 - 1)),
    }
    for name in FIELDS:
        words = allowed_values(name)
        if words:
            fields[name] = draw(st.sampled_from(words))
    if fields["freeze"] == "stages":
        fields["freeze_stages"] = draw(st.integers(1, 5))
    if fields["freeze"] == "epochs":
        fields["epochs"] = max(fields["epochs"], 2)
        fields["freeze_epochs"] = draw(st.integers(1, fields["epochs"] - 1))
    if fields["loss"] != "dice-bce":
        del fields["dice_weight"], fields["bce_weight"]
    return TrialConfig(**fields)


@given(configs())
def test_round_trips(config: TrialConfig) -> None:
    fields = config.to_dict()
    assert tuple(fields)[: len(FIELDS)] == FIELDS
    for again in (
        TrialConfig.parse(fields),
        TrialConfig.parse(json.loads(json.dumps(fields))),
        TrialConfig.parse(yaml.safe_load(yaml.safe_dump(fields, allow_unicode=True))),
        TrialConfig.model_validate_json(config.model_dump_json()),
    ):
        assert again == config
        assert again.config_id == config.config_id
        assert again.recipe_id == config.recipe_id


@given(configs(), configs())
def test_identifiers_tell_configurations_apart(one: TrialConfig, other: TrialConfig) -> None:
    assert (one.config_id == other.config_id) == (one == other)


@given(configs(), st.integers(0, 2**31 - 1))
def test_recipe_is_the_configuration_without_its_seed(config: TrialConfig, seed: int) -> None:
    reseeded = config.replaced({"seed": seed})
    assert reseeded.recipe_id == config.recipe_id
    assert (reseeded.config_id == config.config_id) == (seed == config.seed)
    assert reseeded.replaced({"seed": 0}).config_id == config.recipe_id


# These identifiers stand in the records of finished runs. Where one changes, a default has changed its meaning, and
# old and new runs can no longer be told to be alike: give a new behaviour a new value or a new field instead.
@pytest.mark.parametrize(
    ("fields", "config_id"),
    [
        ({}, "44136fa355b3"),
        ({"seed": 3}, "4d687b643746"),
        ({"freeze": "stages", "freeze_stages": 2, "learning_rate": 3e-4, "augmentation": "medium"}, "6c1576d19060"),
        ({"decoder_dropout": 0.5, "head_dropout": 0.5}, "1186f7b21295"),
        ({"decoder_dropout": 0.5, "head_dropout": 0.5, "freeze": "all"}, "20549daf3595"),
        ({"decoder": "unetplusplus", "encoder": "efficientnet-b5", "learning_rate": 1e-4}, "f622185ea319"),
    ],
)
def test_identifiers_are_frozen(fields: dict[str, Any], config_id: str) -> None:
    assert TrialConfig(**fields).config_id == config_id


def test_defaults_are_frozen() -> None:
    # Spelled out, because `config_id` leaves the defaults out and would not show that one has changed.
    assert TrialConfig().to_dict() == {
        "decoder": "unet",
        "encoder": "efficientnet-b0",
        "encoder_weights": "imagenet",
        "freeze": "none",
        "freeze_stages": 0,
        "freeze_epochs": 0,
        "decoder_dropout": 0.0,
        "batch_norm_momentum": 0.0,
        "head_dropout": 0.0,
        "image_size": 224,
        "equalization": "histogram",
        "channels": 1,
        "train_share": 1.0,
        "augmentation": "none",
        "augmentation_kind": "both",
        "augmentation_strength": 1.0,
        "epochs": 35,
        "batch_size": 16,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "momentum": 0.9,
        "schedule": "constant",
        "loss": "dice-bce",
        "dice_weight": 1.0,
        "bce_weight": 1.0,
        "label_smoothing": 0.0,
        "weight_average": "none",
        "ema_decay": 0.99,
        "swa_start": 0.75,
        "objective": "dice-loss",
        "precision": "auto",
        "seed": 0,
    }


def test_writing_out_a_default_leaves_the_identifier() -> None:
    assert TrialConfig(image_size=224, epochs=35).config_id == TrialConfig().config_id


def test_frozen() -> None:
    config = TrialConfig()
    with pytest.raises(ValidationError):
        config.epochs = 3
    assert hash(config) == hash(TrialConfig())


def test_every_field_belongs_to_one_part_and_is_described() -> None:
    declared = [name for part in PARTS for name in part.model_fields]
    assert sorted(declared) == sorted(FIELDS)
    assert not [name for name in FIELDS if not TrialConfig.model_fields[name].description]


@given(configs())
def test_parts_hold_the_configuration_s_values(config: TrialConfig) -> None:
    for kind in PARTS:
        part: Part = config.part(kind)
        assert part.model_dump() == {name: getattr(config, name) for name in kind.model_fields}


def test_parts_depend_on_their_own_fields_alone() -> None:
    config = TrialConfig()
    assert config.replaced({"learning_rate": 0.1}).part(ModelPart) == config.part(ModelPart)
    assert config.replaced({"image_size": 64}).part(PreprocessingPart) != config.part(PreprocessingPart)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"learning_rat": 0.1}, "x.yaml: unknown key 'learning_rat'. Did you mean 'learning_rate'"),
        ({"batchsize": 8}, "unknown key 'batchsize'. Did you mean 'batch_size'"),
        ({"zzz": 8}, "unknown key 'zzz'. Known keys: "),
        ({"optimizer": "lion"}, "x.yaml: optimizer: input should be 'adam', 'adamw' or 'sgd', got 'lion'."),
        ({"image_size": 100}, "image_size: input should be a multiple of 32, got 100."),
        ({"image_size": 0}, "image_size: input should be greater than or equal to 32, got 0."),
        ({"learning_rate": 0}, "learning_rate: input should be greater than 0, got 0."),
        ({"learning_rate": float("nan")}, "learning_rate: input should be a finite number, got nan."),
        ({"weight_decay": float("inf")}, "weight_decay: input should be a finite number, got inf."),
        ({"train_share": 0}, "train_share: input should be greater than 0, got 0."),
        ({"train_share": 1.5}, "train_share: input should be less than or equal to 1, got 1.5."),
        ({"decoder_dropout": 1.0}, "decoder_dropout: input should be less than 1, got 1.0."),
        ({"epochs": True}, "epochs: should be a whole number, got True."),
        ({"epochs": "many"}, "epochs: input should be a valid integer, got 'many'."),
        ({"epochs": "5"}, "epochs: input should be a valid integer, got '5'."),
        ({"learning_rate": "1e-3"}, "learning_rate: input should be a valid number, got '1e-3'."),
        ({"loss": "tversky", "tversky_alpha": "0.3"}, "tversky_alpha: input should be a valid number, got '0.3'."),
        ({"encoder": None}, "encoder: input should be a valid string, got None."),
        ({"seed": -1}, "seed: input should be greater than or equal to 0, got -1."),
        ({"freeze": "stages"}, "freeze_stages is 0 with freeze: stages; it is above 0 if and only if"),
        ({"freeze_stages": 2}, "freeze_stages is 2 with freeze: none; it is above 0 if and only if"),
        ({"freeze": "all", "freeze_epochs": 2}, "freeze_epochs is 2 with freeze: all; it is above 0 if and only if"),
        ({"freeze": "epochs", "freeze_epochs": 5, "epochs": 5}, "freeze_epochs is 5 with epochs: 5; it must be below"),
        ({"dice_weight": 0, "bce_weight": 0}, "dice_weight and bce_weight are both 0; at least one"),
    ],
)
def test_a_mistake_is_one_sentence(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrialConfig.parse(fields, "x.yaml")
    assert str(caught.value).startswith("x.yaml: ")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    st.dictionaries(st.sampled_from(FIELDS) | NAMES, st.none() | st.booleans() | st.floats() | NAMES | st.lists(NAMES))
)
def test_whatever_is_given_parses_or_is_one_config_error(fields: dict[str, Any]) -> None:
    try:
        config = TrialConfig.parse(fields)
    except ConfigError:
        return
    assert TrialConfig.parse(config.to_dict()) == config


def test_replaced_keeps_the_rest() -> None:
    config = TrialConfig(decoder="fpn", seed=4).replaced({"epochs": 3})
    assert config == TrialConfig(decoder="fpn", seed=4, epochs=3)
    with pytest.raises(ConfigError, match=r"^--set: epochs: "):
        config.replaced({"epochs": 0}, "--set")


def test_allowed_values() -> None:
    assert allowed_values("optimizer") == get_args(module.Optimizer)
    assert allowed_values("loss") == LOSSES.names()
    assert allowed_values("learning_rate") is None
    assert allowed_values("encoder") is None


def test_short_names_stand_for_fields_and_are_none_themselves() -> None:
    assert set(SYNONYMS.values()) <= set(FIELDS)
    assert not set(SYNONYMS) & set(FIELDS)
    with pytest.raises(ConfigError, match=r"unknown key 'WD'\. Did you mean 'weight_decay'\?"):
        TrialConfig.parse({"WD": 0.1})
