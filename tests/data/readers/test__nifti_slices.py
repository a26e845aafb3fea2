from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel import orientations

from bts_tune.data.checks.check import check_dataset
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask, read_slice
from bts_tune.data.readers import _nifti_slices
from bts_tune.data.records import Dataset
from bts_tune.data.scan.scan import scan_dataset
from bts_tune.data.volumes import nifti
from bts_tune.data.volumes.volume import chosen_slices
from bts_tune.errors import DataError

OBLIQUE = np.array([[-0.9, 0.1, 0.0, 3.0], [0.1, 0.9, 0.05, 4.0], [0.0, 0.05, -2.5, 7.0], [0.0, 0.0, 0.0, 1.0]])


def volume(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of 20 x 24 x 30 voxels, and a mask with a tumour in slices 10 to 14 of the last axis."""
    image = np.random.default_rng(seed).integers(0, 4000, (20, 24, 30)).astype(np.int16)
    mask = np.zeros(image.shape, dtype=np.uint8)
    mask[3:9, 4:12, 10:15] = 1
    return image, mask


def save(path: Path, values: np.ndarray, affine: np.ndarray | None = OBLIQUE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def write_volumes(root: Path, count: int = 3) -> Path:
    for number in range(count):
        image, mask = volume(number)
        save(root / "images" / f"v{number}.nii.gz", image)
        save(root / "masks" / f"v{number}_seg.nii", mask)
    return root


def indices(dataset: Dataset, group: str = "v0") -> list[int]:
    return [int(record.name.rpartition("/")[2]) for record in dataset if record.group == group]


def test_slices_are_those_of_the_body_whatever_the_affine(tmp_path: Path) -> None:
    dataset = open_dataset(write_volumes(tmp_path))
    assert (dataset.layout, {record.group for record in dataset}) == ("folders", {"v0", "v1", "v2"})
    for record in dataset.records["train"]:
        paths = (record.image, tmp_path / "masks" / f"{record.group}_seg.nii")
        image, mask = (nibabel.as_closest_canonical(nibabel.load(path)).get_fdata() for path in paths)
        place = int(record.name.rpartition("/")[2])
        assert np.array_equal(read_mask(record), np.rot90(mask[:, :, place]))
        low, high = np.quantile(image, (0.005, 0.995))
        expected = np.clip((np.rot90(image[:, :, place]) - low) / (high - low), 0, 1) * 255
        assert np.abs(read_slice(record) - expected).max() <= 0.51


def test_all_slices_with_a_tumour_and_the_share_of_others(tmp_path: Path) -> None:
    root = write_volumes(tmp_path)
    # The last axis runs from head to foot in the file, and the other way round in the body's axes.
    tumour = {15, 16, 17, 18, 19}
    few = indices(open_dataset(root))
    assert tumour < set(few)
    assert len(few) == 6
    assert indices(open_dataset(root, empty_slices=1)) == list(range(30))
    assert set(indices(open_dataset(root, empty_slices=0))) == tumour
    assert len(indices(open_dataset(root, empty_slices=0.5))) == 10


def test_which_slices_hold_a_tumour_depends_on_the_labels_that_are_one(tmp_path: Path) -> None:
    image, mask = volume()
    mask[3:5, 4:6, 14] = 4  # the first of the five slices on the body's axes
    save(tmp_path / "images" / "v0.nii.gz", image)
    save(tmp_path / "masks" / "v0.nii.gz", mask)
    assert indices(open_dataset(tmp_path, tumor_labels=["4"], empty_slices=0)) == [15]
    assert len(indices(open_dataset(tmp_path, tumor_labels=["4"], empty_slices=0.5))) == 2


def test_slices_of_an_ignored_label_alone_hold_no_tumour(tmp_path: Path) -> None:
    for number in range(2):
        image, mask = volume(number)
        mask[:2, :2] = 255
        save(tmp_path / "images" / f"v{number}.nii.gz", image)
        save(tmp_path / "masks" / f"v{number}.nii.gz", mask)
    assert indices(open_dataset(tmp_path, empty_slices=0)) == [15, 16, 17, 18, 19]
    assert len(indices(open_dataset(tmp_path, empty_slices=0, tumor_labels=["255"]))) == 30
    for share in (0.2, 1):  # what is ignored does not depend on how many slices are read
        assert scan_dataset(open_dataset(tmp_path, empty_slices=share)).masks.rule.ignored == (255.0,)


@pytest.mark.parametrize(
    ("plane", "shape", "spacing"),
    [("axial", (24, 20), (0.907, 0.906)), ("coronal", (30, 20), (2.5, 0.906)), ("sagittal", (30, 24), (2.5, 0.907))],
)
def test_planes_and_their_spacing(
    tmp_path: Path, plane: str, shape: tuple[int, int], spacing: tuple[float, float]
) -> None:
    record = open_dataset(write_volumes(tmp_path, 1), plane=plane).records["train"][0]
    assert read_slice(record).shape == read_mask(record).shape == shape
    assert record.spacing == pytest.approx(spacing, abs=2e-3)


@pytest.mark.parametrize("given", [{"plane": "oblique"}, {"empty_slices": -0.5}, {"empty_slices": 20.0}])
def test_choices_that_do_not_exist_are_refused(tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"--plane 'oblique': must be one of|--empty-slices -?[0-9.]+: must be a share"):
        open_dataset(write_volumes(tmp_path, 1), **given)


def test_a_choice_of_slices_changes_the_fingerprint(tmp_path: Path) -> None:
    root = write_volumes(tmp_path, 1)
    seen = {open_dataset(root, plane=plane, empty_slices=1).fingerprint() for plane in ("axial", "coronal", "sagittal")}
    assert len(seen) == 3


def test_sequences_beside_their_segmentation(tmp_path: Path) -> None:
    for number in range(2):
        image, mask = volume(number)
        folder = tmp_path / f"BraTS-GLI-0000{number}-000"
        for name, values in (("t1c", image), ("t2f", image + 1), ("seg", mask)):
            save(folder / f"{folder.name}-{name}.nii.gz", values)
    with pytest.raises(DataError, match=r"has 2 sequences \(t1c, t2f\); choose one: --sequence t1c"):
        open_dataset(tmp_path)
    dataset = open_dataset(tmp_path, sequence="T2F")
    assert {record.image.name[-10:] for record in dataset} == {"t2f.nii.gz"}
    assert {record.group for record in dataset} == {"BraTS-GLI-00000", "BraTS-GLI-00001"}  # without the visit


@pytest.mark.parametrize("layout", ["pairs", "nnunet"])
def test_all_sequences_are_channels(tmp_path: Path, layout: str) -> None:
    images = {name: volume(seed)[0] for seed, name in enumerate(("a", "b", "c"))}
    for number, (name, values) in enumerate(images.items()):
        if layout == "pairs":
            save(tmp_path / "p0" / f"p0-{name}.nii.gz", values)
        else:
            save(tmp_path / "imagesTr" / f"p0_{number:04}.nii.gz", values)
    save(tmp_path / ("p0/p0-seg.nii.gz" if layout == "pairs" else "labelsTr/p0.nii.gz"), volume()[1])
    dataset = open_dataset(tmp_path, sequence="all")
    alone = [open_dataset(tmp_path, sequence=name) for name in (images if layout == "pairs" else "012")]
    assert dataset.layout == layout
    for place, record in enumerate(dataset):
        channels = [read_slice(list(one)[place]) for one in alone]
        assert np.array_equal(read_slice(record, 3), np.dstack(channels))
        assert read_mask(record).shape == channels[0].shape
    fingerprint = dataset.fingerprint()
    third = sorted((tmp_path / ("p0" if layout == "pairs" else "imagesTr")).iterdir())[2]
    save(third, images["c"] + 1)
    assert open_dataset(tmp_path, sequence="all").fingerprint() != fingerprint
    save(third, images["c"][:-1])
    (error,) = open_dataset(tmp_path, sequence="all").errors
    assert "does not lie on the voxels of" in error.message


@pytest.mark.parametrize(("away", "errors"), [(0.02, 0), (0.2, 0), (0.3, 1)])
def test_a_mask_whose_place_was_rounded_is_its_images(tmp_path: Path, away: float, errors: int) -> None:
    root = write_volumes(tmp_path)
    moved = OBLIQUE.copy()
    moved[0, 3] += away
    save(root / "masks" / "v1_seg.nii", volume(1)[1], moved)
    assert len(open_dataset(root).errors) == errors


@pytest.mark.parametrize(
    ("values", "affine", "sentence"),
    [
        (np.zeros((20, 24, 29), np.uint8), OBLIQUE, "has 20 x 24 x 29 voxels, the image 20 x 24 x 30"),
        (
            np.zeros((20, 24, 30), np.uint8),
            np.diag([1.0, 1.0, 2.0, 1.0]),
            "it has another affine: resample one",
        ),
        (np.zeros((20, 24, 30), np.uint8), np.eye(4), "without an affine of its own: write it with its image's"),
        (np.zeros((20, 24, 30), np.uint8), None, "without an affine of its own: write it with its image's"),
        (np.zeros((20, 24, 30, 2), np.uint8), OBLIQUE, "masks/v1_seg.nii: holds 2 volumes of 20 x 24 x 30 voxels"),
        (np.zeros((20, 24), np.uint8), OBLIQUE, "one volume of numbers is needed"),
    ],
)
def test_a_mask_that_does_not_fit_is_told(
    tmp_path: Path, values: np.ndarray, affine: np.ndarray | None, sentence: str
) -> None:
    root = write_volumes(tmp_path)
    save(root / "masks" / "v1_seg.nii", values, affine)
    dataset = open_dataset(root)
    (error,) = dataset.errors
    assert (error.code, error.file) == ("unreadable-volume", "images/v1.nii.gz")
    assert sentence in error.message
    assert str(tmp_path) not in error.message
    assert {record.group for record in dataset} == {"v0", "v2"}


def test_broken_and_too_large_volumes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_volumes(tmp_path)
    (root / "images" / "v0.nii.gz").write_bytes(b"no volume")
    whole = gzip.decompress((root / "images" / "v1.nii.gz").read_bytes())
    (root / "masks" / "v1_seg.nii").write_bytes(whole[:900])
    dataset = open_dataset(root)
    assert [error.file for error in dataset.errors] == ["images/v0.nii.gz", "images/v1.nii.gz"]
    monkeypatch.setattr(nifti, "MAX_VOXELS", 1000)
    assert all("at most 1000 are allowed" in error.message for error in open_dataset(root).errors[1:2])


def test_no_more_volumes_are_held_than_are_allowed(tmp_path: Path) -> None:
    dataset = open_dataset(write_volumes(tmp_path, 6))
    for record in dataset:
        read_slice(record), read_mask(record)
    assert _nifti_slices._load.cache_info().currsize <= 4


def test_without_nibabel_one_sentence_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_volumes(tmp_path)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(DataError, match=r"which is not installed: pip install 'bts-tune\[nifti\]'"):
        open_dataset(root)


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.2, 20), (1.0, 100)])
def test_a_volume_without_a_tumour_gives_the_share_of_its_slices(share: float, count: int) -> None:
    assert len(chosen_slices(np.zeros(100, dtype=bool), share)) == count


@pytest.mark.parametrize("codes", ["LPS", "SRA", "PIL", "ASR"])
def test_image_and_mask_in_other_orders_of_their_axes(tmp_path: Path, codes: str) -> None:
    """What lies in one place of the body lies in one pixel, by nibabel's own account of the two files."""
    image, mask = volume()
    wanted = nibabel.Nifti1Image(mask, OBLIQUE)
    turn = orientations.ornt_transform(nibabel.io_orientation(OBLIQUE), orientations.axcodes2ornt(codes))
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    nibabel.save(nibabel.Nifti1Image(image, OBLIQUE), tmp_path / "images" / "v.nii.gz")
    nibabel.save(wanted.as_reoriented(turn), tmp_path / "masks" / "v.nii.gz")
    stood = np.asarray(nibabel.as_closest_canonical(wanted).dataobj)
    for record in open_dataset(tmp_path, empty_slices=1):
        index = int(record.name.rpartition("/")[2])
        assert np.array_equal(read_mask(record), np.rot90(stood[:, :, index]) != 0)


@pytest.mark.parametrize("more", [(), (1,), (1, 1)])
def test_scaled_values_and_axes_of_one(tmp_path: Path, more: tuple[int, ...]) -> None:
    image, mask = volume()
    for folder, values, scale in (("images", image, (0.5, -20.0)), ("masks", mask * 4, (0.25, 0.0))):
        (tmp_path / folder).mkdir()
        written = nibabel.Nifti1Image(values.astype(np.int16).reshape(*values.shape, *more), OBLIQUE)
        raw = bytearray(written.to_bytes())
        raw[112:120] = np.array(scale, dtype="<f4").tobytes()
        (tmp_path / folder / "v.nii").write_bytes(raw)
        found = nibabel.Nifti1Image.from_filename(tmp_path / folder / "v.nii").get_fdata().reshape(values.shape)
        assert np.allclose(found, values * scale[0] + scale[1])
    dataset = open_dataset(tmp_path, empty_slices=1)
    assert dataset.errors == ()
    stood = np.asarray(nibabel.as_closest_canonical(nibabel.Nifti1Image(mask, OBLIQUE)).dataobj)
    for record in dataset:
        index = int(record.name.rpartition("/")[2])
        assert np.array_equal(read_mask(record), np.rot90(stood[:, :, index]) != 0)


def test_many_slices_of_a_broken_volume_are_one_error_that_names_it_as_the_user_does(tmp_path: Path) -> None:
    root = write_volumes(tmp_path)
    image, _ = volume()
    spoilt = image.astype(np.float32)
    spoilt[0] = np.nan
    save(root / "images" / "v1.nii.gz", spoilt)
    errors = check_dataset(open_dataset(root)).errors
    (error,) = (one for one in errors if one.code == "unreadable-image")
    assert error.message.startswith("images/v1.nii.gz: holds values that are infinite or not numbers. This is so of ")


@pytest.mark.parametrize("names", [("image", "mask"), ("t1", "seg"), ("flair", "tumor")])
def test_a_volume_and_its_mask_alone_in_a_patients_folder(tmp_path: Path, names: tuple[str, str]) -> None:
    for number in range(3):
        for name, values in zip(names, volume(number), strict=True):
            save(tmp_path / f"P{number}" / f"{name}.nii.gz", values)
    dataset = open_dataset(tmp_path)
    assert (dataset.layout, dataset.issues) == ("pairs", ())
    assert {record.group for record in dataset} == {"P0", "P1", "P2"}
    assert {int(read_mask(record).sum()) for record in dataset} == {0, 48}


def test_a_case_does_not_take_the_volumes_of_another_whose_name_begins_alike(tmp_path: Path) -> None:
    for number in (1, 10, 11):
        image, mask = volume(number)
        save(tmp_path / f"P{number}_t1.nii.gz", image)
        save(tmp_path / f"P{number}_seg.nii.gz", mask)
    dataset = open_dataset(tmp_path)
    assert {record.group: record.image.name for record in dataset} == {f"P{n}": f"P{n}_t1.nii.gz" for n in (1, 10, 11)}


def test_grades_above_patients_are_strata(tmp_path: Path) -> None:
    for grade in ("HGG", "LGG"):
        for number in range(2):
            image, mask = volume(number)
            for name, values in (("flair", image), ("t1", image), ("seg", mask)):
                save(tmp_path / grade / f"{grade}{number}" / f"{grade}{number}_{name}.nii.gz", values)
    dataset = open_dataset(tmp_path, sequence="flair")
    assert {(record.group, record.strata) for record in dataset} == {
        (f"{grade}{number}", (("grade", value),))
        for grade, value in (("HGG", "high"), ("LGG", "low"))
        for number in (0, 1)
    }


def test_one_value_that_is_no_number_refuses_every_slice_of_its_volume(tmp_path: Path) -> None:
    root = write_volumes(tmp_path)
    image, _ = volume()
    spoilt = image.astype(np.float32)
    spoilt[0, 0, 0] = np.nan
    save(root / "images" / "v1.nii.gz", spoilt)
    for record in open_dataset(root):
        if record.group == "v1":
            with pytest.raises(DataError, match=r"v1\.nii\.gz: holds values that are infinite or not numbers"):
                read_slice(record)


@pytest.mark.parametrize(
    ("folders", "patients"),
    [(("P01", "P02"), {"P01", "P02"}), (("glioma", "meningioma"), {"glioma/v", "meningioma/v"})],
)
def test_folders_of_images_and_masks_by_patient_or_by_kind(
    tmp_path: Path, folders: tuple[str, str], patients: set[str]
) -> None:
    for number, folder in enumerate(folders):
        image, mask = volume(number)
        save(tmp_path / folder / "images" / "v.nii.gz", image)
        save(tmp_path / folder / "masks" / "v.nii.gz", mask)
    dataset = open_dataset(tmp_path, empty_slices=0)
    assert (dataset.layout, dataset.errors, len(dataset)) == ("folders", (), 10)
    assert {record.group for record in dataset} == patients


def test_a_sequence_cannot_be_chosen_where_each_image_has_a_mask_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no sequences to choose from in image/mask folders"):
        open_dataset(write_volumes(tmp_path, 1), sequence="flair")
