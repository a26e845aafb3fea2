from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.data.left_out import left_out_lines
from bts_tune.data.open import open_dataset
from tests.data.builders import write_pairs


def rows(*columns: str) -> str:
    values = {"image": "images/s{0:03}.png", "mask": "masks/s{0:03}.png", "patient": "P{0}", "split": "valid"}
    lines = [",".join(values.get(column, "7").format(number) for column in columns) for number in range(4)]
    return "\n".join([",".join(columns), *lines])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "data.csv",
            rows("image", "mask", "patient", "split"),
            "the table data.csv has patient and split and is not used; --reader manifest takes it.",
        ),
        ("data.csv", rows("image", "patient"), "has patient and is not used; --group-by"),
        ("data.csv", rows("image", "split"), "has split and is not used; with the columns image and mask too"),
        ("train.txt", "s000.png\ns001.png\n", "the lists of splits in train.txt are not used"),
        ("val.txt", "s000 1\n", "the lists of splits in val.txt are not used"),
    ],
)
def test_what_has_splits_or_patients_and_is_not_used_is_said(tmp_path: Path, name: str, text: str, said: str) -> None:
    (write_pairs(tmp_path, 4) / name).write_text(text)
    dataset = open_dataset(tmp_path)
    (issue,) = dataset.issues
    assert issue.level == "warning"
    assert said in issue.message
    assert any(said[3:] in line for line in left_out_lines(dataset))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ages.csv", rows("image", "age")),
        ("patients.csv", "patient,age\nP1,40\n"),
        ("notes.csv", "\0"),
        ("train.txt", "trained well\n"),
        ("classes.txt", "s000.png\n"),
        ("val.txt", ""),
    ],
)
def test_other_tables_and_texts_are_nothing_to_say(tmp_path: Path, name: str, text: str) -> None:
    (write_pairs(tmp_path, 4) / name).write_text(text)
    assert open_dataset(tmp_path).issues == ()


def test_what_the_folders_tell_is_not_asked_of_a_table(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "val")):
        write_pairs(tmp_path / split, 4, seed=10 * number)
    (tmp_path / "data.csv").write_text(rows("image", "split"))
    (tmp_path / "train.txt").write_text("s000.png\n")
    assert open_dataset(tmp_path).issues == ()
