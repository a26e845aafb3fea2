"""What the decoders of segmentation_models_pytorch share: how they are built, and dropout where SMP has none.

SMP builds no dropout into the decoders of U-Net, U-Net++, MA-Net, LinkNet and most others, nor into segmentation heads
(DPT's has one with a fixed rate, which is turned off). It is added by hooks on a module without parameters, so that the
state dict stays exactly SMP's own: weights trained here load into plain SMP, and the other way round.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from bts_tune.config import TrialConfig
from bts_tune.errors import ConfigError
from bts_tune.models.decoders.base import Decoder
from bts_tune.models.encoders import any_image_size, check_encoder
from bts_tune.text import first_line


class SmpDecoder(Decoder):
    """An architecture of SMP, by the name that it is registered under.

    Attributes:
        dropout_option: SMP's name for the dropout of this decoder, where SMP builds it itself; its default is not 0.
            Elsewhere whole channels are dropped (Tompson et al. 2015, as SMP does in FPN) after each decoder block but
            the last, which feeds the head, or after a decoder that has no sequence of blocks.
    """

    dropout: ClassVar[tuple[str, ...]] = ("decoder_dropout", "head_dropout")
    dropout_option: ClassVar[str | None] = None

    def build(self, config: TrialConfig) -> nn.Module:
        """Return SMP's model: one class."""
        model = self._create(config)
        for module in model.segmentation_head.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        if config.decoder_dropout and self.dropout_option is None:
            _add_decoder_dropout(model, config.decoder_dropout)
        if config.head_dropout:
            _add_head_dropout(model, config.head_dropout)
        return model

    def _create(self, config: TrialConfig) -> Any:
        import segmentation_models_pytorch as smp

        check_encoder(config.encoder)
        options = {self.dropout_option: config.decoder_dropout} if self.dropout_option else {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return any_image_size(smp.create_model, config.encoder)(
                    self.name, config.encoder, encoder_weights=None, in_channels=config.channels, classes=1, **options
                )
        except Exception as error:  # SMP and timm raise KeyError, ValueError, RuntimeError, AttributeError, …
            raise ConfigError(
                f"decoder {self.name!r} with encoder {config.encoder!r} cannot be built: {first_line(error)}"
            ) from None


def _add_decoder_dropout(model: Any, rate: float) -> None:
    model.decoder_dropout = dropout = nn.Dropout2d(rate)
    blocks = getattr(model.decoder, "blocks", None) or getattr(model.decoder, "fusion_blocks", None)
    targets: list[Any] = [model.decoder]
    if blocks is not None:
        targets = list(blocks.values() if isinstance(blocks, nn.ModuleDict) else blocks)[:-1]
    for target in targets:
        target.register_forward_hook(_DropsOutput(dropout))


def _add_head_dropout(model: Any, rate: float) -> None:
    """Drop single activations before the segmentation head: with 16 channels, whole ones would be too coarse."""
    model.head_dropout = dropout = nn.Dropout(rate)
    model.segmentation_head.register_forward_pre_hook(_DropsInput(dropout))


@dataclass(frozen=True, eq=False)
class _DropsOutput:
    """A forward hook. An object, no function: a copy of the model then has the copy of the dropout, in its mode."""

    dropout: nn.Module

    def __call__(self, _module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        dropped: torch.Tensor = self.dropout(output)
        return dropped


@dataclass(frozen=True, eq=False)
class _DropsInput:
    """The same before a module."""

    dropout: nn.Module

    def __call__(self, _module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        dropped: torch.Tensor = self.dropout(inputs[0])
        return dropped
