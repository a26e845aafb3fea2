from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bts_tune.data.splits.group_table import read_group_table
from bts_tune.errors import DataError

NAMES = [f"{split}/images/s{number}.png" for split in ("train", "valid") for number in range(3)]
GROUPS = ["Müller0", "Müller0", "Müller1", "p2", "p2", "p3"]


def table(separator: str = ",", title: str = "file,group", form: Callable[[str], str] = str) -> str:
    rows = [f"{form(name)}{separator}{group}" for name, group in zip(NAMES, GROUPS, strict=True)]
    return "\n".join([title.replace(",", separator), *rows]) + "\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (table(), "utf-8"),
        (table(), "utf-8-sig"),
        (table(), "utf-16"),
        (table(), "cp1252"),
        (table(";"), "utf-8"),
        (table("\t"), "utf-8"),
        (table(", "), "utf-8"),
        (table(title="File,Group"), "utf-8"),
        (table(title="FILENAME,Patient_ID"), "utf-8"),
        (table(form=lambda name: name.replace("/", "\\")), "utf-8"),
        (table(form=lambda name: name.removesuffix(".png")), "utf-8"),
        (table(form=lambda name: f'"{name}"'), "utf-8"),
        (table().replace("\n", "\r\n"), "utf-8"),
        (f"sep=;\n{table(';')}", "utf-8"),
        (f"\n{table()}", "utf-8"),
        (table(title="File Name,Patient-ID"), "utf-8"),
        (table(form=lambda name: name.upper()), "utf-8"),
    ],
)
def test_tables_as_programs_write_them(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "groups.csv"
    path.write_bytes(text.encode(encoding))
    assert read_group_table(NAMES, path) == GROUPS


def test_the_column_of_patients_and_that_of_files_are_chosen(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("file,group,patient\na.png,HGG,x\nb.png,HGG,y\n")
    assert read_group_table(["a.png", "b.png"], path) == ["x", "y"]
    path.write_text("name,image,patient\nMeier,a.jpg,x\nMeier,b.jpg,y\n")
    assert read_group_table(["a.png", "b.png"], path) == ["x", "y"]


def test_accents_and_letter_case_do_not_count_where_one_file_fits(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("file,patient\nT\u00ecm.png,x\nB.PNG,y\n", encoding="utf-8")
    assert read_group_table(["p/Ti\u0300m.png", "p/b.png"], path) == ["x", "y"]
    with pytest.raises(DataError, match=r"'b\.png' fits 2 images, such as p/b\.png and q/b\.PNG"):
        read_group_table(["p/Ti\u0300m.png", "p/b.png", "q/b.PNG"], path)
    path.write_text("file,patient\nb.png,x\nB.png,y\n")
    assert read_group_table(["B.png", "b.png"], path) == ["y", "x"]


def test_a_row_that_says_the_same_again_is_no_contradiction(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text(table() + f"{NAMES[0]},{GROUPS[0]}\n")
    assert read_group_table(NAMES, path) == GROUPS


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (table() + f"{NAMES[0]},other\n", r"two groups, 'Müller0' in line 2 and 'other' in line 8"),
        (table(form=lambda name: name.rpartition("/")[2]), r"'train/images/s0\.png' two groups"),
        ("file,group\ns0.png,a\ns1.png,b\ns2.png,c\n", r"'s0\.png' fits 2 images, such as train/images/s0\.png"),
        (table(title="file,scanner"), r"no column 'group'; .* found are 'file', 'scanner'"),
        ("nothing at all", "has no column 'file'"),
        (table().replace(NAMES[4], "x.png"), r"gives no group for 'valid/images/s1\.png'"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "groups.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=sentence) as refusal:
        read_group_table(NAMES, path)
    assert str(refusal.value).startswith(f"{path}: ")


def test_what_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_bytes(b"PK\x03\x04\x00\x00\x81")
    with pytest.raises(DataError, match="is no text in UTF-8, UTF-16 or Windows-1252"):
        read_group_table(NAMES, path)


@pytest.mark.parametrize("nothing", ["", "NaN", "None", "null", "n/a"])
def test_a_patient_that_is_missing_is_no_patient(tmp_path: Path, nothing: str) -> None:
    path = tmp_path / "groups.csv"
    path.write_text(f"file,group\na.png,{nothing}\nb.png,{nothing}\n")
    with pytest.raises(DataError, match=r"gives no group for 'a\.png'"):
        read_group_table(["a.png", "b.png"], path)


def test_names_of_another_suffix(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("file,group\nimages\\a.jpg,x\nb.tif,y\n")
    assert read_group_table(["images/a.png", "images/b.png"], path) == ["x", "y"]
    path.write_text("file,group\na.jpg,x\na.tif,y\n")
    with pytest.raises(DataError, match="two groups"):
        read_group_table(["images/a.png"], path)


VOLUMES = [f"images/{volume}/{index:03}" for volume in ("a0.nii.gz", "a1.nii.gz", "b0.nii.gz") for index in range(3)]


@pytest.mark.parametrize("form", ["images/{}.nii.gz", "{}.nii.gz", "{}", "images/{}", "{}.nii"])
def test_a_row_names_a_volume(tmp_path: Path, form: str) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("file,patient\n" + "".join(f"{form.format(one)},{one[0]}\n" for one in ("a0", "a1", "b0")))
    assert read_group_table(VOLUMES, path) == ["a"] * 6 + ["b"] * 3


def test_a_row_names_a_series_of_files_or_a_single_slice(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("file,patient\nP0/t1,a\nscan.dcm,b\nv.nii/000,c\n")
    assert read_group_table(["P0/t1/000", "P0/t1/001", "P1/scan.dcm/000", "v.nii/000"], path) == ["a", "a", "b", "c"]


def test_the_number_of_a_slice_alone_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("file,patient\n000,a\n")
    with pytest.raises(DataError, match=r"gives no group for 'v\.nii/000'"):
        read_group_table(["v.nii/000"], path)


def test_a_volume_of_a_name_that_repeats_needs_its_path(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("file,patient\nflair.nii,a\n")
    with pytest.raises(DataError, match=r"'flair\.nii' fits 2 images, such as P0/flair\.nii and P1/flair\.nii"):
        read_group_table(["P0/flair.nii/000", "P0/flair.nii/001", "P1/flair.nii/000"], path)
