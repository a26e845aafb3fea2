"""Files -> pixels: one definition of how an image is read, equalised and resized, for training and prediction alike.

- Pixels lie as a viewer shows them, see `decoding`.
- With `channels: 1`, grey, colour and palette images become one channel (Rec. 601 luma, OpenCV's). Transparency is
  taken for black.
- 8-bit values are kept. 16-bit, 32-bit and floating-point values are scaled linearly from the image's own smallest and
  largest value to 0 … 255; a constant image becomes 0. Burned-in marks, which lie far beyond all other values, are left
  out of the range, see `range_without_marks`.
- With more channels, those of the file are kept, red first, each scaled by itself; a fourth one beside three is
  transparency. A grey image, or one of equal channels, is repeated.
- Equalisation happens at the image's own size, before resizing.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from bts_tune.config import Equalization, PreprocessingPart
from bts_tune.data.files import read_file
from bts_tune.data.mask_rule import MaskRule
from bts_tune.data.prepared.decoding import decode, misfit
from bts_tune.data.prepared.masks import PlaneSource, draw_mask, mask_plane, plane_of
from bts_tune.data.records import SliceRecord
from bts_tune.errors import DataError

CLAHE_CLIP_LIMIT = 2.0
CLAHE_TILES = (8, 8)

MOST_MARKED = 0.03
"""Largest share of an image's pixels that is taken for burned-in marks."""


def read_image(path: Path, channels: int = 1) -> np.ndarray:
    """Return an image as uint8 [height, width], or [height, width, channels] of more than one.

    Raises:
        DataError: the file is missing, is no image that can be read, is broken, has several pages, is too large or has
            other channels.
    """
    return to_channels(decode(read_bytes(path), str(path), many=channels > 1), channels, str(path))


def read_grey(path: Path) -> np.ndarray:
    """Return an image as uint8 [height, width].

    Raises:
        DataError: see `read_image`.
    """
    return read_image(path)


def read_slice(record: SliceRecord, channels: int = 1) -> np.ndarray:
    """Return the image of a slice as uint8 [height, width], or [height, width, channels] of more than one.

    Raises:
        DataError: it cannot be read, see `read_image`.
    """
    return to_channels(_pixels_of(record, many=channels > 1), channels, _where(record))


def view_slice(record: SliceRecord) -> np.ndarray:
    """Return the image of a slice as uint8 [height, width] to look at and to compare, whatever channels it has.

    Raises:
        DataError: it cannot be read, see `read_image`.
    """
    return to_grey(_pixels_of(record, many=True), _where(record))


def _where(record: SliceRecord) -> str:
    """Return what to call a slice in an error: its file, where it has one of its own."""
    return record.name if record.source is not None else str(record.image)


def _pixels_of(record: SliceRecord, *, many: bool) -> np.ndarray:
    if record.source is not None:
        return record.source.image()
    return decode(read_bytes(record.image), str(record.image), many=many)


def read_mask(record: SliceRecord, rule: MaskRule | None = None) -> np.ndarray:
    """Return the tumour of a slice as uint8 [height, width] of 0 and 1, at the native size.

    Args:
        record: the slice.
        rule: which values of a mask's file are tumour; by default all but 0.

    Raises:
        DataError: the mask's file cannot be read, see `read_grey` and `mask_plane`.
    """
    if record.mask is not None:
        return (rule or MaskRule()).apply(read_plane(record, str(record.mask))[0])
    if record.width is None or record.height is None:
        raise DataError(f"{record.name}: has neither a mask nor a declared size.")
    return draw_mask(record.annotations, record.height, record.width)


def read_plane(record: SliceRecord, name: str) -> tuple[np.ndarray, PlaneSource]:
    """Return the values of a slice's mask, [height, width], and where in its file they were.

    Args:
        record: a slice with a mask.
        name: what to call the mask in an error.

    Raises:
        DataError: see `mask_plane`.
    """
    if record.source is not None:
        return plane_of(record.source.mask(), name)
    assert record.mask is not None
    return mask_plane(read_bytes(record.mask), name)


def preprocess(image: np.ndarray, preprocessing: PreprocessingPart) -> np.ndarray:
    """Return an image equalised, then resized to uint8 [image_size, image_size]; each channel by itself.

    Args:
        image: uint8 [height, width] or [height, width, channels].
        preprocessing: size and equalisation.
    """
    if image.ndim == 3:
        planes = [preprocess(np.ascontiguousarray(plane), preprocessing) for plane in np.moveaxis(image, 2, 0)]
        return np.stack(planes, axis=2)
    return resize_image(equalize(image, preprocessing.equalization), preprocessing.image_size)


def equalize(image: np.ndarray, kind: Equalization) -> np.ndarray:
    """Return uint8 [height, width] with its histogram equalised.

    Args:
        image: uint8 [height, width].
        kind: `none`; `histogram`, over the whole image; `clahe`, contrast-limited in 8 x 8 tiles with clip limit 2
            (Zuiderveld 1994).
    """
    if kind == "histogram":
        return cv2.equalizeHist(image)
    if kind == "clahe":
        return cv2.createCLAHE(CLAHE_CLIP_LIMIT, CLAHE_TILES).apply(image)
    return image


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Return an image as [size, size] by averaging over areas, or linearly where it is enlarged."""
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Return a mask as [size, size], each pixel that of the mask nearest to its centre."""
    # INTER_NEAREST takes a corner of each pixel's area and so shifts the mask against the image.
    return cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        DataError: it cannot be read.
    """
    return read_file(path)


def to_channels(pixels: np.ndarray, channels: int, name: str) -> np.ndarray:
    """Return decoded pixels as uint8 [height, width], or [height, width, channels]; see the module's first lines.

    Raises:
        DataError: a value is infinite or not a number, or the image has other channels.
    """
    if channels == 1 and (pixels.ndim == 2 or pixels.shape[2] in (3, 4)):
        return to_grey(pixels, name)
    held = channels if pixels.ndim == 3 and pixels.shape[2] == channels else held_channels(pixels)
    if not fits(held, channels):
        raise DataError(f"{name}: {misfit(held, channels)}")
    if held == 1:
        return np.repeat(to_grey(pixels, name)[..., None], channels, axis=2)
    if held in (3, 4):  # blue first
        pixels = pixels[..., [2, 1, 0, 3][:held]]
    planes = [to_grey(np.ascontiguousarray(pixels[..., place]), name) for place in range(channels)]
    if held == 4 and channels == 3:
        opaque = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1.0
        planes = [np.rint(plane * (pixels[..., 3] / np.float64(opaque))).astype(np.uint8) for plane in planes]
    return np.stack(planes, axis=2)


def held_channels(pixels: np.ndarray) -> int:
    """Return the channels of decoded pixels; 1 of grey ones and where red, green and blue are equal."""
    if pixels.ndim == 2:
        return 1
    first = pixels[..., :1]
    if pixels.shape[2] in (3, 4) and np.array_equal(np.broadcast_to(first, (*first.shape[:2], 3)), pixels[..., :3]):
        return 1
    return int(pixels.shape[2])


def fits(held: int, channels: int) -> bool:
    """Return whether an image of `held` channels can be read as one of `channels`."""
    return held in (1, channels) or (held in (3, 4) and channels == 1) or (held == 4 and channels == 3)


def to_grey(pixels: np.ndarray, name: str) -> np.ndarray:
    """Return decoded pixels as uint8 [height, width]; see the module's first lines.

    Of 2 channels, or of more than 4, it is the mean of the channels.

    Raises:
        DataError: a value is infinite or not a number.
    """
    if pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        planes = [to_grey(np.ascontiguousarray(plane), name) for plane in np.moveaxis(pixels, 2, 0)]
        return np.rint(np.mean(planes, axis=0)).astype(np.uint8)
    if pixels.ndim == 2:
        grey = pixels
    elif pixels.dtype in (np.uint8, np.uint16, np.float32):
        grey = cv2.cvtColor(pixels[..., :3], cv2.COLOR_BGR2GRAY)
    else:
        grey = pixels[..., :3].astype(np.float32) @ np.array([0.114, 0.587, 0.299], dtype=np.float32)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        opaque = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1.0
        grey = grey * (pixels[..., 3] / np.float64(opaque))
    if pixels.dtype == np.uint8:
        return np.rint(grey).astype(np.uint8) if grey.dtype != np.uint8 else grey
    values = grey.astype(np.float64)
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{name}: holds values that are infinite or not numbers.")
    if low == high:
        return np.zeros(values.shape, dtype=np.uint8)
    without_marks = range_without_marks(values)
    if without_marks is not None:
        low, high = without_marks
        values = values.clip(low, high)
    return np.rint((values - low) * (255.0 / (high - low))).astype(np.uint8)


def range_without_marks(values: np.ndarray) -> tuple[float, float] | None:
    """Return the range of an image's values but for burned-in marks, None where there are no such marks.

    Marks are at most `MOST_MARKED` of the pixels, most of which have the largest (or the smallest) value, while all
    other pixels lie within the nearest quarter of the range: scaled with them, the image would be almost black (or
    white).

    Args:
        values: float64 [height, width], finite and not constant.
    """
    for sign in (1, -1):
        signed = sign * values
        low, high = signed.min(), signed.max()
        body = np.quantile(signed, 1 - MOST_MARKED)
        quarter = low + (high - low) / 4
        if body >= quarter:
            continue
        beyond = signed[signed > quarter]
        marks = np.count_nonzero(beyond > high - (high - low) / 256)
        inside = signed[signed <= quarter].max()
        # A smooth tail of bright vessels reaches up to the quarter and holds few pixels of the largest value.
        if inside > low and marks >= max(4, len(beyond) / 3):
            found = sorted((sign * low, sign * inside))
            return float(found[0]), float(found[1])
    return None
