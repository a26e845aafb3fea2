from __future__ import annotations

import pytest

from bts_tune.data.layout.names import (
    Meaning,
    bare,
    mask_of,
    masks_among,
    meaning,
    pair_key,
    split_in,
    strata_of,
    tells_strata,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train", Meaning("train")),
        ("Training", Meaning("train")),
        ("TRAIN2017", Meaning("train")),
        ("Validation Set", Meaning("valid")),
        ("dev", Meaning("valid")),
        ("testing", Meaning("test")),
        ("Imgs", Meaning(None, "images")),
        ("mask_images", Meaning(None, "masks")),
        ("TrainImages", Meaning("train", "images")),
        ("val-labels", Meaning("valid", "masks")),
        ("train_test_split", None),
        ("patients", None),
        ("2017", None),
        ("data", None),
        ("маски", None),
    ],
)
def test_meaning_of_a_folder(name: str, expected: Meaning | None) -> None:
    assert meaning(name) == expected


@pytest.mark.parametrize(
    ("stem", "split"), [("instances_train2017", "train"), ("instances_Val", "valid"), ("default", None)]
)
def test_split_in_a_files_name(stem: str, split: str | None) -> None:
    assert split_in(stem) == split


@pytest.mark.parametrize(
    "form",
    [
        "s01_mask",
        "s01-mask",
        "s01_seg",
        "s01_Segmentation",
        "s01.mask",
        "mask_s01",
        "s01_gt",
        "s01_GTV",
        "s01_label-lesion_mask",
    ],
)
def test_a_mask_names_its_image(form: str) -> None:
    assert mask_of(form) == "s01"
    assert bare(form) == "s01"


@pytest.mark.parametrize("form", ["sub-01_label-GM_mask", "sub-01_desc-brain_mask", "sub-01_label-WM_dseg"])
def test_masks_of_other_things_are_not_those_of_an_image(form: str) -> None:
    assert mask_of(form) != "sub-01"


@pytest.mark.parametrize("form", ["s01", "unmasked", "maskara", "segment_1", "s01_ctv", "s01_ptv"])
def test_other_names_are_no_masks(form: str) -> None:
    assert mask_of(form) is None


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("image12", "mask12"),
        ("img_0001", "seg_0001"),
        ("x_image", "x_mask"),
        ("x", "x.jpg"),
        ("x_1.5", "x_1.5.JPEG"),
        ("Tr-gl 0 ", "Tr-gl 0 _mask"),
        ("x", "x_msk"),
        ("slice_001", "slice_001_mask"),
        ("image_0", "image_0_seg"),
        ("img12", "img12_seg"),
        ("IMG_0001", "IMG_0001_mask"),
        ("tumor_3", "tumor_3_mask"),
        ("slice_4", "mask_slice_4"),
    ],
)
def test_image_and_mask_are_bare_alike(image: str, mask: str) -> None:
    assert bare(image) == bare(mask)


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("x", ("x", False)),
        ("x_image", ("x", False)),
        ("img_x", ("x", False)),
        ("image", ("", False)),
        ("x_mask", ("x", True)),
        ("x_mask_2", ("x", True)),
        ("Mask", ("", True)),
    ],
)
def test_what_an_image_and_its_mask_side_by_side_share(stem: str, expected: tuple[str, bool]) -> None:
    assert pair_key(stem) == expected


@pytest.mark.parametrize(
    ("stems", "masks"),
    [
        (("x", "x_mask"), {"x_mask": "x"}),
        (("image", "mask"), {"mask": ""}),
        (("x", "x_mask_1", "x_mask_2"), {"x_mask_1": "x", "x_mask_2": "x"}),
        (("tumor_1", "tumor_1_mask"), {"tumor_1_mask": "tumor_1"}),
        (("1", "tumor_1"), {"tumor_1": "1"}),
        (("x_tumor", "x_tumor_mask"), {"x_tumor_mask": "x_tumor"}),
        (("x", "x_mask", "x_tumor", "x_tumor_mask"), {"x_mask": "x", "x_tumor_mask": "x_tumor"}),
        (("x", "x_tumor_mask"), {"x_tumor_mask": "x"}),
        (("x", "x_seg", "x_seg_mask"), {"x_seg": "x", "x_seg_mask": "x_seg"}),
        (("tumor_1", "tumor_2"), {"tumor_1": "1", "tumor_2": "2"}),
    ],
)
def test_a_stem_that_another_one_names_is_an_images(stems: tuple[str, ...], masks: dict[str, str]) -> None:
    assert masks_among(stems) == masks


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train/images/brisc2025_train_00001_gl_ax_t1.jpg", (("plane", "axial"), ("tumour", "glioma"))),
        ("images/Meningioma/x.png", (("tumour", "meningioma"),)),
        ("images/coronal/glioma_3.png", (("plane", "coronal"), ("tumour", "glioma"))),
        ("images/x_gl_2.png", ()),
        ("train/1000_jpg.rf.1c16.jpg", ()),
    ],
)
def test_strata_in_a_name(name: str, expected: tuple[tuple[str, str], ...]) -> None:
    assert strata_of(name) == expected


def test_a_kind_of_tumour_is_no_patient() -> None:
    assert tells_strata("glioma")
    assert not tells_strata("p01")
