"""The optimiser of a trial."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bts_tune.config import OptimizationPart


def build_optimizer(config: OptimizationPart, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser over all parameters; one that is frozen has no gradient and is passed over."""
    parameters = list(model.parameters())
    # A GPU updates all weights by a few kernels; on a CPU the figures of recorded runs stay as they are.
    common: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if parameters[0].device.type == "cuda":
        common["fused"] = True
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=config.momentum, **common)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(parameters, **common)
