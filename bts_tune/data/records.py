"""What a dataset is once it has been read: records of slices by split, and the issues: what is wrong with it.

Records are plain values that hold paths and annotations but no pixels, so that they can be filtered, grouped and
compared cheaply.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bts_tune.data.files import open_file
from bts_tune.data.mask_rule import MaskRule
from bts_tune.data.parallel import parallel_map
from bts_tune.errors import DataError

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "valid", "test")

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".webp", ".npy")

MAX_PIXELS = 100_000_000
"""Largest number of pixels of an image or a mask; anything above is taken for a mistake or an attack."""

Level = Literal["error", "warning"]

GUESSED_PATIENTS = ("folders-as-kinds", "folders-as-patients", "studies-as-patients", "unused-patients")
"""Codes of warnings on what was taken for patients, or not; who gives the patients needs none."""


@dataclass(frozen=True)
class Issue:
    """One thing that is wrong with a dataset.

    Attributes:
        level: an error makes training wrong or impossible, a warning deserves a look.
        code: stable slug of the kind of issue, such as `tiny-annotation`.
        file: the file that it is about, relative to the dataset's folder.
        annotation: id of the annotation that it is about, None where it is about the file.
        message: one sentence.
    """

    level: Level
    code: str
    file: str
    annotation: int | str | None
    message: str


@dataclass(frozen=True)
class Annotation:
    """One COCO annotation.

    Attributes:
        annotation_id: its id in the file.
        category_id: id of its category.
        segmentation: polygons, each a flat list `[x0, y0, x1, y1, …]` in pixels, or a run-length encoding
            `{"size": [height, width], "counts": …}` with counts as a list (uncompressed) or a string (compressed).
        bbox: `[x, y, width, height]` in pixels, where the file gives one; nothing is drawn from it.
    """

    annotation_id: int | str
    category_id: int
    segmentation: list[list[float]] | dict[str, Any]
    bbox: tuple[float, ...] | None = None


class PixelSource(ABC):
    """How the pixels of a slice are read, where they are no image file of their own: a part of a volume, a MATLAB file.

    A subclass is a frozen dataclass of plain values, so that records can be compared and sent to other processes.
    """

    @abstractmethod
    def image(self) -> np.ndarray:
        """Return the image, of any type of numbers: [height, width], or [height, width, channels].

        Of 3 channels the order is blue, green, red, and of 4 the last is transparency, or the fourth of four.

        Raises:
            DataError: it cannot be read.
        """

    @abstractmethod
    def mask(self) -> np.ndarray:
        """Return the mask, [height, width] of any type of numbers.

        Raises:
            DataError: it cannot be read.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return which part of the files it is and how it is read, in plain JSON types.

        The content of the record's `image` and `mask` is left out; that of `files` is in it, as a digest.
        """

    def files(self) -> tuple[Path, ...]:
        """Return the files that are read, where they are more than the record's `image` and `mask`."""
        return ()


@dataclass(frozen=True)
class SliceRecord:
    """One slice: an image, and where its tumour mask comes from.

    Attributes:
        name: path of the image relative to the dataset's folder, with forward slashes; it names the slice everywhere.
            Of a file that holds several slices, `/` and the slice follow.
        split: one of `SPLITS`.
        image: path of the image.
        image_id: id in the COCO file, or the file's stem in an image/mask folder.
        width, height: size in pixels as the COCO file declares it, None in an image/mask folder.
        annotations: annotations whose union is the tumour; empty where there is no tumour and in image/mask folders.
        mask: path of the mask, None in a COCO export.
        group: the patient, or another group of slices that must stay in one split, where the reader knows it.
        strata: what a split should balance, as pairs such as `("tumour", "glioma")`, where names or files tell.
        spacing: distance of the pixels' centres in mm, of rows and of columns, where the file tells.
        source: reads the pixels, where no image file of its own holds them.
        annotation_counts: number of its annotations in the file as pairs of category id and number, chosen or not.
    """

    name: str
    split: str
    image: Path
    image_id: int | str
    width: int | None = None
    height: int | None = None
    annotations: tuple[Annotation, ...] = ()
    mask: Path | None = None
    group: str | None = None
    strata: tuple[tuple[str, str], ...] = ()
    spacing: tuple[float, float] | None = None
    source: PixelSource | None = None
    annotation_counts: tuple[tuple[int, int], ...] = ()


class FileDigests:
    """SHA-256 of files, each read once: of a large dataset on a network disk every further time costs minutes."""

    def __init__(self) -> None:
        self._known: dict[Path, str] = {}

    def of(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Return the digest of each file, 64 hexadecimal digits.

        Raises:
            DataError: a file cannot be read.
        """
        paths = sorted(set(paths))
        unknown = [path for path in paths if path not in self._known]
        self._known.update(zip(unknown, parallel_map(_file_digest, unknown), strict=True))
        return {path: self._known[path] for path in paths}


@dataclass(frozen=True)
class Dataset:
    """A dataset as read from its folder.

    Attributes:
        root: its folder.
        layout: name of the reader that read it, such as `coco` or `folders`.
        categories: every category by id; empty in image/mask folders.
        records: the slices of each split; every split is a key.
        issues: what reading found wrong; a broken annotation is here and in no record.
        tumor_categories: ids of the categories that count as tumour; `annotations` of a record holds no other.
        annotation_counts: number of annotations in the files by split and category id, chosen or not.
        own_splits: names of the splits that the dataset came with; a reader leaves it at None where those are the keys
            of `records`, and gives none where it knows no split: all slices are in `train` then, to be split later.
        tumor_labels: the values of mask files that the user chose as tumour; None where the masks themselves tell.
        ignored_labels: values of mask files that the dataset itself says are to be ignored.
        mask_rule: which values of mask files are tumour; None as long as nobody has looked at them.
        digests: of its files, shared with the same dataset in other splits.
    """

    root: Path
    layout: str
    categories: dict[int, str]
    records: dict[str, tuple[SliceRecord, ...]]
    issues: tuple[Issue, ...] = ()
    tumor_categories: tuple[int, ...] = ()
    annotation_counts: dict[str, dict[int, int]] = field(default_factory=dict)
    own_splits: tuple[str, ...] | None = None
    tumor_labels: tuple[float, ...] | None = None
    ignored_labels: tuple[float, ...] = ()
    mask_rule: MaskRule | None = None
    digests: FileDigests = field(default_factory=FileDigests, repr=False, compare=False)

    def __iter__(self) -> Iterator[SliceRecord]:
        """Go through the records of all splits, in the order of `SPLITS`."""
        for split in SPLITS:
            yield from self.records[split]

    def __len__(self) -> int:
        """Return the number of records of all splits."""
        return sum(len(records) for records in self.records.values())

    @property
    def errors(self) -> tuple[Issue, ...]:
        """The issues that are errors."""
        return tuple(issue for issue in self.issues if issue.level == "error")

    @property
    def needs_splitting(self) -> bool:
        """Whether the dataset came without a training or a validation split, and has not been given one since."""
        if self.own_splits is None or {"train", "valid"} <= set(self.own_splits):
            return False
        return not self.records.get("valid")

    def fingerprint(self, *, splits: bool = True) -> str:
        """Return 64 hexadecimal digits that change with anything the prepared arrays are made from.

        Without `splits`, neither the split of a record nor the order of records has an effect: it names the slices
        alone.

        The SHA-256 covers, for each record in order, its split, name, declared size, the bytes of its image and mask
        and its annotations, and the chosen categories and labels. The folder's own path is left out, so a copied
        dataset is the same dataset, and so is the group, which changes no array. A file is read when its digest is
        first asked for, and not again.

        Raises:
            DataError: a file cannot be read.
        """
        records = list(self)
        digests = self.file_digests()
        chosen: dict[str, Any] = {"categories": sorted(self.tumor_categories)}
        if self.tumor_labels is not None:
            chosen["labels"] = sorted(self.tumor_labels)
        elif self.ignored_labels:
            chosen["ignored"] = sorted(self.ignored_labels)
        whole = hashlib.sha256(canonical(chosen))
        for record in records if splits else sorted(records, key=lambda record: record.name):
            described: dict[str, Any] = {
                "split": record.split if splits else None,
                "name": record.name,
                "size": [record.width, record.height],
                "image": digests[record.image],
                "mask": digests[record.mask] if record.mask is not None else None,
                "annotations": [[one.category_id, one.segmentation] for one in record.annotations],
            }
            if record.source is not None:
                described["source"] = record.source.describe()
            whole.update(canonical(described))
        return whole.hexdigest()

    def with_splits(self, splits: Mapping[str, str]) -> Dataset:
        """Return the dataset with its slices in other splits, in the order in which they are.

        Args:
            splits: the split of each slice, by name.

        Raises:
            DataError: a slice has no split or one that does not exist, or a split is given for an unknown slice.
        """
        records = list(self)
        unknown = splits.keys() - {record.name for record in records}
        missing = [record.name for record in records if record.name not in splits]
        if unknown or missing:
            name = missing[0] if missing else min(unknown)
            what = "has no split" if missing else "is split but not there"
            raise DataError(f"{self.root}: {name} {what}; the split was made from another dataset.")
        for name, split in splits.items():
            if split not in SPLITS:
                raise DataError(f"{self.root}: the split of {name} is {split!r}; allowed are {', '.join(SPLITS)}.")
        moved = {
            split: tuple(replace(one, split=split) for one in records if splits[one.name] == split) for split in SPLITS
        }
        counts: dict[str, Counter[int]] = {split: Counter() for split in SPLITS}
        for split, members in moved.items():
            for one in members:
                # A reader of a plugin may count none itself.
                own = dict(one.annotation_counts) or Counter(each.category_id for each in one.annotations)
                counts[split].update(own)
        return replace(self, records=moved, annotation_counts={split: dict(found) for split, found in counts.items()})

    def with_groups(self, groups: Mapping[str, int]) -> Dataset:
        """Return the dataset with the groups that a split was made by; `groups` has that of each slice, by name.

        Raises:
            DataError: a slice has none.
        """
        if missing := next((record.name for record in self if record.name not in groups), None):
            raise DataError(f"{self.root}: {missing} has no group; the split was made from another dataset.")
        grouped = {
            split: tuple(replace(one, group=str(groups[one.name])) for one in records)
            for split, records in self.records.items()
        }
        return replace(self, records=grouped)

    def file_digests(self) -> dict[Path, str]:
        """Return the SHA-256 of every image and mask.

        Raises:
            DataError: a file cannot be read.
        """
        return self.digests.of(path for record in self for path in (record.image, record.mask) if path is not None)


def image_files(folder: Path, *, recursive: bool = False, more: tuple[str, ...] = ()) -> list[Path]:
    """Return the image files in `folder`, known by their suffix, sorted; also files that end in one of `more`.

    Hidden files and folders are passed over, and links to folders are not followed.
    """
    return sorted(path for path in _files(folder, recursive) if path.name.lower().endswith((*IMAGE_SUFFIXES, *more)))


def all_files(folder: Path) -> list[Path]:
    """Return every file below `folder`, sorted; hidden ones and what lies behind links to folders are passed over."""
    return sorted(_files(folder, recursive=True))


def linked_folders(folder: Path) -> list[Path]:
    """Return the links to folders below `folder`, sorted; hidden ones are passed over, and none is followed."""
    found = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            found += [entry] if entry.is_symlink() else linked_folders(entry)
    return found


def _files(folder: Path, recursive: bool) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            # A link to a folder may lead back up, and two of them multiply at every level.
            if recursive and not entry.is_symlink():
                yield from _files(entry, recursive)
        else:
            yield entry


def canonical(content: Mapping[str, Any]) -> bytes:
    """Return a line of JSON that is the same for equal contents."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _file_digest(path: Path) -> str:
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
