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


GRID = tuple(Postprocessing(threshold, smallest) for threshold in THRESHOLDS for smallest in SMALLEST)
"""Everything that is tried."""


def choose(images: Iterable[tuple[NDArray[np.float32], NDArray[np.uint8]]]) -> Postprocessing:
    """Return the postprocessing of the highest pooled IoU.

    Args:
        images: of the validation split, the probabilities [S, S] and the truth, 0 and 1, [S, S], of each image.
    """
    return GRID[best_of_grid(np.stack([grid_counts(probability, truth) for probability, truth in images]))]


def grid_counts(probability: NDArray[np.float32], truth: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return true positives, false positives and false negatives of an image under each of `GRID`, [grid, 3].

    What is chosen follows from them for all images together, so that no probabilities need be kept until then.
    """
    true = truth > 0
    all_true = np.count_nonzero(true)
    counts = np.empty((len(THRESHOLDS), len(SMALLEST), 3), dtype=np.int64)
    for row, threshold in zip(counts, THRESHOLDS, strict=True):
        above = (probability > threshold).astype(np.uint8)
        number, labels, statistics, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
        areas = statistics[1:, cv2.CC_STAT_AREA].astype(np.int64)
        overlaps = np.bincount(labels[true], minlength=number)[1:]
        for cell, smallest in zip(row, SMALLEST, strict=True):
            kept = areas >= smallest * above.size
            overlap = overlaps[kept].sum()
            cell[:] = overlap, areas[kept].sum() - overlap, all_true - overlap
    return counts.reshape(len(GRID), 3)


def best_of_grid(counts: NDArray[np.int64]) -> int:
    """Return the place in `GRID` of the highest pooled IoU, of the counts of all images, [images, grid, 3]."""
    overlap, union = counts[:, :, 0].sum(axis=0), counts.sum(axis=(0, 2))
    iou = np.divide(overlap, union, out=np.ones(len(GRID)), where=union > 0)

    def key(place: int) -> tuple[float, float, float]:
        return (-iou[place], abs(GRID[place].threshold - THRESHOLD), GRID[place].smallest_region)

    return min(range(len(GRID)), key=key)


def _without_small(mask: NDArray[np.uint8], smallest: float) -> NDArray[np.uint8]:
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    kept = np.zeros(count, dtype=np.uint8)
    kept[1:] = statistics[1:, cv2.CC_STAT_AREA] >= smallest
    return np.asarray(kept[labels], dtype=np.uint8)
