from __future__ import annotations

import pytest
import torch

from bts_tune.errors import ConfigError
from bts_tune.models.encoders import build_encoder, check_encoder


@pytest.mark.parametrize(
    "name", ["resnet18", "efficientnet-b0", "mit_b0", "timm-regnetx_002", "tu-resnet18", "tu-resnet18.a1_in1k"]
)
def test_known_encoders(name: str) -> None:
    check_encoder(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("resnet19", "'resnet18'"), ("efficientnet_b0", "'efficientnet-b0'"), ("tu-tf_eficientnet_lite0", "_lite0'")],
)
def test_unknown_encoder_is_refused_with_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown encoder '{name}'") as error:
        check_encoder(name)
    assert meant in str(error.value)


@pytest.mark.parametrize("name", ["resnet18", "tu-test_efficientnet"])
def test_builds_an_encoder_for_one_channel(name: str) -> None:
    features = build_encoder(name)(torch.zeros(1, 1, 64, 64))
    assert [feature.shape[-1] for feature in features] == [64, 32, 16, 8, 4, 2]


def test_builds_a_transformer_that_only_dpt_can_use() -> None:
    assert any(key.startswith("model.blocks.") for key in build_encoder("tu-test_vit").state_dict())


def test_an_encoder_that_smp_has_no_use_for_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'tu-levit_128s' cannot be built: .*pattern\.$"):
        build_encoder("tu-levit_128s")
