"""The only place that imports albumentations. It takes seconds, so import this inside `Step.transform`."""

from __future__ import annotations

import os

import cv2

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks the network for its newest version
import albumentations as A

RESAMPLING = {"border_mode": cv2.BORDER_REPLICATE, "mask_interpolation": cv2.INTER_NEAREST}
"""What geometric steps have in common.

Masks are resampled by nearest neighbour and stay binary. Pixels from outside the image repeat its edge, which suits a
dark background as well as one that equalisation made grey.
"""

__all__ = ["RESAMPLING", "A"]
