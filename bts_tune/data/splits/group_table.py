"""The table that `--group-by FILE.csv` names: the group of each slice, as spreadsheets and scripts write such tables.

It may be any that `bts_tune.data.tables` reads, and titles may be in capitals. A `file` is the path of an image file or
of a volume, or the last part of it, with or without its suffix; or the name of a single slice of a volume.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from bts_tune.data.records import IMAGE_SUFFIXES
from bts_tune.data.tables import is_nothing, read_table
from bts_tune.data.volumes.dicom_files import DICOM_SUFFIXES
from bts_tune.data.volumes.nifti import NIFTI_SUFFIXES
from bts_tune.errors import DataError
from bts_tune.text import plural, quoted

_FILE_TITLES = ("file", "filename", "file_name", "file name", "name", "image", "image_name", "path", "slice")
_SUFFIXES = (*sorted(NIFTI_SUFFIXES, key=len, reverse=True), *DICOM_SUFFIXES, *IMAGE_SUFFIXES)
_GROUP_TITLES = ("group", "patient", "patient_id", "patientid", "patient id", "pid", "subject", "subject_id", "case")


def read_group_table(names: Sequence[str], path: Path) -> list[str]:
    """Return the group of each slice.

    Args:
        names: names of the slices.
        path: the table.

    Raises:
        DataError: it cannot be read, has not the two columns, gives a slice two groups, or none.
    """
    titles, rows, delimiter = read_table(path)
    file = _column(titles, _FILE_TITLES, "file", path, delimiter)
    group = _column(titles, _GROUP_TITLES, "group", path, delimiter)
    given: dict[str, dict[str, int]] = defaultdict(dict)
    for number, row in enumerate(rows, start=2):
        if len(row) > max(file, group) and row[file].strip():
            patient = "" if is_nothing(row[group]) else row[group].strip()
            given[_plain(row[file])].setdefault(patient, number)
    _add_without_suffix(given, names)
    groups = []
    for name in names:
        found = next((given[form] for form in _forms(name) if form in given), {})
        if len(found) > 1:
            (one, first), (other, second), *_ = found.items()
            raise DataError(
                f"{path}: gives {name!r} two groups, {quoted(one)} in line {first} and {quoted(other)} in line {second}"
                "; give each image one group, by its whole path in the dataset where names repeat."
            )
        if not next(iter(found), ""):
            raise DataError(f"{path}: gives no group for {name!r}; every image of the dataset needs one.")
        groups.append(next(iter(found)))
    _require_one_meaning(names, given, path)
    return groups


def _add_without_suffix(given: dict[str, dict[str, int]], names: Sequence[str]) -> None:
    """Add the names of the table without their suffixes, as `0.jpg` may be meant for `0.png`; not those of slices."""
    known = {form for name in names for form in _forms(name)}
    for written in [one for one in given if one not in known]:
        bare = _without_suffix(written)
        if bare != written:
            for patient, number in given[written].items():
                given[bare].setdefault(patient, number)


def _require_one_meaning(names: Sequence[str], given: dict[str, dict[str, int]], path: Path) -> None:
    """Refuse a last part of a path that stands for several files, which may be of different groups."""
    by_last: dict[str, dict[str, None]] = defaultdict(dict)  # files, in order
    for name in names:
        form = next(form for form in _forms(name) if form in given)
        file = _file_of(name)
        if "/" not in form and "/" in file:
            by_last[form][file] = None
    for last, files in by_last.items():
        if len(files) > 1:
            one, other, *_ = files
            raise DataError(
                f"{path}: {last!r} fits {plural(len(files), 'image')}, such as {one} and {other}, which may be of "
                "different groups; give the whole path in the dataset."
            )


def _column(titles: Sequence[str], known: Sequence[str], wanted: str, path: Path, delimiter: str) -> int:
    for title in known:
        for place, one in enumerate(titles):
            if one.casefold() == title:
                return place
    found = ", ".join(map(quoted, titles[:8])) or "none"
    raise DataError(
        f"{path}: has no column {wanted!r}; the columns file and group are needed, found are {found} (separated by "
        f"{delimiter!r})."
    )


def _plain(written: str) -> str:
    return written.strip().replace("\\", "/").removeprefix("./")


def _forms(name: str) -> list[str]:
    """Return how a table may name a slice, the most exact form first."""
    file = _file_of(name)
    last = PurePosixPath(file).name
    return list(dict.fromkeys((name, file, _without_suffix(file), last, _without_suffix(last))))


def _file_of(name: str) -> str:
    """Return the image file, or the volume, that a slice is of: `v0.nii.gz` for `v0.nii.gz/012`."""
    file, _, index = name.rpartition("/")
    return file if file and index.isdecimal() else name  # the name of an image file has a suffix


def _without_suffix(path: str) -> str:
    suffix = next((one for one in _SUFFIXES if path.lower().endswith(one)), "")
    return path[: len(path) - len(suffix)]
