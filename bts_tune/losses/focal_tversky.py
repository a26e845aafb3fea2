"""Focal Tversky loss: a power of the Tversky loss, which lets well segmented batches count less."""

from __future__ import annotations

from typing import Annotated, Self

import torch
from pydantic import Field, model_validator

from bts_tune.config import Part, TrialConfig
from bts_tune.losses.base import LOSSES, Loss, SplitLoss
from bts_tune.losses.tversky import TverskyOnSplit, Weight, tversky_loss
from bts_tune.results.record.scores import EPS


@LOSSES.register("focal-tversky")
class FocalTversky(Loss):
    """(1 - TP / (TP + alpha FP + beta FN))^gamma over all pixels of the batch.

    SMP's Tversky loss, raised to the power here: SMP's own power has no finite gradient for a batch without a tumour.
    The paper writes the exponent as 1 / gamma with gamma = 4/3, which is 0.75 here.
    """

    definition = "(1 - TP / (TP + alpha FP + beta FN))^gamma, from probabilities over all pixels of the batch"
    source = "Abraham and Khan, 'A novel focal Tversky loss function for lesion segmentation', ISBI 2019"

    class Parameters(Part):
        """Fields of a configuration with `loss: focal-tversky`."""

        focal_tversky_alpha: Weight = Field(
            default=0.3, description="weight of false positives in the focal Tversky loss"
        )
        focal_tversky_beta: Weight = Field(
            default=0.7, description="weight of false negatives in the focal Tversky loss"
        )
        focal_tversky_gamma: Annotated[float, Field(gt=0.0, le=3.0)] = Field(
            default=0.75, description="exponent of the focal Tversky loss"
        )

        @model_validator(mode="after")
        def _weighs_some_mistake(self) -> Self:
            if self.focal_tversky_alpha == 0 and self.focal_tversky_beta == 0:  # constant, hence without a gradient
                raise ValueError(
                    "focal_tversky_alpha and focal_tversky_beta are both 0; at least one of them must be above 0"
                )
            return self

    def __init__(self, config: TrialConfig) -> None:
        super().__init__(config)
        own = config.part(self.Parameters)
        self.alpha, self.beta, self.gamma = (
            own.focal_tversky_alpha,
            own.focal_tversky_beta,
            own.focal_tversky_gamma,
        )
        self.tversky = tversky_loss(self.alpha, self.beta)

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch, a scalar; almost 0 where it holds no tumour."""
        return self.tversky(logits, truth).clamp_min(EPS) ** self.gamma

    def on_split(self) -> SplitLoss:
        """Return what gathers the loss with the whole split as one batch."""
        return TverskyOnSplit(self.alpha, self.beta, self.gamma)
