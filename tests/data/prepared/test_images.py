from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bts_tune.config import PreprocessingPart
from bts_tune.data.prepared.images import (
    equalize,
    preprocess,
    range_without_marks,
    read_grey,
    read_mask,
    resize_image,
    resize_mask,
    to_grey,
)
from bts_tune.data.records import Annotation, SliceRecord
from bts_tune.errors import DataError
from tests.data.builders import noise, rectangle, write_image

# The module silences these outside of pytest, which resets the filters.
pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning:PIL"), pytest.mark.filterwarnings("ignore:Image size")]

images = st.builds(noise, st.integers(1, 70), st.integers(1, 70), st.integers(0, 1000))


def colour(height: int = 20, width: int = 30, channels: int = 3, dtype: Any = np.uint8) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(1).integers(0, top, (height, width, channels), dtype=dtype, endpoint=True)


class TestReading:
    @pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".PNG"])
    def test_eight_bit_grey_is_kept(self, tmp_path: Path, suffix: str) -> None:
        pixels = noise()
        assert np.array_equal(read_grey(write_image(tmp_path / f"a{suffix}", pixels)), pixels)

    def test_jpeg(self, tmp_path: Path) -> None:
        pixels = cv2.GaussianBlur(noise(), (0, 0), 4)
        read = read_grey(write_image(tmp_path / "a.jpg", pixels))
        assert np.abs(read.astype(int) - pixels).max() <= 6

    def test_equal_channels_are_the_grey_image(self, tmp_path: Path) -> None:
        pixels = noise()
        assert np.array_equal(read_grey(write_image(tmp_path / "a.png", np.dstack([pixels] * 3))), pixels)

    def test_colour_becomes_luma(self, tmp_path: Path) -> None:
        pixels = colour()
        read = read_grey(write_image(tmp_path / "a.png", pixels))
        luma = pixels @ np.array([0.114, 0.587, 0.299])
        assert np.abs(read - luma).max() <= 1

    @pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32])
    def test_other_depths_are_scaled_by_their_own_range(self, tmp_path: Path, dtype: Any) -> None:
        values = np.array([[100, 200, 300], [612, 100, 1120]], dtype=dtype)
        tifffile.imwrite(tmp_path / "a.tif", values)
        expected = np.rint((values.astype(float) - 100) / 1020 * 255)
        assert np.array_equal(read_grey(tmp_path / "a.tif"), expected)

    def test_sixteen_bit_colour(self, tmp_path: Path) -> None:
        pixels = colour(dtype=np.uint16)
        read = read_grey(write_image(tmp_path / "a.png", pixels))
        luma = pixels @ np.array([0.114, 0.587, 0.299])
        expected = (luma - luma.min()) / (luma.max() - luma.min()) * 255
        assert np.abs(read - expected).max() <= 1

    @given(st.integers(0, 1000), st.integers(1, 60))
    def test_scaling_does_not_depend_on_offset_and_gain(
        self, tmp_path_factory: pytest.TempPathFactory, offset: int, gain: int
    ) -> None:
        folder = tmp_path_factory.getbasetemp()
        pixels = noise(9, 9).astype(np.uint16)
        plain = read_grey(write_image(folder / "plain.png", pixels))
        assert np.array_equal(read_grey(write_image(folder / "other.png", pixels * gain + offset)), plain)
        assert (plain.min(), plain.max()) == (0, 255)

    def test_a_constant_image_of_sixteen_bits_is_black(self, tmp_path: Path) -> None:
        path = write_image(tmp_path / "a.png", np.full((5, 5), 700, dtype=np.uint16))
        assert not read_grey(path).any()

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_transparency_is_black(self, tmp_path: Path, dtype: Any) -> None:
        pixels = np.full((4, 4, 4), np.iinfo(dtype).max, dtype=dtype)
        pixels[:2, :, 3] = 0
        read = read_grey(write_image(tmp_path / "a.png", pixels))
        assert read[:2].max() == 0
        assert read[2:].min() == 255

    def test_palette_and_one_bit_images(self, tmp_path: Path) -> None:
        pixels = noise()
        Image.fromarray(pixels).convert("P").save(tmp_path / "p.png")
        assert np.array_equal(read_grey(tmp_path / "p.png"), pixels)
        Image.fromarray(pixels > 99).save(tmp_path / "b.png")
        assert np.array_equal(read_grey(tmp_path / "b.png"), (pixels > 99) * np.uint8(255))

    def test_the_orientation_in_exif_data_is_followed(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(noise(20, 30)).save(tmp_path / "a.png", exif=exif)
        assert np.array_equal(read_grey(tmp_path / "a.png"), np.rot90(noise(20, 30), -1))


class TestBurnedInMarks:
    @staticmethod
    def body(dtype: Any = np.uint16) -> np.ndarray:
        return (cv2.GaussianBlur(noise(60, 60), (0, 0), 3).astype(float) * 3).astype(dtype)

    @pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
    @pytest.mark.parametrize("value", [30_000, -30_000])
    def test_they_do_not_spoil_the_range(self, tmp_path: Path, dtype: Any, value: int) -> None:
        values = self.body(np.int32).astype(dtype)
        if dtype == np.uint16 and value < 0:
            values += 30_000
            value = 0
        plain = to_grey(values, "a")
        marked = values.copy()
        marked[2:6, 3:15] = value
        marked[6, 3:15] = (value + int(values[6, 3])) // 2  # their rim is smoothed
        tifffile.imwrite(tmp_path / "a.tif", marked)
        read = read_grey(tmp_path / "a.tif")
        assert read[8:].std() > 20
        assert np.abs(read[8:].astype(int) - plain[8:]).max() <= 12  # the range is that of the other pixels
        assert set(read[2:6, 3:15].ravel().tolist()) == {255 if value > int(values.max()) else 0}

    def test_bright_vessels_are_no_marks(self) -> None:
        """A tail of large values is part of the image; scaling stays what it always was."""
        rng = np.random.default_rng(0)
        values = np.minimum(rng.exponential(60, (200, 200)), 4000).astype(np.uint16)
        values[:3, :100] = rng.integers(300, 4000, (3, 100))
        scaled = np.rint((values.astype(float) - values.min()) * (255 / (int(values.max()) - int(values.min()))))
        assert range_without_marks(values.astype(float)) is None
        assert np.array_equal(to_grey(values, "a"), scaled)

    def test_eight_bits_are_never_scaled(self) -> None:
        values = noise(60, 60) // 8
        values[2:6, 3:15] = 255
        assert np.array_equal(to_grey(values, "a"), values)

    def test_a_picture_of_two_values_has_none(self) -> None:
        values = np.zeros((60, 60))
        values[2:6, 3:15] = 900
        assert range_without_marks(values) is None


class TestRefusing:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"a\.png: cannot be read: No such file"):
            read_grey(tmp_path / "a.png")

    @pytest.mark.parametrize("data", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"])
    def test_what_is_no_image(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(DataError, match=r"a\.png: is "):
            read_grey(tmp_path / "a.png")

    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
    @pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
    def test_a_truncated_file(self, tmp_path: Path, suffix: str, share: float) -> None:
        path = write_image(tmp_path / f"a{suffix}", noise(200, 200))
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(DataError, match=f"a{suffix}: is "):
            read_grey(path)

    def test_a_truncated_jpeg_with_a_whole_thumbnail(self, tmp_path: Path) -> None:
        thumbnail = cv2.imencode(".jpg", noise(16, 16))[1].tobytes()
        exif = b"Exif\0\0" + thumbnail
        path = write_image(tmp_path / "a.jpg", noise(200, 200))
        data = path.read_bytes()
        whole = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
        path.write_bytes(whole)
        assert read_grey(path).shape == (200, 200)
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError):
            read_grey(path)

    @pytest.mark.parametrize("side", [10_001, 100_000])
    def test_a_decompression_bomb_is_refused_by_its_header(self, tmp_path: Path, side: int) -> None:
        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
        with pytest.raises(DataError, match="100000000"):
            read_grey(tmp_path / "a.png")

    def test_several_pages(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", np.stack([noise()] * 5), photometric="minisblack")
        with pytest.raises(DataError, match="has 5 pages"):
            read_grey(tmp_path / "a.tif")

    def test_values_that_are_not_numbers(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", np.array([[0, np.nan], [1, 2]], dtype=np.float32))
        with pytest.raises(DataError, match="infinite or not numbers"):
            read_grey(tmp_path / "a.tif")

    @given(st.sampled_from([".png", ".jpg", ".tif"]), st.integers(0, 10**6), st.binary(min_size=1, max_size=20))
    def test_damaged_files_give_pixels_or_a_data_error(
        self, tmp_path_factory: pytest.TempPathFactory, suffix: str, place: int, damage: bytes
    ) -> None:
        data = bytearray(cv2.imencode(suffix, noise(30, 30))[1].tobytes())
        start = place % len(data)
        data[start : start + len(damage)] = damage
        path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
        path.write_bytes(data)
        try:
            read = read_grey(path)
        except DataError:
            return
        assert read.dtype == np.uint8
        assert read.ndim == 2


class TestMasks:
    def test_any_non_zero_pixel_is_tumour(self, tmp_path: Path) -> None:
        pixels = np.array([[0, 1, 2], [128, 255, 0]], dtype=np.uint8)
        record = SliceRecord("a.png", "train", tmp_path / "i.png", "a", mask=write_image(tmp_path / "a.png", pixels))
        assert read_mask(record).tolist() == [[0, 1, 1], [1, 1, 0]]

    def test_sixteen_bit_and_coloured_masks(self, tmp_path: Path) -> None:
        deep = write_image(tmp_path / "a.png", np.array([[0, 1], [65535, 0]], dtype=np.uint16))
        blue = write_image(tmp_path / "b.png", np.array([[[0, 0, 0], [1, 0, 0]]], dtype=np.uint8))
        clear = write_image(
            tmp_path / "c.png", np.array([[[0, 0, 0, 255], [9, 9, 9, 0], [9, 0, 0, 9]]], dtype=np.uint8)
        )
        read = [read_mask(SliceRecord("x", "train", path, "x", mask=path)).tolist() for path in (deep, blue, clear)]
        assert read == [[[0, 1], [1, 0]], [[0, 1]], [[0, 0, 1]]]

    def test_of_a_coco_record(self, tmp_path: Path) -> None:
        record = SliceRecord("a", "train", tmp_path / "a", 0, 9, 7, (Annotation(0, 1, [rectangle(2, 1, 4, 3)]),))
        mask = read_mask(record)
        assert mask.shape == (7, 9)
        assert mask.dtype == np.uint8
        assert mask.sum() == 12
        assert mask[1:4, 2:6].all()


class TestEqualizing:
    @given(images)
    def test_none_changes_nothing(self, image: np.ndarray) -> None:
        assert np.array_equal(equalize(image, "none"), image)

    @given(images)
    def test_histogram_keeps_the_order_of_grey_values(self, image: np.ndarray) -> None:
        equalized = equalize(image, "histogram")
        order = np.argsort(image, axis=None, kind="stable")
        assert (np.diff(equalized.ravel()[order].astype(int)) >= 0).all()
        assert equalized.dtype == np.uint8
        assert equalized.shape == image.shape

    @pytest.mark.parametrize("kind", ["histogram", "clahe"])
    def test_contrast_grows(self, kind: Any) -> None:
        dull = (100 + noise(64, 64) // 16).astype(np.uint8)
        assert equalize(dull, kind).std() > 1.5 * dull.std()

    def test_clahe_is_local_and_histogram_is_not(self) -> None:
        image = np.hstack([noise(64, 64) // 4, 192 + noise(64, 64) // 4]).astype(np.uint8)
        spread = {kind: int(np.ptp(equalize(image, kind)[:, :32])) for kind in ("histogram", "clahe")}
        assert spread["clahe"] > np.ptp(image[:, :32])
        other = image.copy()
        other[:, 64:] = 0
        assert np.array_equal(equalize(image, "clahe")[:, :32], equalize(other, "clahe")[:, :32])
        assert not np.array_equal(equalize(image, "histogram")[:, :32], equalize(other, "histogram")[:, :32])

    def test_global_equalisation_lifts_a_dark_background_and_clahe_does_not(self) -> None:
        image = (noise(128, 128) % 6).astype(np.uint8)
        image[40:90, 40:90] = 60 + noise(50, 50) // 2
        background = np.s_[:24, :24]
        assert equalize(image, "histogram")[background].mean() > 2 * equalize(image, "clahe")[background].mean()


class TestResizing:
    @given(images, st.sampled_from([32, 64]))
    def test_shape_and_range(self, image: np.ndarray, size: int) -> None:
        resized = resize_image(image, size)
        assert resized.shape == (size, size)
        assert resized.dtype == np.uint8
        assert image.min() <= resized.min() <= resized.max() <= image.max()

    def test_images_are_averaged_over_areas(self) -> None:
        image = noise(96, 64)
        expected = image.reshape(32, 3, 32, 2).mean(axis=(1, 3))
        assert np.abs(resize_image(image, 32) - expected).max() <= 0.5

    @given(images, st.sampled_from([32, 64]))
    def test_masks_stay_binary(self, image: np.ndarray, size: int) -> None:
        mask = (image > 127).astype(np.uint8)
        resized = resize_mask(mask, size)
        assert resized.shape == (size, size)
        assert set(np.unique(resized)) <= set(np.unique(mask))

    @pytest.mark.parametrize("side", [96, 160, 224, 608, 100, 20])
    def test_masks_are_not_shifted(self, side: int) -> None:
        image = cv2.GaussianBlur(noise(side, side), (0, 0), side / 16)
        mask = (image > np.median(image)).astype(np.uint8)
        for axis in (0, 1):
            flipped = np.flip(mask, axis)
            assert np.array_equal(resize_mask(np.ascontiguousarray(flipped), 32), np.flip(resize_mask(mask, 32), axis))

    def test_mask_and_image_of_the_same_square_lie_on_each_other(self) -> None:
        mask = np.zeros((640, 640), dtype=np.uint8)
        mask[200:333, 411:507] = 1
        area = resize_image(mask * np.uint8(255), 224)
        assert np.array_equal(
            resize_mask(mask, 224)[(area == 0) | (area == 255)] * 255, area[(area == 0) | (area == 255)]
        )


class TestPreprocessing:
    @pytest.mark.parametrize("kind", ["none", "histogram", "clahe"])
    def test_equalises_first_and_resizes_then(self, kind: Any) -> None:
        image = noise(100, 80)
        prepared = preprocess(image, PreprocessingPart(image_size=64, equalization=kind))
        assert np.array_equal(prepared, resize_image(equalize(image, kind), 64))
        assert prepared.dtype == np.uint8
        assert prepared.shape == (64, 64)

    def test_does_not_change_its_input(self) -> None:
        image = noise(64, 64)
        before = image.copy()
        preprocess(image, PreprocessingPart(image_size=64, equalization="none"))[:] = 0
        assert np.array_equal(image, before)
