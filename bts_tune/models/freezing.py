"""Encoder freezing: what is not trained gets no gradient, and runs in evaluation mode.

SMP's own `freeze_encoder()` leaves EfficientNet's drop-connect on, in training and while validating. Here the mode of
each encoder module follows from its parameters: a module with parameters, none of which is trained, is in evaluation
mode, and with it everything inside (batch norm, drop-connect, dropout).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bts_tune.config import ModelPart
from bts_tune.errors import ConfigError


class EncoderFreeze:
    """Which parameters of a model's encoder are trained in which epoch.

    Raises:
        ConfigError: the encoder has fewer stages than are to be frozen.
    """

    def __init__(self, model: Any, config: ModelPart, channels: int = 1) -> None:
        """Look at a model's encoder; `channels` are those of its input."""
        self._encoder: nn.Module = model.encoder
        self._config = config
        self._frozen: set[str] = set()  # in every epoch
        if config.freeze == "all":
            self._frozen = {name for name, _ in self._encoder.named_parameters()}
        elif config.freeze == "stages":
            stages = encoder_stages(self._encoder, channels)
            if config.freeze_stages > len(stages):
                raise ConfigError(
                    f"freeze_stages is {config.freeze_stages}, but encoder {config.encoder!r} has {len(stages)} stages "
                    f"under decoder {config.decoder!r}; it must be at most {len(stages)}."
                )
            self._frozen = stages[config.freeze_stages - 1]

    def apply(self, epoch: int) -> None:
        """Set which encoder parameters receive a gradient in `epoch` (from 1)."""
        entirely = self._config.freeze == "epochs" and epoch <= self._config.freeze_epochs
        for name, parameter in self._encoder.named_parameters():
            parameter.requires_grad_(not entirely and name not in self._frozen)


def set_mode(model: Any, *, training: bool) -> None:
    """Switch between training and evaluation, with frozen encoder modules in evaluation mode either way."""
    model.train(training)
    for module in model.encoder.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def encoder_stages(encoder: nn.Module, channels: int = 1) -> list[set[str]]:
    """Return, for each resolution of the encoder from the finest on, the parameters that its features depend on.

    Stage k of any encoder is thereby defined alike: what has to be computed for its k-th feature map. Each set holds
    those before it, and the last one holds all parameters, also those that no feature depends on. The dependence is
    read off autograd's graph, so that no encoder needs a list of its own.
    """
    parameters = dict(encoder.named_parameters())
    required = {name: parameter.requires_grad for name, parameter in parameters.items()}
    training = {name: module.training for name, module in encoder.named_modules()}
    encoder.eval()  # batch statistics stay as they are, and no path is dropped at random
    try:
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        with torch.enable_grad():
            stages = [_reached_from(feature, parameters) for feature in _features(encoder, channels)]
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(required[name])
        for name, module in encoder.named_modules():
            module.training = training[name]
    return [*stages[:-1], set(parameters)]


def _features(encoder: nn.Module, channels: int) -> list[torch.Tensor]:
    """Return the encoder's feature maps of an empty image, from the finest on."""
    reference = next(encoder.parameters())
    pretrained = getattr(getattr(encoder, "model", None), "pretrained_cfg", {})  # timm's
    size = pretrained["input_size"][-1] if pretrained.get("fixed_input_size") else 64
    output = encoder(torch.zeros(1, channels, size, size, dtype=reference.dtype, device=reference.device))
    if isinstance(output, tuple):  # the transformers under a DPT decoder: feature maps and tokens
        return output[0]
    # The image itself comes first; encoders that begin at a quarter of its size put an empty map in place of a half.
    return [feature for feature in output[1:] if feature.numel()]


def _reached_from(feature: torch.Tensor, parameters: dict[str, nn.Parameter]) -> set[str]:
    gradients = torch.autograd.grad(feature.sum(), list(parameters.values()), allow_unused=True, retain_graph=True)
    return {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
