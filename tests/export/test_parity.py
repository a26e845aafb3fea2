from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_slice
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


def test_volumes_are_cut_as_the_run_cut_them(tmp_path: Path) -> None:
    for number in (1, 2):
        values = np.random.default_rng(number).integers(1, 200, (20, 24, 16)).astype(np.uint8)
        mask = np.zeros_like(values)
        mask[5:15, 4:18, 3:12] = 1
        for kind, content in (("images", values), ("masks", mask)):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(content, np.eye(4)), tmp_path / "data" / kind / f"p{number}.nii.gz")
    given: dict[str, Any] = {"plane": "coronal", "empty_slices": 1.0, "reader": "folders"}
    run = make_run()
    run["dataset"]["path"], run["options"] = str(tmp_path / "data"), given
    folder = write_run(tmp_path / "run", [], run)
    slices = list(open_dataset(tmp_path / "data", **given))
    lines = [f"{one.name},{'valid' if 'p1' in one.name else 'train'},0" for one in slices]
    folder.split_file.write_text("\n".join(["file,split,group", *lines]) + "\n")
    images, source = check_images(ExportContext(folder))
    assert source == "of the run's validation split"
    expected = {read_slice(one).tobytes() for one in slices if "p1" in one.name}
    assert {image.tobytes() for image in images} <= expected


@pytest.mark.parametrize("options", [{"plane": "coronal", "empty_slices": "all"}, {"reader": ["coco"]}])
def test_phantoms_where_the_options_are_damaged(tmp_path: Path, options: dict[str, Any]) -> None:
    run = make_run()
    run["dataset"]["path"], run["options"] = str(tmp_path), options
    assert check_images(ExportContext(write_run(tmp_path / "run", [], run)))[1].startswith("phantoms")


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
