from __future__ import annotations

import threading
from dataclasses import replace
from itertools import pairwise
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bts_tune.augmentation import policies
from bts_tune.augmentation.image_wise import Augmenter
from bts_tune.config import AugmentationKind, AugmentationPart
from bts_tune.registry import AUGMENTATION_STEPS
from bts_tune.testing.augmentation import SIZE, head

POLICIES = [name for name in policies.POLICIES if name != "none"]


def augmenter(policy: str, kind: str = "both", strength: float = 1.0, size: int = SIZE) -> Augmenter:
    part = AugmentationPart.model_validate(
        {"augmentation": policy, "augmentation_kind": kind, "augmentation_strength": strength}
    )
    return Augmenter(policies.steps(part, size))


def many(augment: Augmenter, count: int = 60, pair: tuple[np.ndarray, np.ndarray] | None = None) -> list[Any]:
    image, mask = pair or head(SIZE)
    return [augment(image.copy(), mask.copy(), seed) for seed in range(count)]


def mean_change(strength: float, policy: str, kind: str) -> float:
    image, _ = head(SIZE)
    changed = [out[0] for out in many(augmenter(policy, kind, strength))]
    return float(np.mean([np.abs(out.astype(int) - image).mean() for out in changed]))


@given(
    st.sampled_from(POLICIES),
    st.sampled_from(get_args(AugmentationKind)),
    st.floats(0, 3),
    st.integers(0, 2**32 - 1),
    st.sampled_from([32, 64, 96]),
)
@settings(max_examples=60, deadline=None)
def test_image_and_mask_keep_their_kind(policy: str, kind: str, strength: float, seed: int, size: int) -> None:
    image, mask = head(size)
    new_image, new_mask = augmenter(policy, kind, strength, size)(image, mask, seed)
    assert new_image.shape == new_mask.shape == (size, size)
    assert new_image.dtype == new_mask.dtype == np.uint8
    assert set(np.unique(new_mask)) <= {0, 1}


def test_no_policy_changes_nothing() -> None:
    image, mask = head(SIZE)
    for new_image, new_mask in many(augmenter("none", strength=3.0), 5):
        assert np.array_equal(new_image, image)
        assert np.array_equal(new_mask, mask)


@pytest.mark.parametrize("policy", POLICIES)
def test_geometry_moves_image_and_mask_alike(policy: str) -> None:
    """Of an image that is its own mask, both stay the same but for the edge, where the image is interpolated."""
    _, mask = head(96)
    for new_image, new_mask in many(augmenter(policy, "geometry", size=96), 40, (mask * 255, mask)):
        differing = (new_image > 127) != (new_mask == 1)
        edge = cv2.dilate(new_mask, np.ones((3, 3))) != cv2.erode(new_mask, np.ones((3, 3)))
        # Two interpolations in a row, of an image that is only black and white, may differ by another pixel.
        assert (differing & ~edge).sum() <= 0.02 * mask.sum()
        overlap = ((new_image > 127) & (new_mask == 1)).sum() / max(1, ((new_image > 127) | (new_mask == 1)).sum())
        assert overlap > 0.85


@pytest.mark.parametrize("policy", POLICIES)
def test_intensity_leaves_the_mask_and_geometry_alone(policy: str) -> None:
    image, mask = head(SIZE)
    outputs = many(augmenter(policy, "intensity"))
    assert all(np.array_equal(new_mask, mask) for _, new_mask in outputs)
    for new_image, _ in outputs:
        assert np.corrcoef(new_image.ravel(), image.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("policy", POLICIES)
def test_geometry_leaves_the_greys_alone(policy: str) -> None:
    image, _ = head(SIZE)
    for new_image, _ in many(augmenter(policy, "geometry")):
        assert image.min() - 1 <= new_image.min()
        assert new_image.max() <= image.max() + 1


@pytest.mark.parametrize("kind", get_args(AugmentationKind))
@pytest.mark.parametrize("policy", POLICIES)
def test_strength_scales_the_change(policy: str, kind: str) -> None:
    if kind == "intensity":
        changes = [mean_change(strength, policy, kind) for strength in (0, 0.5, 1, 2)]
        assert changes[0] == 0
        assert all(after > 1.2 * before for before, after in pairwise(changes))
    else:  # flips are the same at any strength
        mild, usual, much = (mean_change(strength, policy, kind) for strength in (0, 1, 2))
        assert mild < usual < much


@pytest.mark.parametrize("policy", POLICIES)
def test_strength_0_leaves_only_flips(policy: str) -> None:
    image, _ = head(SIZE)
    flips = [image, image[:, ::-1], image[::-1], image[::-1, ::-1]]
    found = set()
    for new_image, _ in many(augmenter(policy, "both", 0.0)):
        (which,) = [index for index, flip in enumerate(flips) if np.array_equal(new_image, flip)]
        found.add(which)
    assert found == ({0, 1, 2, 3} if policy == "strong" else {0, 1})


def test_policies_grow_from_light_to_strong() -> None:
    for kind in ("geometry", "intensity"):
        light, medium, strong = (mean_change(1.0, policy, kind) for policy in ("light", "medium", "strong"))
        assert light < medium < strong


@pytest.mark.parametrize("policy", POLICIES)
def test_the_seed_decides(policy: str) -> None:
    one, same = many(augmenter(policy), 10), many(augmenter(policy), 10)
    for (image, mask), (same_image, same_mask) in zip(one, same, strict=True):
        assert np.array_equal(image, same_image)
        assert np.array_equal(mask, same_mask)
    assert len({image.tobytes() for image, _ in one}) >= 9


def test_an_earlier_call_changes_nothing_later() -> None:
    image, mask = head(SIZE)
    augment = augmenter("strong")
    fresh = augment(image, mask, 7)[0]
    many(augment, 3)
    assert np.array_equal(augment(image, mask, 7)[0], fresh)


def test_transforms_are_drawn_independently() -> None:
    """All four combinations of the two flips come up about as often."""
    image = np.arange(SIZE * SIZE, dtype=np.uint32).reshape(SIZE, SIZE)
    image, mask = (image % 251).astype(np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    flips = [image, image[:, ::-1], image[::-1], image[::-1, ::-1]]
    augment = augmenter("strong", "geometry", 0.0)
    counts = [0, 0, 0, 0]
    for seed in range(400):
        new_image = augment(image, mask, seed)[0]
        counts[[np.array_equal(new_image, flip) for flip in flips].index(True)] += 1
    assert min(counts) > 60


def test_threads_may_share_an_augmenter() -> None:
    augment = augmenter("strong")
    expected = [image.tobytes() for image, _ in many(augmenter("strong"), 30)]
    found: dict[int, list[bytes]] = {}

    def work(number: int) -> None:
        found[number] = [image.tobytes() for image, _ in many(augment, 30)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[number] == expected for number in range(4))


@pytest.mark.parametrize("channels", [2, 4, 5, 9, 16])
def test_each_channel_has_its_own_noise(channels: int) -> None:
    image, mask = head(SIZE)
    step = replace(AUGMENTATION_STEPS.get("noise").standard(3.0, SIZE), probability=1.0)
    changed, _ = Augmenter([step])(np.dstack([image] * channels), mask, 7)
    assert len({changed[..., channel].tobytes() for channel in range(channels)}) == channels


@pytest.mark.parametrize("strength", [1.0, 1.5])
@pytest.mark.parametrize("policy", POLICIES)
def test_slices_stay_plausible(policy: str, strength: float) -> None:
    image, mask = head(128)
    outputs = many(augmenter(policy, "both", strength, 128), 100, (image, mask))
    assert np.mean([np.array_equal(new_image, image) for new_image, _ in outputs]) < 0.05
    areas = np.array([new_mask.sum() / mask.sum() for _, new_mask in outputs])
    assert (areas > 0.2).mean() >= 0.98  # the tumour is rarely lost
    assert 0.9 < areas.mean() < 1.3
    assert areas.max() < 4
    white = np.array([(new_image > 250).mean() for new_image, _ in outputs])
    assert white.max() < 0.15
    # The tumour still stands out from the tissue around it.
    for new_image, new_mask in outputs:
        if new_mask.sum() > 50:
            around = cv2.dilate(new_mask, np.ones((9, 9))) - cv2.dilate(new_mask, np.ones((3, 3)))
            assert new_image[new_mask == 1].mean() > new_image[around == 1].mean() + 5


def test_a_bright_equalised_slice_does_not_turn_white() -> None:
    """Half the pixels of an equalised slice are above 128."""
    ramp = np.tile(np.linspace(0, 255, 128).astype(np.uint8), (128, 1))
    outputs = many(augmenter("strong", "intensity", size=128), 200, (ramp, np.zeros_like(ramp)))
    white = np.array([(new_image == 255).mean() for new_image, _ in outputs])
    assert white.mean() < 0.04
    assert white.max() < 0.35


@pytest.mark.parametrize("kind", ["geometry", "intensity"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_means_the_same_at_any_size(policy: str, kind: str) -> None:
    """Shifts, warping and blur are shares of the image's side."""
    changes = []
    for size in (64, 192):
        image, _ = head(size)
        outputs = many(augmenter(policy, kind, size=size), pair=head(size))
        changes.append(np.mean([np.abs(new_image.astype(int) - image).mean() for new_image, _ in outputs]))
    assert changes[0] == pytest.approx(changes[1], rel=0.1)


def test_albumentations_does_not_ask_the_network_for_updates() -> None:
    import os

    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"
