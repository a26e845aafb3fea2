from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from bts_tune.config import TrialConfig
from bts_tune.errors import ConfigError
from bts_tune.models.build import build_model
from bts_tune.models.decoders.base import DECODERS, Decoder
from bts_tune.models.weights import EncoderWeights

NONE = EncoderWeights("none")


@pytest.fixture
def plain() -> Iterator[str]:
    """A decoder that has no encoder, registered for one test."""

    @DECODERS.register("plain-convolution")
    class Plain(Decoder):
        uses_encoder = False

        def build(self, config: TrialConfig) -> nn.Module:
            return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1))

    yield "plain-convolution"
    del DECODERS._entries["plain-convolution"]


def config(decoder: str, **fields: object) -> TrialConfig:
    return TrialConfig.parse({"decoder": decoder, "encoder": "none", "encoder_weights": "none", **fields})


def test_a_network_of_ones_own(plain: str) -> None:
    model = build_model(config(plain), NONE)
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 1, 32, 32)
    assert isinstance(model.get_submodule("encoder"), nn.Module)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"encoder": "resnet18"}, "has no encoder; set encoder: none"),
        ({"freeze": "all"}, "freeze is 'all'"),
        ({"encoder_weights": "imagenet"}, "encoder_weights 'imagenet'"),
        ({"decoder_dropout": 0.5}, "decoder_dropout is 0.5"),
        ({"head_dropout": 0.5}, "head_dropout is 0.5"),
    ],
)
def test_what_it_has_no_use_for_is_refused(plain: str, fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build_model(config(plain, **fields), NONE)


def test_a_decoder_of_smp_needs_an_encoder() -> None:
    with pytest.raises(ConfigError, match="needs an encoder"):
        build_model(config("unet"), NONE)


def test_every_decoder_is_one_file_of_its_name() -> None:
    assert {"unet", "unetplusplus", "deeplabv3plus", "dpt"} <= set(DECODERS.names())
    for name, decoder in DECODERS.all().items():
        assert decoder.name == name
        assert decoder.source
