"""Datasets whose masks are saved as people really save them, each with what is right: the drawn ellipse, or a code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image

from tests.data.builders import write_image

SIDE = 64
IGNORED_ROWS = (0, SIDE - 1)

Save = Callable[[Path, np.ndarray, np.ndarray, int], object]
"""Is given the path without a suffix, the drawn mask (bool), the image and the number of the slice."""


@dataclass(frozen=True)
class MaskKind:
    """One way to save masks.

    Attributes:
        name: what it is.
        save: writes one mask.
        codes: of the issues that the check finds in the masks.
        agrees: least Dice of what is read and what was drawn; 0 where it is refused.
        labels: what `--tumor-labels` is given.
    """

    name: str
    save: Save
    codes: tuple[str, ...] = ()
    agrees: float = 1.0
    labels: tuple[str, ...] | None = None

    def build(self, root: Path) -> Path:
        for split, count in (("train", 6), ("valid", 3)):
            for number, (image, mask) in enumerate(slices(count, seed=count)):
                write_image(root / split / "images" / f"s{number}.png", image)
                path = root / split / "masks" / f"s{number}"
                path.parent.mkdir(parents=True, exist_ok=True)
                self.save(path, mask, image, number)
        return root


def slices(count: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield textured images with a bright ellipse, and the ellipse."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    for _ in range(count):
        texture = cv2.resize(rng.uniform(30, 130, (6, 6)).astype(np.float32), (SIDE, SIDE))
        cy, cx = rng.uniform(0.3, 0.7, 2) * SIDE
        a, b = rng.uniform(0.12, 0.2, 2) * SIDE
        mask = ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 <= 1
        yield np.clip(texture + mask * 90 + rng.normal(0, 4, mask.shape), 0, 255).astype(np.uint8), mask


def _png(values: Callable[[np.ndarray], Any]) -> Save:
    return lambda path, mask, image, number: write_image(path.with_suffix(".png"), np.asarray(values(mask)))


def _tiff(values: Callable[[np.ndarray], Any], **how: Any) -> Save:
    return lambda path, mask, image, number: tifffile.imwrite(path.with_suffix(".tif"), values(mask), **how)


def _pillow(picture: Callable[[np.ndarray], Image.Image], suffix: str = ".png", **how: Any) -> Save:
    return lambda path, mask, image, number: picture(mask).save(path.with_suffix(suffix), **how)


def _by_number(first: Save, others: Save) -> Save:
    """Save the first mask of each split in another way than the others."""
    return lambda path, mask, image, number: (others if number else first)(path, mask, image, number)


def _grey(mask: np.ndarray, tumour: int = 255, dtype: Any = np.uint8) -> np.ndarray:
    return (mask * tumour).astype(dtype)


def _lossy(values: Callable[[np.ndarray], np.ndarray], quality: int, suffix: str = ".jpg") -> Save:
    how = cv2.IMWRITE_JPEG_QUALITY if suffix == ".jpg" else cv2.IMWRITE_WEBP_QUALITY
    return lambda path, mask, image, number: cv2.imwrite(str(path.with_suffix(suffix)), values(mask), (how, quality))


_jpeg = _lossy(_grey, 75)


def _once_jpeg(mask: np.ndarray) -> np.ndarray:
    found = cv2.imdecode(cv2.imencode(".jpg", _grey(mask), [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_GRAYSCALE)
    return np.asarray(found)


def _antialiased(mask: np.ndarray) -> np.ndarray:
    smaller = cv2.resize(_grey(mask), (37, 37), interpolation=cv2.INTER_AREA)
    return cv2.resize(smaller, mask.shape[::-1], interpolation=cv2.INTER_LANCZOS4)


def _probability(mask: np.ndarray) -> np.ndarray:
    inside = cv2.distanceTransform(_grey(mask), cv2.DIST_L2, 5) - cv2.distanceTransform(_grey(~mask), cv2.DIST_L2, 5)
    return (1 / (1 + np.exp(-inside))).astype(np.float32)


def _noisy(mask: np.ndarray) -> np.ndarray:
    return (mask + np.random.default_rng(0).normal(0, 0.05, mask.shape)).astype(np.float32)


def _rgb(mask: np.ndarray, tumour: tuple[int, int, int], background: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
    return np.where(mask[..., None], np.array(tumour[::-1]), np.array(background[::-1])).astype(np.uint8)


def _palette(mask: np.ndarray, *colours: int) -> Image.Image:
    picture = Image.frombytes("P", mask.shape[::-1], mask.astype(np.uint8).tobytes())
    picture.putpalette(list(colours))
    return picture


def _labels(mask: np.ndarray, *values: float, dtype: Any = np.uint8) -> np.ndarray:
    """Give the upper and the lower part of the tumour different labels."""
    found = np.zeros(mask.shape, dtype=dtype)
    for part, value in zip(np.array_split(np.argwhere(mask), len(values)), values, strict=True):
        found[part[:, 0], part[:, 1]] = value
    return found


def _rims(mask: np.ndarray) -> np.ndarray:
    """Give the outermost two pixels of the tumour a label each."""
    inner = [cv2.erode(_grey(mask, 85), np.ones((3, 3)), iterations=times) for times in range(3)]
    return np.asarray(np.sum(inner, axis=0, dtype=np.uint8))


def _with_ignored(mask: np.ndarray) -> np.ndarray:
    found = _labels(mask, 1, 4)
    found[IGNORED_ROWS, :] = 255
    return found


def _with_speck(mask: np.ndarray) -> np.ndarray:
    found = _grey(mask)
    found[:4, :4] = 1
    return found


def _all_white(mask: np.ndarray) -> np.ndarray:
    return np.dstack([_rgb(mask, (255, 255, 255), (255, 255, 255)), _grey(mask)])


def _all_black(mask: np.ndarray) -> np.ndarray:
    return np.dstack([_rgb(mask, (0, 0, 0)), _grey(mask)])


def _cut_out(path: Path, mask: np.ndarray, image: np.ndarray, number: int) -> None:
    write_image(path.with_suffix(".png"), np.dstack([image, image, image, _grey(mask)]))


def _image_itself(path: Path, mask: np.ndarray, image: np.ndarray, number: int) -> None:
    write_image(path.with_suffix(".png"), image)


def _image_again(path: Path, mask: np.ndarray, image: np.ndarray, number: int) -> None:
    brighter = np.clip(image * 1.2 + 10, 0, 255).astype(np.uint8)
    cv2.imwrite(str(path.with_suffix(".jpg")), brighter, [cv2.IMWRITE_JPEG_QUALITY, 60])


def _two_colours(path: Path, mask: np.ndarray, image: np.ndarray, number: int) -> None:
    write_image(path.with_suffix(".png"), _rgb(mask, (255, 0, 0) if number % 2 else (0, 255, 0)))


def _empty(path: Path, mask: np.ndarray, image: np.ndarray, number: int) -> None:
    """Save noise near 0, as it is left of an empty mask."""
    noise = np.random.default_rng(0).integers(0, 4, mask.shape).astype(np.uint8)
    write_image(path.with_suffix(".png"), noise)


KINDS = [
    # Two values, whichever they are
    MaskKind("0 and 255", _png(_grey)),
    MaskKind("0 and 1", _png(lambda mask: _grey(mask, 1))),
    MaskKind("16 bits, 0 and 65535", _png(lambda mask: _grey(mask, 65535, np.uint16))),
    MaskKind("floats, 0 and 1", _tiff(lambda mask: mask.astype(np.float32))),
    MaskKind("floats of 64 bits, 0 and 1", _tiff(lambda mask: mask.astype(np.float64))),
    MaskKind("booleans in a PNG of 1 bit", _pillow(Image.fromarray)),
    MaskKind("TIFF of 1 bit", _pillow(Image.fromarray, ".tif")),
    MaskKind("TIFF of 1 bit, white is zero", _tiff(np.logical_not, photometric="miniswhite")),
    MaskKind("TIFF of 8 bits, white is zero", _tiff(lambda mask: 255 - _grey(mask), photometric="miniswhite")),
    MaskKind(
        "TIFF of 16 bits, white is zero",
        _tiff(lambda mask: 65535 - _grey(mask, 65535, np.uint16), photometric="miniswhite"),
    ),
    MaskKind("equal channels", _png(lambda mask: _rgb(mask, (255, 255, 255)))),
    MaskKind("red on black", _png(lambda mask: _rgb(mask, (200, 0, 0)))),
    MaskKind("palette of labels", _pillow(lambda mask: _palette(mask, 0, 0, 0, 128, 0, 0))),
    MaskKind("palette of greys", _pillow(lambda mask: _palette(mask, 0, 0, 0, 255, 255, 255))),
    MaskKind(
        "palette with a transparent background",
        _pillow(lambda mask: _palette(mask, 255, 255, 255, 128, 0, 0), transparency=0),
    ),
    MaskKind("GIF", _pillow(lambda mask: _palette(mask, 0, 0, 0, 128, 0, 0), format="GIF")),
    MaskKind("opaque", _png(lambda mask: np.dstack([_rgb(mask, (255, 255, 255)), np.full(mask.shape, 255, np.uint8)]))),
    MaskKind(
        "grey and alpha, opaque",
        _pillow(lambda mask: Image.merge("LA", [Image.fromarray(_grey(mask)), Image.new("L", (SIDE, SIDE), 255)])),
    ),
    MaskKind("some of 0 and 1, others of 0 and 255", _by_number(_png(lambda mask: _grey(mask, 1)), _png(_grey))),
    # Labels
    MaskKind("two labels", _png(lambda mask: _labels(mask, 1, 2))),
    MaskKind("labels spread over 8 bits", _png(lambda mask: _labels(mask, 85, 170, 255))),
    MaskKind("labels in rims of one pixel", _png(_rims)),
    MaskKind("0, 128 and 255", _png(lambda mask: _labels(mask, 128, 255))),
    MaskKind("BraTS labels and 255 to ignore", _png(_with_ignored), ("ignore-label",)),
    MaskKind(
        "255 to ignore in a few",
        _by_number(_png(_with_ignored), _png(lambda mask: _labels(mask, 1, 4))),
        ("ignore-label",),
    ),
    MaskKind(
        "0 and 255, and a label in a few", _by_number(_png(_with_speck), _png(_grey)), ("mixed-labels",), agrees=0.9
    ),
    MaskKind("labels, of which both are chosen", _png(lambda mask: _labels(mask, 1, 4)), labels=("1", "4")),
    MaskKind("fractions, named", _tiff(lambda mask: _labels(mask, 0.3, 1 / 3, dtype="f4")), labels=("0.3", "0.333333")),
    MaskKind("labels from 1, tumour named", _png(lambda mask: mask.astype(np.uint8) + 1), labels=("2",)),
    MaskKind("inverted, background named", _png(lambda mask: _grey(~mask)), labels=("0",)),
    # Values between
    MaskKind("JPEG", _jpeg, ("lossy-masks",)),
    MaskKind(
        "lossy WebP",
        _pillow(lambda mask: Image.fromarray(_grey(mask)).convert("RGB"), ".webp", quality=70),
        ("lossy-masks",),
        0.99,
    ),
    MaskKind("JPEG of low quality", _lossy(_grey, 40), ("lossy-masks",), 0.95),
    MaskKind("labels in a JPEG", _lossy(lambda mask: _grey(mask, 3), 95), ("labels-in-jpeg",), 0.9),
    MaskKind("PNG that was a JPEG", _png(_once_jpeg), ("lossy-masks",)),
    MaskKind("resized smoothly", _png(_antialiased), ("lossy-masks",), 0.98),
    MaskKind("probabilities", _tiff(_probability), ("lossy-masks",)),
    MaskKind("probabilities in per cent", _png(lambda mask: np.rint(100 * _probability(mask))), ("lossy-masks",)),
    MaskKind(
        "probabilities of 16 bits", _png(lambda mask: _grey(_probability(mask), 65535, np.uint16)), ("lossy-masks",)
    ),
    MaskKind("labels of lossy masks", _png(_once_jpeg), ("labels-in-grey",), 0.5, labels=("255",)),
    MaskKind("0 and 1 with noise", _tiff(_noisy), ("lossy-masks",)),
    MaskKind("few levels of a rim", _png(lambda mask: cv2.blur(_grey(mask), (3, 1))), ("lossy-masks",), 0.95),
    MaskKind("lossy but for one of two values", _by_number(_png(_grey), _jpeg), ("lossy-masks",)),
    MaskKind("two values but for one lossy", _by_number(_jpeg, _png(_grey)), ("lossy-masks",)),
    MaskKind(
        "equal channels that were a JPEG",
        _png(lambda mask: np.dstack([_once_jpeg(mask)] * 3)),
        ("lossy-masks",),
    ),
    # Transparency
    MaskKind("alpha alone", _png(_all_black), ("alpha-masks",)),
    MaskKind("white, alpha is the mask", _png(_all_white), ("alpha-masks",)),
    MaskKind("image cut out", _cut_out, ("alpha-masks",)),
    # Refused
    MaskKind("viridis", _png(lambda mask: _rgb(mask, (253, 231, 36), (68, 1, 84))), ("unclear-mask",), 0),
    MaskKind("magma", _png(lambda mask: _rgb(mask, (251, 252, 191), (0, 0, 3))), ("unclear-mask",), 0),
    MaskKind(
        "several colours in a mask",
        _png(lambda mask: cv2.applyColorMap(_labels(mask, 90, 250), 2)),
        ("unclear-mask",),
        0,
    ),
    MaskKind("masks of different colours", _two_colours, ("coloured-masks",), 0),
    MaskKind(
        "palette with a white background",
        _pillow(lambda mask: _palette(mask, 255, 255, 255, 0, 0, 0)),
        ("unclear-mask",),
        0,
    ),
    MaskKind(
        "not a number outside", _tiff(lambda mask: np.where(mask, 1, np.nan).astype(np.float32)), ("unclear-mask",), 0
    ),
    MaskKind("labels from 1", _png(lambda mask: mask.astype(np.uint8) + 1), ("no-background",), 0),
    MaskKind("inverted", _png(lambda mask: _grey(~mask)), ("inverted-masks",), 0),
    MaskKind(
        "inverted JPEG",
        lambda path, mask, image, number: _jpeg(path, ~mask, image, number),
        ("inverted-masks", "lossy-masks"),
        0,
    ),
    MaskKind("the images", _image_itself, ("grey-masks", "mask-is-image"), 0),
    MaskKind("the images, brighter and as JPEGs", _image_again, ("grey-masks", "mask-is-image"), 0),
    MaskKind(
        "lossy but for one of 0 and 1",
        _by_number(_png(lambda mask: _grey(mask, 1)), _jpeg),
        ("lossy-masks", "no-tumor", "odd-mask"),
        0,
    ),
    MaskKind("0 and 1 but for one lossy", _by_number(_jpeg, _png(lambda mask: _grey(mask, 1))), ("odd-mask",), 0),
    MaskKind(
        "lossy masks of two depths",
        _by_number(_png(lambda mask: _grey(_probability(mask), 65535, np.uint16)), _png(_once_jpeg)),
        ("lossy-masks", "no-tumor", "odd-mask"),
        0,
    ),
    MaskKind(
        "a fraction that is nowhere",
        _tiff(lambda mask: mask / np.float32(3)),
        ("no-tumor", "unknown-label"),
        0,
        ("0.33",),
    ),
    MaskKind("labels up to 255 in a JPEG", _lossy(lambda mask: _labels(mask, 128, 255), 95), ("lossy-labels",), 0),
    MaskKind(
        "labels up to 255 in a WebP", _lossy(lambda mask: _labels(mask, 85, 255), 80, ".webp"), ("lossy-labels",), 0
    ),
    MaskKind(
        "labels, one of them a JPEG",
        _by_number(_lossy(lambda mask: _labels(mask, 85, 255), 90), _png(lambda mask: _labels(mask, 85, 255))),
        ("lossy-labels",),
        0,
    ),
    MaskKind("a label that is nowhere", _png(_grey), ("no-tumor", "unknown-label"), 0, labels=("7",)),
    MaskKind(
        "five channels",
        _tiff(lambda mask: np.dstack([_grey(mask)] * 5), photometric="minisblack", planarconfig="contig"),
        ("unreadable-mask",),
        0,
    ),
    MaskKind(
        "an array of four channels",
        lambda path, mask, image, number: np.save(path.with_suffix(".npy"), np.dstack([mask, mask & False] * 2)),
        ("unclear-mask",),
        0,
    ),
    MaskKind("floats of 16 bits", _tiff(lambda mask: mask.astype(np.float16)), ("unreadable-mask",), 0),
]

ODD_ONES = [
    # The first mask of each split is another one than was drawn.
    MaskKind("one is inverted", _by_number(_png(lambda mask: _grey(~mask)), _png(_grey)), ("large-mask",)),
    MaskKind("one is empty", _by_number(_png(lambda mask: _grey(mask & False)), _png(_grey)), ("no-tumor",)),
    MaskKind("one is empty but for noise", _by_number(_empty, _jpeg), ("lossy-masks", "no-tumor")),
]
