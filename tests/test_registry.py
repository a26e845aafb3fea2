from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import pytest
from pydantic import create_model

from bts_tune.config import Part, TrialConfig
from bts_tune.errors import ConfigError
from bts_tune.metrics.base import ImageStatistics, Metric
from bts_tune.registry import DECODERS, LOSSES, METRICS, Registry


def registry() -> Registry[Metric]:
    return Registry("metric", "bts_tune.metrics", "Metric")


class Own(Metric):
    title, definition, direction = "own", "own", "minimize"

    def compute(self, images: ImageStatistics) -> float:
        return 0.0


def test_names_are_known_without_an_import() -> None:
    code = (
        "import sys; from bts_tune.registry import LOSSES; assert 'focal-tversky' in LOSSES; print(LOSSES.names());"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "focal-tversky" in done.stdout


def test_an_entry_knows_its_name_and_comes_after_our_own() -> None:
    table = registry()
    table.register("own")(Own)
    assert table.get("own") is Own
    assert Own.name == "own"
    assert table.names()[-1] == "own"
    assert table.is_plugin("own")
    assert not table.is_plugin("iou")


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(ConfigError, match="metric 'iou': there is one of this name already"):
        registry().register("iou")(Own)


@pytest.mark.parametrize(
    ("table", "base", "name", "parameter", "sentence"),
    [
        (LOSSES, "losses", "my-loss", "focal_gamma", "must have a name that begins with 'my_loss_'"),
        (LOSSES, "losses", "my-loss", "momentum", "'momentum' must have a name that begins with 'my_loss_'"),
        (LOSSES, "losses", "batch", "batch_size", "is no field of every configuration"),
        (DECODERS, "models.decoders", "focal", "focal_gamma", "is one of loss 'focal' too; choose another name"),
    ],
)
def test_a_parameter_with_another_s_name_is_refused(
    table: Registry[Any], base: str, name: str, parameter: str, sentence: str
) -> None:
    declared = create_model("Parameters", __base__=Part, **{parameter: (float, 5.0)})  # type: ignore[call-overload]
    kind = {"losses": "Loss", "models.decoders": "Decoder"}[base]
    parent = getattr(importlib.import_module(f"bts_tune.{base}.base"), kind)
    with pytest.raises(ConfigError, match=sentence):
        table.register(name)(type("Mine", (parent,), {"Parameters": declared}))
    assert not table.is_plugin(name)


def test_another_kind_of_class_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must be a subclass of bts_tune\.metrics\.base\.Metric"):
        registry().register("other")(TrialConfig)  # type: ignore[arg-type]


def test_an_unknown_name_gets_the_nearest_and_all_names() -> None:
    with pytest.raises(ConfigError, match=r"unknown metric 'ious'.*'iou'.*Allowed: .*dice-loss"):
        METRICS.get("ious")


def test_parameters_of_a_loss_that_is_not_chosen_are_refused() -> None:
    assert TrialConfig.parse({"loss": "tversky", "tversky_alpha": 0.4}).to_dict()["tversky_alpha"] == 0.4
    for fields, sentence in (
        ({"tversky_alpha": 0.4}, "tversky_alpha is given with loss: dice-bce; it is a parameter of loss: tversky"),
        ({"loss": "focal", "tversky_alpha": 0.4}, "parameter of loss: tversky"),
        ({"loss": "focal", "dice_weight": 2.0}, "dice_weight is 2.0 with loss: focal"),
        ({"loss": "focal", "focal_gamma": 99}, "focal_gamma"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            TrialConfig.parse(fields)


def test_parameters_are_part_of_the_identifier_unless_they_are_the_defaults() -> None:
    plain = TrialConfig.parse({"loss": "focal"})
    assert plain.config_id == TrialConfig.parse({"loss": "focal", "focal_gamma": 2.0}).config_id
    assert plain.config_id != TrialConfig.parse({"loss": "focal", "focal_gamma": 3.0}).config_id
    assert TrialConfig.parse(plain.to_dict()) == plain


def test_another_loss_drops_the_parameters_of_the_one_before_it() -> None:
    focal = TrialConfig.parse({"loss": "focal", "focal_gamma": 3.0})
    assert "focal_gamma" not in focal.replaced({"loss": "tversky"}).to_dict()
    weighted = TrialConfig.parse({"dice_weight": 0.5})
    assert weighted.replaced({"loss": "focal"}).dice_weight == 1.0
    assert LOSSES.names() == tuple(LOSSES)
