"""A decoder of one's own: a small network that is not SMP's and has no pretrained encoder.

    bts-tune --space SPACE --data DIR --plugin tiny_net.py \
        --set decoder=tiny-net --set encoder=none --set encoder_weights=none
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from bts_tune.config import Part, TrialConfig
from bts_tune.models.decoders.base import DECODERS, Decoder


class Network(nn.Module):
    """Convolutions at full and at a quarter of the resolution, added up."""

    def __init__(self, channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.fine = self._block(channels, width)
        self.coarse = nn.Sequential(self._block(width, width), self._block(width, width), nn.Dropout2d(dropout))
        self.head = nn.Conv2d(width, 1, 1)

    @staticmethod
    def _block(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        fine = self.fine(image)
        coarse = self.coarse(F.avg_pool2d(fine, 4))
        return self.head(fine + F.interpolate(coarse, scale_factor=4, mode="bilinear"))


@DECODERS.register("tiny-net")
class TinyNet(Decoder):
    """The network above."""

    uses_encoder = False
    dropout = ("decoder_dropout",)

    class Parameters(Part):
        """Fields of a configuration with `decoder: tiny-net`."""

        tiny_net_width: Annotated[int, Field(ge=1, le=512)] = Field(default=16, description="channels of tiny-net")

    def build(self, config: TrialConfig) -> nn.Module:
        own = config.part(self.Parameters)
        return Network(config.channels, own.tiny_net_width, config.decoder_dropout)
