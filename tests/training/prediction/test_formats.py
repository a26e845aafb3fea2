"""What `predict` writes beside its masks: the table, COCO annotations, and masks in formats that were asked for."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask
from bts_tune.data.volumes.planes import PLANES
from bts_tune.data.volumes.volume import cut
from bts_tune.errors import ConfigError, DataError
from bts_tune.training.prediction.formats import coco_annotations, regions_and_box
from bts_tune.training.prediction.predict import predict
from tests.data.volumes.dicoms import write_series
from tests.training.builders import Bright


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def two_regions(height: int = 20, width: int = 30) -> np.ndarray:
    pixels = np.zeros((height, width), dtype=np.uint8)
    pixels[2:6, 3:10] = 204
    pixels[10:12, 20:25] = 255
    pixels[15, 1] = 102  # below the threshold
    return pixels


def read_table(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_says_how_large_and_where_the_tumour_is(tmp_path: Path) -> None:
    image = write(tmp_path / "in" / "a, b.png", two_regions())
    write(tmp_path / "in" / "none.png", np.full((8, 9), 51, dtype=np.uint8))
    list(predict(Bright(), [tmp_path / "in"], tmp_path / "out"))
    first, empty = read_table(tmp_path / "out")
    assert first == {
        "image": str(image),
        "mask": str(tmp_path / "out" / "a, b_mask.png"),
        "width": "30",
        "height": "20",
        "slices": "1",
        "tumor_pixels": "38",
        "tumor_share": "0.0633333",
        "tumor_mm3": "",
        "regions": "2",
        "box_x": "3",
        "box_y": "2",
        "box_z": "0",
        "box_width": "22",
        "box_height": "10",
        "box_depth": "1",
        "highest_probability": "1.0000",
        "mean_probability": f"{(28 * 0.8 + 10) / 38:.4f}",
        "model": "",
    }
    assert (empty["tumor_pixels"], empty["regions"], empty["highest_probability"]) == ("0", "0", "0.2000")
    assert (empty["box_x"], empty["box_width"], empty["mean_probability"]) == ("", "", "")


def test_the_table_of_a_volume_has_its_own_voxels(tmp_path: Path) -> None:
    values = np.zeros((9, 8, 7), dtype=np.int16)
    values[2:5, 1:3, 4:6] = 1000
    values[8, 7, 0] = 1000
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-2.0, 1.5, 3.0, 1.0])), tmp_path / "scan.nii")
    (found,) = predict(Bright(), [tmp_path / "scan.nii"], tmp_path / "out")
    (line,) = read_table(tmp_path / "out")
    assert found.size == (9, 8, 7)
    assert [line[name] for name in ("width", "height", "slices")] == ["9", "8", "7"]
    assert (line["tumor_pixels"], line["regions"]) == ("13", "2")
    assert float(line["tumor_mm3"]) == pytest.approx(13 * 9.0)
    assert [line[f"box_{name}"] for name in ("x", "y", "z", "width", "height", "depth")] == list("210776")


def test_an_error_leaves_the_table_of_what_was_written(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / "in" / f"{name}.png", two_regions())
    (tmp_path / "in" / "c.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"c\.png"):
        list(predict(Bright(), [tmp_path / "in"], tmp_path / "out"))
    assert [Path(line["image"]).name for line in read_table(tmp_path / "out")] == ["a.png", "b.png"]


def test_images_go_through_the_network_together(tmp_path: Path) -> None:
    for number in range(7):
        write(tmp_path / "in" / f"{number}.png", two_regions(20 + number, 30))
    model, counted = Bright(), []
    found = predict(
        model, [tmp_path / "in"], tmp_path / "out", batch_size=3, progress=lambda *done: counted.append(done)
    )
    assert [one.size[1] for one in found] == list(range(20, 27))
    assert model.batches == [3, 3, 1]
    assert counted == [(done, 7) for done in range(1, 8)]
    with pytest.raises(ConfigError, match="--batch-size 0: must be at least 1"):
        list(predict(model, [tmp_path / "in"], tmp_path / "out", batch_size=0))


def test_coco_annotations_are_read_back_as_the_masks(tmp_path: Path) -> None:
    images = [write(tmp_path / "data" / name, two_regions(20, width)) for name, width in (("a.png", 30), ("b.png", 31))]
    write(tmp_path / "data" / "none.png", np.zeros((9, 9), dtype=np.uint8))
    found = list(predict(Bright(), [tmp_path / "data"], tmp_path / "out", formats=["coco"]))
    assert {one.mask for one in found} == {tmp_path / "out" / "predictions.json"}
    assert not list((tmp_path / "out").glob("*_mask*"))
    text = (tmp_path / "out" / "predictions.json").read_text()
    content = json.loads(text)
    assert text == json.dumps(content) + "\n"
    assert not list((tmp_path / "out").glob(".*"))
    assert [one["file_name"] for one in content["images"]] == [str(one.image) for one in found]
    assert [one["id"] for one in content["annotations"]] == [1, 2, 3, 4]
    assert [one["score"] for one in content["annotations"]] == [0.8, 1.0, 0.8, 1.0]
    assert content["annotations"][0]["bbox"] == [3, 2, 7, 4]
    for one in content["images"]:
        one["file_name"] = Path(one["file_name"]).name
    (tmp_path / "data" / "_annotations.coco.json").write_text(json.dumps(content))
    records = {Path(record.name).name: record for record in open_dataset(tmp_path / "data")}
    for image in images:
        assert np.array_equal(read_mask(records[image.name]), two_regions(20, len(read_grey(image)[0])) > 127)


def test_what_was_found_before_a_broken_image_is_in_the_coco_file(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.png", two_regions(20, 30))
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"b\.png"):
        list(predict(Bright(), [tmp_path / "in"], tmp_path / "out", formats=["coco"]))
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [len(content[name]) for name in ("images", "annotations", "categories")] == [1, 2, 1]


def test_a_coco_file_of_images_without_a_tumour_holds_no_annotation(tmp_path: Path) -> None:
    write(tmp_path / "none.png", np.zeros((9, 9), dtype=np.uint8))
    list(predict(Bright(), [tmp_path / "none.png"], tmp_path / "out", formats=["coco"]))
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())["annotations"] == []


def read_grey(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    return pixels


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)))
def test_run_lengths_give_the_mask_back(mask: np.ndarray) -> None:
    """Decoded as pycocotools does: column by column, of 0 and 1 in turn."""
    seen = np.zeros_like(mask)
    for one in coco_annotations(mask, np.ones(mask.shape, dtype=np.float32)):
        counts = one["segmentation"]["counts"]
        values = np.repeat(np.arange(len(counts)) % 2, counts).astype(np.uint8)
        region = values.reshape(mask.shape, order="F")
        x, y, width, height = one["bbox"]
        assert region.sum() == region[y : y + height, x : x + width].sum() == one["area"]
        seen += region
    assert np.array_equal(seen, mask)
    regions, box = regions_and_box(mask[:, :, np.newaxis])
    assert (regions == 0) == (box is None) == (not mask.any())


def test_a_series_is_written_as_nifti_and_slices_too(tmp_path: Path) -> None:
    """The NIfTI mask lies where a NIfTI reader puts the voxels of the series."""
    values = 1000 * np.random.default_rng(0).integers(0, 2, (7, 12, 10)).astype(np.uint16)
    write_series(tmp_path / "t1", values)
    formats = ["dicom-seg", "nifti", "png", "coco"]
    (found,) = predict(Bright(), [tmp_path / "t1"], tmp_path / "out", formats=formats)
    assert found.mask == tmp_path / "out" / "t1_mask.dcm"
    assert found.annotations is None
    written: Any = nibabel.load(tmp_path / "out" / "t1_mask.nii.gz")
    assert written.shape == (10, 12, 7)
    assert np.array_equal(np.asanyarray(written.dataobj), values.transpose(2, 1, 0) // 1000)
    voxel = float(abs(np.linalg.det(written.affine[:3, :3])))
    assert found.tumor_mm3 == pytest.approx(found.tumor_pixels * voxel)
    body = np.asanyarray(nibabel.as_closest_canonical(written).dataobj)
    slices = sorted((tmp_path / "out" / "t1_mask").glob("*.png"))
    assert [path.name for path in slices] == [f"{index:04}.png" for index in range(7)]
    for index, path in enumerate(slices):
        assert np.array_equal(read_grey(path) // 255, cut(body, "axial", index))


@pytest.mark.parametrize("plane", PLANES)
def test_slices_of_a_volume_follow_its_plane(tmp_path: Path, plane: str) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 8, 7), dtype=np.int16), np.eye(4)), tmp_path / "scan.nii")
    (found,) = predict(Bright(), [tmp_path / "scan.nii"], tmp_path / "out", plane=plane, formats=["png"])
    assert found.mask == tmp_path / "out" / "scan_mask"
    assert len(list(found.mask.iterdir())) == {"sagittal": 9, "coronal": 8, "axial": 7}[plane]


def test_formats_that_cannot_be_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    image = write(tmp_path / "a.png", two_regions())
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), dtype=np.int16), np.eye(4)), tmp_path / "b.nii")
    with pytest.raises(ConfigError, match="--format 'jpeg': unknown; allowed are png, coco, nifti, dicom-seg"):
        list(predict(Bright(), [image], tmp_path / "out", formats=["jpeg"]))
    with pytest.raises(ConfigError, match=r"--format nifti: .*a\.png is an image, which can be written as png or coco"):
        list(predict(Bright(), [tmp_path / "b.nii", image], tmp_path / "out", formats=["nifti"]))
    with pytest.raises(ConfigError, match=r"b\.nii is a NIfTI volume, which can be written as nifti or png"):
        list(predict(Bright(), [tmp_path / "b.nii"], tmp_path / "out", formats=["dicom-seg"]))
    assert not (tmp_path / "out").exists()
    both = list(predict(Bright(), [tmp_path / "b.nii", image], tmp_path / "out", formats=["nifti", "coco"]))
    assert [one.mask for one in both] == [tmp_path / "out" / name for name in ("b_mask.nii.gz", "predictions.json")]


def test_an_image_named_as_the_table_is_kept(tmp_path: Path) -> None:
    image = write(tmp_path / "a_mask.png", two_regions())
    before = image.read_bytes()
    write(tmp_path / "a.png", two_regions())
    with pytest.raises(DataError, match="would be overwritten"):
        list(predict(Bright(), [tmp_path], tmp_path, formats=["png"]))
    assert image.read_bytes() == before
    assert not (tmp_path / "predictions.csv").exists()
