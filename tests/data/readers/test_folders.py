from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bts_tune.data.left_out import left_out_lines
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask, read_slice
from bts_tune.data.readers.folders import FoldersReader
from bts_tune.data.records import SPLITS
from bts_tune.data.scan.scan import scan_dataset
from bts_tune.data.splits.make import make_split
from bts_tune.errors import DataError
from bts_tune.testing.readers import ReaderContract
from tests.data.builders import areas, noise, write_image, write_pairs, write_slices
from tests.data.readers.test__nifti_slices import save, volume


class TestAlone(ReaderContract):
    """One pair of folders, without splits."""

    @pytest.fixture
    def reader(self) -> FoldersReader:
        return FoldersReader()

    @pytest.fixture
    def dataset_folder(self, tmp_path: Path) -> Path:
        return write_pairs(tmp_path / "dataset", 10)

    @pytest.fixture
    def broken_folder(self, tmp_path: Path) -> Path:
        root = write_pairs(tmp_path / "dataset", 10)
        (root / "masks" / "s003.png").unlink()
        return root


class TestInSplits(TestAlone):
    """A pair of folders in each split."""

    @pytest.fixture
    def dataset_folder(self, tmp_path: Path) -> Path:
        for number, split in enumerate(("train", "val", "test")):
            write_pairs(tmp_path / "dataset" / split, 3, seed=10 * number)
        return tmp_path / "dataset"

    @pytest.fixture
    def broken_folder(self, tmp_path: Path) -> Path:
        for number, split in enumerate(("train", "valid")):
            write_pairs(tmp_path / "dataset" / split, 3, seed=10 * number)
        (tmp_path / "dataset" / "valid" / "images" / "s001.png").unlink()
        return tmp_path / "dataset"


def test_split_folders(tmp_path: Path) -> None:
    write_pairs(tmp_path / "train", 4)
    write_pairs(tmp_path / "val", 2)
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "folders"
    assert dataset.categories == {}
    assert {split: len(records) for split, records in dataset.records.items()} == {"train": 4, "valid": 2, "test": 0}
    record = dataset.records["valid"][0]
    assert (record.name, record.split, record.width) == ("val/images/s000.png", "valid", None)
    assert dataset.issues == ()


def test_image_and_mask_may_have_different_formats(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path, 2)
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[1:9, 2:7] = 1
    (folder / "masks" / "s000.png").unlink()
    write_image(folder / "masks" / "s000.tif", mask)
    (record,) = (one for one in open_dataset(tmp_path) if one.image_id == "s000")
    assert np.array_equal(read_mask(record), mask)


def test_without_splits_all_slices_wait_to_be_split(tmp_path: Path) -> None:
    dataset = open_dataset(write_pairs(tmp_path, 12, height=8, width=8))
    assert dataset.own_splits == ()
    assert dataset.needs_splitting
    assert [len(dataset.records[split]) for split in SPLITS] == [12, 0, 0]


def test_an_image_without_a_mask_is_an_error(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path, 5)
    (folder / "masks" / "s002.png").unlink()
    dataset = open_dataset(tmp_path)
    assert [(one.code, one.level, one.file) for one in dataset.issues] == [("missing-mask", "error", "images/s002.png")]
    assert len(dataset) == 4


def test_a_mask_without_an_image_is_a_warning(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path, 5)
    (folder / "images" / "s002.png").unlink()
    issues = open_dataset(tmp_path).issues
    assert [(one.code, one.level, one.file) for one in issues] == [("unlisted-file", "warning", "masks/s002.png")]


@pytest.mark.parametrize("where", ["images", "masks"])
def test_two_files_of_one_stem_are_an_error(tmp_path: Path, where: str) -> None:
    folder = write_pairs(tmp_path, 5)
    write_image(folder / where / "s001.tif", noise())
    (issue,) = open_dataset(tmp_path).issues
    assert (issue.code, issue.level) == ("duplicate-stem", "error")
    assert "s001.tif" in issue.message


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("{split}/images", "{split}/masks"),
        ("{split}/Images", "{split}/Labels"),
        ("imgs/{split}", "segmentations/{split}"),
        ("{split}_images", "{split}_masks"),
        ("{split}", "{split}_masks"),
    ],
)
@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Training", "Validation", "Testing")])
def test_usual_names_of_folders(tmp_path: Path, images: str, masks: str, names: tuple[str, str, str]) -> None:
    for name in names:
        write_pairs(tmp_path / "made", 3)
        for kind, pattern in (("images", images), ("masks", masks)):
            target = tmp_path / "dataset" / pattern.format(split=name)
            target.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "made" / kind).rename(target)
    dataset = open_dataset(tmp_path / "dataset")
    assert dataset.issues == ()
    assert [len(dataset.records[split]) for split in SPLITS] == [3, 3, 3]
    assert not dataset.needs_splitting
    for record in dataset:
        assert read_mask(record).sum() == 15 * 20


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}.png", "{}_mask.png"),
        ("{}.png", "{}-seg.png"),
        ("{}.png", "{}_segmentation.png"),
        ("{}.png", "mask_{}.png"),
        ("{}_image.png", "{}_mask.png"),
        ("image{}.png", "mask{}.png"),
        ("{}a.PNG", "{}A.png"),
        ("{}\u00fc.png", "{}u\u0308.png"),
    ],
)
def test_names_of_masks(tmp_path: Path, image: str, mask: str) -> None:
    for number in range(4):
        write_image(tmp_path / "images" / image.format(number), noise(seed=number))
        square = np.zeros((40, 60), dtype=np.uint8)
        square[: number + 1] = 1
        write_image(tmp_path / "masks" / mask.format(number), square)
    dataset = open_dataset(tmp_path)
    assert dataset.issues == ()
    assert [int(read_mask(record).sum()) for record in dataset] == [60, 120, 180, 240]


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".tiff", ".gif", ".npy"])
def test_formats_beside_png(tmp_path: Path, suffix: str) -> None:
    root = write_pairs(tmp_path, 4)
    for number in range(4):
        mask = root / "masks" / f"s{number:03}.png"
        pixels = np.zeros((40, 60), dtype=np.uint8)
        pixels[: number + 1] = 255
        mask.unlink()
        if suffix == ".npy":
            np.save(mask.with_suffix(suffix), pixels)
        elif suffix == ".webp":
            Image.fromarray(pixels).convert("RGB").save(mask.with_suffix(suffix), lossless=True)
        else:
            Image.fromarray(pixels).save(mask.with_suffix(suffix))
    dataset = open_dataset(root)
    assert dataset.issues == ()
    assert [int(read_mask(record).sum()) for record in dataset] == [60, 120, 180, 240]


@pytest.mark.parametrize("first", ["images/{}", "{}/images"])
def test_a_patients_folder_is_a_group(tmp_path: Path, first: str) -> None:
    for number in range(4):
        for kind in ("images", "masks"):
            write_image(tmp_path / first.format(f"p{number}").replace("images", kind) / "0.png", noise(seed=number))
    dataset = open_dataset(tmp_path)
    assert dataset.issues == ()
    assert [record.group for record in dataset] == ["p0", "p1", "p2", "p3"]


@pytest.mark.parametrize("pattern", ["{kind}/{patient}", "data/{kind}/{patient}", "train/{kind}/{patient}"])
def test_patients_folders_may_lie_in_those_of_kinds(tmp_path: Path, pattern: str) -> None:
    for kind in ("HGG", "LGG"):
        for number in range(3):
            write_pairs(tmp_path / pattern.format(kind=kind, patient=f"{kind[0]}{number}"), 2, seed=number)
    dataset = open_dataset(tmp_path)
    assert (len(dataset), dataset.issues) == (12, ())
    assert {record.group for record in dataset} == {f"{kind}{number}" for kind in "HL" for number in range(3)}
    assert {dict(record.strata)["grade"] for record in dataset} == {"high", "low"}


@pytest.mark.parametrize("image", ["P{}.nii.gz", "train/P{}.nii.gz", "P{}/t1.nii.gz"])
def test_volumes_may_lie_beside_the_folder_of_their_masks(tmp_path: Path, image: str) -> None:
    for number in range(3):
        pixels, mask = volume(number)
        path = tmp_path / image.format(number)
        save(path, pixels)
        save(path.parent / "masks" / path.name, mask)
    dataset = open_dataset(tmp_path)
    assert (dataset.layout, dataset.issues) == ("folders", ())
    assert {record.group for record in dataset} == {"P0", "P1", "P2"}


def test_one_split_may_have_folders_of_patients_and_another_none(tmp_path: Path) -> None:
    for number in range(3):
        write_pairs(tmp_path / "train" / f"P{number}", 2, seed=number)
    write_pairs(tmp_path / "test", 2, seed=9)
    dataset = open_dataset(tmp_path)
    assert [len(dataset.records[split]) for split in SPLITS] == [6, 0, 2]
    assert {record.group for record in dataset.records["train"]} == {"P0", "P1", "P2"}
    assert {issue.code for issue in dataset.issues} == {"no-patient"}


def test_splits_may_lie_in_folders_of_kinds(tmp_path: Path) -> None:
    for kind in ("glioma", "meningioma"):
        for split, count in (("train", 3), ("val", 2)):
            write_pairs(tmp_path / kind / split, count, seed=count)
    dataset = open_dataset(tmp_path)
    assert [len(dataset.records[split]) for split in SPLITS] == [6, 4, 0]
    assert {record.strata for record in dataset} == {(("tumour", "glioma"),), (("tumour", "meningioma"),)}


def test_folders_of_a_kind_of_tumour_are_strata_and_no_patients(tmp_path: Path) -> None:
    for kind in ("glioma", "Meningioma", "pituitary"):
        for part in ("images", "masks"):
            write_image(tmp_path / part / kind / "0.png", noise())
    records = list(open_dataset(tmp_path))
    assert {record.group for record in records} == {None}
    assert {record.strata for record in records} == {
        (("tumour", kind),) for kind in ("glioma", "meningioma", "pituitary")
    }


@pytest.mark.parametrize(
    ("images", "masks"),
    [("x", "y"), ("X", "Y"), ("input", "target"), ("Inputs", "Targets"), ("img_dir", "ann_dir"), ("input", "masks")],
)
def test_names_that_mean_images_and_masks_beside_each_other(tmp_path: Path, images: str, masks: str) -> None:
    for split in ("train", "val"):
        write_pairs(tmp_path / split, 2)
        (tmp_path / split / "images").rename(tmp_path / split / images)
        (tmp_path / split / "masks").rename(tmp_path / split / masks)
    for root, own in ((tmp_path, ("train", "valid")), (tmp_path / "train", ())):
        dataset = open_dataset(root)
        assert (dataset.layout, dataset.own_splits, dataset.issues) == ("folders", own, ())


def test_names_of_a_pair_mean_nothing_alone_or_beside_clear_ones(tmp_path: Path) -> None:
    write_pairs(tmp_path / "clear", 3)
    for name in ("x", "target"):
        write_image(tmp_path / "clear" / name / "other.png", noise())
    records = list(open_dataset(tmp_path / "clear"))
    assert {record.image.parent.name for record in records} == {"images"}
    assert {record.mask.parent.name for record in records if record.mask} == {"masks"}
    for name in ("x.png", "x_mask.png"):
        write_image(tmp_path / "alone" / "train" / "input" / name, np.zeros((9, 9), np.uint8))
    assert open_dataset(tmp_path / "alone").layout == "pairs"


def test_splits_inside_or_in_the_names(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_pairs(tmp_path / "one", 2)
        for kind, names in (("images", ("img_dir/{}", "x_{}")), ("masks", ("ann_dir/{}", "y_{}"))):
            for place, name in zip(("mmsegmentation", "kaggle"), names, strict=True):
                (tmp_path / place / name.format(split)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copytree(tmp_path / "one" / kind, tmp_path / place / name.format(split))
    for place in ("mmsegmentation", "kaggle"):
        dataset = open_dataset(tmp_path / place)
        assert [len(dataset.records[split]) for split in SPLITS] == [2, 2, 0]
        assert dataset.issues == ()


@pytest.mark.parametrize("split", [".", "train"])
def test_folders_of_kinds_of_tumour_with_images_and_masks_are_no_patients(tmp_path: Path, split: str) -> None:
    for number, kind in enumerate(("glioma", "Meningioma_tumor", "no_tumor")):
        write_pairs(tmp_path / split / kind, 2, seed=10 * number)
    dataset = open_dataset(tmp_path)
    assert {record.group for record in dataset} == {None}
    assert {record.strata for record in dataset} == {
        (("tumour", "glioma"),),
        (("tumour", "meningioma"),),
        (("tumour", "none"),),
    }


def test_outlines_in_a_file_an_image_are_told(tmp_path: Path) -> None:
    write_image(tmp_path / "img" / "a.png", noise())
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "a.png.json").write_text("{}")
    with pytest.raises(DataError, match="export masks, or a COCO file"):
        open_dataset(tmp_path)


def test_slices_in_no_patients_folder_are_read_and_said(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, 2)
    for kind in ("images", "masks"):
        for number in range(3):
            write_image(root / kind / "p1" / f"{number}.png", noise(seed=number))
    dataset = open_dataset(root)
    assert sorted(record.group or "" for record in dataset) == ["images/s000.png", "images/s001.png", "p1", "p1", "p1"]
    (issue,) = dataset.issues
    assert (issue.code, issue.level) == ("no-patient", "warning")
    assert "2 slices in no patient's folder" in issue.message


def test_many_images_without_a_mask_are_one_error_with_the_cause(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, 6)
    for path in sorted((root / "masks").iterdir()):
        path.rename(path.with_name(f"other{path.name}"))
    (error,) = open_dataset(root).errors
    assert "6 of 6 images have no mask of their stem" in error.message
    assert "such as others000.png" in error.message


def test_outlines_of_yolo_are_told(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_image(tmp_path / split / "images" / "x.png", noise())
        (tmp_path / split / "labels").mkdir()
        (tmp_path / split / "labels" / "x.txt").write_text("0 0.5 0.5 0.1 0.1")
    with pytest.raises(DataError, match=r"train/labels: holds 1 text file and no image; YOLO's"):
        open_dataset(tmp_path)


def test_two_folders_of_one_kind_are_refused(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, 4)
    write_image(root / "labels" / "s000.png", noise())
    with pytest.raises(DataError, match="labels/ and masks/ may each hold the masks of train; keep one"):
        open_dataset(root)


def test_a_dataset_in_a_folder_within_is_named(tmp_path: Path) -> None:
    write_pairs(tmp_path / "archive" / "brisc", 4)
    with pytest.raises(DataError, match=r"is not a dataset, but .*archive/brisc is; name that folder"):
        open_dataset(tmp_path)


def test_links_of_a_hub_are_one_error_with_the_way_out(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "snapshot", 6)
    for path in sorted(root.rglob("*.png")):
        blob = tmp_path / "blobs" / f"{path.parent.name}-{path.stem}"
        blob.parent.mkdir(exist_ok=True)
        path.rename(blob)
        path.symlink_to(blob)
    (error,) = open_dataset(root).errors
    assert "6 slices lie behind a link that leads out" in error.message
    assert f"cp -rL {root} COPY" in error.message


def test_brisc_has_its_own_test_split_and_tells_kind_and_plane(brisc2025: Path) -> None:
    dataset = open_dataset(brisc2025)
    assert (dataset.layout, dataset.issues, dataset.own_splits) == ("folders", (), ("train", "test"))
    assert [len(dataset.records[split]) for split in SPLITS] == [3933, 0, 860]
    assert {len(record.strata) for record in dataset} == {2}
    assert {value for record in dataset for _, value in record.strata} == {
        *("glioma", "meningioma", "pituitary"),
        *("axial", "coronal", "sagittal"),
    }


@given(st.binary(max_size=60), st.sampled_from(["s000_mask.png", "mask.npy", "s001.gif", "s9.nii.gz", "_.bmp"]))
@settings(deadline=None, max_examples=60)
def test_any_file_gives_a_dataset_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    root = tmp_path_factory.getbasetemp() / "any"
    for split in ("train", "val"):
        if not (root / split).is_dir():
            write_pairs(root / split, 2, height=8, width=8)
    for kind in ("images", "masks"):
        (root / "train" / kind / name).write_bytes(data)
    refusal = ""
    try:
        for record in open_dataset(root):
            read_slice(record), read_mask(record)
    except DataError as error:
        refusal = str(error)
    finally:
        for kind in ("images", "masks"):
            (root / "train" / kind / name).unlink()
    assert "\n" not in refusal


@pytest.mark.parametrize("folder", ["raw", "Original", "MRI", "frames", "t1", "Brain scans"])
@pytest.mark.parametrize("masks", ["masks", "Ground Truth", "tumor_masks"])
def test_images_lie_beside_the_masks_in_a_folder_of_any_name(tmp_path: Path, folder: str, masks: str) -> None:
    root = write_slices(tmp_path, *((f"{folder}/{n}.png", f"{masks}/{n}.png") for n in range(4)))
    write_image(root / "other" / "x.png", noise())
    assert areas(root) == {f"{folder}/{n}.png": 10 * (n + 1) for n in range(4)}
    (left_out,) = open_dataset(root).issues
    assert "other/x.png" in left_out.message


def test_two_folders_that_may_hold_the_images_are_refused(tmp_path: Path) -> None:
    root = write_slices(tmp_path, *((f"raw/{n}.png", f"masks/{n}.png") for n in range(3)))
    write_image(root / "smooth" / "0.png", noise())
    with pytest.raises(DataError, match="raw/ and smooth/ may each hold the images of train; keep one"):
        open_dataset(root)


def test_output_is_masks_beside_input_alone(tmp_path: Path) -> None:
    root = write_slices(tmp_path / "a", *((f"Input/{n}.png", f"output/{n}.png") for n in range(3)))
    assert areas(root) == {f"Input/{n}.png": 10 * (n + 1) for n in range(3)}
    root = write_slices(tmp_path / "b", *((f"images/{n}.png", f"output/{n}.png") for n in range(3)))
    with pytest.raises(DataError, match="is not a dataset"):
        open_dataset(root)


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize(("split", "of"), [("test", "test"), ("val", "validation")])
def test_a_split_without_masks_is_left_out_and_said(tmp_path: Path, split: str, of: str, empty: bool) -> None:
    for name in ("train", *({"val", "test"} - {split})):
        write_pairs(tmp_path / name, 4, seed=len(name))
    for number in range(3):
        write_image(tmp_path / split / "images" / f"{number}.png", noise(seed=50 + number))
    if empty:
        (tmp_path / split / "masks").mkdir()
    dataset = open_dataset(tmp_path)
    assert [len(dataset.records[one]) for one in ("train", "valid", "test")] == [
        4,
        *((4, 0) if of == "test" else (0, 4)),
    ]
    assert dataset.needs_splitting == (of == "validation")
    said, left_out = dataset.issues
    assert (left_out.code, said.code) == ("left-out", "split-without-masks")
    assert "3 .png files left out" in left_out.message
    assert said.file == f"{split}/images"
    assert f"no masks for its 3 images, so the {of} split is left out" in said.message


def test_a_challenges_test_images_leave_a_dataset_without_splits(tmp_path: Path) -> None:
    root = write_slices(tmp_path, *((f"train_images/{n}.png", f"train_masks/{n}.png") for n in range(4)))
    write_image(root / "test_images" / "0.png", noise())
    dataset = open_dataset(root)
    assert (len(dataset.records["train"]), dataset.own_splits) == (4, ())


def test_classes_that_are_numbers_are_no_patients(tmp_path: Path) -> None:
    names = [(f"{split}/{kind}/images/{n}.png", f"{split}/{kind}/masks/{n}.png")
             for split in ("train", "val") for kind in "123" for n in range(2)]  # fmt: skip
    dataset = open_dataset(write_slices(tmp_path, *names))
    assert {record.group for record in dataset} == {None}
    assert {record.strata for record in dataset} == {(("folder", kind),) for kind in "123"}
    assert [issue.code for issue in dataset.issues] == ["folders-as-kinds"]


def test_what_was_guessed_is_said_first_until_patients_are_given(tmp_path: Path) -> None:
    names = [(f"images/{kind}/{kind}{n}.png", f"masks/{kind}/{kind}{n}.png") for kind in "123" for n in range(3)]
    dataset = open_dataset(write_slices(tmp_path, *names))
    (line,) = left_out_lines(dataset)
    assert line.startswith("3 folders (1, 2, 3) are taken for kinds of slices and not for patients, as ")
    scan = scan_dataset(dataset)
    guessed, split = make_split(dataset, scan)
    assert (left_out_lines(guessed), split.summary["groups"]["count"]) == ([line], 9)
    given, split = make_split(dataset, scan, group_by="(?:^|/)(1|2|3)/")
    assert (left_out_lines(given), split.summary["groups"]["count"]) == ([], 3)
    assert left_out_lines(make_split(dataset, scan, group_by="none")[0]) == []


@pytest.mark.parametrize(("masks", "splits"), [(True, [4, 2, 0]), (False, [4, 0, 0])])
def test_undivided_folders_beside_other_splits_are_for_training(tmp_path: Path, masks: bool, splits: list[int]) -> None:
    write_pairs(tmp_path, 4)
    write_pairs(tmp_path / "val", 2, seed=10)
    if not masks:
        shutil.rmtree(tmp_path / "val" / "masks")
    dataset = open_dataset(tmp_path)
    assert (dataset.errors, [len(dataset.records[split]) for split in SPLITS]) == ((), splits)
    assert dataset.own_splits == (("train", "valid") if masks else ())


def test_patients_that_differ_in_letter_case_alone_are_said(tmp_path: Path) -> None:
    names = [f"{folder}/{number}.png" for number, folder in enumerate(("p1", "P1", "P2"))]
    dataset = open_dataset(write_slices(tmp_path, *((f"images/{name}", f"masks/{name}") for name in names)))
    assert [(issue.code, "(P1 and p1)" in issue.message) for issue in dataset.issues] == [("patients-alike", True)]


def test_dicom_beside_folders_of_masks_has_a_way_out(tmp_path: Path) -> None:
    write_pairs(tmp_path, 2)
    for path in (tmp_path / "images").iterdir():
        path.rename(path.with_suffix(".dcm"))
    with pytest.raises(DataError, match=r"2 \.dcm files left out, .* DICOM series are read with --reader dicom"):
        open_dataset(tmp_path)
