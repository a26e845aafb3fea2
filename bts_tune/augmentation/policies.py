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

from bts_tune.errors import ConfigError
from bts_tune.registry import AUGMENTATION_STEPS
from bts_tune.text import nearest, quoted

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

    Raises:
        ConfigError: a name is unknown, or a step would be there twice.
    """
    policy, *named = text.split("+")
    where = f"augmentation is {quoted(text)}"
    if policy not in POLICIES:
        allowed = ", ".join(POLICIES)
        raise ConfigError(
            f"{where}: there is no policy {quoted(policy)}.{nearest(policy, [*POLICIES])} Allowed: {allowed}."
        )
    for place, step in enumerate(named):
        if step not in AUGMENTATION_STEPS:
            close = nearest(step, AUGMENTATION_STEPS.names())
            raise ConfigError(f"{where}: there is no step {quoted(step)}.{close} {AUGMENTATION_STEPS.allowed()}")
        if step in POLICIES[policy]:
            raise ConfigError(f"{where}: the policy {policy!r} has the step {step!r} already; leave '+{step}' out.")
        if step in named[:place]:
            raise ConfigError(f"{where}: the step {step!r} is named twice; name it once.")
    return policy, tuple(named)


def names_of_steps(config: AugmentationPart) -> list[str]:
    """Return the names of a configuration's steps, those that `augmentation_kind` leaves out not among them.

    Raises:
        ConfigError: `config.augmentation` is not valid.
    """
    policy, named = parse_policy(config.augmentation)
    kinds = {name: AUGMENTATION_STEPS.get(name).kind for name in (*POLICIES[policy], *named)}
    return [name for name, kind in kinds.items() if config.augmentation_kind in (kind, "both")]


def steps(config: AugmentationPart, image_size: int) -> list[Step]:
    """Return the steps in the order in which they are applied: geometry first, then intensity.

    Within a kind, the policy's own steps come first, then those that the configuration names. Each happens to an image
    by chance, independently of the others, and its magnitudes are drawn anew for each image.

    Raises:
        ConfigError: `config.augmentation` is not valid.
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
