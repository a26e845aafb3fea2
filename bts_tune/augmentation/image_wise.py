"""Augmentation of one image at a time, on CPUs, by albumentations."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence

import numpy as np

from bts_tune.augmentation.steps.base import Step


class Augmenter:
    """Random changes of a slice and its mask, by a list of steps.

    Threads may share it: each has its own transforms, because albumentations keeps the random state in them.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        from bts_tune.augmentation.steps._albumentations import A  # takes seconds

        self._compose = A.Compose
        self._steps = steps
        self._of_thread = threading.local()

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Change an image, uint8 [S, S] or [S, S, C], and its uint8 {0, 1} mask alike; a seed always gives the same."""
        pipeline = getattr(self._of_thread, "pipeline", None)
        if pipeline is None:
            pipeline = self._of_thread.pipeline = self._compose([step.transform() for step in self._steps])
        # `set_random_seed` would give each transform a generator of its own with the same seed: all of them would then
        # be applied, or not, by the same random number. One shared generator makes them independent.
        pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        changed = pipeline(image=image, mask=mask)
        return changed["image"], changed["mask"]
