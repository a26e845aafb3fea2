from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch

from bts_tune import api
from bts_tune.data.synthetic.phantom import generate_slice
from bts_tune.export.portable import PortableModel, equalize_histogram, resize_by_area
from bts_tune.testing.exports import example_run, train_run, validation_images
from bts_tune.training.prediction.segmenter import Segmenter


def slice_of(height: int, width: int) -> np.ndarray:
    whole = np.asarray(generate_slice(4, image_size=max(height, width, 32))[0], dtype=np.uint8)
    return np.ascontiguousarray(whole[:height, :width])


@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize(
    ("height", "width"),
    [
        (64, 64),
        (128, 128),
        (448, 448),
        (1, 1),
        (63, 65),
        (32, 512),
        (256, 256),
        (300, 200),
        (65, 70),
        (200, 200),
        (40, 40),
        (100, 40),
        (40, 600),
    ],
)
def test_resizing_is_opencv_s(height: int, width: int, size: int) -> None:
    image = slice_of(height, width)
    expected = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA).astype(float)
    found = resize_by_area(torch.from_numpy(image)[None, None].float(), size)[0, 0].numpy()
    assert np.abs(found - expected).max() <= 1
    # Where nothing is enlarged OpenCV computes in floats, otherwise in whole numbers.
    assert (found != expected).mean() <= (0.01 if min(height, width) >= size else 0.0)


def test_resizing_is_opencv_s_for_every_size_of_image() -> None:
    """Where the edges of pixels meet, rounding could take the next one: sides with a common divisor, and all others."""
    for side in range(20, 150):
        image = slice_of(side, 150 - side // 2)
        expected = cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA).astype(float)
        found = resize_by_area(torch.from_numpy(image)[None, None].float(), 96)[0, 0].numpy()
        assert np.abs(found - expected).max() <= (1 if min(image.shape) >= 96 else 0), image.shape


def test_equalisation_is_opencv_s_of_each_image_by_itself() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (63, 200), dtype=np.uint8)
    alone = equalize_histogram(torch.from_numpy(noise)[None, None])[0, 0].numpy()
    np.testing.assert_array_equal(alone, cv2.equalizeHist(noise))
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


def test_every_format_takes_as_many_channels_as_the_network(tmp_path: Path) -> None:
    run = api.Run(train_run(tmp_path / "run", {"three": {"channels": 3}}))
    model = run.best_model(device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 70, 90), dtype=np.uint8)
    expected = [model.probability(np.moveaxis(image, 0, 2)) for image in images]
    run.export("torch-export", tmp_path / "m.pt2")
    with torch.no_grad():
        found = torch.export.load(tmp_path / "m.pt2").module()(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found[:, 0], expected, atol=0.02)
    run.export("onnx", tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"image": images})[0][:, 0], expected, atol=0.02)
    assert json.loads((tmp_path / "m.onnx.json").read_text())["input"]["shape"] == ["n", 3, "height", "width"]
    run.export("folder", tmp_path / "folder")
    assert "3 channels in" in (tmp_path / "folder" / "README.md").read_text()
    np.testing.assert_array_equal(
        api.load_model(tmp_path / "folder", device="cpu").probability(np.moveaxis(images[0], 0, 2)), expected[0]
    )
