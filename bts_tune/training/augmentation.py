"""Augmentation policies, by albumentations: the only file that imports it.

A policy is a list of geometric transforms followed by a list of intensity transforms. Masks are resampled by nearest
neighbour and stay binary; pixels that come in from outside repeat the edge, which suits a dark background as well as
one that equalisation lifted to grey. `augmentation_strength` multiplies every magnitude; probabilities stay.

    policy   geometry                                            intensity
    light    flip; rotate 10°, scale 10 %, shift 5 %             brightness and contrast 10 %
    medium   flip; rotate 20°, scale 15 %, shift 8 %, shear 5°;  brightness and contrast 20 %, gamma 20 %, noise 3 %,
             elastic 20                                          blur
    strong   flips both ways; rotate 45°, scale 25 %, shift      brightness and contrast 30 %, gamma 40 %, noise 6 %,
             12 %, shear 10°; elastic 40; grid 20 %              blur, illumination gradient 20 %, loss of resolution
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import cv2
import numpy as np

from bts_tune.config import AugmentationPart

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks the network for its newest version
import albumentations as A


@dataclass(frozen=True)
class _Magnitudes:
    """The magnitudes of one policy at strength 1; angles in degrees, the others as fractions."""

    rotate: float
    scale: float
    shift: float
    shear: float
    elastic: float
    grid: float
    brightness: float
    gamma: float
    noise: float
    blur: float
    gradient: float
    downscale: float
    vertical_flip: bool


_POLICIES = {
    "light": _Magnitudes(10, 0.10, 0.05, 0, 0, 0, 0.1, 0, 0, 0, 0, 0, False),
    "medium": _Magnitudes(20, 0.15, 0.08, 5, 20, 0, 0.2, 0.2, 0.03, 1.0, 0, 0, False),
    "strong": _Magnitudes(45, 0.25, 0.12, 10, 40, 0.2, 0.3, 0.4, 0.06, 1.5, 0.2, 0.4, True),
}


class Augmenter:
    """Random changes of a slice and its mask. Not shared between threads: albumentations keeps its random state."""

    def __init__(self, config: AugmentationPart) -> None:
        self._compose = A.Compose(_transforms(config)) if config.augmentation != "none" else None

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Change a uint8 [H, W] image and its uint8 {0, 1} mask alike; the same seed gives the same change."""
        if self._compose is None:
            return image, mask
        self._compose.set_random_seed(seed)
        changed = self._compose(image=image, mask=mask)
        return changed["image"], changed["mask"]


def _transforms(config: AugmentationPart) -> list[A.BasicTransform]:
    magnitudes = _POLICIES[config.augmentation]
    transforms: list[A.BasicTransform] = []
    if config.augmentation_kind in ("geometry", "both"):
        transforms += _geometry(magnitudes, config.augmentation_strength)
    if config.augmentation_kind in ("intensity", "both"):
        transforms += _intensity(magnitudes, config.augmentation_strength)
    return transforms


def _geometry(m: _Magnitudes, strength: float) -> list[A.BasicTransform]:
    scale = min(m.scale * strength, 0.6)  # beyond, the head could shrink to a spot
    shift, shear, rotate = m.shift * strength, m.shear * strength, min(m.rotate * strength, 180.0)
    transforms: list[A.BasicTransform] = [A.HorizontalFlip(p=0.5)]
    if m.vertical_flip:
        transforms.append(A.VerticalFlip(p=0.5))
    transforms.append(
        A.Affine(
            rotate=(-rotate, rotate),
            scale=(1 - scale, 1 + scale),
            translate_percent=(-shift, shift),
            shear=(-shear, shear),
            border_mode=cv2.BORDER_REPLICATE,
            mask_interpolation=cv2.INTER_NEAREST,
            p=0.9,
        )
    )
    if m.elastic and strength:
        transforms.append(
            A.ElasticTransform(
                alpha=m.elastic * strength,
                sigma=6,
                border_mode=cv2.BORDER_REPLICATE,
                mask_interpolation=cv2.INTER_NEAREST,
                p=0.3,
            )
        )
    if m.grid and strength:
        limit = min(m.grid * strength, 0.9)
        transforms.append(
            A.GridDistortion(
                distort_limit=(-limit, limit),
                border_mode=cv2.BORDER_REPLICATE,
                mask_interpolation=cv2.INTER_NEAREST,
                p=0.3,
            )
        )
    return transforms


def _intensity(m: _Magnitudes, strength: float) -> list[A.BasicTransform]:
    if not strength:
        return []
    brightness = min(m.brightness * strength, 0.9)
    transforms: list[A.BasicTransform] = [
        A.RandomBrightnessContrast(
            brightness_limit=(-brightness, brightness), contrast_limit=(-brightness, brightness), p=0.8
        )
    ]
    if m.gamma:
        gamma = min(m.gamma * strength, 0.8)
        transforms.append(A.RandomGamma(gamma_limit=(100 * (1 - gamma), 100 * (1 + gamma)), p=0.5))
    if m.gradient:
        transforms.append(A.Illumination(intensity_range=(0.01, min(m.gradient * strength, 0.2)), p=0.3))
    if m.noise:
        transforms.append(A.GaussNoise(std_range=(0.0, min(m.noise * strength, 0.5)), p=0.3))
    if m.blur:
        transforms.append(A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, max(0.1, m.blur * strength)), p=0.2))
    if m.downscale:
        loss = min(m.downscale * strength, 0.8)
        transforms.append(
            A.Downscale(
                scale_range=(1 - loss, 1.0),
                interpolation_pair={"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR},
                p=0.2,
            )
        )
    return transforms
