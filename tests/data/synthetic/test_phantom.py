"""Synthetic datasets: reproducible to the byte, split by patient, and annotated as they were drawn."""

import csv
import itertools
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from bts_tune.data.synthetic.phantom import generate_patient, generate_slice, write_phantom
from bts_tune.errors import DataError

SMALL: dict[str, Any] = {"count": 24, "image_size": 32, "slices_per_patient": 4, "workers": 1}


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def exports(root: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in root.glob("*/_annotations.coco.json")}


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def test_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    write_phantom(tmp_path / "first", **SMALL)
    write_phantom(tmp_path / "second", **SMALL)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_bytes_do_not_depend_on_processes_or_threads(tmp_path: Path) -> None:
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(4)
        write_phantom(tmp_path / "one", **SMALL)
    finally:
        cv2.setNumThreads(threads)
    write_phantom(tmp_path / "two", **{**SMALL, "workers": 2})
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_every_patient_differs_by_seed(tmp_path: Path) -> None:
    write_phantom(tmp_path / "zero", **SMALL, seed=0)
    write_phantom(tmp_path / "one", **SMALL, seed=1)
    zero = {Path(name).name: data for name, data in contents(tmp_path / "zero").items() if name.endswith(".png")}
    one = {Path(name).name: data for name, data in contents(tmp_path / "one").items() if name.endswith(".png")}
    assert zero.keys() == one.keys()
    assert all(zero[name] != one[name] for name in zero)


def test_no_two_slices_are_alike(tmp_path: Path) -> None:
    write_phantom(tmp_path / "data", **SMALL)
    images = [data for name, data in contents(tmp_path / "data").items() if name.endswith(".png")]
    assert len(set(images)) == len(images) == SMALL["count"]


def test_layout_is_that_of_a_coco_export(tmp_path: Path) -> None:
    root = tmp_path / "new" / "data"
    write_phantom(root, **SMALL)
    written = exports(root)
    assert sorted(written) == ["test", "train", "valid"]
    assert sum(len(export["images"]) for export in written.values()) == SMALL["count"]
    for split, export in written.items():
        assert export["categories"] == [
            {"id": 0, "name": "Tumor", "supercategory": "none"},
            {"id": 1, "name": "tumor", "supercategory": "Tumor"},
        ]
        assert export["licenses"]
        assert export["info"]
        names = {image["file_name"] for image in export["images"]}
        assert names | {"_annotations.coco.json"} == {path.name for path in (root / split).iterdir()}
        assert [image["id"] for image in export["images"]] == list(range(len(export["images"])))
        assert [item["id"] for item in export["annotations"]] == list(range(len(export["annotations"])))
        for image in export["images"]:
            pixels = cv2.imread(str(root / split / image["file_name"]), cv2.IMREAD_UNCHANGED)
            assert pixels is not None
            assert pixels.shape == (image["height"], image["width"]) == (32, 32)
            assert pixels.dtype == np.uint8
        assert all(item["iscrowd"] == 0 and item["category_id"] == 1 for item in export["annotations"])
        assert all(0 <= item["image_id"] < len(export["images"]) for item in export["annotations"])
    assert not list(root.parent.glob(".*")), "the temporary folder is left"


def test_a_patient_lies_in_one_split_and_every_split_has_a_tumor(tmp_path: Path) -> None:
    write_phantom(tmp_path / "data", count=9, slices_per_patient=3, image_size=32, tumor_free=0.9, workers=1)
    splits: dict[str, set[str]] = defaultdict(set)
    tumors: dict[str, int] = defaultdict(int)
    for split, export in exports(tmp_path / "data").items():
        assert export["annotations"], split
        for image in export["images"]:
            extra = image["extra"]
            assert image["file_name"] == f"{extra['patient']}_s{extra['slice']:03d}.png"
            splits[extra["patient"]].add(split)
        for annotation in export["annotations"]:
            tumors[export["images"][annotation["image_id"]]["extra"]["patient"]] += 1
    assert all(len(found) == 1 for found in splits.values())
    with (tmp_path / "data" / "patients.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert {row["patient"]: {row["split"]} for row in table} == splits
    assert {row["patient"]: int(row["tumor_slices"]) for row in table} == {name: tumors[name] for name in splits}
    assert sum(int(row["slices"]) for row in table) == 9
    assert all(bool(row["lesion"]) == (row["tumor_slices"] != "0") for row in table)


@pytest.mark.parametrize("tumor_free", [0.0, 0.15, 0.5])
def test_share_of_tumor_free_slices_is_as_asked(tmp_path: Path, tumor_free: float) -> None:
    write_phantom(
        tmp_path / "data", count=101, slices_per_patient=5, image_size=32, tumor_free=tumor_free, workers=1, seed=3
    )
    for export in exports(tmp_path / "data").values():
        images, annotated = len(export["images"]), len({item["image_id"] for item in export["annotations"]})
        assert abs((images - annotated) - tumor_free * images) <= 1


def test_splits_follow_their_shares(tmp_path: Path) -> None:
    write_phantom(tmp_path / "data", count=40, slices_per_patient=2, image_size=32, splits=(0.6, 0.4, 0.0), workers=1)
    assert {split: len(export["images"]) for split, export in exports(tmp_path / "data").items()} == {
        "train": 24,
        "valid": 16,
    }


@pytest.mark.parametrize("image_size", [32, 61, 128])
def test_outlines_rasterise_to_the_mask_and_boxes_bound_it(tmp_path: Path, image_size: int) -> None:
    common: dict[str, Any] = {"count": 18, "slices_per_patient": 6, "image_size": image_size, "seed": 5, "workers": 1}
    write_phantom(tmp_path / "outline", annotation="outline", **common)
    write_phantom(tmp_path / "box", annotation="box", **common)
    boxed = exports(tmp_path / "box")
    for split, export in exports(tmp_path / "outline").items():
        assert [item["image_id"] for item in export["annotations"]] == [
            item["image_id"] for item in boxed[split]["annotations"]
        ]
        with (tmp_path / "outline" / "patients.csv").open(newline="") as file:
            tumor_slices = {row["patient"]: int(row["tumor_slices"]) for row in csv.DictReader(file)}
        for outline, box in zip(export["annotations"], boxed[split]["annotations"], strict=True):
            extra = export["images"][outline["image_id"]]["extra"]
            image, truth = generate_slice(
                extra["slice"],
                6,
                tumor_slices=tumor_slices[extra["patient"]],
                image_size=image_size,
                seed=5,
                patient=int(extra["patient"][1:]),
            )
            file_name = export["images"][outline["image_id"]]["file_name"]
            for annotation in ("outline", "box"):
                stored = cv2.imread(str(tmp_path / annotation / split / file_name), cv2.IMREAD_UNCHANGED)
                np.testing.assert_array_equal(stored, image)

            polygons = rle.merge(rle.frPyObjects(outline["segmentation"], image_size, image_size))
            np.testing.assert_array_equal(rle.decode(polygons), truth)
            assert outline["area"] == truth.sum()

            rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
            bounds = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
            assert outline["bbox"] == box["bbox"] == bounds
            rectangle = np.zeros_like(truth)
            rectangle[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 1
            polygons = rle.merge(rle.frPyObjects(box["segmentation"], image_size, image_size))
            np.testing.assert_array_equal(rle.decode(polygons), rectangle)
            assert box["area"] == rectangle.sum()


def test_generated_arrays_have_the_documented_form() -> None:
    slices = list(generate_patient(5, tumor_slices=3, image_size=48, seed=2, patient=7))
    assert len(slices) == 5
    for image, mask in slices:
        assert image.shape == mask.shape == (48, 48)
        assert image.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 1}
    alone = generate_slice(1, 5, tumor_slices=3, image_size=48, seed=2, patient=7)
    np.testing.assert_array_equal(alone[0], slices[1][0])
    np.testing.assert_array_equal(alone[1], slices[1][1])


@pytest.mark.parametrize("image_size", [32, 96])
def test_tumors_span_the_neighbouring_slices_asked_for(image_size: int) -> None:
    for patient in range(60):
        slices, tumor_slices = 1 + patient % 8, (1 + patient % 8) * (patient % 5) // 4
        masks = [
            mask
            for _, mask in generate_patient(slices, tumor_slices=tumor_slices, image_size=image_size, patient=patient)
        ]
        areas = np.array([mask.sum() for mask in masks])
        found = np.flatnonzero(areas)
        assert len(found) == tumor_slices
        if tumor_slices:
            assert found[-1] - found[0] + 1 == tumor_slices
            assert areas[found].min() >= 4, "a tumour too small to be seen"
            assert areas.max() < 0.15 * image_size**2
            assert all(cv2.connectedComponents(masks[index])[0] == 2 for index in found)


def test_cross_sections_change_smoothly() -> None:
    for patient in range(10):
        masks = [mask for _, mask in generate_patient(8, tumor_slices=8, image_size=128, patient=patient)]
        for below, above in itertools.pairwise(masks[1:-1]):
            assert 2 * (below & above).sum() / (below.sum() + above.sum()) > 0.6


def test_neighbouring_slices_resemble_each_other_more_than_other_patients() -> None:
    patients = [[image for image, _ in generate_patient(6, tumor_slices=4, patient=number)] for number in range(6)]
    neighbours = [correlation(scan[index], scan[index + 1]) for scan in patients for index in range(5)]
    strangers = [
        correlation(one[index], other[index])
        for number, one in enumerate(patients)
        for other in patients[:number]
        for index in range(6)
    ]
    assert np.mean(neighbours) > np.mean(strangers) + 0.1
    assert np.mean(neighbours > np.quantile(strangers, 0.9)) > 0.8


def test_anatomy_does_not_depend_on_the_image_size() -> None:
    for patient in range(4):
        large, large_mask = generate_slice(3, image_size=256, patient=patient)
        small, small_mask = generate_slice(3, image_size=64, patient=patient)
        assert correlation(cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA), small) > 0.93
        assert abs(large_mask.mean() - small_mask.mean()) < 0.15 * large_mask.mean()


def test_a_head_is_drawn_and_noise_is_everywhere() -> None:
    image, _ = generate_slice(3, image_size=128, patient=1)
    corner = image[:8, :8]
    assert 0 < corner.mean() < 15
    assert corner.std() > 0
    assert image[48:80, 48:80].mean() > 60


def test_a_global_threshold_does_not_find_the_tumors() -> None:
    """Neither one threshold for all images nor the best of each is a segmentation."""
    pairs = [generate_slice(3, image_size=96, patient=patient) for patient in range(40)]

    def best_dice(image: np.ndarray, mask: np.ndarray) -> float:
        inside = np.bincount(image[mask == 1], minlength=256)
        everywhere = np.bincount(image.ravel(), minlength=256)
        dice = []
        for tumor, selected in ((inside, everywhere), (inside[::-1], everywhere[::-1])):
            hits, chosen = np.cumsum(tumor), np.cumsum(selected)
            dice.append((2 * hits / (chosen + mask.sum())).max())
        return float(max(dice))

    images, masks = np.stack([image for image, _ in pairs]), np.stack([mask for _, mask in pairs])
    assert best_dice(images, masks) < 0.45
    assert np.mean([best_dice(image, mask) for image, mask in pairs]) < 0.6


def test_progress_counts_slices_up_to_the_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_phantom(tmp_path / "data", **SMALL, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 24) for done in range(4, 25, 4)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 8}, r"count is 8; at least 9 is allowed, a patient for each of 3 splits"),
        ({"count": 0, "splits": (1.0, 0.0, 0.0)}, r"count is 0; at least 1"),
        ({"image_size": 16}, r"image_size is 16; 32 to 2048 is allowed"),
        ({"image_size": 100_000}, r"image_size is 100000"),
        ({"slices_per_patient": 0}, r"slices_per_patient is 0; at least 1"),
        ({"annotation": "circle"}, r"annotation is 'circle'; outline or box is allowed"),
        ({"tumor_free": 1.0}, r"tumor_free is 1\.0"),
        ({"tumor_free": float("nan")}, r"tumor_free is nan"),
        ({"seed": -1}, r"seed is -1"),
        ({"workers": 0}, r"workers is 0"),
        ({"splits": (0.5, 0.2, 0.1)}, r"splits is \(0\.5, 0\.2, 0\.1\)"),
        ({"splits": (1.2, -0.2, 0.0)}, r"splits is"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_phantom(tmp_path / "data", **{**SMALL, **arguments})
    assert not list(tmp_path.iterdir())


def test_slices_out_of_range_are_refused() -> None:
    with pytest.raises(DataError, match="tumor_slices is 5; 0 to 4 is allowed"):
        generate_patient(4, tumor_slices=5)
    with pytest.raises(DataError, match="index is 4; 0 to 3 is allowed"):
        generate_slice(4, 4, tumor_slices=2)


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("keep")
    with pytest.raises(DataError, match="already holds something"):
        write_phantom(tmp_path, **SMALL)
    with pytest.raises(DataError, match="is a file"):
        write_phantom(tmp_path / "note.txt", **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_an_empty_folder_is_filled_unless_it_is_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with monkeypatch.context() as context:
        context.chdir(empty)
        with pytest.raises(DataError, match="is the current folder"):
            write_phantom(Path(), **SMALL)
    write_phantom(empty, **SMALL)
    assert (empty / "train").is_dir()


def test_nothing_is_left_when_writing_is_interrupted(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    for workers in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            write_phantom(tmp_path / "data", **{**SMALL, "workers": workers}, progress=interrupt)
        assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"data: cannot be written: \w+"):
        write_phantom(tmp_path / "file" / "data", **SMALL)
