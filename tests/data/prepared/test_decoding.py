from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile, ImageOps

from bts_tune.data.prepared.decoding import ORIENTATIONS, decode, displayed_size, palette_of, read_header
from bts_tune.data.prepared.images import to_grey
from bts_tune.errors import DataError
from tests.data.builders import noise, write_image

HEIGHT, WIDTH = 20, 33
PIXELS = noise(HEIGHT, WIDTH)


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def written(suffix: str, orientation: int, pixels: np.ndarray = PIXELS) -> bytes:
    """Return the pixels in a file whose tag asks for them to be turned."""
    file = io.BytesIO()
    if suffix == ".tif":
        tifffile.imwrite(file, pixels, photometric="minisblack", extratags=[(274, 3, 1, orientation, True)])
    elif suffix == "late.png":
        Image.fromarray(pixels).save(file, "PNG")
        end = chunk(b"IEND", b"")
        return file.getvalue().removesuffix(end) + chunk(b"eXIf", exif(orientation).removeprefix(b"Exif\0\0")) + end
    else:
        kind = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}[suffix]
        how = {"quality": 100} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
        Image.fromarray(pixels).save(file, kind, exif=exif(orientation), **how)
    return file.getvalue()


def shown(orientation: int) -> np.ndarray:
    """What a viewer shows, as Pillow has it."""
    picture = Image.fromarray(PIXELS)
    picture.getexif()[0x0112] = orientation
    return np.array(ImageOps.exif_transpose(picture))


class TestOrientation:
    @pytest.mark.parametrize("suffix", [".jpg", ".png", "late.png", ".tif", ".webp"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_pixels_lie_as_a_viewer_shows_them(self, tmp_path: Path, suffix: str, orientation: int) -> None:
        data = written(suffix, orientation)
        grey = to_grey(decode(data, "a"), "a")
        expected = shown(orientation)
        assert grey.shape == expected.shape
        assert np.abs(grey.astype(int) - expected).max() <= 2 * (suffix == ".jpg")
        (tmp_path / "a").write_bytes(data)
        assert displayed_size(tmp_path / "a") == expected.shape[::-1]
        header = read_header(data, "a")
        assert header.orientation == orientation
        assert header.stored_size == (WIDTH, HEIGHT)
        assert header.plain == (orientation == 1)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
    def test_tiffs_of_every_depth(self, dtype: Any) -> None:
        values = PIXELS.astype(dtype)
        for orientation in ORIENTATIONS:
            decoded = decode(written(".tif", orientation, values), "a")
            assert np.array_equal(decoded, shown(orientation))

    @pytest.mark.parametrize("orientation", [0, 9, 77])
    def test_a_number_that_means_nothing_turns_nothing(self, orientation: int) -> None:
        for suffix in (".png", ".jpg"):
            assert decode(written(suffix, orientation), "a").shape == PIXELS.shape

    def test_a_broken_tag_turns_nothing(self) -> None:
        data = written(".jpg", 6)
        place = data.index(b"Exif\0\0")
        broken = data[: place + 6] + b"\xff" * 12 + data[place + 18 :]
        assert decode(broken, "a").shape == PIXELS.shape

    @pytest.mark.filterwarnings("ignore:Image size")  # outside of pytest the module silences it
    def test_a_gigantic_image_is_not_decoded_for_its_tag(self, monkeypatch: pytest.MonkeyPatch) -> None:
        header = struct.pack(">IIBBBBB", 10_001, 10_000, 8, 0, 0, 0, 0)
        parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"eXIf", exif(6)), (b"IEND", b""))
        data = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in parts)
        monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was decoded"))
        with pytest.raises(DataError, match="has 10001 x 10000 pixels; at most"):
            read_header(data, "a")

    def test_palettes_are_turned_too(self) -> None:
        for orientation in (1, 6):
            file = io.BytesIO()
            picture = Image.fromarray(PIXELS % 2).convert("P")
            picture.putpalette([0, 0, 0, 128, 0, 0])
            picture.save(file, "PNG", exif=exif(orientation))
            indices, colours = palette_of(file.getvalue(), "a")
            assert np.array_equal(indices, shown(orientation) % 2)
            assert colours[:2].tolist() == [[0, 0, 0], [128, 0, 0]]


class TestTiffs:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int16, np.int32, np.float32, np.float64])
    def test_white_is_zero_in_every_depth(self, dtype: Any) -> None:
        """The darkest value of such a file is its largest."""
        values = PIXELS.copy()
        values[0, :2] = 0, 255
        stored = (values.max() - values.astype(np.float64)).astype(dtype)
        file = io.BytesIO()
        tifffile.imwrite(file, stored, photometric="miniswhite")
        assert np.array_equal(to_grey(decode(file.getvalue(), "a"), "a"), values)

    @pytest.mark.parametrize(
        ("pixels", "how"),
        [
            (PIXELS / 255.0, {}),
            (np.dstack([PIXELS / np.float32(255)] * 3), {"photometric": "rgb"}),
            (np.dstack([PIXELS.astype(np.uint16) * 257] * 3), {"photometric": "rgb"}),
            (PIXELS.astype(np.int16) - 300, {}),
            (PIXELS.astype(np.uint32) * 1000, {"bigtiff": True}),
            (
                np.dstack([PIXELS, np.full_like(PIXELS, 255)]),
                {"photometric": "minisblack", "extrasamples": ["unassalpha"], "planarconfig": "contig"},
            ),
        ],
        ids=["float64", "float RGB", "16-bit RGB", "signed", "BigTIFF", "grey and alpha"],
    )
    def test_other_kinds_show_the_same(self, pixels: np.ndarray, how: dict[str, Any]) -> None:
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, **how)
        low, high = int(PIXELS.min()), int(PIXELS.max())
        expected = PIXELS if pixels.dtype == np.uint8 else np.rint((PIXELS - low) * (255 / (high - low)))
        assert np.abs(to_grey(decode(file.getvalue(), "a"), "a").astype(int) - expected).max() <= 1

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("compression", [None, "zlib"])
    @pytest.mark.parametrize("colour", [False, True])
    def test_small_tiles(self, dtype: Any, compression: str | None, colour: bool) -> None:
        """OpenCV does not read 8-bit tiles of 16 pixels."""
        pixels = np.dstack([PIXELS, PIXELS // 2, PIXELS // 3]) if colour else PIXELS
        file = io.BytesIO()
        how: dict[str, Any] = {"photometric": "rgb" if colour else "minisblack", "compression": compression}
        tifffile.imwrite(file, pixels.astype(dtype), tile=(16, 16), **how)
        decoded = decode(file.getvalue(), "a")
        assert np.array_equal(decoded[..., ::-1] if colour else decoded, pixels)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
    @pytest.mark.parametrize("orientation", [1, 6])
    @pytest.mark.parametrize("channels", [3, 4])
    def test_one_colour_after_the_other(self, dtype: Any, orientation: int, channels: int) -> None:
        """OpenCV mixes up the pixels of those of more than 8 bits."""
        colours = np.dstack([PIXELS, PIXELS // 2, PIXELS // 3, np.full_like(PIXELS, 255)])[..., :channels].astype(dtype)
        stored = np.rot90(colours) if orientation == 6 else colours
        extra: dict[str, Any] = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
        file = io.BytesIO()
        tifffile.imwrite(
            file,
            np.ascontiguousarray(np.moveaxis(stored, 2, 0)),
            photometric="rgb",
            planarconfig="separate",
            extratags=[(274, "H", 1, orientation, True)],
            **extra,
        )
        decoded = decode(file.getvalue(), "a")
        assert np.array_equal(decoded[..., [2, 1, 0, 3][:channels]], colours)

    def test_small_tiles_that_are_cut_off_are_broken(self) -> None:
        file = io.BytesIO()
        tifffile.imwrite(file, noise(100, 100), tile=(16, 16))
        with pytest.raises(DataError, match="broken, truncated"):
            decode(file.getvalue()[:-5000], "a")

    def test_transparent_pixels_of_grey_and_alpha_are_black(self) -> None:
        alpha = np.full_like(PIXELS, 255)
        alpha[:5] = 0
        file = io.BytesIO()
        how: dict[str, Any] = {"photometric": "minisblack", "extrasamples": ["unassalpha"], "planarconfig": "contig"}
        tifffile.imwrite(file, np.dstack([PIXELS, alpha]), **how)
        assert np.array_equal(to_grey(decode(file.getvalue(), "a"), "a"), np.where(alpha == 255, PIXELS, 0))

    @pytest.mark.parametrize(
        ("pixels", "sentence"),
        [
            ((PIXELS / 255).astype(np.float16), "a: holds 16-bit floating-point values; save it with 32-bit ones."),
            (np.dstack([PIXELS] * 5), "a: has 5 channels; 1 (grey), 3 (RGB) or 4 (RGB with alpha) can be read."),
            (np.dstack([PIXELS] * 2), "a: has 2 channels; 1 (grey), 3 (RGB) or 4 (RGB with alpha) can be read."),
            (PIXELS.astype(np.complex64), "a: holds values of a type that is not supported"),
        ],
        ids=["float16", "five", "two", "complex"],
    )
    def test_what_cannot_be_read_is_named(self, pixels: np.ndarray, sentence: str) -> None:
        file = io.BytesIO()
        how: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"} if pixels.ndim == 3 else {}
        tifffile.imwrite(file, pixels, **how)
        with pytest.raises(DataError) as refusal:
            decode(file.getvalue(), "a")
        assert str(refusal.value).startswith(sentence)


class TestFurtherFormats:
    @pytest.mark.parametrize("kind", ["GIF", "BMP", "WEBP"])
    def test_pictures(self, kind: str) -> None:
        file = io.BytesIO()
        Image.fromarray(PIXELS).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
        assert np.array_equal(to_grey(decode(file.getvalue(), "a"), "a"), PIXELS)


@pytest.mark.parametrize("read", [decode, read_header])
def test_an_empty_file_is_told(read: Any) -> None:
    with pytest.raises(DataError, match="a: is empty: the file has 0 bytes; copy it anew"):
        read(b"", "a")


def test_the_size_of_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.png: is not an image that can be read"):
        displayed_size(tmp_path / "a.png")


def test_eight_bit_pictures_are_plain(tmp_path: Path) -> None:
    """What is plain keeps its place in the cache."""
    plain = {
        ".png": PIXELS,
        ".jpg": np.dstack([PIXELS] * 3),
        ".tif": PIXELS,
        "4.png": np.dstack([PIXELS] * 4),
    }
    for suffix, pixels in plain.items():
        path = write_image(tmp_path / f"a{suffix}", pixels)
        assert read_header(path.read_bytes(), "a").plain
    deep = write_image(tmp_path / "deep.png", PIXELS.astype(np.uint16))
    assert not read_header(deep.read_bytes(), "a").plain
    assert decode(deep.read_bytes(), "a").dtype == np.uint16
