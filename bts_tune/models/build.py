"""The network of a trial: its decoder on its encoder, with the encoder's weights loaded."""

from __future__ import annotations

import torch
from torch import nn

from bts_tune.config import TrialConfig
from bts_tune.errors import ConfigError
from bts_tune.models.encoders import NO_ENCODER
from bts_tune.models.weights import EncoderWeights, load_encoder
from bts_tune.registry import DECODERS


def build_model(config: TrialConfig, weights: EncoderWeights) -> nn.Module:
    """Build the network: `channels` input channels, one output channel of logits, spatial size kept.

    The weights that are not loaded are drawn from torch's global generator; seed it first.

    Args:
        config: architecture, encoder and dropout, with the decoder's own parameters. Freezing changes with the epoch
            and is `EncoderFreeze`'s to set.
        weights: the encoder's weights, found by `weights.resolve_weights`.

    Returns:
        The network in training mode, on the CPU, every parameter trainable, with an `encoder`.

    Raises:
        ConfigError: there is no such encoder, or the decoder cannot be built on it.
        WeightsError: the weights do not fit the encoder.
    """
    model = _built(config)
    load_encoder(model.get_submodule("encoder"), weights)
    if config.batch_norm_momentum:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = config.batch_norm_momentum
    return model


def count_parameters(model: nn.Module, *, trainable_only: bool = False) -> int:
    """Return the number of parameters, or of those that receive a gradient."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)


def parameters_of(decoder: str, encoder: str) -> int:
    """Return the number of parameters of a decoder on an encoder, built without memory for them or time to fill them.

    Raises:
        ConfigError: as `build_model`.
    """
    config = TrialConfig.model_validate({"decoder": decoder, "encoder": encoder, "encoder_weights": "none"})
    try:
        with torch.device("meta"):
            return count_parameters(_built(config))
    except ConfigError:  # some encoders look at values while they are built, which tensors of this kind do not have
        return count_parameters(_built(config))


def to_device(model: nn.Module, device: torch.device) -> nn.Module:
    """Move the model to `device` in the channels-last layout, which convolutions run faster in on CPUs and GPUs."""
    return model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _built(config: TrialConfig) -> nn.Module:
    decoder = DECODERS.get(config.decoder)()
    if (config.encoder == NO_ENCODER) == decoder.uses_encoder:
        need = "needs an encoder" if decoder.uses_encoder else f"has no encoder; set encoder: {NO_ENCODER}"
        raise ConfigError(f"encoder is {config.encoder!r} with decoder: {config.decoder}, which {need}.")
    if not decoder.uses_encoder and (config.freeze != "none" or config.encoder_weights != "none"):
        raise ConfigError(
            f"freeze is {config.freeze!r} and encoder_weights {config.encoder_weights!r} with decoder: "
            f"{config.decoder}, which has no encoder; both must be 'none'."
        )
    for field in ("decoder_dropout", "head_dropout"):
        if getattr(config, field) and field not in decoder.dropout:
            raise ConfigError(
                f"{field} is {getattr(config, field)} with decoder: {config.decoder}, which has no such dropout; it "
                "must be 0."
            )
    model: nn.Module = decoder.build(config)
    if not decoder.uses_encoder:
        model.add_module("encoder", nn.Identity())  # nothing to load weights into or to freeze
    return model
