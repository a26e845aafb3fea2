"""A reader of a user's own: registered, it is all that is needed."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from bts_tune.cli.main import main
from bts_tune.data.open import open_dataset
from bts_tune.data.readers.base import Reader, ReaderOptions
from bts_tune.data.records import Dataset, Issue, SliceRecord
from bts_tune.data.scan.scan import scan_dataset
from bts_tune.data.splits.make import make_split
from bts_tune.errors import ConfigError, DataError
from bts_tune.registry import READERS
from bts_tune.testing.readers import ReaderContract
from tests.data.builders import write_pairs


class TableReader(Reader):
    """A table `slices.csv` with the columns image, mask, split and patient."""

    title = "table of slices"
    expects = "slices.csv"

    def recognises(self, root: Path) -> bool:
        return (root / "slices.csv").is_file()

    def read(self, root: Path, options: ReaderOptions) -> Dataset:
        if not self.recognises(root):
            raise DataError(f"{root}: has no slices.csv.")
        records: dict[str, list[SliceRecord]] = {"train": [], "valid": []}
        issues = []
        with (root / "slices.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                name, split, mask = row["image"], row["split"], root / row["mask"]
                if mask.is_file():
                    records[split].append(SliceRecord(name, split, root / name, name, mask=mask, group=row["patient"]))
                else:
                    issues.append(Issue("error", "missing-mask", name, None, f"its mask {row['mask']} is missing."))
        return Dataset(root, self.name, {}, {split: tuple(found) for split, found in records.items()}, tuple(issues))


def write_table(root: Path) -> Path:
    """Write 24 slices of 6 patients, of which the table says what their names do not."""
    write_pairs(root / "pixels", 24)
    lines = ["image,mask,split,patient"]
    for number in range(24):
        name = f"s{number:03}.png"
        lines.append(f"pixels/images/{name},pixels/masks/{name},{'train' if number < 16 else 'valid'},p{number % 6}")
    (root / "slices.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    READERS.all()  # what is imported below, for the first time, would be forgotten afterwards
    monkeypatch.setattr(READERS, "_entries", dict(READERS._entries))
    READERS.register("table")(TableReader)


class TestTable(ReaderContract):
    @pytest.fixture
    def reader(self) -> TableReader:
        return TableReader()

    @pytest.fixture
    def dataset_folder(self, tmp_path: Path) -> Path:
        return write_table(tmp_path / "dataset")

    @pytest.fixture
    def broken_folder(self, tmp_path: Path) -> Path:
        root = write_table(tmp_path / "dataset")
        (root / "pixels" / "masks" / "s001.png").unlink()
        return root


def test_patients_of_the_reader_stay_in_one_split(tmp_path: Path) -> None:
    dataset = open_dataset(write_table(tmp_path))
    moved, split = make_split(dataset, scan_dataset(dataset), "grouped")
    assert split.group_by == "the dataset"
    assert split.summary["groups"]["count"] == 6
    assert len({(record.group, record.split) for record in moved}) == 6
    assert all(records for records in moved.records.values())


def test_the_check_names_the_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(write_table(tmp_path)), "--split", "grouped"]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"{tmp_path}: table of slices\n")
    assert "several annotations" not in output


def test_what_no_reader_recognises_is_told_with_what_each_expects(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"is not a dataset; expected train/ and .*images/ and masks/ alone, or .*, or slices"
    ):
        open_dataset(tmp_path)


def test_what_several_readers_recognise_is_refused_unless_one_is_named(tmp_path: Path) -> None:
    root = write_table(tmp_path)
    for kind in ("images", "masks"):
        shutil.copytree(root / "pixels" / kind, root / kind)
    with pytest.raises(DataError, match=r"recognised by several readers: 'folders' .* and 'table' \(expects slices"):
        open_dataset(root)
    assert open_dataset(root, reader="table").layout == "table"
    assert open_dataset(root, reader="folders").layout == "folders"
    with pytest.raises(ConfigError, match=r"unknown reader 'tables'\. Did you mean 'table'"):
        open_dataset(root, reader="tables")
