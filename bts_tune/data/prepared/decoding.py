"""A file's bytes -> pixels as a viewer shows them.

- **Orientation**: pixels are turned as the file's orientation tag asks for (EXIF in JPEG, PNG and WebP; the TIFF tag),
  images and masks alike. `displayed_size` is the size after that; readers compare annotations with it.
- **White is zero**: such a TIFF of any depth is inverted, as a viewer does.
- What OpenCV would read wrongly (16-bit floats, inks) is refused. TIFFs of two or more than four channels are read by
  tifffile, those without a compression and with the usual ones; TIFFs in tiles too small for OpenCV by Pillow.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from bts_tune.config import MAX_CHANNELS
from bts_tune.data.extras import import_extra
from bts_tune.data.files import read_file
from bts_tune.data.prepared.arrays import ARRAY_SIGNATURE, decode_array, narrowed
from bts_tune.data.records import MAX_PIXELS
from bts_tune.errors import DataError

ORIENTATIONS = {
    2: "mirrored left to right",
    3: "rotated by 180°",
    4: "mirrored top to bottom",
    5: "transposed",
    6: "rotated by 90° clockwise",
    7: "transposed and rotated by 180°",
    8: "rotated by 90° anticlockwise",
}
"""What a viewer does with the stored pixels, by the number in the orientation tag; 1 is as stored."""

_FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP")
_READABLE = "PNG, JPEG, GIF, BMP, WebP, NPY, or TIFF of 8-, 16- or 32-bit values are"
# OpenCV hands out the inks of a TIFF as if they were colours and transparency.
_FOREIGN_COLORS = ("CMYK", "LAB")
_FLAGS = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
_ORIENTATION_TAG = 274
_WHITE_IS_ZERO = 0
_PHOTOMETRIC_INKS = {5: "CMYK", 8: "LAB", 9: "LAB", 10: "LAB"}
_FLOAT = 3
_ONE_AFTER_THE_OTHER = 2
_ALPHAS = (1, 2)  # premultiplied or not; 0 is a channel of unknown meaning

# What is wrong with a file is said once, in our own sentence. OpenCV 5 has the function in another place than OpenCV 4.
(cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel)(0)
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class Header:
    """What a file says of its pixels before they are decoded.

    Attributes:
        kind: its format, as Pillow calls it.
        width, height: as a viewer shows it.
        orientation: number in its orientation tag, 1 where there is none.
        palette: whether its pixels are indices of colours.
        white_is_zero: whether its values grow from white to black.
        grey_alpha: whether it is a TIFF of grey and alpha, whose alpha OpenCV drops.
        channels: of a TIFF with others than grey, RGB and alpha; else 0.
        planar: of a TIFF of more than 8 bits that holds one colour after the other, how many; else 0.
        plain: whether it holds 8-bit values that are used just as they are stored.
    """

    kind: str
    width: int
    height: int
    orientation: int = 1
    palette: bool = False
    white_is_zero: bool = False
    grey_alpha: bool = False
    channels: int = 0
    planar: int = 0
    plain: bool = True

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height as stored."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def displayed_size(path: Path) -> tuple[int, int]:
    """Return width and height of an image as a viewer shows it; only its header is decoded.

    Raises:
        DataError: it cannot be read; see `read_header`.
    """
    header = read_header(read_file(path), str(path), many=True)
    return header.width, header.height


def read_header(data: bytes, name: str, *, many: bool = False) -> Header:
    """Return what the header of an image file says.

    Args:
        data: content of the file.
        name: what to call it in an error.
        many: whether images of 2 channels, or of more than 4, are read; no viewer shows those.

    Raises:
        DataError: it is no image, broken, of several pages, of other channels or of a pixel type that is not supported,
            or above `MAX_PIXELS`.
    """
    if not data:
        raise DataError(f"{name}: is empty: the file has 0 bytes; copy it anew.")
    if data.startswith(ARRAY_SIGNATURE):
        pixels = decode_array(data, name, many=many)
        return Header("NPY", pixels.shape[1], pixels.shape[0], plain=pixels.dtype == np.uint8)
    header = _image_header(data, name)
    if header.channels and not many:
        raise DataError(f"{name}: {misfit(header.channels)}")
    if header.width * header.height > MAX_PIXELS:
        raise DataError(f"{name}: has {header.width} x {header.height} pixels; at most {MAX_PIXELS} are allowed.")
    if header.width * header.height == 0:
        raise DataError(f"{name}: has {header.width} x {header.height} pixels; an image needs at least one.")
    return header


def misfit(held: int, channels: int = 1) -> str:
    """Return what is wrong with an image of `held` channels that cannot be read as one of `channels`."""
    if channels == 1:
        return (
            f"has {held} channels; 1 (grey), 3 (RGB) or 4 (RGB with alpha) can be read. With channels: {held}, each is "
            "read as a channel of its own."
        )
    return f"has {held} channels; with channels: {channels}, an image has {channels}, or is grey."


def decode(data: bytes, name: str, *, many: bool = False) -> np.ndarray:
    """Return the pixels of an image file as a viewer shows them.

    They are [height, width] or [height, width, channels]; 3 or 4 channels are in BGR(A) order.

    Args:
        data: content of the file.
        name: what to call it in an error.
        many: as in `read_header`.

    Raises:
        DataError: see `read_header`, before anything is decoded; or the pixels are broken.
    """
    return decode_with_header(data, name, many=many)[0]


def decode_with_header(data: bytes, name: str, *, many: bool = False) -> tuple[np.ndarray, Header]:
    """Return what `decode` does, and the header."""
    header = read_header(data, name, many=many)
    if header.kind == "NPY":
        return decode_array(data, name, many=many), header
    # Some versions of OpenCV fill the rest of a truncated JPEG with grey: look for the end-of-image marker.
    truncated = header.kind == "JPEG" and data.find(b"\xff\xd9", data.rfind(b"\xff\xda")) < 0
    try:
        pixels = None if truncated else _pixels(data, header, name)
    except DataError:
        raise
    except Exception:  # cv2.error, and whatever Pillow's decoders stumble on
        pixels = None
    if pixels is None:
        raise DataError(f"{name}: is broken, truncated or of a pixel type that is not supported; it cannot be decoded.")
    by_opencv = not (header.channels or header.planar)
    if header.white_is_zero and not (by_opencv and pixels.dtype.itemsize == 1):  # OpenCV inverts those of 8 bits
        pixels = -pixels if pixels.dtype.kind == "f" else ~pixels
    # OpenCV has turned a TIFF already.
    return (pixels if header.kind == "TIFF" else upright(pixels, header.orientation)), header


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return stored pixels as a viewer shows them by their orientation tag."""
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def palette_of(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices [height, width] of a palette image as a viewer shows it, and its colours, uint8 [n, 3] in RGB.

    Transparent ones are black.

    Args:
        data: content of a file that `read_header` calls a palette image.
        name: what to call it in an error.

    Raises:
        DataError: it is broken.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            orientation = _exif_orientation(image, data)
            indices = np.array(image)  # Pillow turns a TIFF as it loads it
            colours = np.array(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
            transparent = image.info.get("transparency", ())
            turned = image.format == "TIFF"
    except Exception:  # the same parsers as below
        raise DataError(f"{name}: is broken; its palette cannot be read.") from None
    clear = [transparent] if isinstance(transparent, int) else [i for i, opaque in enumerate(transparent) if not opaque]
    colours[[index for index in clear if index < len(colours)]] = 0
    return (indices if turned else upright(indices, orientation)), colours


def _pixels(data: bytes, header: Header, name: str) -> np.ndarray | None:
    if header.channels or header.planar:
        read = _many_channels(data, header, name)
        return read if header.channels else np.ascontiguousarray(read[..., [2, 1, 0, 3][: header.planar]])
    if header.kind == "GIF":  # not every version of OpenCV reads it
        with Image.open(io.BytesIO(data), formats=("GIF",)) as image:
            transparent = "transparency" in image.info
            colours = np.array(image.convert("RGBA" if transparent else "RGB"))
        return np.ascontiguousarray(colours[..., [2, 1, 0, 3] if transparent else [2, 1, 0]])
    if header.grey_alpha:
        with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
            return np.ascontiguousarray(np.array(image.convert("LA"))[..., [0, 0, 0, 1]])
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS)
    return _by_pillow(data) if pixels is None and header.kind == "TIFF" else pixels


def _by_pillow(data: bytes) -> np.ndarray | None:
    """Return the pixels of an 8-bit TIFF that OpenCV cannot decode, as those in tiles of 16 pixels; None of others."""
    with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
        channels = {"L": None, "RGB": [2, 1, 0], "RGBA": [2, 1, 0, 3]}
        if image.mode not in channels:
            return None
        pixels, order = np.array(image), channels[image.mode]
    return pixels if order is None else np.ascontiguousarray(pixels[..., order])


def _many_channels(data: bytes, header: Header, name: str) -> np.ndarray:
    tifffile = import_extra("tifffile", "tiff", Path(name))
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    pixels = np.asarray(page.asarray())
    channels = header.channels or header.planar
    if pixels.shape == (channels, *header.stored_size[::-1]):  # one channel after the other
        pixels = np.moveaxis(pixels, 0, 2)
    if pixels.shape != (*header.stored_size[::-1], channels):
        raise DataError(f"{name}: has {' x '.join(map(str, pixels.shape))} values; an image with channels is needed.")
    return upright(narrowed(pixels), header.orientation)


def _image_header(data: bytes, name: str) -> Header:
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            kind, mode = str(image.format), image.mode
            pages = getattr(image, "n_frames", 1)
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                return _tiff_header(dict(image.tag_v2), pages, mode, name)
            width, height = image.size
            # A tag behind the pixels is found by decoding them, which a gigantic image must not get to.
            orientation = _exif_orientation(image, data) if width * height <= MAX_PIXELS else 1
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(f"{name}: has more than {MAX_PIXELS} pixels.") from None
    except UnidentifiedImageError:
        # Pillow knows fewer kinds of TIFF than OpenCV, and does not say what is in those that neither knows.
        tags = _tiff_tags(data)
        if tags is None:
            raise DataError(f"{name}: is not an image that can be read ({_READABLE}).") from None
        return _tiff_header(tags[0], tags[1], "", name)
    except Exception:
        # Pillow raises whatever its header parsers stumble on: SyntaxError, struct.error, ValueError, KeyError …
        raise DataError(f"{name}: is broken; its header cannot be read.") from None
    _refuse(name, mode if mode in _FOREIGN_COLORS else None, pages)
    if orientation >= 5:
        width, height = height, width
    plain = orientation == 1 and not mode.startswith(("I", "F")) and mode != "P"
    return Header(kind, width, height, orientation, palette=mode == "P", plain=plain)


def _tiff_header(tags: dict[int, Any], pages: int, mode: str, name: str) -> Header:
    def first(tag: int, default: int) -> int:
        value = tags.get(tag, default)
        return int(value[0] if isinstance(value, tuple) else value)

    try:
        width, height = first(256, 0), first(257, 0)
        bits, channels, sample = first(258, 1), first(277, 1), first(339, 1)
        photometric, orientation = first(262, 1), first(_ORIENTATION_TAG, 1)
        arrangement = first(284, 1)
    except (TypeError, ValueError, IndexError):
        raise DataError(f"{name}: is broken; its header cannot be read.") from None
    orientation = orientation if orientation in ORIENTATIONS else 1
    _refuse(name, mode if mode in _FOREIGN_COLORS else _PHOTOMETRIC_INKS.get(photometric), pages)
    extra = tags.get(338) or ()
    has_alpha = any(kind in _ALPHAS for kind in (extra if isinstance(extra, tuple) else (extra,)))
    many = channels > 4 or (channels == 2 and not (has_alpha and bits == 8))
    if channels > MAX_CHANNELS:
        raise DataError(f"{name}: has {channels} channels; at most {MAX_CHANNELS} can be read.")
    if sample == _FLOAT and bits not in (32, 64):
        raise DataError(f"{name}: holds {bits}-bit floating-point values; save it with 32-bit ones.")
    if sample not in (1, 2, _FLOAT, 4) or bits > 64:
        raise DataError(f"{name}: holds values of a type that is not supported; save it as 8- or 16-bit integers.")
    if orientation >= 5:
        width, height = height, width
    white = photometric == _WHITE_IS_ZERO
    plain = bits <= 8 and orientation == 1 and photometric != 3
    alpha = channels == 2 and not many
    plain = plain and not alpha
    # OpenCV mixes up the pixels of those.
    planar = channels if bits > 8 and channels in (3, 4) and arrangement == _ONE_AFTER_THE_OTHER else 0
    return Header(
        "TIFF", width, height, orientation, photometric == 3, white, alpha, channels if many else 0, planar, plain
    )


def _refuse(name: str, inks: str | None, pages: int) -> None:
    if inks is not None:
        raise DataError(f"{name}: has its colours as {inks}; convert it to grey or RGB.")
    if pages > 1:
        raise DataError(f"{name}: has {pages} pages; an image of one slice is needed; save each page as a file.")


def _tiff_tags(data: bytes) -> tuple[dict[int, Any], int] | None:
    """Return the tags of a TIFF's first page and the number of pages, 2 for several; None where it is no TIFF."""
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    try:
        head = data[:16] if b"+" in data[:4] else data[:8]
        directory = TiffImagePlugin.ImageFileDirectory_v2(head)
        file = io.BytesIO(data)
        file.seek(directory.next)
        directory.load(file)
        return (dict(directory), 2 if directory.next else 1) if 256 in directory else None
    except Exception:  # the same parsers as above
        return None


def _exif_orientation(image: Image.Image, data: bytes) -> int:
    """Return the number in the EXIF orientation tag, 1 where there is none or it means nothing."""
    if "exif" not in image.info and image.format == "PNG" and b"eXIf" in data:
        image.load()  # the chunk stands behind the pixels
    content = image.info.get("exif")
    if not content:
        return 1
    try:
        exif = Image.Exif()
        exif.load(content)
        found = exif.get(_ORIENTATION_TAG, 1)
    except Exception:  # a broken tag is none; the same parsers as above
        return 1
    return found if found in ORIENTATIONS else 1
