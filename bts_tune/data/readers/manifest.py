"""Tables that list the files: `train.csv` with the columns `image` and `mask`, and `patient` and `split` if known.

Paths are relative to the dataset's folder; other forms are taken for the one file that nearly fits, as in COCO files.
Several tables are the splits that their names say (`train.csv`, `valid.csv`).
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from bts_tune.data.files import OutsideError
from bts_tune.data.layout.file_names import FileNames, plain
from bts_tune.data.layout.names import examples, split_in
from bts_tune.data.readers.base import Reader, ReaderOptions
from bts_tune.data.readers.folders import with_lone_groups
from bts_tune.data.readers.pairs import PairsReader
from bts_tune.data.records import IMAGE_SUFFIXES, SPLITS, Dataset, Issue, SliceRecord, image_files
from bts_tune.data.tables import Table, is_nothing, patient_in, read_table
from bts_tune.errors import DataError
from bts_tune.registry import READERS
from bts_tune.text import quoted

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "img", "images", "scan", "slice", "input"),
    "mask": (
        "mask",
        "masks",
        "seg",
        "segmentation",
        "label",
        "annotation",
        "gt",
        "ground_truth",
        "groundtruth",
        "target",
    ),
    "patient": ("patient", "patientid", "pid", "subject", "case", "group"),
    "split": ("split", "set", "subset", "partition"),
}
_ENDINGS = (
    "",
    "_path",
    "_file",
    "_name",
    "_filename",
    "_filepath",
    "_file_name",
    "_file_path",
    "path",
    "file",
    "filename",
)
_ID_ENDINGS = ("", "_id")
_PERHAPS_MASKS = ("label", "annotation", "target")
_FLAGS = ("0", "1", "0.0", "1.0", "true", "false", "yes", "no", "y", "n")
_LOOKED_AT = 20
_RUN_LENGTHS = ("rle", "encodedpixels", "encoded_pixels", "rle_mask", "mask_rle")


@dataclass(frozen=True)
class _Row:
    """A line of a table; image and mask as they are written."""

    table: str
    line: int
    split: str | None
    image: str
    mask: str
    patient: str | None


@READERS.register("manifest")
class ManifestReader(Reader):
    """Images and masks that a table lists."""

    title = "table of images and masks"
    expects = "a table such as train.csv with the columns image and mask (patient and split are optional)"
    gives_way = True

    def recognises(self, root: Path) -> bool:
        """Return whether there is a table with both columns, and no pairs side by side."""
        return bool(_tables(root)) and not PairsReader().recognises(root)

    def read(self, root: Path, options: ReaderOptions) -> Dataset:
        """Read every row of every table.

        Raises:
            DataError: there is no such table, or a row names no split or a file that is no image.
        """
        if not root.is_dir():
            raise DataError(f"{root}: is not a folder.")
        tables = _tables(root, outside=True)
        if not tables:
            raise DataError(f"{root}: holds no table with the columns image and mask.")
        rows = [row for path in tables for row in _rows(root, path, several=len(tables) > 1)]
        files = image_files(root, recursive=True)
        issues: list[Issue] = []
        rows = _with_splits(rows, issues)
        # Beside a missing file of one kind there often is one of its name of the other kind.
        others = {_relative(row.mask) for row in rows if row.mask and row.mask != row.image}
        images = _files(root, files, others, [(row, row.image) for row in rows], "image", issues)
        others = {image for image in images if image is not None}
        masks = _files(root, files, others, [(row, row.mask) for row in rows], "mask", issues)
        records: dict[str, list[SliceRecord]] = defaultdict(list)
        seen: dict[str, _Row] = {}
        for row, image, mask in zip(rows, images, masks, strict=True):
            if image is None or mask is None:
                continue
            if image in seen:
                first = seen[image]
                before = f"line {first.line}" if first.table == row.table else f"{first.table}, line {first.line}"
                message = f"{row.table}, line {row.line}: lists it again after {before}; once is allowed."
                issues.append(Issue("error", "duplicate-entry", image, None, message))
                continue
            seen[image] = row
            path = root / image
            split = row.split or "train"
            records[split].append(SliceRecord(image, split, path, path.stem, mask=root / mask, group=row.patient))
        found = {split: tuple(records[split]) for split in SPLITS if split in records} or {"train": ()}
        if "train" not in found:
            raise DataError(f"{root}: has no train split; {tables[0].name} lists {', '.join(found)} alone.")
        own = None if len(found) > 1 else ()
        found = with_lone_groups(
            found, issues, lack="without a patient, while others have one", cure="name its patient in the table"
        )
        return Dataset(root, self.name, {}, found, tuple(issues), own_splits=own)

    def hint(self, root: Path) -> str | None:
        """Tell of a table without paths of masks."""
        for path in _csv_files(root):
            table = _table_in(path)
            titles = _plain_titles(table)
            rle = [title for title in titles if title in _RUN_LENGTHS]
            if rle:
                return (
                    f"{path.name} holds run lengths (column {quoted(rle[0])}), which are not read; write each as a "
                    "mask file, into masks/ beside images/, or all as a COCO file."
                )
            if "image" in columns_of(table):
                flags = next((place for place, title in enumerate(titles) if title in _titles("mask")), None)
                if flags is not None and (cells := _flags(table, flags)):
                    return (
                        f"{path.name} has no column for masks: {quoted(titles[flags])} holds {' and '.join(cells)}, "
                        "which tells whether a slice has a tumour and names no file; a table needs a column mask with "
                        "the path of each mask."
                    )
                return (
                    f"{path.name} has no column for masks, found are {', '.join(map(quoted, titles[:8]))}; a table "
                    "needs the columns image and mask, and may have patient and split."
                )
        return None


def columns_of(table: Table) -> dict[str, int]:
    """Return where a table has its columns, those of `image`, `mask`, `patient` and `split` that are there."""
    places = {wanted: _place(table, wanted) for wanted in _COLUMNS}
    return {wanted: place for wanted, place in places.items() if place is not None}


def _csv_files(root: Path) -> list[Path]:
    return sorted(
        path
        for path in root.iterdir()
        if path.suffix.lower() in (".csv", ".tsv") and not path.name.startswith(".") and path.is_file()
    )


def _tables(root: Path, *, outside: bool = False) -> list[Path]:
    """Return the tables that have the columns of image and mask.

    Args:
        root: the dataset's folder.
        outside: whether a table behind a link that leads out is an error; else it is none.
    """
    return [
        path for path in _csv_files(root) if columns_of(_table_in(path, outside=outside)).keys() >= {"image", "mask"}
    ]


def _table_in(path: Path, *, outside: bool = False) -> Table:
    """Return the table in a file; an empty one where it is none."""
    try:
        return read_table(path)
    except OutsideError:
        if outside:
            raise
    except DataError:
        pass
    return Table([], [], ",")


def _plain_titles(table: Table) -> list[str]:
    """Return the titles of a table, as they are compared."""
    return [title.casefold().replace(" ", "_").replace("-", "_") for title in table.titles]


def _place(table: Table, wanted: str) -> int | None:
    """Return where the column is; of several that may be it, the first whose cells are names of files."""
    titles = _plain_titles(table)
    places = [titles.index(title) for title in _titles(wanted) if title in titles]
    if wanted in ("image", "mask"):
        named = [place for place in places if _names_files(table, place)]
        # A column `label` may hold the kind of tumour: it names masks where its cells are names of files.
        others = [place for place in places if titles[place] not in _PERHAPS_MASKS]
        places = named + [place for place in others if wanted == "image" or not _flags(table, place)]
    return places[0] if places else None


def _titles(wanted: str) -> list[str]:
    """Return the titles that a column may have, the clearest first."""
    endings = _ENDINGS if wanted in ("image", "mask") else _ID_ENDINGS
    return [f"{word}{ending}" for word in _COLUMNS[wanted] for ending in endings]


def _flags(table: Table, place: int) -> list[str]:
    """Return the cells of a column that says whether there is a mask, each once; none of any other column."""
    cells = {row[place].strip() for row in table.rows if place < len(row) and not is_nothing(row[place])}
    return sorted(cells) if all(cell.casefold() in _FLAGS for cell in cells) else []


def _names_files(table: Table, place: int) -> bool:
    cells = [row[place].strip() for row in table.rows[:_LOOKED_AT] if place < len(row)]
    return any("/" in cell or "\\" in cell or cell.lower().endswith(IMAGE_SUFFIXES) for cell in cells)


def _rows(root: Path, path: Path, *, several: bool) -> list[_Row]:
    """Return the rows of a table."""
    of_table = split_in(path.stem) if several else None
    table = path.relative_to(root).as_posix()
    found = []
    written = read_table(path)
    columns = columns_of(written)
    for line, row in enumerate(written.rows, start=written.first_line):
        cells = dict.fromkeys(_COLUMNS, "")
        for wanted, place in columns.items():
            if place < len(row) and not is_nothing(row[place]):
                cells[wanted] = row[place].strip()
        if not any(cells.values()):
            continue
        split = split_in(cells["split"]) if cells["split"] else of_table
        if split is None and cells["split"]:
            raise DataError(f"{path}: line {line}: split {quoted(cells['split'])}: must be one of {', '.join(SPLITS)}.")
        for kind in ("image", "mask"):
            if cells[kind] and not cells[kind].lower().endswith(IMAGE_SUFFIXES):
                raise DataError(
                    f"{path}: line {line}: {kind} {quoted(cells[kind])}: must be an image of a slice "
                    f"({', '.join(IMAGE_SUFFIXES)}); volumes are read in folders images/ and masks/."
                )
        found.append(_Row(table, line, split, cells["image"], cells["mask"], patient_in(cells["patient"]) or None))
    return found


def _with_splits(rows: Sequence[_Row], issues: list[Issue]) -> list[_Row]:
    """Return the rows that have a split, where some have one, and note the others; else all."""
    if all(row.split is None for row in rows):
        return list(rows)
    without = [row for row in rows if row.split is None]
    if without:
        lines = examples([f"line {row.line}" for row in without])
        message = (
            f"{len(without)} of {len(rows)} rows have no split, while others have one ({lines}); each needs one of "
            f"{', '.join(SPLITS)}."
        )
        issues.append(Issue("error", "no-split", without[0].table, None, message))
    return [row for row in rows if row.split is not None]


def _files(
    root: Path,
    files: Sequence[Path],
    others: Set[str],
    written: Sequence[tuple[_Row, str]],
    kind: str,
    issues: list[Issue],
) -> list[str | None]:
    """Return the file of each row, relative to the root; None, and an issue, where there is none.

    Args:
        root: the dataset's folder.
        files: the image files in it.
        others: those of the other kind, relative to the root; a name that only nearly fits one of them has no file.
        written: each row, and what it names.
        kind: `image` or `mask`.
        issues: what is missing is added to them.
    """
    entries = [(text, _relative(text)) for _, text in written if text]
    while True:
        names = FileNames(root, root, [root], files)
        nearly = names.resolve(entries)
        # Left out beforehand, files of the other kind would not keep such a name from one that fits it even less.
        wrong = {name for name, file in nearly.items() if file in others}
        if not wrong:
            break
        entries = [(text, name) for text, name in entries if name not in wrong]
    found: list[str | None] = []
    missing: list[tuple[_Row, str]] = []
    for row, text in written:
        name = _relative(text) if text else ""
        name = nearly.get(name, name)
        there = bool(name) and names.exists(name)
        found.append(name if there else None)
        if not there:
            missing.append((row, text))
    if names.resolved:
        issues.append(Issue("warning", "nearly-fitting-names", written[0][0].table, None, names.said(len(entries))))
    if missing:
        row, text = missing[0]
        listed = examples([other or f"none in line {one.line}" for one, other in missing])
        message = f"{len(missing)} of its {len(written)} rows name no {kind} that is there ({listed})"
        absent = [_relative(other) for _, other in missing if other]
        if absent:
            message += names.cause(absent, {one for one in found if one} | others)
        if kind == "mask":
            message += "; a slice without a tumour needs an all-zero mask"
        issues.append(Issue("error", f"missing-{kind}", row.table, None, f"{message}."))
    return found


def _relative(written: str) -> str:
    """Return a path as it is written, relative to the dataset's folder: it leads nowhere else."""
    name = posixpath.normpath(written.replace("\\", "/"))
    return posixpath.normpath(plain(written)) if name.startswith(("/", "..")) or ":" in name else name
