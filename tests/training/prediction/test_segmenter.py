from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from bts_tune.errors import DataError
from bts_tune.training.prediction.predict import predict
from bts_tune.training.prediction.segmenter import Image, Segmenter
from tests.training.builders import data, split, tiny, trained


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    trained(tiny(epochs=8, batch_size=2, batch_norm_momentum=0.2, equalization="none"), data(train=12), folder)
    return folder


@pytest.fixture(scope="module")
def segmenter(folder: Path) -> Segmenter:
    return Segmenter.load(folder, "cpu")


def image(height: int = 40, width: int = 70) -> np.ndarray:
    return cv2.resize(split(1, seed=1).images[0], (width, height), interpolation=cv2.INTER_LINEAR)


def test_probabilities_and_masks_have_the_images_size(segmenter: Segmenter) -> None:
    probability, mask = segmenter.probability(image()), segmenter.predict(image())
    assert probability.shape == mask.shape == (40, 70)
    assert probability.dtype == np.float32
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, probability > 0.5)


def test_a_file_and_its_pixels_give_the_same(segmenter: Segmenter, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    assert cv2.imwrite(str(file), image())
    np.testing.assert_array_equal(segmenter.predict(file), segmenter.predict(image()))
    (written,) = predict(folder, [file], tmp_path / "out", device="cpu")
    read = cv2.imread(str(written.mask), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read, 255 * segmenter.predict(file))


def test_colour_is_read_as_rgb(segmenter: Segmenter, tmp_path: Path) -> None:
    rgb = np.stack([image(), image() // 2, image() // 4], axis=2)
    file = tmp_path / "colour.png"
    assert cv2.imwrite(str(file), rgb[:, :, ::-1])
    np.testing.assert_array_equal(segmenter.probability(rgb), segmenter.probability(file))


def test_what_is_no_image_is_refused(segmenter: Segmenter) -> None:
    with pytest.raises(DataError):
        segmenter.predict(np.zeros((4, 4, 7), dtype=np.uint8))


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.zeros((5, 0), dtype=np.uint8), "has 0 x 5 pixels; an image needs at least one"),
        (np.array([["a", "b"]]), "holds <U1; an image holds integers, booleans or real numbers"),
        (np.zeros((4, 4), dtype=np.complex64), "holds complex64; an image holds integers"),
    ],
)
def test_an_array_that_is_no_image_is_one_sentence(segmenter: Segmenter, image: np.ndarray, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        segmenter.predict(image)


@pytest.mark.parametrize("name", ["v.nii.gz", "v.nii", "v.dcm"])
def test_a_volume_is_referred_to_what_segments_it(segmenter: Segmenter, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"volume")
    with pytest.raises(DataError, match=rf"{name}: is a NIfTI or DICOM file.*Run\.predict\(FILES, OUT\)"):
        segmenter.predict(tmp_path / name)


def test_no_images_give_no_masks(segmenter: Segmenter) -> None:
    assert segmenter.predict_batch([]) == []


def test_images_may_come_one_by_one(segmenter: Segmenter) -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (2, 20, 30), dtype=np.uint8))
    np.testing.assert_array_equal(segmenter.predict_batch(iter(images)), segmenter.predict_batch(images))
    for one in ("scan.png", Path("scan.png"), 5):
        with pytest.raises(DataError, match=r"images: must be several images, got .*; predict takes one\."):
            segmenter.predict_batch(one)  # type: ignore[arg-type]


def test_images_may_be_one_array(segmenter: Segmenter) -> None:
    images: Any = np.random.default_rng(0).integers(0, 256, (2, 20, 24), dtype=np.uint8)
    masks = segmenter.predict_batch(images)
    assert [mask.tolist() for mask in masks] == [segmenter.predict(image).tolist() for image in images]


def test_forward_takes_prepared_images_and_gives_logits(segmenter: Segmenter) -> None:
    prepared = split(3, seed=2).images
    with torch.no_grad():
        logits = segmenter(torch.from_numpy(prepared).unsqueeze(1))
    assert logits.shape == (3, 1, 32, 32)
    expected = segmenter.prepared_probabilities(prepared)
    np.testing.assert_allclose(torch.sigmoid(logits)[:, 0].numpy(), expected, atol=1e-6)


def test_a_batch_of_images_of_several_kinds_gives_what_each_gives(segmenter: Segmenter, tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    assert cv2.imwrite(str(file), image(50, 41))
    images: list[Image] = [
        image(40, 70),
        np.repeat(image(32, 32)[..., np.newaxis], 3, axis=2),
        file,
        image(90, 33) * 257.0,
    ]
    shapes = [(40, 70), (32, 32), (50, 41), (90, 33)]
    for found, one, shape in zip(segmenter.predict_batch(images), images, shapes, strict=True):
        assert found.shape == shape
        # Batches may round the last bit of a probability otherwise.
        assert (found != segmenter.predict(one)).mean() < 1e-3
        assert found.any()
