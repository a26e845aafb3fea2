"""The table that `--group-by FILE.csv` names: the group of each slice, as spreadsheets and scripts write such tables.

It may be any that `bts_tune.data.tables` reads, and titles may be in capitals. A `file` is the path of an image file or
of a volume, or the last part of it, with or without its suffix; or the name of a single slice of a volume.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from bts_tune.data.layout.names import folded
from bts_tune.data.records import IMAGE_SUFFIXES
from bts_tune.data.tables import Table, patient_in, read_table
from bts_tune.data.volumes.dicom_files import DICOM_SUFFIXES
from bts_tune.data.volumes.nifti import NIFTI_SUFFIXES
from bts_tune.errors import DataError
from bts_tune.text import plural, quoted

_FILE_TITLES = ("file", "filename", "file_name", "name", "image", "image_name", "path", "slice")
_SUFFIXES = (*sorted(NIFTI_SUFFIXES, key=len, reverse=True), *DICOM_SUFFIXES, *IMAGE_SUFFIXES)
# A column `group` beside one of patients may be the grade of the tumour, or the group of a study.
_GROUP_TITLES = ("patient", "patient_id", "patientid", "pid", "subject", "subject_id", "group", "case")

_Given = dict[str, dict[str, int]]
"""By the name of a file as the table has it: each of its groups, and in which line it stands."""


def read_group_table(names: Sequence[str], path: Path) -> list[str]:
    """Return the group of each slice.

    Args:
        names: names of the slices.
        path: the table.

    Raises:
        DataError: it cannot be read, has not the two columns, gives a slice two groups, or none.
    """
    table = read_table(path)
    file = _file_column(table, names, path)
    group = _columns(table, _GROUP_TITLES, "group", path)[0]
    given: _Given = defaultdict(dict)
    for number, row in enumerate(table.rows, start=table.first_line):
        if len(row) > max(file, group) and row[file].strip():
            given[_plain(row[file])].setdefault(patient_in(row[group]), number)
    _add_without_suffix(given, names)
    alike: _Given = defaultdict(dict)
    for written, of in given.items():
        for patient, number in of.items():
            alike[folded(written)].setdefault(patient, number)
    groups = []
    files: dict[str, dict[str, None]] = defaultdict(dict)  # by the form that names them, in order
    for name in names:
        form, found = _found(name, given, alike)
        files[form][_file_of(name)] = None
        if len(found) > 1:
            (one, first), (other, second), *_ = found.items()
            raise DataError(
                f"{path}: gives {name!r} two groups, {quoted(one)} in line {first} and {quoted(other)} in line {second}"
                "; give each image one group, by its whole path in the dataset where names repeat."
            )
        if not next(iter(found), ""):
            raise DataError(f"{path}: gives no group for {name!r}; every image of the dataset needs one.")
        groups.append(next(iter(found)))
    for form, of_form in files.items():
        if len(of_form) > 1:
            left, right, *_ = of_form
            raise DataError(
                f"{path}: {form!r} fits {plural(len(of_form), 'image')}, such as {left} and {right}, which may be of "
                "different groups; give the whole path in the dataset."
            )
    return groups


def _found(name: str, given: _Given, alike: _Given) -> tuple[str, dict[str, int]]:
    """Return the form of a slice's name that the table has, and its groups; letter case and accents count first."""
    for table, forms in ((given, _forms(name)), (alike, map(folded, _forms(name)))):
        for form in forms:
            if form in table:
                return form, table[form]
    return "", {}


def _add_without_suffix(given: _Given, names: Sequence[str]) -> None:
    """Add the names of the table without their suffixes, as `0.jpg` may be meant for `0.png`; not those of slices."""
    known = {form for name in names for form in _forms(name)}
    for written in [one for one in given if one not in known]:
        bare = _without_suffix(written)
        if bare != written:
            for patient, number in given[written].items():
                given[bare].setdefault(patient, number)


def _file_column(table: Table, names: Sequence[str], path: Path) -> int:
    """Return the column of files: of several that may be it, the one whose cells are most often names of slices."""
    known = {folded(form) for name in names for form in _forms(name)}

    def fitting(place: int) -> int:
        cells = (_plain(row[place]) for row in table.rows if len(row) > place)
        return sum(not known.isdisjoint((folded(cell), folded(_without_suffix(cell)))) for cell in cells)

    return max(_columns(table, _FILE_TITLES, "file", path), key=fitting)


def _columns(table: Table, known: Sequence[str], wanted: str, path: Path) -> list[int]:
    """Return the columns whose titles are known, in the order of `known`."""
    titles = [title.casefold().replace(" ", "_").replace("-", "_") for title in table.titles]
    places = [place for title in known for place, one in enumerate(titles) if one == title]
    if places:
        return places
    found = ", ".join(map(quoted, table.titles[:8])) or "none"
    raise DataError(
        f"{path}: has no column {wanted!r}; the columns file and group are needed, found are {found} (separated by "
        f"{table.delimiter!r})."
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
