from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bts_tune.errors import RunError
from bts_tune.export.context import ExportContext
from bts_tune.export.parity import check_images, check_parity
from bts_tune.export.portable import PortableModel
from bts_tune.testing.exports import example_run, validation_images
from bts_tune.testing.runs import make_run, write_run


def calculate(context: ExportContext, wrong: float = 0.0) -> Any:
    model = PortableModel(context.segmenter)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            return np.asarray(model(torch.from_numpy(images)).numpy() + wrong, dtype=np.float32)

    return run


def test_the_run_s_own_validation_images_are_taken() -> None:
    images, source = check_images(ExportContext(example_run()))
    assert source == "of the run's validation split"
    expected = {image[0].tobytes() for image in validation_images()}
    assert {image.tobytes() for image in images} == expected


def test_phantoms_where_the_dataset_is_gone(tmp_path: Path) -> None:
    run = make_run()
    run["dataset"]["path"] = str(tmp_path / "gone")
    images, source = check_images(ExportContext(write_run(tmp_path / "run", [], run)))
    assert source.startswith("phantoms")
    assert len(images) == 8
    assert all(image.dtype == np.uint8 and image.ndim == 2 and image.std() > 0 for image in images)


def test_a_difference_is_measured() -> None:
    context = ExportContext(example_run(), "plain")
    same = check_parity(context, calculate(context), equalizes=True)
    assert same.images == len(validation_images())
    assert same.largest_difference < 1e-4
    off = check_parity(context, calculate(context, 1e-3), equalizes=True)
    assert off.largest_difference == pytest.approx(1e-3, abs=1e-4)
    assert "differ by at most 0.001" in off.sentence()


def test_another_model_is_refused() -> None:
    context = ExportContext(example_run(), "plain")
    for wrong in (0.1, -1.0, float("nan")):
        with pytest.raises(RunError, match=r"the exported model is not the run's: .* on average, so nothing was"):
            check_parity(context, calculate(context, wrong), equalizes=True)
