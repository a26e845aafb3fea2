"""Augmentation of one image at a time, on CPUs, by albumentations: the only file that imports it.

Masks are resampled by nearest neighbour and stay binary; pixels that come in from outside repeat the edge, which suits
a dark background as well as one that equalisation lifted to grey.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Sequence

import cv2
import numpy as np

from bts_tune.augmentation import policies
from bts_tune.augmentation.policies import Step

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks the network for its newest version
import albumentations as A

_FILL = {"border_mode": cv2.BORDER_REPLICATE, "mask_interpolation": cv2.INTER_NEAREST}


class Augmenter:
    """Random changes of a slice and its mask, by the steps of a policy.

    Threads may share it: each has its own transforms, because albumentations keeps the random state in them.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._of_thread = threading.local()

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Change a uint8 [S, S] image and its uint8 {0, 1} mask alike; the same seed gives the same change."""
        compose = getattr(self._of_thread, "compose", None)
        if compose is None:
            compose = self._of_thread.compose = A.Compose([_transform(step) for step in self._steps])
        # `set_random_seed` would give each transform a generator of its own with the same seed: all of them would then
        # be applied, or not, by the same random number. One shared generator makes them independent.
        compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        changed = compose(image=image, mask=mask)
        return changed["image"], changed["mask"]


def _transform(step: Step) -> A.BasicTransform:
    p = step.probability
    match step:
        case policies.HorizontalFlip():
            return A.HorizontalFlip(p=p)
        case policies.VerticalFlip():
            return A.VerticalFlip(p=p)
        case policies.Affine(_, rotate, scale, shift, shear):
            return A.Affine(
                rotate=(-rotate, rotate),
                scale=(1 - scale, 1 + scale),
                keep_ratio=True,
                translate_percent=(-shift, shift),
                shear=(-shear, shear),
                p=p,
                **_FILL,
            )
        case policies.Elastic(_, alpha, sigma):
            return A.ElasticTransform(alpha=alpha, sigma=sigma, noise_distribution="uniform", p=p, **_FILL)
        case policies.GridDistortion(_, limit, cells):
            return A.GridDistortion(num_steps=cells, distort_limit=(-limit, limit), p=p, **_FILL)
        case policies.BrightnessContrast(_, brightness, contrast):
            return A.RandomBrightnessContrast(
                brightness_limit=(-brightness, brightness), contrast_limit=(-contrast, 0.0), p=p
            )
        case policies.Gamma(_, limit):
            return A.RandomGamma(gamma_limit=(100 * (1 - limit), 100 * (1 + limit)), p=p)
        case policies.Illumination(_, lowest, highest):
            return A.Illumination(intensity_range=(lowest, highest), p=p)
        case policies.Noise(_, deviation):
            return A.GaussNoise(std_range=(0.0, deviation), p=p)
        case policies.Blur(_, sigma):
            return A.GaussianBlur(blur_limit=0, sigma_limit=(0.0, sigma), p=p)
        case policies.Downscale(_, loss):
            pair = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}
            return A.Downscale(scale_range=(1 - loss, 1.0), interpolation_pair=pair, p=p)
