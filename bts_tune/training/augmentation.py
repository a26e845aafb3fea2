"""Augmentation policies, by albumentations: the only file that imports it.

A policy is a list of geometric transforms followed by a list of intensity transforms. Masks are resampled by nearest
neighbour and stay binary; pixels that come in from outside repeat the edge, which suits a dark background as well as
one that equalisation lifted to grey. `augmentation_strength` multiplies every magnitude; probabilities, flips included,
stay. Lengths are shares of the image's side, so that a policy means the same at any image size.

    policy   geometry                                            intensity
    light    flip; rotate 10°, scale 10 %, shift 5 %             brightness 4 %, contrast down to -15 %, gamma 15 %
    medium   flip; rotate 20°, scale 15 %, shift 8 %, shear 5°;  brightness 6 %, contrast down to -25 %, gamma 25 %,
             elastic 0.7 %                                       noise 3 %, blur 0.4 %
    strong   flips both ways; rotate 45°, scale 25 %, shift      brightness 8 %, contrast down to -35 %, gamma 40 %,
             12 %, shear 10°; elastic 1.4 %; grid 20 %           noise 6 %, blur 0.6 %, illumination gradient 15 %,
                                                                 loss of resolution 40 %

Brightness and contrast are tame on purpose: half of an equalised slice is bright, and more of either would drive the
brain, tumour and all, into plain white. Gamma, which keeps black and white where they are, does most of the work.
"""

from __future__ import annotations

import os
import random
import threading
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
    brightness: float
    contrast: float
    gamma: float
    shear: float = 0.0
    elastic: float = 0.0
    grid: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    gradient: float = 0.0
    downscale: float = 0.0
    vertical_flip: bool = False


_POLICIES = {
    "light": _Magnitudes(rotate=10, scale=0.10, shift=0.05, brightness=0.04, contrast=0.15, gamma=0.15),
    "medium": _Magnitudes(
        rotate=20,
        scale=0.15,
        shift=0.08,
        shear=5,
        elastic=0.007,
        brightness=0.06,
        contrast=0.25,
        gamma=0.25,
        noise=0.03,
        blur=0.004,
    ),
    "strong": _Magnitudes(
        rotate=45,
        scale=0.25,
        shift=0.12,
        shear=10,
        elastic=0.014,
        grid=0.2,
        vertical_flip=True,
        brightness=0.08,
        contrast=0.35,
        gamma=0.40,
        noise=0.06,
        blur=0.006,
        gradient=0.15,
        downscale=0.4,
    ),
}

_ELASTIC_SMOOTHNESS = 1 / 16  # sigma of the displacement field, as a share of the image's side
# ElasticTransform smooths uniform noise in [-alpha, alpha] with a Gaussian of sigma: what remains of the noise is
# alpha / sqrt(3) / (2 sqrt(pi) sigma) per axis.
_ELASTIC_ALPHA = 2 * np.sqrt(3 * np.pi)


class Augmenter:
    """Random changes of a slice and its mask, by one policy.

    Threads may share it: each has its own transforms, because albumentations keeps the random state in them.
    """

    def __init__(self, config: AugmentationPart, image_size: int) -> None:
        self._config, self._image_size = config, image_size
        self._of_thread = threading.local()

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Change a uint8 [S, S] image and its uint8 {0, 1} mask alike; the same seed gives the same change."""
        compose = getattr(self._of_thread, "compose", None)
        if compose is None:
            compose = self._of_thread.compose = A.Compose(_transforms(self._config, self._image_size))
        # `set_random_seed` would give each transform a generator of its own with the same seed: all of them would then
        # be applied, or not, by the same random number. One shared generator makes them independent.
        compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        changed = compose(image=image, mask=mask)
        return changed["image"], changed["mask"]


def _transforms(config: AugmentationPart, image_size: int) -> list[A.BasicTransform]:
    if config.augmentation == "none":
        return []
    magnitudes = _POLICIES[config.augmentation]
    transforms: list[A.BasicTransform] = []
    if config.augmentation_kind in ("geometry", "both"):
        transforms += _geometry(magnitudes, config.augmentation_strength, image_size)
    if config.augmentation_kind in ("intensity", "both") and config.augmentation_strength:
        transforms += _intensity(magnitudes, config.augmentation_strength, image_size)
    return transforms


def _geometry(m: _Magnitudes, strength: float, image_size: int) -> list[A.BasicTransform]:
    transforms: list[A.BasicTransform] = [A.HorizontalFlip(p=0.5)]
    if m.vertical_flip:
        transforms.append(A.VerticalFlip(p=0.5))
    if not strength:
        return transforms
    fill = {"border_mode": cv2.BORDER_REPLICATE, "mask_interpolation": cv2.INTER_NEAREST}
    scale = min(m.scale * strength, 0.6)  # beyond, the head could shrink to a spot
    shift, shear, rotate = m.shift * strength, m.shear * strength, m.rotate * strength
    transforms.append(
        A.Affine(
            rotate=(-rotate, rotate),
            scale=(1 - scale, 1 + scale),
            keep_ratio=True,
            translate_percent=(-shift, shift),
            shear=(-shear, shear),
            p=0.9,
            **fill,
        )
    )
    if m.elastic:
        sigma = image_size * _ELASTIC_SMOOTHNESS
        alpha = m.elastic * strength * image_size * sigma * _ELASTIC_ALPHA
        transforms.append(A.ElasticTransform(alpha=alpha, sigma=sigma, p=0.3, **fill))
    if m.grid:
        limit = min(m.grid * strength, 0.9)
        transforms.append(A.GridDistortion(distort_limit=(-limit, limit), p=0.3, **fill))
    return transforms


def _intensity(m: _Magnitudes, strength: float, image_size: int) -> list[A.BasicTransform]:
    brightness, contrast = m.brightness * strength, min(m.contrast * strength, 0.8)
    gamma = 100 * min(m.gamma * strength, 0.8)
    transforms: list[A.BasicTransform] = [
        A.RandomBrightnessContrast(brightness_limit=(-brightness, brightness), contrast_limit=(-contrast, 0.0), p=0.8),
        A.RandomGamma(gamma_limit=(100 - gamma, 100 + gamma), p=0.5),
    ]
    if m.gradient:
        gradient = min(max(m.gradient * strength, 0.01), 0.2)  # what albumentations allows
        transforms.append(A.Illumination(intensity_range=(0.01, gradient), p=0.3))
    if m.noise:
        transforms.append(A.GaussNoise(std_range=(0.0, m.noise * strength), p=0.3))
    if m.blur:
        sigma = m.blur * strength * image_size
        transforms.append(A.GaussianBlur(blur_limit=0, sigma_limit=(0.0, sigma), p=0.2))
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
