from __future__ import annotations

import re
import shlex

import pytest

from bts_tune.data.layout.patients import FolderMeanings, Placed
from bts_tune.data.records import Issue


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
        placed("TCGA_CS_4941_19960909", "TCGA_CS_4942_19970222"),
        placed(*(str(number) for number in range(1, 12)), stem="{index}"),
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
    ],
)
def test_patients_that_could_be_kinds_are_said(members: list[Placed]) -> None:
    patients, _, (issue,) = told(members)
    assert patients == {one.folders[0] for one in members}
    assert (issue.code, issue.level) == ("folders-as-patients", "warning")
    assert "--group-by none" in issue.message


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
