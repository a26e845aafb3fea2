"""A decoder that breaks the contract is found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from bts_tune.config import TrialConfig
from bts_tune.models.decoders.base import DECODERS, Decoder
from bts_tune.testing.decoders import DecoderContract


class Noisy(nn.Module):
    """Adds noise in evaluation too, and loses half of the size."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 1, 3, padding=1, stride=2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.convolution(image) + torch.rand(1)


class NoisyContract(DecoderContract):
    name = "noisy"
    encoder = "none"


@pytest.fixture
def noisy() -> Iterator[DecoderContract]:
    @DECODERS.register("noisy")
    class NoisyDecoder(Decoder):
        uses_encoder = False

        def build(self, config: TrialConfig) -> nn.Module:
            return Noisy()

    yield NoisyContract()
    del DECODERS._entries["noisy"]


def test_what_is_wrong_is_found(noisy: DecoderContract) -> None:
    with pytest.raises(AssertionError):
        noisy.test_logits_have_the_size_of_the_images()
    with pytest.raises(AssertionError):
        noisy.test_evaluation_is_deterministic()
    noisy.test_the_same_seed_gives_the_same_weights()
