from __future__ import annotations

import json
from pathlib import Path

import pytest

from bts_tune.data.splits.make import make_split
from bts_tune.data.splits.split import read_folds, read_groups, read_split, split_hash
from bts_tune.data.synthetic.demo import PATIENT
from bts_tune.errors import DataError
from tests.data.splits.builders import Scanned


def test_the_description_is_json(phantoms: Scanned) -> None:
    _, split = make_split(phantoms.dataset, phantoms.scan, "grouped", seed=2, group_by=PATIENT)
    description = split.to_dict()
    assert json.loads(json.dumps(description, allow_nan=False)) == description
    assert (description["method"], description["seed"], description["group_by"]) == ("grouped", 2, PATIENT)
    assert description["hash"] == split.hash
    assert sum(one["groups"] for one in description["splits"].values()) == description["groups"]["count"] == 25


def test_it_is_read_back_from_its_file(phantoms: Scanned, tmp_path: Path) -> None:
    grouped, split = make_split(phantoms.dataset, phantoms.scan, "grouped", seed=2)
    split.write(tmp_path / "split.csv")
    assert (tmp_path / "split.csv").read_text().splitlines()[0] == "file,split,group"
    again = phantoms.dataset.with_splits(read_split(tmp_path / "split.csv"))
    assert again.fingerprint() == grouped.fingerprint()
    assert read_groups(tmp_path / "split.csv") == split.groups


def test_a_file_that_cannot_be_written(phantoms: Scanned, tmp_path: Path) -> None:
    _, split = make_split(phantoms.dataset, phantoms.scan)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        split.write(tmp_path / "file" / "split.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [("file,group\na,1\n", "is no CSV file with the columns"), ("file,split\na,dev\n", "a split is 'dev'")],
)
def test_files_that_are_no_split(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "split.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_split(tmp_path / "split.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_split(tmp_path / "other.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_groups(tmp_path / "other.csv")


def test_files_without_groups_are_refused(tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text("file,split\na,train\n")
    with pytest.raises(DataError, match="is no CSV file with the columns"):
        read_groups(tmp_path / "split.csv")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("file,split,group\na,train,0\n", "is no CSV file with the columns"),
        ("file,split,group,fold\na,train,0,x\n", "is no CSV file with the columns"),
        ("file,split,group,fold\na,train,0,1\n", "at least 2, numbered from 1"),
        ("file,split,group,fold\na,train,0,1\nb,train,0,3\n", "at least 2, numbered from 1"),
    ],
)
def test_broken_folds_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(DataError, match=sentence):
        read_folds(tmp_path / "split.csv")


def test_the_hash_changes_with_a_split_a_fold_and_a_name_but_not_with_the_order() -> None:
    splits, folds = {"a": "train", "b": "valid"}, {"a": 1, "b": 2}
    assert split_hash(splits, folds) == split_hash(dict(reversed(splits.items())), folds)
    others = [
        split_hash(splits, {}),
        split_hash(splits, {"a": 2, "b": 2}),
        split_hash({"a": "valid", "b": "valid"}, folds),
        split_hash({"a": "train", "c": "valid"}, folds),
    ]
    assert len({split_hash(splits, folds), *others}) == 5
