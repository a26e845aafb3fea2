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


def encoder_stages(encoder: nn.Module) -> list[set[str]]:
    """Return, for each resolution of the encoder from the finest on, the parameters that its features depend on.

    Stage k of any encoder is thereby defined alike: what has to be computed for its k-th feature map. Each set holds
    those before it. The dependence is read off autograd's graph, so that no encoder needs a list of its own.
    """
    parameters = dict(encoder.named_parameters())
    required = {name: parameter.requires_grad for name, parameter in parameters.items()}
    training = {name: module.training for name, module in encoder.named_modules()}
    encoder.eval()
    try:
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        reference = next(iter(parameters.values()))
        size = getattr(encoder, "input_size", 64)
        image = torch.zeros(1, 1, size, size, dtype=reference.dtype, device=reference.device)
        with torch.enable_grad():
            features = [feature for feature in encoder(image)[1:] if feature.numel()]
            stages = []
            for feature in features:
                gradients = torch.autograd.grad(
                    feature.float().sum(), list(parameters.values()), allow_unused=True, retain_graph=True
                )
                stages.append({name for name, g in zip(parameters, gradients, strict=True) if g is not None})
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(required[name])
        for name, module in encoder.named_modules():
            module.training = training[name]
    return stages


def check_stages(encoder: nn.Module, config: ModelPart) -> None:
    """Raise a `ConfigError` where the encoder has fewer stages than are to be frozen."""
    available = len(encoder_stages(encoder))
    if config.freeze_stages > available:
        raise ConfigError(
            f"freeze_stages is {config.freeze_stages}, but encoder {config.encoder!r} has {available} stages; "
            f"it must be at most {available}."
        )


def apply_freeze(model: Any, config: ModelPart, epoch: int) -> None:
    """Set which encoder parameters are trained in `epoch` (from 1)."""
    frozen_entirely = config.freeze == "all" or (config.freeze == "epochs" and epoch <= config.freeze_epochs)
    frozen = encoder_stages(model.encoder)[config.freeze_stages - 1] if config.freeze == "stages" else set()
    for name, parameter in model.encoder.named_parameters():
        parameter.requires_grad_(not frozen_entirely and name not in frozen)


def set_mode(model: Any, *, training: bool) -> None:
    """Switch between training and evaluation, with frozen encoder modules in evaluation mode either way."""
    model.train(training)
    for module in model.encoder.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()
