"""Tables and lists beside the images that say more than a reader takes from the folders: patients, or the splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path, PurePosixPath

from bts_tune.data.files import read_file
from bts_tune.data.layout.names import folded, split_in
from bts_tune.data.readers.manifest import columns_of
from bts_tune.data.records import Dataset, Issue
from bts_tune.data.tables import read_table
from bts_tune.errors import DataError

_LOOKED_AT = 20
"""Lines of a table or a list that are looked at."""


def with_unused_tables(dataset: Dataset) -> Dataset:
    """Return a dataset with a warning for each table or list that has its splits or patients and is not used."""
    records = [record for members in dataset.records.values() for record in members]
    own = dataset.records if dataset.own_splits is None else dataset.own_splits
    lacks_splits = not {"valid", "test"} & set(own)
    lacks_patients = all(record.group is None for record in records)
    if dataset.layout == "manifest" or not records or not (lacks_splits or lacks_patients):
        return dataset
    stems = {_stem(record.name) for record in records}
    files = sorted(path for path in dataset.root.iterdir() if path.is_file() and not path.name.startswith("."))
    issues = list(dataset.issues)
    for path in files:
        if path.suffix.lower() in (".csv", ".tsv"):
            issues += _of_table(path, stems, lacks_splits, lacks_patients)
    lists = [path.name for path in files if lacks_splits and path.suffix.lower() == ".txt" and _is_list(path, stems)]
    if lists:
        message = (
            f"the lists of splits in {' and '.join(lists)} are not used; lay the images into folders such as "
            "train/ and valid/, or write a table with the columns image, mask and split."
        )
        issues.append(Issue("warning", "unused-splits", lists[0], None, message))
    return replace(dataset, issues=tuple(issues))


def _of_table(path: Path, stems: Set[str], lacks_splits: bool, lacks_patients: bool) -> Iterator[Issue]:
    """Yield an issue where a table about these slices has what they lack."""
    try:
        table = read_table(path)
    except DataError:
        return
    rows, columns = table.rows[:_LOOKED_AT], columns_of(table)
    if not any(_stem(cell) in stems for row in rows for cell in row):
        return
    splits = [row[columns["split"]] for row in rows if "split" in columns and columns["split"] < len(row)]
    has_splits = lacks_splits and any(split_in(cell) is not None for cell in splits)
    has_patients = lacks_patients and "patient" in columns
    what = " and ".join(name for name, there in (("patient", has_patients), ("split", has_splits)) if there)
    if not what:
        return
    cure = "--reader manifest takes it"
    if not columns.keys() >= {"image", "mask"}:
        with_masks = f"with the columns image and mask too, {cure}"
        cure = f"--group-by {path} takes the patients" if has_patients else with_masks
    code = "unused-splits" if has_splits else "unused-patients"
    yield Issue("warning", code, path.name, None, f"the table {path.name} has {what} and is not used; {cure}.")


def _is_list(path: Path, stems: Set[str]) -> bool:
    """Return whether a file is named like a split and lists slices."""
    if split_in(path.stem) is None:
        return False
    try:
        lines: Sequence[str] = read_file(path).decode("utf-8-sig").splitlines()[:_LOOKED_AT]
    except (DataError, UnicodeDecodeError):
        return False
    return any(_stem(form) in stems for line in lines if line.strip() for form in (line, line.split()[0]))


def _stem(written: str) -> str:
    return folded(PurePosixPath(written.strip().replace("\\", "/")).stem)
