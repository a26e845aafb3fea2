"""The optimiser of a trial."""

from __future__ import annotations

import torch
from torch import nn

from bts_tune.config import OptimizationPart


def build_optimizer(config: OptimizationPart, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser over all parameters; one that is frozen has no gradient and is passed over."""
    parameters = model.parameters()
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
        )
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
