"""Augmentation policies: which steps a trial's training images go through, and how strong they are.

The configuration field `augmentation` is a policy (`medium`), or a policy and the names of further steps
(`medium+downscale`, `none+noise`). A policy is a table from the names of steps to their magnitudes at strength 1;
`augmentation_strength` multiplies every magnitude. Probabilities stay as they are, flips included. Lengths are shares
of the image's side, so that a policy means the same at any image size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING

from bts_tune.registry import AUGMENTATION_STEPS

if TYPE_CHECKING:
    from bts_tune.augmentation.steps.base import Step
    from bts_tune.config import AugmentationPart

# Changing a number here changes what the configurations of earlier runs mean.
POLICIES: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "none": {},
    "light": {
        "horizontal-flip": {},
        "affine": {"rotate": 10, "scale": 0.10, "shift": 0.05, "shear": 0},
        "brightness-contrast": {"brightness": 0.04, "contrast": 0.15},
        "gamma": {"limit": 0.15},
    },
    "medium": {
        "horizontal-flip": {},
        "affine": {"rotate": 20, "scale": 0.15, "shift": 0.08, "shear": 5},
        "elastic": {"displacement": 0.007},
        "brightness-contrast": {"brightness": 0.06, "contrast": 0.25},
        "gamma": {"limit": 0.25},
        "noise": {"deviation": 0.03},
        "blur": {"sigma": 0.004},
    },
    "strong": {
        "horizontal-flip": {},
        "vertical-flip": {},
        "affine": {"rotate": 45, "scale": 0.25, "shift": 0.12, "shear": 10},
        "elastic": {"displacement": 0.014},
        "grid-distortion": {"limit": 0.2},
        "brightness-contrast": {"brightness": 0.08, "contrast": 0.35},
        "gamma": {"limit": 0.40},
        "illumination": {"highest": 0.15},
        "noise": {"deviation": 0.06},
        "blur": {"sigma": 0.006},
        "downscale": {"loss": 0.4},
    },
}
"""Of each policy, its steps and the keyword arguments of their `Step.standard`."""


def parse_policy(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the policy of a value of `augmentation`, and the steps that it names itself; no step is imported.

    What the value may be is checked where a configuration is made (`bts_tune.config`).
    """
    policy, *named = text.split("+")
    return policy, tuple(named)


def names_of_steps(config: AugmentationPart) -> list[str]:
    """Return the names of a configuration's steps, those that `augmentation_kind` leaves out not among them."""
    policy, named = parse_policy(config.augmentation)
    kinds = {name: AUGMENTATION_STEPS.get(name).kind for name in (*POLICIES[policy], *named)}
    return [name for name, kind in kinds.items() if config.augmentation_kind in (kind, "both")]


def steps(config: AugmentationPart, image_size: int) -> list[Step]:
    """Return the steps in the order in which they are applied: geometry first, then intensity.

    Within a kind, the policy's own steps come first, then those that the configuration names. Each happens to an image
    by chance, independently of the others, and its magnitudes are drawn anew for each image.
    """
    policy, named = parse_policy(config.augmentation)
    strength = config.augmentation_strength
    magnitudes = {**POLICIES[policy], **{name: {} for name in named}}
    classes = {name: AUGMENTATION_STEPS.get(name) for name in magnitudes}
    return [
        classes[name].standard(strength, image_size, **magnitudes[name])
        for kind in ("geometry", "intensity")
        for name in magnitudes
        if classes[name].kind == kind
        and config.augmentation_kind in (kind, "both")
        and (strength or not _has_magnitudes(classes[name]))
    ]


def _has_magnitudes(step: type[Step]) -> bool:
    """Return whether there is more to a step than its probability; without, it is the same at strength 0."""
    return len(fields(step)) > 1
