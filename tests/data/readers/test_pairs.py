from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask, read_slice
from bts_tune.data.readers.pairs import PairsReader
from bts_tune.errors import DataError
from bts_tune.testing.readers import ReaderContract
from tests.data.builders import noise, write_image
from tests.data.readers.test__nifti_slices import save, volume


def write_patients(root: Path, patients: int = 3, count: int = 4) -> Path:
    """Write three-channel TIFFs with masks beside them, a folder for each patient, as the LGG set has them."""
    for number in range(patients):
        folder = root / f"TCGA_CS_494{number}_19960909"
        for index in range(count):
            mask = np.zeros((40, 60), dtype=np.uint8)
            mask[5 : 9 + index, 10:30] = 255
            image = noise(seed=10 * number + index)
            write_image(folder / f"{folder.name}_{index}.tif", np.dstack([image] * 3))
            write_image(folder / f"{folder.name}_{index}_mask.tif", mask)
    return root


class TestContract(ReaderContract):
    @pytest.fixture
    def reader(self) -> PairsReader:
        return PairsReader()

    @pytest.fixture
    def dataset_folder(self, tmp_path: Path) -> Path:
        return write_patients(tmp_path / "dataset")

    @pytest.fixture
    def broken_folder(self, tmp_path: Path) -> Path:
        root = write_patients(tmp_path / "dataset")
        next(root.rglob("*_mask.tif")).unlink()
        return root


def test_patients_are_groups_and_masks_are_those_beside(tmp_path: Path) -> None:
    dataset = open_dataset(write_patients(tmp_path))
    assert (dataset.layout, len(dataset), dataset.own_splits) == ("pairs", 12, ())
    assert {record.group for record in dataset} == {f"TCGA_CS_494{number}" for number in range(3)}  # without the visit
    for record in dataset:
        index = int(record.image.stem.rsplit("_", 1)[1])
        assert read_mask(record).sum() == (4 + index) * 20
        assert np.array_equal(read_slice(record), noise(seed=10 * int(record.group[11]) + index))  # type: ignore[index]


@pytest.mark.parametrize("stem", ["{folder}_{number}", "{number}"])
def test_initials_of_patients_that_say_images_or_masks_elsewhere(tmp_path: Path, stem: str) -> None:
    patients = ("AL", "GT", "JS", "MK", "TB", "X", "Y")
    for folder in patients:
        for number in range(2):
            name = stem.format(folder=folder, number=number)
            write_image(tmp_path / folder / f"{name}.png", noise(seed=number))
            write_image(tmp_path / folder / f"{name}_mask.png", np.eye(40, 60, dtype=np.uint8))
    dataset = open_dataset(tmp_path)
    assert (dataset.layout, len(dataset), dataset.issues) == ("pairs", 14, ())
    assert {record.group for record in dataset} == set(patients)


def test_folders_named_like_splits_are_the_splits(tmp_path: Path) -> None:
    for split in ("Training", "validation"):
        write_patients(tmp_path / split, patients=1)
    dataset = open_dataset(tmp_path)
    assert [len(dataset.records[split]) for split in ("train", "valid", "test")] == [4, 4, 0]
    assert not dataset.needs_splitting


def test_flat_pairs_have_no_patients(tmp_path: Path) -> None:
    for index in range(4):
        write_image(tmp_path / f"{index}.png", noise(seed=index))
        write_image(tmp_path / f"{index}-seg.png", np.eye(40, 60, dtype=np.uint8))
    dataset = open_dataset(tmp_path)
    assert len(dataset) == 4
    assert {record.group for record in dataset} == {None}


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}_image.png", "{}_mask.png"),
        ("img_{}.png", "mask_{}.png"),
        ("P{}/image.png", "P{}/mask.png"),
        ("P{}/t1_img.png", "P{}/t1_seg.png"),
        ("slice_{}.png", "slice_{}_mask.png"),
        ("tumor_{}.png", "tumor_{}_mask.png"),
        ("lesion_{}.png", "lesion_{}-seg.png"),
    ],
)
def test_images_that_say_that_they_are(tmp_path: Path, image: str, mask: str) -> None:
    for index in range(4):
        write_image(tmp_path / image.format(index), noise(seed=index))
        drawn = np.zeros((40, 60), dtype=np.uint8)
        drawn[: index + 1] = 1
        write_image(tmp_path / mask.format(index), drawn)
    dataset = open_dataset(tmp_path)
    assert (dataset.layout, dataset.issues, len(dataset)) == ("pairs", (), 4)
    for index, record in enumerate(dataset):
        assert record.name == image.format(index)
        assert read_mask(record).sum() == 60 * (index + 1)
        assert record.group == (f"P{index}" if "/" in image else None)


def test_a_mask_goes_to_the_image_of_its_very_name(tmp_path: Path) -> None:
    for name in ("1.png", "1_image.png", "1_mask.png"):
        write_image(tmp_path / name, noise())
    dataset = open_dataset(tmp_path)
    assert [record.name for record in dataset] == ["1.png"]
    assert [issue.file for issue in dataset.errors] == ["1_image.png"]


def test_many_images_without_a_mask_are_one_error(tmp_path: Path) -> None:
    root = write_patients(tmp_path)
    masks = sorted(root.rglob("*_mask.tif"))
    for path in masks[:7]:
        path.unlink()
    (error,) = open_dataset(root).errors
    assert error.code == "missing-mask"
    assert "7 of 12 images" in error.message
    assert "all-zero mask" in error.message


def test_several_masks_of_one_image_are_refused(tmp_path: Path) -> None:
    root = write_patients(tmp_path)
    mask = next(root.rglob("*_0_mask.tif"))
    write_image(mask.with_name(mask.stem + "_1.tif"), noise())
    (error,) = open_dataset(root).errors
    assert mask.name in error.message


def test_no_pairs_at_all(tmp_path: Path) -> None:
    write_image(tmp_path / "x.png", noise())
    with pytest.raises(DataError, match="holds no image with its mask beside it"):
        open_dataset(tmp_path, reader="pairs")


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd"])
def test_volumes_of_other_formats_are_refused_with_the_cure(tmp_path: Path, suffix: str) -> None:
    for place in ("beside/P1", "folders/images", "folders/masks"):
        (tmp_path / place).mkdir(parents=True)
        for name in ("flair", "seg"):
            (tmp_path / place / f"{name}{suffix}").write_bytes(b"ObjectType = Image")
    for place in ("beside", "folders"):
        with pytest.raises(DataError, match="save them as NIfTI"):
            open_dataset(tmp_path / place)


def test_a_split_without_any_mask_is_left_out(tmp_path: Path) -> None:
    write_patients(tmp_path / "train")
    for number in range(2):
        write_image(tmp_path / "test" / f"{number}.png", noise(seed=90 + number))
    dataset = open_dataset(tmp_path)
    assert [len(dataset.records[split]) for split in ("train", "valid", "test")] == [12, 0, 0]
    assert dataset.own_splits == ()
    assert sorted(issue.code for issue in dataset.issues) == ["left-out", "split-without-masks"]


@pytest.mark.parametrize(
    ("files", "mask"),
    [
        (("P_FLAIR", "P_seg", "P_FLAIR_bet", "P_FLAIR_bet_mask"), "P_seg.nii.gz"),
        (("P_FLAIR", "P_brain_mask", "P_mask"), "P_mask.nii.gz"),
        (("FLAIR", "brain_mask", "tumor"), "tumor.nii.gz"),
        (("P_FLAIR", "P_FLAIR_mask", "P_seg"), "several masks fit it: P_FLAIR_mask.nii.gz, P_seg.nii.gz; keep one"),
        (("FLAIR", "FLAIR_mask", "tumor"), "several masks fit it: FLAIR_mask.nii.gz, tumor.nii.gz; keep one"),
        (("P_FLAIR", "P_mask", "P_seg"), "several masks fit it: P_mask.nii.gz, P_seg.nii.gz; keep one"),
    ],
)
def test_a_mask_of_the_brain_is_not_taken_for_that_of_the_tumour(
    tmp_path: Path, files: tuple[str, ...], mask: str
) -> None:
    image, tumour = volume()
    for name in files:
        is_mask = any(word in name for word in ("seg", "mask", "tumor"))
        save(tmp_path / "P" / f"{name}.nii.gz", tumour if is_mask else image)
    dataset = open_dataset(tmp_path, sequence=None if mask.startswith("several") else "FLAIR")
    if mask.startswith("several"):
        (error,) = dataset.errors
        assert error.message.startswith(mask)
    else:
        assert dataset.errors == ()
        assert {record.mask.name for record in dataset if record.mask is not None} == {mask}


def test_volumes_without_a_mask_are_told(tmp_path: Path) -> None:
    image, mask = volume()
    for patient in ("P1", "P2", "P3"):
        for name in ("flair", "t1"):
            save(tmp_path / patient / f"{patient}_{name}.nii.gz", image)
    save(tmp_path / "P1" / "P1_seg.nii.gz", mask)
    save(tmp_path / "P3" / "Old_1998_Segm_of_P3.nii.gz", mask)
    dataset = open_dataset(tmp_path, sequence="flair")
    (told,) = [issue for issue in dataset.issues if issue.code == "volume-without-mask"]
    assert told.level == "warning"
    assert told.message.startswith("no mask lies beside 2 volumes (P2/P2_flair.nii.gz, P3/P3_flair.nii.gz)")


def test_a_dataset_that_its_folder_holds_twice_is_refused(tmp_path: Path) -> None:
    """As Kaggle's archive of the LGG set is unpacked."""
    write_patients(tmp_path / "kaggle_3m")
    shutil.copytree(tmp_path / "kaggle_3m", tmp_path / "lgg-mri-segmentation" / "kaggle_3m")
    with pytest.raises(DataError, match=r"holds the same \d+ slices twice.*: .*/lgg-mri-segmentation\."):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path / "lgg-mri-segmentation").errors == ()


def test_visits_whose_names_begin_alike_have_volumes_of_their_own(tmp_path: Path) -> None:
    for number, visit in enumerate(("P1", "P1_2", "P2")):
        image, mask = volume(number)
        save(tmp_path / f"{visit}_flair.nii.gz", image)
        save(tmp_path / f"{visit}_seg.nii.gz", mask)
    dataset = open_dataset(tmp_path)
    assert dataset.errors == ()
    assert {(str(record.image.name), str(record.mask and record.mask.name)) for record in dataset} == {
        (f"{visit}_flair.nii.gz", f"{visit}_seg.nii.gz") for visit in ("P1", "P1_2", "P2")
    }


def test_splits_of_several_sequences_need_a_choice(tmp_path: Path) -> None:
    for number, (folder, sequence) in enumerate([("train/P0", "flair"), ("train/P1", "FLAIR"), ("val/P2", "t1")]):
        image, mask = volume(number)
        patient = folder[-2:]
        save(tmp_path / folder / f"{patient}_{sequence}.nii.gz", image)
        save(tmp_path / folder / f"{patient}_seg.nii.gz", mask)
    with pytest.raises(DataError, match=r"has 2 sequences \(flair, t1\); choose one"):
        open_dataset(tmp_path)
    dataset = open_dataset(tmp_path, sequence="flair")
    assert {record.group for record in dataset} == {"P0", "P1"}
    assert [error.file for error in dataset.errors] == ["val/P2/P2_seg.nii.gz"]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("P{}/P{}_t1.nii.gz", "P{}/P{}_gtv.nii.gz"),
        ("P{}/T1.nii.gz", "P{}/GTV.nii.gz"),
        ("sub-{}/anat/sub-{}_T1w.nii.gz", "sub-{}/anat/sub-{}_label-lesion_mask.nii.gz"),
        ("sub-{}/anat/sub-{}_T1w.nii.gz", "sub-{}/anat/sub-{}_desc-tumor_mask.nii.gz"),
        ("sub-{}/anat/sub-{}_T1w.nii.gz", "derivatives/drawn/sub-{}/anat/sub-{}_label-L_mask.nii.gz"),
        ("sub-{}/anat/sub-{}_T1w.nii.gz", "derivatives/drawn/sub-{}/anat/sub-{}_space-T1w_label-tumor_dseg.nii.gz"),
        (
            "sub-{}/ses-1/anat/sub-{}_ses-1_T1w.nii.gz",
            "derivatives/x/sub-{}/ses-1/anat/sub-{}_ses-1_desc-tumor_mask.nii",
        ),
        ("T/TCGA-02-000{}_1996.08.2{}_t1.nii.gz", "T/TCGA-02-000{}_1996.08.2{}_GlistrBoost_ManuallyCorrected.nii.gz"),
        ("sub-{}/ses-pre/anat/sub-{}_ses-pre_T1w.nii", "derivatives/x/sub-{}/ses-pre/sub-{}_space_T1_label-tumor.nii"),
        ("images_structural/X_{}_11/X_{}_11_T1.nii.gz", "images_segm/X_{}_11_segm.nii.gz"),
        ("images_structural/X_{}_11/X_{}_11_T1.nii.gz", "automated_segm/X_{}_11_automated_approx_segm.nii.gz"),
    ],
)
def test_names_of_masks_in_collections_of_volumes(tmp_path: Path, image: str, mask: str) -> None:
    for number in range(3):
        pixels, drawn = volume(number)
        save(tmp_path / image.format(number, number), pixels)
        save(tmp_path / mask.format(number, number), drawn)
    dataset = open_dataset(tmp_path)
    assert (dataset.layout, dataset.issues) == ("pairs", ())
    found = {(one.image, one.mask) for one in dataset}
    assert found == {(tmp_path / image.format(n, n), tmp_path / mask.format(n, n)) for n in range(3)}
    assert len({one.group for one in dataset}) == 3


@pytest.mark.parametrize(
    ("image", "drawn", "automated"),
    [
        ("images_structural/X{}/X{}_T1", "images_segm/X{}_segm", "automated_segm/X{}_automated_approx_segm"),
        ("X{}/X{}_T1", "X{}/X{}_GlistrBoost_ManuallyCorrected", "X{}/X{}_GlistrBoost"),
    ],
)
def test_of_masks_drawn_by_hand_and_by_a_program_those_by_hand_are_taken(
    tmp_path: Path, image: str, drawn: str, automated: str
) -> None:
    for number in range(3):
        pixels, mask = volume(number)
        for name, values in ((image, pixels), (drawn, mask), (automated, mask)):
            save(tmp_path / f"{name.format(number, number)}.nii.gz", values)
    dataset = open_dataset(tmp_path)
    assert {one.mask for one in dataset} == {tmp_path / f"{drawn.format(n, n)}.nii.gz" for n in range(3)}
    (issue,) = dataset.issues
    assert "3 .nii.gz files left out" in issue.message


def test_a_tumour_with_its_margin_is_neither_mask_nor_sequence(tmp_path: Path) -> None:
    for number in range(3):
        pixels, drawn = volume(number)
        for name, values in (("t1", pixels), ("CTV", drawn), ("PTV2", drawn)):
            save(tmp_path / f"P{number}" / f"P{number}_{name}.nii.gz", values)
    with pytest.raises(DataError, match=r"P0/P0_CTV.nii.gz and no mask: .* the tumour is the GTV"):
        open_dataset(tmp_path)
    for number in range(3):
        save(tmp_path / f"P{number}" / f"P{number}_gtv.nii.gz", volume(number)[1])
    dataset = open_dataset(tmp_path)
    assert {one.image.name[2:] for one in dataset} == {"_t1.nii.gz"}
    assert [issue.code for issue in dataset.issues] == ["left-out"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("P_t1", "P_gtv1", "P_gtv2"), "several masks fit it: P_gtv1.nii.gz, P_gtv2.nii.gz; keep one"),
        (("P_t1", "P_seg", "P_seg_2"), "several masks fit it: P_seg.nii.gz, P_seg_2.nii.gz; keep one"),
        (("sub-1_T1w", "sub-1_label-L_mask", "sub-1_dseg", "sub-1_label-GM_probseg"), None),
    ],
)
def test_no_segmentation_is_taken_for_a_sequence(tmp_path: Path, files: tuple[str, ...], message: str | None) -> None:
    image, mask = volume()
    for name in files:
        save(tmp_path / "P" / f"{name}.nii.gz", image if "t1" in name.lower() else mask)
    dataset = open_dataset(tmp_path)
    assert [error.message[: len(message or "")] for error in dataset.errors] == ([] if message is None else [message])
    assert {one.image.name for one in dataset} <= {"sub-1_T1w.nii.gz"}


def test_volumes_and_masks_of_names_that_all_patients_have_are_paired_within_a_patient(tmp_path: Path) -> None:
    for number in range(3):
        image, mask = volume(number)
        save(tmp_path / f"P{number}" / "t1.nii.gz", image)
        save(tmp_path / f"P{number}" / "drawn" / "t1_seg.nii.gz", mask)
    dataset = open_dataset(tmp_path)
    assert dataset.issues == ()
    assert {(one.group, one.mask) for one in dataset} == {
        (f"P{number}", tmp_path / f"P{number}" / "drawn" / "t1_seg.nii.gz") for number in range(3)
    }


def test_a_mask_of_another_patients_folder_is_not_taken(tmp_path: Path) -> None:
    image, mask = volume()
    save(tmp_path / "P1" / "t1.nii.gz", image)
    save(tmp_path / "P2" / "drawn" / "t1_seg.nii.gz", mask)
    with pytest.raises(DataError, match="is not a dataset"):
        open_dataset(tmp_path)


def test_a_mask_without_a_session_is_of_no_session(tmp_path: Path) -> None:
    image, mask = volume()
    for session in (1, 2):
        save(tmp_path / "sub-1" / f"ses-{session}" / f"sub-1_ses-{session}_T1w.nii.gz", image)
    save(tmp_path / "derivatives" / "sub-1" / "sub-1_label-L_mask.nii.gz", mask)
    with pytest.raises(DataError, match="is not a dataset"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("further", "message"),
    [
        (
            "other/sub-0_T1w.nii.gz",
            "several volumes of one name fit it: other/sub-0_T1w.nii.gz, scans/sub-0_T1w.nii.gz",
        ),
        ("b/sub-0_desc-tumor_mask.nii.gz", "several masks fit it: a/sub-0_desc-tumor_mask.nii.gz, b/sub-0_desc-tumor"),
    ],
)
def test_names_that_several_volumes_or_masks_have_are_not_guessed(tmp_path: Path, further: str, message: str) -> None:
    pixels, drawn = volume()
    save(tmp_path / "scans" / "sub-0_T1w.nii.gz", pixels)
    save(tmp_path / "a" / "sub-0_desc-tumor_mask.nii.gz", drawn)
    save(tmp_path / further, drawn if "mask" in further else pixels)
    (error,) = open_dataset(tmp_path).errors
    assert error.message.startswith(message)
