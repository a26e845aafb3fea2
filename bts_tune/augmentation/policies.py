"""Augmentation policies: which steps, how likely and how strong. How they are carried out is not known here.

A policy is a list of geometric steps followed by a list of intensity steps. `augmentation.py` carries them out on one
image, `batch_augmentation.py` on a batch; both read this list, so that a policy has one meaning.
`augmentation_strength` multiplies every magnitude; probabilities, flips included, stay. Lengths are shares of the
image's side, so that a policy means the same at any image size.

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

import math
from dataclasses import dataclass

from bts_tune.config import AugmentationPart


@dataclass(frozen=True)
class HorizontalFlip:
    """Left becomes right."""

    probability: float


@dataclass(frozen=True)
class VerticalFlip:
    """Top becomes bottom."""

    probability: float


@dataclass(frozen=True)
class Affine:
    """Scale and rotate about the centre, shear and shift along both axes; each drawn evenly from -limit to limit.

    Attributes:
        rotate, shear: degrees.
        scale: a share: the factor is 1 - scale to 1 + scale, the same along both axes.
        shift: a share of the image's side; the shift is cut off to whole pixels.
    """

    probability: float
    rotate: float
    scale: float
    shift: float
    shear: float


@dataclass(frozen=True)
class Elastic:
    """Displace pixels by noise, even in [-alpha, alpha], that a Gaussian has smoothed (Simard et al., 2003).

    Attributes:
        alpha: pixels.
        sigma: of the Gaussian, pixels; the noise's edge is repeated outside the image.
    """

    probability: float
    alpha: float
    sigma: float


@dataclass(frozen=True)
class GridDistortion:
    """Stretch and squeeze the strips between the lines of a grid, by factors even in 1 - limit to 1 + limit.

    Attributes:
        cells: strips along each axis; what the division leaves over is one more.
    """

    probability: float
    limit: float
    cells: int = 5


@dataclass(frozen=True)
class BrightnessContrast:
    """Multiply greys by 1 - contrast to 1, then add -brightness to brightness times 255."""

    probability: float
    brightness: float
    contrast: float


@dataclass(frozen=True)
class Gamma:
    """Raise greys, as shares of 255, to a power of 1 - limit to 1 + limit."""

    probability: float
    limit: float


@dataclass(frozen=True)
class Illumination:
    """Multiply greys by a linear gradient at any angle, a being even in lowest to highest.

    Along an axis it goes from 1 - a to 1 + a, or the other way round; at other angles its ends are up to 3.8a from 1.
    """

    probability: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Noise:
    """Add Gaussian noise whose standard deviation is 0 to `deviation` times 255, cut off to whole greys."""

    probability: float
    deviation: float


@dataclass(frozen=True)
class Blur:
    """Smooth with a Gaussian whose standard deviation is 0 to `sigma` pixels."""

    probability: float
    sigma: float


@dataclass(frozen=True)
class Downscale:
    """Reduce the resolution to 1 - loss to 1 of what it was by area, and enlarge it again bilinearly."""

    probability: float
    loss: float


Step = (
    HorizontalFlip
    | VerticalFlip
    | Affine
    | Elastic
    | GridDistortion
    | BrightnessContrast
    | Gamma
    | Illumination
    | Noise
    | Blur
    | Downscale
)


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
# A Gaussian of sigma leaves of even noise in [-alpha, alpha] a standard deviation of
# alpha / sqrt(3) / (2 sqrt(pi) sigma) per axis.
_ELASTIC_ALPHA = 2 * math.sqrt(3 * math.pi)


def steps(config: AugmentationPart, image_size: int) -> list[Step]:
    """Return the steps of a policy in the order in which they are carried out; none for the policy `none`.

    Every step happens by chance, by itself, with its own probability; its magnitudes are drawn anew for each image.
    """
    if config.augmentation == "none":
        return []
    magnitudes = _POLICIES[config.augmentation]
    found: list[Step] = []
    if config.augmentation_kind in ("geometry", "both"):
        found += _geometry(magnitudes, config.augmentation_strength, image_size)
    if config.augmentation_kind in ("intensity", "both") and config.augmentation_strength:
        found += _intensity(magnitudes, config.augmentation_strength, image_size)
    return found


def _geometry(m: _Magnitudes, strength: float, image_size: int) -> list[Step]:
    found: list[Step] = [HorizontalFlip(0.5)]
    if m.vertical_flip:
        found.append(VerticalFlip(0.5))
    if not strength:
        return found
    scale = min(m.scale * strength, 0.6)  # beyond, the head could shrink to a spot
    found.append(Affine(0.9, m.rotate * strength, scale, m.shift * strength, m.shear * strength))
    if m.elastic:
        sigma = image_size * _ELASTIC_SMOOTHNESS
        found.append(Elastic(0.3, m.elastic * strength * image_size * sigma * _ELASTIC_ALPHA, sigma))
    if m.grid:
        found.append(GridDistortion(0.3, min(m.grid * strength, 0.9)))
    return found


def _intensity(m: _Magnitudes, strength: float, image_size: int) -> list[Step]:
    found: list[Step] = [
        BrightnessContrast(0.8, m.brightness * strength, min(m.contrast * strength, 0.8)),
        Gamma(0.5, min(m.gamma * strength, 0.8)),
    ]
    if m.gradient:
        highest = min(max(m.gradient * strength, 0.01), 0.2)  # what albumentations allows
        found.append(Illumination(0.3, 0.01, highest))
    if m.noise:
        found.append(Noise(0.3, m.noise * strength))
    if m.blur:
        found.append(Blur(0.2, m.blur * strength * image_size))
    if m.downscale:
        found.append(Downscale(0.2, min(m.downscale * strength, 0.8)))
    return found
