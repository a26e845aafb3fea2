"""Files -> pixels: one definition of how an image is read, equalised and resized, for training and prediction alike.

- Grey, colour and palette images become one channel (Rec. 601 luma, OpenCV's). Transparency is taken for black.
- 8-bit values are kept. 16-bit, 32-bit and floating-point values are scaled linearly from the image's own smallest and
  largest value to 0 … 255; a constant image becomes 0.
- Pixels are used as they are stored: an orientation in the EXIF data is ignored, as it is by masks and annotations.
- Equalisation happens at the image's own size, before resizing.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from bts_tune.config import Equalization, PreprocessingPart
from bts_tune.data.files import read_file
from bts_tune.data.prepared.arrays import ARRAY_SIGNATURE, decode_array
from bts_tune.data.prepared.masks import draw_mask
from bts_tune.data.records import MAX_PIXELS, SliceRecord
from bts_tune.errors import DataError

CLAHE_CLIP_LIMIT = 2.0
CLAHE_TILES = (8, 8)

_FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP")
# OpenCV hands out the inks of a TIFF as if they were colours and transparency.
_FOREIGN_COLORS = ("CMYK", "LAB")
_FLAGS = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION

# What is wrong with a file is said once, in our own sentence. OpenCV 5 has the function in another place than OpenCV 4.
(cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel)(0)
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_grey(path: Path) -> np.ndarray:
    """Return an image as uint8 [height, width].

    Raises:
        DataError: the file is missing, is no PNG, JPEG or TIFF, is broken, has several pages or is too large.
    """
    return to_grey(decode(read_bytes(path), str(path)), str(path))


def read_slice(record: SliceRecord) -> np.ndarray:
    """Return the image of a slice as uint8 [height, width].

    Raises:
        DataError: it cannot be read, see `read_grey`.
    """
    if record.source is not None:
        return to_grey(record.source.image(), record.name)
    return read_grey(record.image)


def read_mask(record: SliceRecord) -> np.ndarray:
    """Return the tumour of a slice as uint8 [height, width] of 0 and 1, at the native size.

    Raises:
        DataError: the mask's file cannot be read, see `read_grey`.
    """
    if record.source is not None:
        return to_mask(record.source.mask())
    if record.mask is not None:
        return to_mask(decode(read_bytes(record.mask), str(record.mask)))
    if record.width is None or record.height is None:
        raise DataError(f"{record.name}: has neither a mask nor a declared size.")
    return draw_mask(record.annotations, record.height, record.width)


def preprocess(image: np.ndarray, preprocessing: PreprocessingPart) -> np.ndarray:
    """Return a grey image (uint8 [height, width]) equalised, then resized to uint8 [image_size, image_size]."""
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


def decode(data: bytes, name: str) -> np.ndarray:
    """Return the pixels of an image file as stored: [height, width] or [height, width, 3 or 4] in BGR(A) order.

    Args:
        data: content of the file.
        name: what to call it in an error.

    Raises:
        DataError: it is no image, broken, of several pages, in inks (CMYK) or above `MAX_PIXELS`; the size is taken
            from the header, before anything is decoded.
    """
    if data.startswith(ARRAY_SIGNATURE):
        return decode_array(data, name)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as header:
            width, height = header.size
            pages = getattr(header, "n_frames", 1)
            kind, mode = header.format, header.mode
    except Image.DecompressionBombError:
        raise DataError(f"{name}: has more than {MAX_PIXELS} pixels.") from None
    except UnidentifiedImageError:
        raise DataError(
            f"{name}: is not an image that can be read (PNG, JPEG, GIF, BMP, WebP, NPY, or TIFF of 8-, 16- or 32-bit "
            "values are)."
        ) from None
    except Exception:
        # Pillow raises whatever its header parsers stumble on: SyntaxError, struct.error, ValueError, KeyError …
        raise DataError(f"{name}: is broken; its header cannot be read.") from None
    if width * height > MAX_PIXELS:
        raise DataError(f"{name}: has {width} x {height} pixels; at most {MAX_PIXELS} are allowed.")
    if width * height == 0:
        raise DataError(f"{name}: has {width} x {height} pixels; an image needs at least one.")
    if mode in _FOREIGN_COLORS:
        raise DataError(f"{name}: has its colours as {mode}; convert it to grey or RGB.")
    if pages > 1:
        raise DataError(f"{name}: has {pages} pages; an image of one slice is needed.")
    # Some versions of OpenCV fill the rest of a truncated JPEG with grey: look for the end-of-image marker.
    truncated = kind == "JPEG" and data.find(b"\xff\xd9", data.rfind(b"\xff\xda")) < 0
    if kind == "GIF":  # of which OpenCV's builds differ
        return _decode_gif(data, name)
    try:
        pixels = None if truncated else cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise DataError(f"{name}: is broken, truncated or of a pixel type that is not supported; it cannot be decoded.")
    return pixels


def _decode_gif(data: bytes, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=("GIF",)) as image:
            transparent = "transparency" in image.info
            colours = np.asarray(image.convert("RGBA" if transparent else "RGB"))
    except Exception:
        raise DataError(f"{name}: is broken or truncated; it cannot be decoded.") from None
    return np.ascontiguousarray(colours[..., [2, 1, 0, 3] if transparent else [2, 1, 0]])


def to_grey(pixels: np.ndarray, name: str) -> np.ndarray:
    """Return decoded pixels as uint8 [height, width]; see the module's first lines.

    Raises:
        DataError: a value is infinite or not a number.
    """
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
    return np.rint((values - low) * (255.0 / (high - low))).astype(np.uint8)


def to_mask(pixels: np.ndarray) -> np.ndarray:
    """Return decoded pixels as uint8 [height, width]: 1 where any colour is non-zero and not fully transparent."""
    if pixels.ndim == 2:
        return (pixels != 0).astype(np.uint8)
    mask = (pixels[..., :3] != 0).any(axis=-1)
    if pixels.shape[2] == 4:
        mask &= pixels[..., 3] != 0
    return mask.astype(np.uint8)
