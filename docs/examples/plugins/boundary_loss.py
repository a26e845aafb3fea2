"""A loss of one's own: cross-entropy in which pixels near the tumour's border count more.

bts-tune --space baseline --data DIR --plugin boundary_loss.py --set loss=boundary-bce --set boundary_bce_weight=8
"""

from typing import Annotated

import torch
from pydantic import Field
from torch.nn import functional as F

from bts_tune.config import Part, TrialConfig
from bts_tune.losses.base import LOSSES, Loss


@LOSSES.register("boundary-bce")
class BoundaryBCE(Loss):
    """Mean binary cross-entropy over pixels; those within two pixels of the border have the weight 1 + weight."""

    definition = "mean binary cross-entropy, pixels within two pixels of the border weighing 1 + boundary_bce_weight"
    source = "after Ronneberger et al., 'U-Net', MICCAI 2015, equation 2"

    class Parameters(Part):
        """Fields of a configuration with `loss: boundary-bce`."""

        boundary_bce_weight: Annotated[float, Field(ge=0.0, le=100.0)] = Field(
            default=4.0, description="additional weight of pixels near the border"
        )

    def __init__(self, config: TrialConfig) -> None:
        super().__init__(config)
        self.weight = config.part(self.Parameters).boundary_bce_weight

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        grown = F.max_pool2d(truth, kernel_size=5, stride=1, padding=2)
        shrunk = -F.max_pool2d(-truth, kernel_size=5, stride=1, padding=2)
        return F.binary_cross_entropy_with_logits(logits, truth, weight=1 + self.weight * (grown - shrunk))
