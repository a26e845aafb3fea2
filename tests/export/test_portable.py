from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from bts_tune.data.synthetic.phantom import generate_slice
from bts_tune.export.portable import PortableModel, equalize_histogram, resize_by_area
from bts_tune.testing.exports import example_run, validation_images
from bts_tune.training.segmenter import Segmenter


def slice_of(height: int, width: int) -> np.ndarray:
    whole = np.asarray(generate_slice(4, image_size=max(height, width, 32))[0], dtype=np.uint8)
    return np.ascontiguousarray(whole[:height, :width])


@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize(
    ("height", "width"),
    [(64, 64), (128, 128), (448, 448), (256, 256), (300, 200), (65, 70), (200, 200), (40, 40), (100, 40), (40, 600)],
)
def test_resizing_is_opencv_s(height: int, width: int, size: int) -> None:
    image = slice_of(height, width)
    expected = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA).astype(float)
    found = resize_by_area(torch.from_numpy(image)[None, None].float(), size)[0, 0].numpy()
    assert np.abs(found - expected).max() <= 1
    # Where nothing is enlarged OpenCV computes in floats, otherwise in fractions of 1/2048.
    assert (found != expected).mean() <= (0.01 if min(height, width) >= size else 0.2)


def test_resizing_is_opencv_s_for_every_size_of_image() -> None:
    """Where the edges of pixels meet, rounding could take the next one: sides with a common divisor, and all others."""
    for side in range(20, 150):
        image = slice_of(side, 150 - side // 2)
        expected = cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA).astype(float)
        found = resize_by_area(torch.from_numpy(image)[None, None].float(), 96)[0, 0].numpy()
        assert np.abs(found - expected).max() <= 1, image.shape


def test_equalisation_is_opencv_s_of_each_image_by_itself() -> None:
    images = np.stack([slice_of(48, 60), np.full((48, 60), 9, np.uint8), slice_of(100, 100)[40:88, 20:80]])
    found = equalize_histogram(torch.from_numpy(images).unsqueeze(1))
    assert found.dtype == torch.uint8
    for image, equalized in zip(images, found[:, 0].numpy(), strict=True):
        np.testing.assert_array_equal(equalized, cv2.equalizeHist(image))


@pytest.mark.parametrize("trial", ["plain", "clahe"])
def test_only_clahe_is_left_to_the_caller(trial: str) -> None:
    segmenter = Segmenter.load(example_run().model_folder(trial), "cpu")
    model = PortableModel(segmenter)
    assert model.equalizes == (trial == "plain")
    assert not model.training
    with torch.no_grad():
        found = model(torch.from_numpy(validation_images()))
    assert found.shape == validation_images().shape
    assert 0 <= found.min() <= found.max() <= 1
