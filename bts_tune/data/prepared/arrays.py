"""NumPy's own files -> pixels. Nothing is unpickled, and the size is judged by the header."""

from __future__ import annotations

import io

import numpy as np

from bts_tune.config import MAX_CHANNELS
from bts_tune.data.records import MAX_PIXELS
from bts_tune.errors import DataError

ARRAY_SIGNATURE = b"\x93NUMPY"


def decode_array(data: bytes, name: str, *, many: bool = False) -> np.ndarray:
    """Return the pixels of a `.npy` file: [height, width] or [height, width, channels]; 3 or 4 in BGR(A) order.

    Channels, at most 16, may come first or last; 3 or 4 are taken for RGB(A). Booleans become 0 and 255, wide
    integers that fit become 16-bit ones; other ones, and wide floating-point values, become 32-bit floating-point
    values.

    Args:
        data: content of the file.
        name: what to call it in an error.
        many: whether other numbers of channels than 3 and 4 are read, at most `MAX_CHANNELS`.

    Raises:
        DataError: it is broken, holds objects or no numbers, or has another shape or more than `MAX_PIXELS`.
    """
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(file)
    except Exception:
        raise DataError(f"{name}: is broken; its header cannot be read.") from None
    if kind.kind not in "buif" or kind.itemsize > 8:
        raise DataError(f"{name}: holds {kind}; an image holds integers, booleans or real numbers.")
    plain = shape
    if len(shape) == 3 and 1 in (shape[0], shape[2]):
        plain = shape[1:] if shape[0] == 1 else shape[:2]
    first = len(plain) == 3 and _channels_first(plain, many)
    height_width = (plain[1:] if first else plain[:2]) if len(plain) == 3 else plain
    if len(plain) not in (2, 3) or (len(plain) == 3 and not first and not _is_channels(plain[2], many)):
        listed = " x ".join(map(str, shape)) or "no axes"
        raise DataError(
            f"{name}: holds an array of {listed}; an image is height x width, or that with 3 or 4 channels; others, "
            f"up to {MAX_CHANNELS}, are read as they are with channels: N."
        )
    height, width = height_width
    if height * width > MAX_PIXELS:
        raise DataError(f"{name}: has {width} x {height} pixels; at most {MAX_PIXELS} are allowed.")
    if height * width == 0:
        raise DataError(f"{name}: has {width} x {height} pixels; an image needs at least one.")
    try:
        file.seek(0)
        pixels = np.load(file, allow_pickle=False).reshape(plain)
    except Exception:
        raise DataError(f"{name}: is broken or truncated; it cannot be decoded.") from None
    if first:
        pixels = np.moveaxis(pixels, 0, 2)
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    return np.ascontiguousarray(narrowed(pixels))


def _channels_first(shape: tuple[int, ...], many: bool) -> bool:
    """Return whether the channels are the first of three axes: 3 or 4 of them rather than another number."""
    for others in (False, True) if many else (False,):
        if _is_channels(shape[2], others):
            return False
        if _is_channels(shape[0], others):
            return True
    return False


def _is_channels(size: int, many: bool) -> bool:
    return size in (3, 4) or (many and size <= MAX_CHANNELS)


def narrowed(pixels: np.ndarray) -> np.ndarray:
    """Return numbers of any type as those that images have: uint8, uint16 or float32."""
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype in (np.uint8, np.uint16, np.float32):
        return pixels.astype(pixels.dtype.newbyteorder("="))
    if pixels.dtype.kind in "ui" and pixels.min(initial=0) >= 0 and pixels.max(initial=0) < 2**16:
        return pixels.astype(np.uint16)
    return pixels.astype(np.float32)
