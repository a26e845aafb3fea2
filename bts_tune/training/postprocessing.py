"""From probabilities to a mask: the threshold, and the smallest region that is kept, chosen on the validation split.

Both are swept over a small grid, and the pair of the highest pooled IoU is taken; of equals the one nearest to what is
done without, a threshold of 0.5 and every region. nnU-Net determines its postprocessing on the validation folds too
(Isensee et al., Nature Methods 2021). A size is a share of the image, so that it means the same at any size.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bts_tune.training.measure import THRESHOLD

THRESHOLDS = tuple(round(0.1 + 0.05 * step, 2) for step in range(17))
SMALLEST = (0.0, 0.0005, 0.001, 0.002, 0.005)


@dataclass(frozen=True)
class Postprocessing:
    """How a mask is made of probabilities.

    Attributes:
        threshold: a pixel is tumour where its probability is above this.
        smallest_region: share of the image's pixels; connected regions (over sides and corners) below it are dropped.
    """

    threshold: float = THRESHOLD
    smallest_region: float = 0.0

    def mask(self, probability: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the mask, uint8 0 and 1, [H, W], of probabilities [H, W]."""
        above = (probability > self.threshold).astype(np.uint8)
        return _without_small(above, self.smallest_region * above.size) if self.smallest_region else above


def choose(images: Iterable[tuple[NDArray[np.float32], NDArray[np.uint8]]]) -> Postprocessing:
    """Return the postprocessing of the highest pooled IoU.

    Args:
        images: of the validation split, the probabilities [S, S] and the truth, 0 and 1, [S, S], of each image.
    """
    grid = [Postprocessing(threshold, smallest) for threshold in THRESHOLDS for smallest in SMALLEST]
    overlap, union = np.zeros(len(grid)), np.zeros(len(grid))
    for probability, truth in images:
        true = truth > 0
        for place, one in enumerate(grid):
            found = one.mask(probability) > 0
            overlap[place] += np.count_nonzero(found & true)
            union[place] += np.count_nonzero(found | true)
    iou = np.divide(overlap, union, out=np.ones_like(union), where=union > 0)

    def key(place: int) -> tuple[float, float, float]:
        return (-iou[place], abs(grid[place].threshold - THRESHOLD), grid[place].smallest_region)

    return grid[min(range(len(grid)), key=key)]


def _without_small(mask: NDArray[np.uint8], smallest: float) -> NDArray[np.uint8]:
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    kept = np.zeros(count, dtype=np.uint8)
    kept[1:] = statistics[1:, cv2.CC_STAT_AREA] >= smallest
    return np.asarray(kept[labels], dtype=np.uint8)
