"""Joins slices into groups of what is, or may be, one patient.

1. Slices of one patient, where patients are given.
2. Slices of one scan by their appearance (see `results/record/leaks.py`); where patients are given, a correlation
   above 0.98.
3. Neighbours: slices of one series whose numbers differ by at most 5 and whose correlation exceeds 0.8.
4. Versions that Roboflow made of one image, by their names: at most 10, as more files of one name are other images.

For a split, near-duplicates above 0.9 are joined as well, unless patients are given. That is left off where it would
chain more than 30 % of all slices into one group: slices of different patients then resemble each other by chance, as
in a dataset of registered heads, and to keep them together would leave too few groups.

A series and a number are read from a file's name: the digits at its end are the number (`p0007_s012.png`); of a name
that Roboflow made, those before `_jpg.rf.` (`1000_jpg.rf.1c16148495900a466a53f121ec6af0a9.jpg`). What all files have at
the end of their names, such as nnU-Net's `_0000` or a sequence, comes after the number. Folders of splits and of images
are no part of the series.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bts_tune.data.layout.names import meaning
from bts_tune.data.scan.scan import Scan
from bts_tune.data.scan.similarity import Indices, correlations
from bts_tune.data.splits.group_table import read_group_table
from bts_tune.errors import DataError
from bts_tune.paths import user_path
from bts_tune.results.record.leaks import SAME_SCAN_ABOVE

COPY = SAME_SCAN_ABOVE
COPY_OF_KNOWN = 0.98
"""Correlation above which slices are joined where patients are given: those of different patients rarely reach it."""
NEIGHBOR = 0.8
NEIGHBOR_DISTANCE = 5
MAX_SHARE = 0.3
_MOST_VERSIONS = 10

_ROBOFLOW = re.compile(r"_[A-Za-z]+\.rf\.[0-9A-Za-z]+$")
_NUMBERED = re.compile(r"(.*?)(\d+)", re.DOTALL)
_ENDING = re.compile(r"[\W_]+(?:000\d|[^\W_]*[^\W\d_][^\W_]*)$")
"""A channel's number of nnU-Net, or a word, at the end of a name; a slice's number is neither."""


def series_and_number(name: str, ending: str = "") -> tuple[str, int] | None:
    """Return the series and the slice number that are in a slice's name; None where it ends in no digits.

    Args:
        name: the path of the slice, with forward slashes.
        ending: what is no part of the number at the end of the stem (see `shared_ending`).
    """
    path = PurePosixPath(name)
    match = _NUMBERED.fullmatch(_stem(path).removesuffix(ending))
    if match is None:
        return None
    folders = [part for part in path.parts[:-1] if not _says_no_series(part)]
    return "/".join([*folders, match[1]]), int(match[2])


def shared_ending(names: Sequence[str]) -> str:
    """Return the words or nnU-Net's channel that the stems of all slices end with; empty where there are none."""
    stems = [_stem(PurePosixPath(name)) for name in names]
    if len(stems) < 2:
        return ""
    ending = ""
    while found := _ENDING.search(stems[0].removesuffix(ending)):
        if not all(stem.endswith(found[0] + ending) for stem in stems):
            break
        ending = found[0] + ending
    return ending


def _stem(path: PurePosixPath) -> str:
    return _ROBOFLOW.sub("", path.stem)


@cache
def _says_no_series(folder: str) -> bool:
    """Return whether a folder's name says no more than a split, images or both."""
    if folder.casefold() in ("imagestr", "imagests", "jpegimages"):
        return True
    said = meaning(folder)
    # `train2017` is a split, while `image_12` may be a patient's.
    return said is not None and (said.split is not None or not any(character.isdigit() for character in folder))


def neighbor_pairs(scan: Scan) -> tuple[Indices, Indices]:
    """Return the pairs of similar neighbours: places int64 [P] of the slices in `scan.names`."""
    series: dict[str, list[tuple[int, int]]] = defaultdict(list)
    ending = shared_ending(scan.names)
    for place, name in enumerate(scan.names):
        found = series_and_number(name, ending)
        if found is not None:
            series[found[0]].append((found[1], place))
    near: list[tuple[int, int]] = []
    for members in series.values():
        members.sort()
        for position, (number, place) in enumerate(members):
            for other_number, other in members[position + 1 :]:
                if other_number - number > NEIGHBOR_DISTANCE:
                    break
                near.append((place, other))
    pairs = np.array(near, dtype=np.int64).reshape(-1, 2)
    similar = correlations(scan.vectors, pairs[:, 0], pairs[:, 1]) > NEIGHBOR
    return pairs[similar, 0], pairs[similar, 1]


def versions_of_one(names: Sequence[str]) -> tuple[Indices, Indices]:
    """Return the pairs of files that Roboflow made of one image: places int64 [P] in `names`.

    It names each version of an image, such as a rotated one, after it; versions need not be similar to each other.
    """
    versions: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        path = PurePosixPath(name)
        if _stem(path) != path.stem:
            folders = [part for part in path.parts[:-1] if not _says_no_series(part)]
            versions["/".join([*folders, _stem(path)])].append(place)
    # Of more files of one name, such as `image`, each was another image.
    made = [places for places in versions.values() if len(places) <= _MOST_VERSIONS]
    pairs = np.array([(places[0], place) for places in made for place in places[1:]], dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def group_slices(scan: Scan, patients: Sequence[str] | None = None, *, join_near_duplicates: bool = False) -> Indices:
    """Return the group of each slice, int64 [N], numbered from 0 in the order of `scan.names`.

    Args:
        scan: of the slices.
        patients: the patient of each slice, in the same order.
        join_near_duplicates: whether to join near-duplicates, for a split; see the module's first lines.
    """
    pairs = scan.pairs
    copies = pairs.same_scan if patients is None else pairs.correlation > COPY_OF_KNOWN
    links = [(pairs.first[copies], pairs.second[copies]), neighbor_pairs(scan), versions_of_one(scan.names)]
    if patients is not None:
        # Linking every slice to the first one of its patient joins them all.
        _, first_of, patient = np.unique(np.asarray(patients, dtype=str), return_index=True, return_inverse=True)
        links.append((first_of[patient], np.arange(len(patients))))
    groups = _connected(links, len(scan.names))
    if join_near_duplicates and patients is None:
        alike = pairs.orientation == 0
        joined = _connected([*links, (pairs.first[alike], pairs.second[alike])], len(scan.names))
        if np.bincount(joined).max(initial=0) <= MAX_SHARE * len(joined):
            return joined
    return groups


def outside_share(scan: Scan, groups: Indices) -> float:
    """Return the share of slices that have a near-duplicate, as it is, outside their group."""
    pairs = scan.pairs
    apart = (groups[pairs.first] != groups[pairs.second]) & (pairs.orientation == 0)
    found = np.union1d(pairs.first[apart], pairs.second[apart])
    return len(found) / len(groups) if len(groups) else 0.0


def table_of_patients(group_by: str, beside: Path = Path()) -> Path | None:
    """Return the table that `group_by` names; None where it is a regular expression.

    Args:
        group_by: as of `read_patients`.
        beside: the folder that a path begins at; by default the working folder.
    """
    if not group_by.lower().endswith((".csv", ".tsv", ".txt")):
        return None
    path = beside / user_path(group_by, "--group-by", recorded=False)
    return path if not group_by.lower().endswith(".txt") or path.is_file() else None


def read_patients(names: Sequence[str], group_by: str) -> list[str]:
    """Return the patient of each slice.

    Args:
        names: names of the slices.
        group_by: a table with the columns `file` and `group`, where it ends in `.csv` or `.tsv`, or is a file that ends
            in `.txt` (see `group_table`); else a regular expression with one group, searched for in each name.

    Raises:
        DataError: the file or the expression cannot be used, or leaves a slice without a patient.
    """
    if group_by.lower().endswith((".xlsx", ".xls", ".ods")):
        raise DataError(f"--group-by {group_by!r}: is a spreadsheet's own file, which is not read; save it as CSV.")
    if (table := table_of_patients(group_by)) is not None:
        return read_group_table(names, table)
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise DataError(f"--group-by {group_by!r}: is no regular expression: {error}.") from None
    if pattern.groups != 1:
        raise DataError(
            f"--group-by {group_by!r}: has {pattern.groups} groups in parentheses; one is needed, such as '(p[0-9]+)_'."
        )
    patients = []
    for name in names:
        match = pattern.search(name)
        if match is None or not match[1]:
            raise DataError(f"--group-by {group_by!r}: finds nothing in {name!r}; every file name must tell its group.")
        patients.append(match[1])
    return patients


def _connected(links: Sequence[tuple[Indices, Indices]], count: int) -> Indices:
    """Return what the links join, int64 [count]: numbered from 0 by the first slice of each group."""
    row, column = (np.concatenate(ends) for ends in zip(*links, strict=True))
    matrix = coo_array((np.ones(len(row), dtype=bool), (row, column)), shape=(count, count))
    _, labels = connected_components(matrix, directed=False)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]
