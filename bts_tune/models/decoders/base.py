"""What a decoder is: the architecture of a network, built on an encoder or without one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import nn

from bts_tune.config import Part, TrialConfig, check_parameters
from bts_tune.registry import DECODERS

__all__ = ["DECODERS", "Decoder"]


class Decoder(ABC):
    """Builds the network of a trial.

    The network maps standardised images, float32 [n, C, S, S] with C as in `config.channels` and S a multiple of 32, to
    logits [n, 1, S, S]. It draws its weights from torch's global generator, and nothing else at random while it is
    built.

    Attributes:
        name: the name that it is registered under; set by the registry.
        source: the paper that it comes from.
        uses_encoder: whether the network has an `encoder`, a module with the parameters that `encoder_weights` are
            loaded into and that `freeze` acts on. One that has none is chosen with `encoder: none`.
        smallest_image: the smallest `image_size` that it takes.
        dropout: which of the fields `decoder_dropout` and `head_dropout` `build` takes into account; the others must
            be 0 in a configuration that chooses it.
        Parameters: its own parameters, fields of the configurations that choose it. Their names begin with the name of
            the decoder, because all fields of a configuration share one namespace.
    """

    name: ClassVar[str]
    source: ClassVar[str] = ""
    uses_encoder: ClassVar[bool] = True
    smallest_image: ClassVar[int] = 32
    dropout: ClassVar[tuple[str, ...]] = ()
    Parameters: ClassVar[type[Part]]

    @classmethod
    def check_declared(cls, name: str) -> None:
        """Raise a `ConfigError` where a parameter has a name that is not its own."""
        check_parameters(DECODERS, name, cls)

    @abstractmethod
    def build(self, config: TrialConfig) -> nn.Module:
        """Return the network with random weights, in training mode, on torch's default device.

        Args:
            config: a trial's configuration; `config.part(self.Parameters)` has the decoder's own parameters.

        Raises:
            ConfigError: it cannot be built with this encoder.
        """
