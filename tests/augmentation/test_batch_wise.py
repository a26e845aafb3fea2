from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bts_tune.augmentation import policies
from bts_tune.augmentation.batch_wise import BatchAugmenter
from bts_tune.augmentation.steps.base import Step
from bts_tune.augmentation.steps.horizontal_flip import HorizontalFlip
from bts_tune.config import AugmentationKind, AugmentationPart
from bts_tune.testing.augmentation import BATCH, CPU, SIZE, head, in_batches, least_likely, one_by_one

POLICIES = [name for name in policies.POLICIES if name != "none"]


def policy(name: str, kind: str = "both", strength: float = 1.0, size: int = SIZE) -> list[Step]:
    fields = {"augmentation": name, "augmentation_kind": kind, "augmentation_strength": strength}
    return policies.steps(AugmentationPart.model_validate(fields), size)


def augmenter(steps: Sequence[Step], size: int = SIZE, device: torch.device = CPU) -> BatchAugmenter:
    found = BatchAugmenter.of(steps, size, device)
    assert found is not None
    return found


def augmented(
    augment: BatchAugmenter, image: torch.Tensor, mask: torch.Tensor, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    return augment(image, mask, augment.draw(len(image), seed), seed)


def changed(
    steps: Sequence[Step], seed: int, count: int = BATCH, size: int = SIZE
) -> tuple[torch.Tensor, torch.Tensor]:
    image, mask = (torch.from_numpy(one).expand(count, 1, size, size) for one in head(size))
    return augmented(augmenter(steps, size), image, mask, seed)


# --- the same distribution of images as one by one ---


# What one kind of steps does is in the statistics of both, but where the other hides it.
@pytest.mark.parametrize(
    ("name", "kind", "strength"),
    [
        *((name, "both", strength) for name in POLICIES for strength in (1.0, 2.0)),
        *(("strong", kind, 2.0) for kind in get_args(AugmentationKind) if kind != "both"),
    ],
)
def test_a_policy_has_the_same_distribution(name: str, kind: str, strength: float) -> None:
    steps = policy(name, kind, strength)
    p_value, statistic = least_likely(one_by_one(steps), in_batches(steps))
    assert p_value > 1e-4, statistic


# --- what comes out ---


@given(
    st.sampled_from(POLICIES),
    st.sampled_from(get_args(AugmentationKind)),
    st.floats(0, 3),
    st.integers(0, 2**32 - 1),
    st.sampled_from([32, 64, 160]),  # 160 is a multiple of the grid's cells
)
@settings(max_examples=60, deadline=None)
def test_images_and_masks_keep_their_kind(name: str, kind: str, strength: float, seed: int, size: int) -> None:
    images, masks = changed(policy(name, kind, strength, size), seed, 3, size)
    assert images.shape == masks.shape == (3, 1, size, size)
    assert images.dtype == masks.dtype == torch.float32
    assert set(masks.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(images, images.round().clamp(0, 255))


class Unbatched(HorizontalFlip):
    def batched(self, image_size: int, generator: torch.Generator) -> None:  # type: ignore[override]
        return None


def test_one_step_without_a_batched_form_leaves_none() -> None:
    assert BatchAugmenter.of([*policy("strong"), Unbatched(0.5)], SIZE, CPU) is None


def test_no_step_changes_nothing() -> None:
    images, masks = changed(policy("none"), 0)
    image, mask = head(SIZE)
    assert bool((images == torch.from_numpy(image)).all())
    assert bool((masks == torch.from_numpy(mask)).all())


@pytest.mark.parametrize("name", POLICIES)
def test_geometry_moves_images_and_masks_alike(name: str) -> None:
    """Of an image that is its own mask, both stay the same but for the edge, where the image is interpolated."""
    mask = torch.from_numpy(head(96)[1]).expand(BATCH, 1, 96, 96)
    images, masks = augmented(augmenter(policy(name, "geometry", size=96), 96), mask * 255, mask, 1)
    overlap = ((images > 127) & (masks == 1)).sum(dim=(1, 2, 3)) / ((images > 127) | (masks == 1)).sum(dim=(1, 2, 3))
    assert float(overlap.min()) > 0.85
    assert float(overlap.mean()) > 0.95


@pytest.mark.parametrize("name", POLICIES)
def test_intensity_leaves_masks_alone(name: str) -> None:
    _, masks = changed(policy(name, "intensity"), 0)
    assert bool((masks == torch.from_numpy(head(SIZE)[1])).all())


def test_every_image_of_a_batch_is_changed_in_its_own_way() -> None:
    images, _ = changed(policy("strong"), 0)
    assert len({one.numpy().tobytes() for one in images}) == BATCH


def test_the_seed_decides() -> None:
    augment = augmenter(policy("strong"), SIZE)
    image, mask = (torch.from_numpy(one).expand(4, 1, SIZE, SIZE) for one in head(SIZE))
    first, other, again = (augmented(augment, image, mask, seed) for seed in (1, 2, 1))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_torchs_own_random_numbers_are_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    changed(policy("strong"), 0)
    assert torch.equal(torch.rand(4), expected)


def test_the_images_given_are_left_alone() -> None:
    image, mask = (torch.from_numpy(one).repeat(4, 1, 1, 1).float() for one in head(SIZE))
    kept, kept_mask = image.clone(), mask.clone()
    augmented(augmenter(policy("strong"), SIZE), image, mask, 0)
    assert torch.equal(image, kept)
    assert torch.equal(mask, kept_mask)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_not_waited_for() -> None:
    device = torch.device("cuda")
    augment = augmenter(policy("strong", size=SIZE), SIZE, device)
    image, mask = (torch.from_numpy(one).expand(8, 1, SIZE, SIZE).to(device) for one in head(SIZE))
    drawn = augment.draw(8, 0).to(device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        augment(image, mask, drawn, 0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
