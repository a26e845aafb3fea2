"""The network of a trial: an SMP architecture with dropout where SMP has none.

SMP builds no dropout into the decoders of U-Net, U-Net++, MA-Net, LinkNet and most others, nor into segmentation heads
(DPT's has one with a fixed rate, which is turned off). It is added here by hooks on a module without parameters, so
that the state dict stays exactly SMP's own: weights trained here load into plain SMP, and the other way round.

Where `decoder_dropout` acts:

    unet, unetplusplus, manet, linknet, dpt   after each decoder block but the last, on whole channels
    pan, upernet, segformer                   after the decoder, which has no sequence of blocks, on whole channels
    fpn, pspnet, deeplabv3, deeplabv3plus     where SMP has it: after the pyramid is merged or pooled
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from bts_tune.config import ModelPart
from bts_tune.errors import ConfigError
from bts_tune.models.encoders import any_image_size, check_encoder
from bts_tune.models.weights import EncoderWeights, load_encoder
from bts_tune.text import first_line

# The decoders whose dropout SMP builds itself, under a name of its own and with a default that is not 0.
_SMP_DROPOUT = {
    "fpn": "decoder_dropout",
    "pspnet": "psp_dropout",
    "deeplabv3": "decoder_aspp_dropout",
    "deeplabv3plus": "decoder_aspp_dropout",
}


def build_model(config: ModelPart, weights: EncoderWeights) -> nn.Module:
    """Build the network: one input channel, one output channel of logits, spatial size kept.

    The weights that are not loaded are drawn from torch's global generator; seed it first.

    Args:
        config: architecture, encoder and dropout. Freezing changes with the epoch and is `EncoderFreeze`'s to set.
        weights: the encoder's weights, found by `weights.resolve_weights`.

    Returns:
        A `segmentation_models_pytorch` model in training mode, on the CPU, every parameter trainable.

    Raises:
        ConfigError: there is no such encoder, or SMP cannot combine this decoder and this encoder.
        WeightsError: the weights do not fit the encoder.
    """
    model = _create(config)
    load_encoder(model.encoder, weights)
    if config.decoder_dropout and config.decoder not in _SMP_DROPOUT:
        _add_decoder_dropout(model, config.decoder_dropout)
    if config.head_dropout:
        _add_head_dropout(model, config.head_dropout)
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
    config = ModelPart.model_validate({"decoder": decoder, "encoder": encoder})
    try:
        with torch.device("meta"):
            return count_parameters(_create(config))
    except ConfigError:  # some encoders look at values while they are built, which tensors of this kind do not have
        return count_parameters(_create(config))


def to_device(model: nn.Module, device: torch.device) -> nn.Module:
    """Move the model to `device` in the channels-last layout, which convolutions run faster in on CPUs and GPUs."""
    return model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _create(config: ModelPart) -> Any:
    """Return SMP's model without weights, its own dropout set to the configured rate or turned off."""
    import segmentation_models_pytorch as smp

    check_encoder(config.encoder)
    options: dict[str, Any] = {}
    if config.decoder in _SMP_DROPOUT:
        options[_SMP_DROPOUT[config.decoder]] = config.decoder_dropout
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = any_image_size(smp.create_model, config.encoder)(
                config.decoder, config.encoder, encoder_weights=None, in_channels=1, classes=1, **options
            )
    except Exception as error:  # SMP and timm raise KeyError, ValueError, RuntimeError, AttributeError, …
        raise ConfigError(
            f"decoder {config.decoder!r} with encoder {config.encoder!r} cannot be built: {first_line(error)}"
        ) from None
    for module in model.segmentation_head.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def _add_decoder_dropout(model: Any, rate: float) -> None:
    """Drop whole channels (Tompson et al. 2015, as SMP does in FPN) after each decoder block but the last.

    The last block feeds the head, which has a dropout of its own. A decoder without blocks drops its output.
    """
    model.decoder_dropout = dropout = nn.Dropout2d(rate)
    blocks = getattr(model.decoder, "blocks", None) or getattr(model.decoder, "fusion_blocks", None)
    targets: list[Any] = [model.decoder]
    if blocks is not None:
        targets = list(blocks.values() if isinstance(blocks, nn.ModuleDict) else blocks)[:-1]
    for target in targets:
        target.register_forward_hook(lambda _module, _inputs, output: dropout(output))


def _add_head_dropout(model: Any, rate: float) -> None:
    """Drop single activations before the segmentation head: with 16 channels, whole ones would be too coarse."""
    model.head_dropout = dropout = nn.Dropout(rate)
    model.segmentation_head.register_forward_pre_hook(lambda _module, inputs: dropout(inputs[0]))
