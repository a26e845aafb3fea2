"""Lovász hinge: a convex surrogate of the IoU of each image."""

from __future__ import annotations

import torch

from bts_tune.config import TrialConfig
from bts_tune.losses.base import LOSSES, Loss


@LOSSES.register("lovasz")
class Lovasz(Loss):
    """The Lovász extension of the Jaccard loss applied to hinge errors, mean over the images of the batch.

    SMP's implementation, which is the authors' own.
    """

    definition = "Lovász hinge of each image, a convex surrogate of 1 - IoU, mean over the images"
    source = "Berman et al., 'The Lovász-Softmax loss', CVPR 2018"
    takes_soft_truth = False

    def __init__(self, config: TrialConfig) -> None:
        from segmentation_models_pytorch.losses import BINARY_MODE, LovaszLoss

        super().__init__(config)
        self.lovasz = LovaszLoss(BINARY_MODE, per_image=True)

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch, a scalar."""
        return self.lovasz(logits, truth)
