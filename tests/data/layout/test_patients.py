from __future__ import annotations

import re
import shlex

import pytest

from bts_tune.data.layout.patients import FolderMeanings, Placed
from bts_tune.data.records import Issue

TUMOURS = ("glioma", "meningioma", "pituitary")


def placed(*folders: str, count: int = 4, stem: str = "{number}", splits: tuple[str, ...] = ("train",)) -> list[Placed]:
    """Return slices in each folder, in each split; their stems go on from folder to folder, or are those of `stem`."""
    found: list[Placed] = []
    for split in splits:
        for folder in folders:
            for index in range(count):
                name = stem.format(number=len(found), index=index, folder=folder)
                found.append(Placed(split, tuple(folder.split("/")), name))
    return found


def told(members: list[Placed]) -> tuple[set[str | None], list[str], list[Issue]]:
    """Return the patients, the strata and what was said."""
    issues: list[Issue] = []
    meanings = FolderMeanings(members, issues, "x")
    strata = {f"{stratum} {value}" for one in members for stratum, value in meanings.strata(one.folders)}
    return {meanings.patient(one.folders) for one in members}, sorted(strata), issues


@pytest.mark.parametrize(
    ("folders", "strata"),
    [
        (("yes", "no"), ["tumour none", "tumour present"]),
        (("tumor", "notumor"), ["tumour none", "tumour present"]),
        (("glioma", "other", "no_tumor"), ["tumour glioma", "tumour none", "tumour other"]),
        (("HGG", "LGG"), ["grade high", "grade low"]),
        (("Benign", "malignant"), ["tumour benign", "tumour malignant"]),
        (("ax", "cor", "sag"), ["plane axial", "plane coronal", "plane sagittal"]),
        (("T1", "T2", "FLAIR"), ["sequence flair", "sequence t1", "sequence t2"]),
    ],
)  # fmt: skip
def test_known_kinds_are_no_patients_and_need_no_word(folders: tuple[str, ...], strata: list[str]) -> None:
    assert told(placed(*folders)) == ({None}, strata, [])


@pytest.mark.parametrize(
    ("members", "why"),
    [
        (placed("class_1", "class_2"), "their names say so"),
        (placed("Type 1", "Type 2", "Type 3"), "their names say so"),
        (placed("batch-1", "batch-2", count=1), "their names say so"),
        (placed("Schwannom", "Kavernom"), "have no number"),
        (placed("JS", "MK", "RW"), "have no number"),
        (placed("1", "2", "3"), "do not count anew in each"),
        (placed("0", "1"), "do not count anew in each"),
        (placed("1", "2", "3", stem="{index}", splits=("train", "valid")), "each is in several splits"),
        (placed("1", "2", "3", "4", "5", stem="{index}", count=120), "hold 120 slices or more each"),
    ],
)
def test_guessed_kinds_are_said_with_how_to_say_otherwise(members: list[Placed], why: str) -> None:
    patients, strata, (issue,) = told(members)
    names = {one.folders[0] for one in members}
    assert (patients, issue.code) == ({None}, "folders-as-kinds")
    assert strata == sorted(f"folder {name}" for name in names)
    assert why in issue.message
    pattern = re.compile(shlex.split(issue.message.partition("--group-by ")[2].removesuffix("."))[0])
    for name in names:
        for path in (f"{name}/images/0.png", f"images/{name}/0.png"):
            match = pattern.search(path)
            assert match is not None
            assert match[1] == name


@pytest.mark.parametrize(
    "members",
    [
        placed(*(f"P{number:02}" for number in range(3))),
        placed(*(f"P{number:02}" for number in range(3)), splits=("train", "valid")),
        placed("TCGA_CS_4941", "TCGA_CS_4942"),
        placed(*(str(number) for number in range(1, 12)), stem="{index}"),
        placed(*(f"T{number}" for number in range(1, 10))),
        placed("Anna", "Ben", "Carla", "Dora", "Emil", "Fritz", "Gerd"),
    ],
)
def test_patients_need_no_word(members: list[Placed]) -> None:
    patients, strata, issues = told(members)
    assert (patients, strata, issues) == ({one.folders[0] for one in members}, [], [])


@pytest.mark.parametrize(
    "members",
    [
        placed("1", "2", "3", stem="{index}"),
        placed("1", "2", "3", stem="{folder}_{number}"),
        placed("1", "2", "3", "4", "5"),
        placed("A", "B", "C"),
        placed("NO", "PD", "AX", "JS", "MK", "TB", "AL", "RW"),
    ],
)
def test_patients_that_could_be_kinds_are_said(members: list[Placed]) -> None:
    patients, _, (issue,) = told(members)
    assert patients == {one.folders[0] for one in members}
    assert (issue.code, issue.level) == ("folders-as-patients", "warning")
    assert "--group-by none" in issue.message


def test_a_few_initials_beside_a_word_for_a_kind_are_said() -> None:
    patients, _, (issue,) = told(placed("NO", "GL", "ME", "PI"))
    assert (patients, issue.code) == ({None}, "folders-as-kinds")
    assert "--group-by '(?:^|/)(GL|ME|NO|PI)/'" in issue.message


def test_patients_within_kinds_and_folders_around_all() -> None:
    members = placed("HGG/B1", "HGG/B2", "LGG/B3")
    assert told(members) == ({"B1", "B2", "B3"}, ["grade high", "grade low"], [])
    members = placed("MICCAI_BraTS2020_TrainingData/B1", "MICCAI_BraTS2020_TrainingData/B2")
    assert told(members) == ({"B1", "B2"}, [], [])
    # What lies within a patient's folder says nothing of splits.
    assert told(placed("P1/T1", "P2/T1", "P2/T2")) == ({"P1", "P2"}, [], [])


def test_a_folder_without_patients_beside_those_of_patients() -> None:
    issues: list[Issue] = []
    meanings = FolderMeanings(placed("TCGA_1", "TCGA_2", "normal"), issues, "x")
    assert [meanings.patient((name,)) for name in ("TCGA_1", "TCGA_2", "normal")] == ["TCGA_1", "TCGA_2", None]
    assert meanings.patient(()) is None
    assert meanings.strata(("normal",)) == (("tumour", "none"),)


@pytest.mark.parametrize(
    ("folders", "patients", "strata"),
    [
        (("P01_axial", "P01_coronal", "P02_axial"), {"P01", "P02"}, ["plane axial", "plane coronal"]),
        (("sub-01_T1", "sub-01_T2", "sub-02_T1"), {"sub-01", "sub-02"}, ["sequence t1", "sequence t2"]),
        (
            ("glioma_001", "glioma_002", "meningioma_001"),
            {"glioma_001", "glioma_002", "meningioma_001"},
            ["tumour glioma", "tumour meningioma"],
        ),
        (("Healthy01", "Healthy02", "tumor_01"), {"Healthy01", "Healthy02", "tumor_01"}, ["tumour none"]),
        (("1_glioma", "2_meningioma", "3_pituitary"), {None}, [f"tumour {of}" for of in sorted(TUMOURS)]),
    ],
)
def test_a_number_beside_the_name_of_a_kind_is_a_patients(
    folders: tuple[str, ...], patients: set[str | None], strata: list[str]
) -> None:
    assert told(placed(*folders)) == (patients, strata, [])


def groups(*folders: str) -> list[str | None]:
    members = placed(*folders, count=1)
    meanings = FolderMeanings(members, [], "x")
    return [meanings.group(one.folders) for one in members]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("glioma/P1", "meningioma/P1", "glioma/P2"), ["glioma/P1", "meningioma/P1", "P2"]),
        (("HGG/P1", "LGG/P1", "HGG/P2"), ["high/P1", "low/P1", "P2"]),
        (("site1/P1", "site2/P1", "site1/P2"), ["site1/P1", "site2/P1", "P2"]),
        (("batch_1/P1", "batch_2/P1", "batch_1/P2"), ["P1", "P1", "P2"]),
        (("yes/P1", "no/P1", "yes/P2"), ["P1", "P1", "P2"]),
        (("axial/P1", "coronal/P1", "axial/P2"), ["P1", "P1", "P2"]),
        (
            ("BraTS-GLI-00005-000", "BraTS-GLI-00005-001", "BraTS-GLI-00006-000"),
            [*["BraTS-GLI-00005"] * 2, "BraTS-GLI-00006"],
        ),
        (
            ("UPENN-GBM-00001_11", "UPENN-GBM-00001_21", "UPENN-GBM-00002_11"),
            [*["UPENN-GBM-00001"] * 2, "UPENN-GBM-00002"],
        ),
        (
            ("UCSF-PDGM-0429_nifti", "UCSF-PDGM-0429_FU001d_nifti", "UCSF-PDGM-0430_nifti"),
            [*["UCSF-PDGM-0429"] * 2, "UCSF-PDGM-0430"],
        ),
        (
            ("TCGA_CS_4941_19960909", "TCGA_CS_4941_19970101", "TCGA_CS_4942_19970222"),
            [*["TCGA_CS_4941"] * 2, "TCGA_CS_4942"],
        ),
        (
            ("BraTS-MEN-RT-0001-1", "BraTS-MEN-RT-0001-2", "BraTS-MEN-RT-0002-1"),
            [*["BraTS-MEN-RT-0001"] * 2, "BraTS-MEN-RT-0002"],
        ),
        (
            ("TCGA-02-0006_1996.08.23", "TCGA-02-0006_1997.01.02", "HF1708_1994.03.19"),
            [*["TCGA-02-0006"] * 2, "HF1708"],
        ),
        (
            (
                "part_1/BraTS-GLI-00005-000",
                "part_1/BraTS-GLI-00006-000",
                "more2/BraTS-GLI-00005-001",
                "more2/BraTS-GLI-00007-000",
            ),
            ["BraTS-GLI-00005", "BraTS-GLI-00006", "BraTS-GLI-00005", "BraTS-GLI-00007"],
        ),
        (("site1/sub-01", "site1/sub-02", "site2/sub-01"), ["site1/sub-01", "sub-02", "site2/sub-01"]),
        (("sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"), ["sub-01", "sub-01", "sub-02"]),
        (("Jose\u0301", "Jos\u00e9", "P1"), ["Jos\u00e9", "Jos\u00e9", "P1"]),
    ],
)
def test_what_slices_are_kept_together_by(folders: tuple[str, ...], expected: list[str]) -> None:
    assert groups(*folders) == expected


def test_a_volume_in_no_patients_folder_is_called_after_its_kind_too() -> None:
    meanings = FolderMeanings(placed("glioma", "meningioma"), [], "x")
    assert [meanings.group((kind,), "v0") for kind in ("glioma", "meningioma")] == ["glioma/v0", "meningioma/v0"]


@pytest.mark.parametrize("name", ["P01_T1", "P01_axial_FLAIR", "P01-t2f"])
def test_sequences_and_planes_are_no_part_of_a_volumes_patient(name: str) -> None:
    assert FolderMeanings(placed(""), [], "x").group((), name) == "P01"


def test_folders_within_those_of_patients_that_may_be_the_patients_are_said() -> None:
    patients, _, (issue,) = told(placed("kaggle_3m/TCGA_1", "kaggle_3m/TCGA_2", "lgg-3m/TCGA_1"))
    assert (patients, issue.code) == ({"kaggle_3m", "lgg-3m"}, "folders-as-patients")
    assert "those within (TCGA_1, TCGA_2) for their scans" in issue.message
    assert told(placed("P1/scan", "P2/scan"))[2] == []
