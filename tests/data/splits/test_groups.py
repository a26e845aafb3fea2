from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bts_tune.data.scan.scan import Scan, SliceScan
from bts_tune.data.scan.similarity import signatures
from bts_tune.data.splits import groups as grouping
from bts_tune.data.splits.groups import (
    group_slices,
    neighbor_pairs,
    outside_share,
    read_patients,
    series_and_number,
    shared_ending,
)
from bts_tune.errors import DataError
from tests.data.scan.test_similarity import smooth


def blend(one: np.ndarray, other: np.ndarray, correlation: float) -> np.ndarray:
    """Return an image whose correlation with `one` is about `correlation`; the two given are unrelated."""
    one, other = ((image - image.mean()) / image.std() for image in (one.astype(float), other.astype(float)))
    return correlation * one + (1 - correlation**2) ** 0.5 * other


def scan_of(**images: np.ndarray) -> Scan:
    """Return the scan of images, float or uint8 [32, 32], by stem."""
    return Scan(
        {
            f"train/{name}.png": SliceScan((), signature=signatures(image[None].astype(np.float32))[0])
            for name, image in images.items()
        }
    )


@pytest.fixture(scope="module")
def textures() -> np.ndarray:
    """Unrelated images: the largest correlation of any two is far below 0.8."""
    return smooth(60, seed=11)[:, 8:40, 8:40]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train/1000_jpg.rf.1c16148495900a466a53f121ec6af0a9.jpg", ("", 1000)),
        ("test/1000_png.rf.1c16148495900a466a53f121ec6af0a9.jpg", ("", 1000)),
        ("valid/p0007_s012.png", ("p0007_s", 12)),
        ("valid/images/TCGA_CS_4941_19960909_7.tif", ("TCGA_CS_4941_19960909_", 7)),
        ("images/anna/12.png", ("anna/", 12)),
        ("train/slice.png", None),
        ("12.png", ("", 12)),
        ("Train/Images/p0_012.png", ("p0_", 12)),
        ("train2017/p0_012.png", ("p0_", 12)),
        ("imagesTr/p0_012.png", ("p0_", 12)),
        ("Validation Set/imgs/anna/12.png", ("anna/", 12)),
        ("images/image_3/12.png", ("image_3/", 12)),
    ],
)
def test_series_and_number(name: str, expected: tuple[str, int] | None) -> None:
    assert series_and_number(name) == expected


def test_versions_that_roboflow_made_of_one_image_stay_together(textures: np.ndarray) -> None:
    """Whatever they look like, but not where each of many files has one name."""
    names = [f"{stem}_jpg.rf.{letter * 8}" for stem in ("scan-1", "scan-2") for letter in "abc"]
    scan = scan_of(**dict(zip(names, textures, strict=False)))
    assert list(group_slices(scan)) == [0, 0, 0, 1, 1, 1]
    assert list(group_slices(scan, patients=list("uvwxyz"))) == [0, 0, 0, 1, 1, 1]
    many = scan_of(**{f"image_jpg.rf.{number:08}": one for number, one in enumerate(textures[:12])})
    assert list(group_slices(many)) == list(range(12))


@pytest.mark.parametrize(
    ("names", "ending", "number"),
    [
        (("imagesTr/p0_003_0000.png", "imagesTr/p1_004_0000.png"), "_0000", 3),
        (("p0_003_t1.png", "p0_004_t1.png"), "_t1", 3),
        (("p0-003-T2-flair.png", "p1-004-T2-flair.png"), "-T2-flair", 3),
        (("p0_003_t1.png", "p0_004_t2.png"), "", 1),
        (("p0_7.png", "p1_7.png"), "", 7),
        (("p0_2019.png", "p1_2019.png"), "", 2019),
        (("p0_003_0000.png",), "", 0),
        ((), "", None),
    ],
)
def test_what_all_names_end_with_comes_after_the_number(
    names: tuple[str, ...], ending: str, number: int | None
) -> None:
    assert shared_ending(names) == ending
    found = series_and_number(names[0], ending) if names else None
    assert (found and found[1]) == number


def test_neighbours_are_similar_and_near_in_one_series(textures: np.ndarray) -> None:
    first = textures[0]
    near, far = blend(first, textures[1], 0.86), blend(first, textures[2], 0.7)
    scan = scan_of(a1=first, a6=near, a7=blend(first, textures[3], 0.86), a2=far, b2=blend(first, textures[4], 0.86))
    pairs = {tuple(sorted((scan.names[i], scan.names[j]))) for i, j in zip(*neighbor_pairs(scan), strict=True)}
    assert ("train/a1.png", "train/a6.png") in pairs
    assert not {pair for pair in pairs if pair in {("train/a1.png", "train/a7.png"), ("train/a1.png", "train/a2.png")}}
    assert not any("train/b2.png" in pair for pair in pairs)


def test_copies_and_neighbours_form_groups_transitively(textures: np.ndarray) -> None:
    first = textures[0]
    scan = scan_of(a1=first, x=textures[5], a5=blend(first, textures[1], 0.85), b1=blend(first, textures[2], 0.97))
    assert group_slices(scan).tolist() == [0, 1, 0, 0]


def test_patients_join_slices_that_do_not_resemble_each_other(textures: np.ndarray) -> None:
    scan = scan_of(a=textures[0], b=textures[1], c=textures[2], d=textures[3])
    assert group_slices(scan).tolist() == [0, 1, 2, 3]
    assert group_slices(scan, ["y", "x", "y", "z"]).tolist() == [0, 1, 0, 2]


def test_between_known_patients_only_exact_copies_join(textures: np.ndarray) -> None:
    first = textures[0]
    scan = scan_of(a=first, b=blend(first, textures[1], 0.965), c=blend(first, textures[2], 0.995))
    assert group_slices(scan).tolist() == [0, 0, 0]
    assert group_slices(scan, ["x", "y", "z"]).tolist() == [0, 1, 0]


def test_near_duplicates_join_for_a_split(textures: np.ndarray) -> None:
    images = {f"s{chr(97 + index)}": image for index, image in enumerate(textures[:20])}
    scan = scan_of(**images, alike=blend(textures[0], textures[30], 0.925))
    kept, joined = group_slices(scan), group_slices(scan, join_near_duplicates=True)
    assert (len(set(kept)), len(set(joined))) == (21, 20)
    assert joined[0] == joined[-1]
    assert outside_share(scan, kept) == pytest.approx(2 / 21)
    assert outside_share(scan, joined) == 0
    assert len(set(group_slices(scan, scan.names, join_near_duplicates=True))) == 21


def test_near_duplicates_are_left_where_they_would_chain_too_many(
    textures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = scan_of(**{chr(97 + index): blend(textures[0], textures[30 + index], 0.96) for index in range(10)})
    assert len(scan.pairs) == 45
    assert len(set(group_slices(scan, join_near_duplicates=True))) == 10
    monkeypatch.setattr(grouping, "MAX_SHARE", 1.0)
    assert len(set(group_slices(scan, join_near_duplicates=True))) == 1


class TestPatients:
    NAMES = ("train/p1_s0.png", "valid/p1_s1.png", "test/p2_s0.png")

    def test_by_expression(self) -> None:
        assert read_patients(self.NAMES, r"(p\d+)_") == ["p1", "p1", "p2"]

    @pytest.mark.parametrize("column", ["train/p1_s0.png", "p1_s0.png"])
    def test_by_table(self, tmp_path: Path, column: str) -> None:
        table = tmp_path / "t.CSV"
        table.write_text(f"\ufeffgroup,file\nx,{column}\nx,p1_s1.png\ny,p2_s0.png\nz,other.png\n", encoding="utf-8")
        assert read_patients(self.NAMES, str(table)) == ["x", "x", "y"]

    @pytest.mark.parametrize(
        ("expression", "message"),
        [
            ("(p", "is no regular expression"),
            ("p", "has 0 groups in parentheses; one is needed"),
            ("(p)(s)", "has 2 groups"),
            ("(p1)_", r"finds nothing in 'test/p2_s0\.png'"),
            (r"p\d(x?)", "finds nothing in"),
        ],
    )
    def test_expressions_that_cannot_be_used(self, expression: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            read_patients(self.NAMES, expression)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("file,scanner\n", "has no column 'group'"),
            ("", "has no column"),
            ("file,group\np1_s0.png,x\n", r"gives no group for 'valid/p1_s1\.png'"),
            ("file,group\np1_s0.png\n", r"gives no group for 'train/p1_s0\.png'"),
        ],
    )
    def test_tables_that_cannot_be_used(self, tmp_path: Path, content: str, message: str) -> None:
        table = tmp_path / "t.csv"
        table.write_text(content)
        with pytest.raises(DataError, match=message):
            read_patients(self.NAMES, str(table))

    def test_a_missing_table(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="cannot be read"):
            read_patients(self.NAMES, str(tmp_path / "no.csv"))


@pytest.mark.parametrize(("name", "separator"), [("g.tsv", "\t"), ("g.txt", ";"), ("G.CSV", ",")])
def test_tables_of_other_suffixes(tmp_path: Path, name: str, separator: str) -> None:
    table = tmp_path / name
    table.write_text(
        "".join(f"{one}{separator}{other}\n" for one, other in (("file", "group"), ("a", "x"), ("b", "y")))
    )
    assert read_patients(["images/a.png", "images/b.png"], str(table)) == ["x", "y"]


def test_a_spreadsheets_own_file_is_told() -> None:
    with pytest.raises(DataError, match=r"patients\.xlsx'.*save it as CSV"):
        read_patients(["a.png"], "patients.xlsx")
