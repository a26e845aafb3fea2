from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bts_tune.data.open import open_dataset
from tests.data.builders import areas, noise, write_image, write_pairs, write_slices
from tests.data.readers.test__nifti_slices import save, volume


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/{n}.png", "masks/{n:03}.png"),
        ("images/slice_{n:02}.png", "masks/mask-{n}.png"),
        ("images/P{n}/7.png", "masks/P{n}_007.png"),
        ("images/P{n}/7.png", "masks/P{n}/seg/7.png"),
        ("images/s{n}.png", "masks/s{n}_tumor.png"),
        ("images/s{n}.png", "masks/s{n}-lesion-mask.png"),
        ("images/s{n}.png", "masks/roi_s{n}.png"),
        ("images/P1/slice_{n}.png", "masks/P1/slice_{n}_mask.png"),
        ("images/image_{n}.png", "masks/image_{n}_seg.png"),
        ("images/tumor_{n}.png", "masks/tumor_{n}_mask.png"),
        ("images/tumor ({n}).png", "masks/tumor ({n})_mask.png"),
        ("images/tumor{n}.png", "masks/{n}.png"),
    ],
)
def test_masks_of_nearly_the_same_name(tmp_path: Path, image: str, mask: str) -> None:
    root = write_slices(tmp_path, *((image.format(n=n), mask.format(n=n)) for n in range(4)))
    assert open_dataset(root).issues == ()
    assert areas(root) == {image.format(n=n): 10 * (n + 1) for n in range(4)}


def test_a_mask_of_another_patient_is_none(tmp_path: Path) -> None:
    slices = [f"P{patient}/{number}.png" for patient in (1, 2, 3) for number in range(3)]
    root = write_slices(tmp_path, *((f"images/{name}", f"masks/{name}") for name in slices))
    (root / "masks/P1/2.png").unlink()
    (root / "images/P2/2.png").unlink()
    found = [(one.code, one.file) for one in open_dataset(root).issues]
    assert found == [("missing-mask", "images/P1/2.png"), ("unlisted-file", "masks/P2/2.png")]


@pytest.mark.parametrize("image", ["images/{p}/{n}.png", "images/{p}_images/{n}.png"])
def test_a_patient_without_masks_is_given_none_of_a_patient_without_images(tmp_path: Path, image: str) -> None:
    mask = image.replace("images", "masks")
    slices = [{"p": patient, "n": number} for patient in ("P1", "P2", "P3", "P4") for number in range(2)]
    root = write_slices(tmp_path, *((image.format(**one), mask.format(**one)) for one in slices))
    for number in range(2):
        (root / mask.format(p="P3", n=number)).unlink()
        (root / image.format(p="P4", n=number)).unlink()
    assert not [name for name in areas(root) if "P3" in name]
    assert [issue.file for issue in open_dataset(root).errors if "P3" in issue.file]


@pytest.mark.parametrize(("image", "mask"), [("P{n}/t1", "P{n}"), ("P{n}_img", "P{n}_seg"), ("P{n}", "{n}/seg/P{n}")])
def test_masks_may_lie_in_a_folder_more_or_less(tmp_path: Path, image: str, mask: str) -> None:
    names = [(f"images/{image}/{n}.png".format(n=n), f"masks/{mask}/{n}.png".format(n=n)) for n in range(4)]
    root = write_slices(tmp_path, *names)
    assert areas(root) == {name: 10 * (n + 1) for n, (name, _) in enumerate(names)}


@pytest.mark.parametrize(
    ("image", "mask", "further"),
    [
        ("{n}a.png", "{n}a_mask.png", "{n}a_mask_1.png"),
        ("{n}a_img.png", "{n}a_mask.png", "{n}a_mask_1.png"),
        ("{n}A.PNG", "{n}a_mask.png", "{n}a_mask_1.png"),
        ("{n}a.png", "{n}a.png", "{n}a_2.png"),
        ("{n}a.png", "{n}a_mask.png", "{n}a_lesion2_mask.png"),
    ],
)
def test_further_masks_of_an_image_are_an_error(tmp_path: Path, image: str, mask: str, further: str) -> None:
    names = [(f"images/{image}".format(n=n), f"masks/{mask}".format(n=n)) for n in range(4)]
    root = write_slices(tmp_path, *names)
    write_image(root / "masks" / further.format(n=1), np.full((40, 60), 255, dtype=np.uint8))
    (issue,) = open_dataset(root).issues
    assert (issue.level, issue.code, issue.file) == ("error", "duplicate-stem", names[1][0])
    assert f"masks/{further.format(n=1)}" in issue.message


def test_a_mask_named_as_images_are_is_no_further_one(tmp_path: Path) -> None:
    root = write_slices(tmp_path, *((f"images/{name}.png", f"masks/{name}.png") for name in ("a", "a_1", "a_2", "a_3")))
    (root / "images" / "a_2.png").unlink()
    assert [(one.level, one.file) for one in open_dataset(root).issues] == [("warning", "masks/a_2.png")]


def test_masks_that_lie_flat_beside_images_in_folders(tmp_path: Path) -> None:
    pairs = [(f"images/P{number % 2}/{number}.png", f"masks/{number}.png") for number in range(4)]
    root = write_slices(tmp_path, ("images/top.png", "masks/top.png"), *pairs)
    assert not open_dataset(root).errors
    assert len(areas(root)) == 5


@pytest.mark.parametrize(
    ("image", "mask"),
    [("images/P{n}_t1.png", "masks/P{n}_result.png"), ("images/{n}_flair.png", "masks/{n}_hand drawn.png")],
)
def test_masks_are_found_by_what_names_have_in_common_and_this_is_said(tmp_path: Path, image: str, mask: str) -> None:
    root = write_slices(tmp_path, *((image.format(n=n), mask.format(n=n)) for n in range(4)))
    (issue,) = open_dataset(root).issues
    assert (issue.level, issue.code) == ("warning", "masks-by-common-name")
    assert f"such as {Path(mask.format(n=0)).name} for {Path(image.format(n=0)).name}" in issue.message
    assert areas(root) == {image.format(n=n): 10 * (n + 1) for n in range(4)}


def test_patients_in_names_are_never_left_out_to_make_names_fit(tmp_path: Path) -> None:
    root = write_slices(tmp_path, *((f"images/P1_{n}.png", f"masks/P2_{n}.png") for n in range(4)))
    dataset = open_dataset(root)
    assert (len(dataset), [issue.code for issue in dataset.errors]) == (0, ["missing-mask"])


def test_a_mask_that_fits_several_images_is_named(tmp_path: Path) -> None:
    root = write_slices(tmp_path, *((f"images/raw/{n}.png", f"masks/{n}.png") for n in range(3)))
    for n in range(3):
        write_image(root / "images" / "enhanced" / f"{n}.png", noise(seed=n))
    (error,) = open_dataset(root).errors
    assert "masks/0.png fits 2 images (images/enhanced/0.png, images/raw/0.png): keep one" in error.message


def test_several_masks_that_fit_an_image_are_named(tmp_path: Path) -> None:
    write_pairs(tmp_path, 3)
    for kind, count in (("brain", 3), ("tumor", 2)):
        (tmp_path / "masks" / kind).mkdir()
        for number in range(count):
            name = f"s{number:03}.png"
            shutil.copy(tmp_path / "masks" / name, tmp_path / "masks" / kind / name)
    for path in (tmp_path / "masks").glob("*.png"):
        path.unlink()
    dataset = open_dataset(tmp_path)
    assert len(dataset) == 1
    (issue,) = dataset.issues
    assert (issue.level, issue.file) == ("error", "images/s000.png")
    assert "several masks fit 2 of 3 images" in issue.message
    assert "masks/brain/s000.png, masks/tumor/s000.png" in issue.message


@pytest.mark.parametrize(
    "pairs",
    [
        {"tumor{n}": "tumor{n}_mask", "slice{n}": "slice{n}_mask"},
        {"tumor{n}": "tumor{n}_mask", "image{n}": "mask{n}"},
        {"tumor{n}": "tumor{n}_mask", "{n}": "{n}_mask"},
        {"tumor{n}": "mask_tumor{n}", "{n}": "mask_{n}"},
        {"tumor{n}": "{n}", "image{n}": "image{n}_mask"},
        {"tumor{n}": "tumor/{n}", "no{n}": "no/{n}"},
        {"tumor{n}": "tumor/{n}", "{n}": "other/{n}"},
        {"tumor/tumor{n}": "tumor/{n}", "no/no{n}": "no/{n}_mask"},
    ],
)
def test_several_kinds_of_names_are_paired_where_one_reading_fits_all(tmp_path: Path, pairs: dict[str, str]) -> None:
    names = [(f"images/{image}.png", f"masks/{mask}.png") for image, mask in pairs.items()]
    slices = [(image.format(n=n), mask.format(n=n)) for image, mask in names for n in range(3)]
    root = write_slices(tmp_path, *slices)
    assert not [issue for issue in open_dataset(root).issues if issue.code != "folders-as-kinds"]
    assert areas(root) == {image: 10 * (place + 1) for place, (image, _) in enumerate(slices)}


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (("tumor1", "1", "2"), ("1", "1_mask", "2")),
        (("tumor1", "tumor2", "1"), ("1", "mask1", "2")),
        (("tumor1", "tumor2", "tumor3"), ("1", "2", "3", "tumor_1")),
    ],
)
def test_a_mask_that_names_another_image_or_none_alone_is_not_guessed(
    tmp_path: Path, images: tuple[str, ...], masks: tuple[str, ...]
) -> None:
    for folder, stems in (("images", images), ("masks", masks)):
        for stem in stems:
            write_image(tmp_path / folder / f"{stem}.png", noise())
    dataset = open_dataset(tmp_path)
    assert "images/tumor1.png" not in {record.name for record in dataset}
    assert [issue.file for issue in dataset.errors] == ["images/tumor1.png"]


@pytest.mark.parametrize(("image", "mask"), [("images/P{}/x", "masks/P{}/y"), ("P{}/images/t1", "P{}/masks/drawn")])
def test_the_only_volume_and_the_only_mask_of_a_folder_are_a_pair_which_is_said(
    tmp_path: Path, image: str, mask: str
) -> None:
    for number in range(3):
        pixels, drawn = volume(number)
        save(tmp_path / f"{image.format(number)}.nii.gz", pixels)
        save(tmp_path / f"{mask.format(number)}.nii.gz", drawn)
    dataset = open_dataset(tmp_path)
    assert {record.group for record in dataset} == {"P0", "P1", "P2"}
    assert {issue.code for issue in dataset.issues} == {"masks-by-folder"}
    assert f"such as {mask.format(0)}.nii.gz for {image.format(0)}.nii.gz" in dataset.issues[0].message
    save(tmp_path / f"{image.format(2)}_2.nii.gz", pixels)
    assert [error.code for error in open_dataset(tmp_path).errors] == ["missing-mask"]


def test_the_only_slice_and_the_only_mask_of_a_folder_may_be_of_two_slices(tmp_path: Path) -> None:
    root = write_slices(tmp_path, *((f"images/P{n}/scan_7.png", f"masks/P{n}/drawn_3.png") for n in range(3)))
    assert [error.code for error in open_dataset(root).errors] == ["missing-mask"]


@pytest.mark.parametrize(("image", "mask"), [("P{}_{}", "P{}"), ("P{}/{}", "P{}/seg")])
def test_several_sequences_of_a_mask_in_another_folder_are_told_with_the_cure(
    tmp_path: Path, image: str, mask: str
) -> None:
    for number in range(2):
        pixels, drawn = volume(number)
        for sequence in ("t1", "flair"):
            save(tmp_path / "images" / f"{image.format(number, sequence)}.nii.gz", pixels)
        save(tmp_path / "masks" / f"{mask.format(number)}.nii.gz", drawn)
    (error,) = open_dataset(tmp_path).errors
    assert "Where each mask is of several sequences, put it beside its volumes" in error.message
