from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bts_tune import config
from bts_tune.augmentation import policies
from bts_tune.augmentation.batch_wise import BatchAugmenter
from bts_tune.augmentation.image_wise import Augmenter
from bts_tune.augmentation.steps.affine import Affine
from bts_tune.augmentation.steps.base import Step
from bts_tune.augmentation.steps.blur import Blur
from bts_tune.augmentation.steps.brightness_contrast import BrightnessContrast
from bts_tune.augmentation.steps.downscale import Downscale
from bts_tune.augmentation.steps.elastic import Elastic
from bts_tune.augmentation.steps.gamma import Gamma
from bts_tune.augmentation.steps.grid_distortion import GridDistortion
from bts_tune.augmentation.steps.horizontal_flip import HorizontalFlip
from bts_tune.augmentation.steps.illumination import Illumination
from bts_tune.augmentation.steps.noise import Noise
from bts_tune.augmentation.steps.vertical_flip import VerticalFlip
from bts_tune.config import AugmentationPart
from bts_tune.errors import ConfigError
from bts_tune.registry import AUGMENTATION_STEPS


def steps(augmentation: str, kind: str = "both", strength: float = 1.0, size: int = 224) -> list[Step]:
    fields = {"augmentation": augmentation, "augmentation_kind": kind, "augmentation_strength": strength}
    return policies.steps(AugmentationPart.model_construct(**fields), size)  # type: ignore[arg-type]


def names(augmentation: str, kind: str = "both", strength: float = 1.0) -> list[str]:
    return [step.name for step in steps(augmentation, kind, strength)]


# --- policies ---


@pytest.mark.parametrize("strength", [0.0, 1.0, 3.0])
def test_none_has_no_steps(strength: float) -> None:
    assert steps("none", strength=strength) == []


def test_policies_mean_what_they_meant() -> None:
    """The configurations of earlier runs depend on these numbers."""
    assert steps("light") == [
        HorizontalFlip(0.5),
        Affine(0.9, rotate=10, scale=0.1, shift=0.05, shear=0),
        BrightnessContrast(0.8, brightness=0.04, contrast=0.15),
        Gamma(0.5, limit=0.15),
    ]
    assert steps("medium") == [
        HorizontalFlip(0.5),
        Affine(0.9, rotate=20, scale=0.15, shift=0.08, shear=5),
        Elastic(0.3, alpha=134.7844073570479, sigma=14),
        BrightnessContrast(0.8, brightness=0.06, contrast=0.25),
        Gamma(0.5, limit=0.25),
        Noise(0.3, deviation=0.03),
        Blur(0.2, sigma=0.896),
    ]
    assert steps("strong") == [
        HorizontalFlip(0.5),
        VerticalFlip(0.5),
        Affine(0.9, rotate=45, scale=0.25, shift=0.12, shear=10),
        Elastic(0.3, alpha=269.5688147140958, sigma=14),
        GridDistortion(0.3, limit=0.2, cells=5),
        BrightnessContrast(0.8, brightness=0.08, contrast=0.35),
        Gamma(0.5, limit=0.4),
        Illumination(0.3, lowest=0.01, highest=0.15),
        Noise(0.3, deviation=0.06),
        Blur(0.2, sigma=1.344),
        Downscale(0.2, loss=0.4),
    ]


def test_strength_multiplies_magnitudes_up_to_what_is_sensible() -> None:
    assert steps("strong", strength=3.0) == [
        HorizontalFlip(0.5),
        VerticalFlip(0.5),
        Affine(0.9, rotate=135, scale=0.6, shift=0.36, shear=30),
        Elastic(0.3, alpha=808.7064441422875, sigma=14),
        GridDistortion(0.3, limit=0.6000000000000001),
        BrightnessContrast(0.8, brightness=0.24, contrast=0.8),
        Gamma(0.5, limit=0.8),
        Illumination(0.3, lowest=0.01, highest=0.2),
        Noise(0.3, deviation=0.18),
        Blur(0.2, sigma=4.032),
        Downscale(0.2, loss=0.8),
    ]


@pytest.mark.parametrize("policy", policies.POLICIES)
def test_the_kinds_are_the_parts_of_both(policy: str) -> None:
    assert steps(policy, "geometry") + steps(policy, "intensity") == steps(policy, "both")
    for kind in ("geometry", "intensity"):
        assert all(step.kind == kind for step in steps(policy, kind))


def elastic(policy: str, size: int) -> Elastic:
    (step,) = [one for one in steps(policy, size=size) if isinstance(one, Elastic)]
    return Elastic(1, step.alpha, step.sigma)


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
        in_batches = BatchAugmenter.of([step], size, torch.device("cpu"))
        assert in_batches is not None
        moved = in_batches(ramps, ramps * 0, in_batches.draw(count, 0), 0)[0][:, 0].numpy()
    inner = slice(size // 4, -size // 4)  # the edge, where the noise is repeated outside, is displaced further
    assert np.std((moved - ramp)[:, inner, inner]) / size == pytest.approx(share, rel=0.1)


# --- further steps that a configuration names ---


def test_named_steps_follow_those_of_the_policy_within_their_kind() -> None:
    assert names("medium+vertical-flip+downscale+grid-distortion") == [
        *("horizontal-flip", "affine", "elastic", "vertical-flip", "grid-distortion"),
        *("brightness-contrast", "gamma", "noise", "blur", "downscale"),
    ]


def test_a_policy_is_the_same_with_a_named_step_beside_it() -> None:
    assert [step for step in steps("medium+downscale", strength=1.5) if step.name != "downscale"] == steps(
        "medium", strength=1.5
    )


def test_named_steps_have_their_standard_magnitudes() -> None:
    assert steps("none+noise+blur") == [Noise(0.3, 0.03), Blur(0.2, 0.896)]
    assert steps("none+noise", strength=2.0) == [Noise(0.3, 0.06)]


def test_the_kind_filters_named_steps() -> None:
    assert names("none+noise+affine", kind="geometry") == ["affine"]
    assert names("none+noise+affine", kind="intensity") == ["noise"]


def test_strength_0_leaves_steps_without_magnitudes() -> None:
    assert names("medium+vertical-flip+downscale", strength=0.0) == ["horizontal-flip", "vertical-flip"]


@pytest.mark.parametrize("step", AUGMENTATION_STEPS)
def test_every_step_can_be_named(step: str) -> None:
    assert names(f"none+{step}") == [step]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("light", ("light", ())),
        ("none+noise", ("none", ("noise",))),
        ("medium+vertical-flip+downscale", ("medium", ("vertical-flip", "downscale"))),
    ],
)
def test_parses_a_policy_and_steps(text: str, expected: tuple[str, tuple[str, ...]]) -> None:
    assert policies.parse_policy(text) == expected


def test_the_configuration_knows_the_steps_of_each_policy() -> None:
    assert {name: tuple(magnitudes) for name, magnitudes in policies.POLICIES.items()} == config.POLICIES


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mediun+noise", "should be one of none, light, medium, strong, with '+' and the name of a step or without"),
        ("", "should be one of none, light, medium, strong, with '+' and the name of a step or without"),
        ("medium+", f"should be one of {', '.join(AUGMENTATION_STEPS)}"),
        ("light+nois", "(Did you mean 'noise'?)"),
        ("medium+noise", "the policy 'medium' has the step 'noise' already; leave '+noise' out"),
        ("none+blur+blur", "the step 'blur' is named twice; name it once"),
    ],
)
def test_a_configuration_refuses_what_it_cannot_mean(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.TrialConfig.parse({"augmentation": text})
    assert f"augmentation: {sentence}" in str(caught.value) or sentence in str(caught.value)
    assert str(caught.value).endswith(f", got '{text}'.")


def test_parsing_imports_no_library_of_images_or_tensors() -> None:
    code = """
import sys
from bts_tune.augmentation.policies import parse_policy
parse_policy("medium+downscale")
heavy = {"torch", "albumentations", "cv2", "numpy", "pydantic"} & set(sys.modules)
assert not heavy, heavy
"""
    root = Path(__file__).parents[2]
    finished = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
