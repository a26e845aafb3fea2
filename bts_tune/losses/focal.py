"""Focal loss: cross-entropy in which pixels that are easy already count less."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from bts_tune.config import Part, TrialConfig
from bts_tune.losses.base import LOSSES, Loss


@LOSSES.register("focal")
class Focal(Loss):
    """Mean over pixels of -alpha_t (1 - p_t)^gamma log p_t, p_t being the probability of the true class.

    SMP's implementation, which is that of the paper.
    """

    definition = "mean over pixels of -alpha_t (1 - p_t)^gamma log p_t, p_t the probability of the true class"
    source = "Lin et al., 'Focal Loss for Dense Object Detection', ICCV 2017"

    class Parameters(Part):
        """Fields of a configuration with `loss: focal`."""

        focal_gamma: Annotated[float, Field(ge=1.0, le=10.0)] = Field(
            default=2.0, description="how much less easy pixels count in the focal loss"
        )
        focal_alpha: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
            default=0.25, description="weight of tumour pixels in the focal loss; that of the others is 1 - focal_alpha"
        )

    def __init__(self, config: TrialConfig) -> None:
        from segmentation_models_pytorch.losses import BINARY_MODE, FocalLoss

        super().__init__(config)
        own = config.part(self.Parameters)
        self.focal = FocalLoss(BINARY_MODE, alpha=own.focal_alpha, gamma=own.focal_gamma)

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch, a scalar."""
        return self.focal(logits, truth)
