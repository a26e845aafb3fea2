from __future__ import annotations

import numpy as np
import pytest
import torch

from bts_tune.augmentation import policies
from bts_tune.augmentation.batch_wise import BatchAugmenter
from bts_tune.augmentation.image_wise import Augmenter
from bts_tune.config import AugmentationPart


def elastic(policy: str, size: int) -> policies.Elastic:
    (step,) = [
        one
        for one in policies.steps(AugmentationPart.model_validate({"augmentation": policy}), size)
        if isinstance(one, policies.Elastic)
    ]
    return policies.Elastic(1, step.alpha, step.sigma)


def test_none_has_no_steps() -> None:
    assert policies.steps(AugmentationPart(augmentation="none", augmentation_strength=3.0), 64) == []


@pytest.mark.parametrize(("policy", "share"), [("medium", 0.007), ("strong", 0.014)])
@pytest.mark.parametrize("way", ["one by one", "in batches"])
def test_elastic_displaces_by_its_share_of_the_side(policy: str, share: float, way: str) -> None:
    """Of an image that is a ramp, the greys say how far pixels came from."""
    size, count = 224, 40
    ramp = np.tile(np.arange(size, dtype=np.uint8), (size, 1))
    step = elastic(policy, size)
    if way == "one by one":
        augment = Augmenter([step])
        moved = np.array([augment(ramp, np.zeros_like(ramp), seed)[0] for seed in range(count)], float)
    else:
        ramps = torch.from_numpy(ramp).expand(count, 1, size, size)
        in_batches = BatchAugmenter([step], size, torch.device("cpu"))
        moved = in_batches(ramps, ramps * 0, in_batches.draw(count, 0), 0)[0][:, 0].numpy()
    inner = slice(size // 4, -size // 4)  # the edge, where the noise is repeated outside, is displaced further
    assert np.std((moved - ramp)[:, inner, inner]) / size == pytest.approx(share, rel=0.1)
