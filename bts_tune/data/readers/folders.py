"""Image/mask folders: `images/` and `masks/` with files of the same stem, in `train/ valid/ test/` or alone.

`val` is read as `valid`. The test split may be missing. Any non-zero pixel of a mask is tumour. Without
`train/ valid/ test/` above them the slices are split 70/20/10; the split knows nothing of patients, so neighbouring
slices of one patient may come to lie in different splits.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from bts_tune.data.readers._split_folders import possible_split_folders, require_splits, split_folders
from bts_tune.data.readers.base import Reader, ReaderOptions
from bts_tune.data.readers.coco import ANNOTATION_FILE
from bts_tune.data.records import Dataset, Issue, SliceRecord, image_files
from bts_tune.errors import DataError
from bts_tune.registry import READERS

IMAGES = "images"
MASKS = "masks"

VALID_SHARE = 0.2
TEST_SHARE = 0.1

_Records = dict[str, tuple[SliceRecord, ...]]


@READERS.register("folders")
class FoldersReader(Reader):
    """Folders of images and masks, with the splits as folders above them or with no splits."""

    title = "image/mask folders"
    expects = (
        f"train/ and valid/ (test/ is optional), each with {IMAGES}/ and {MASKS}/, or {IMAGES}/ and {MASKS}/ alone"
    )

    def recognises(self, root: Path) -> bool:
        """Return whether a split has a folder of images or of masks, or the dataset has both.

        A split with an annotation file is of a COCO export, whose images may lie in a folder `images/`.
        """
        folders = possible_split_folders(root)
        if any((folder / ANNOTATION_FILE).is_file() for folder in folders):
            return False
        return any(map(_has_either, folders)) or ((root / IMAGES).is_dir() and (root / MASKS).is_dir())

    def read(self, root: Path, options: ReaderOptions) -> Dataset:
        """Read the pairs of each split, or of the whole dataset, which is then split.

        Raises:
            DataError: a split or one of its folders is missing, or there are too few slices to split.
        """
        folders = split_folders(root)
        if any(map(_has_either, folders.values())):
            require_splits(root, folders)
            records, issues = _read_splits(root, folders)
        else:
            records, issues = _read_alone(root, options.split_seed)
        return Dataset(root=root, layout=self.name, categories={}, records=records, issues=tuple(issues))


def _has_either(folder: Path) -> bool:
    return (folder / IMAGES).is_dir() or (folder / MASKS).is_dir()


def _read_splits(root: Path, folders: Mapping[str, Path]) -> tuple[_Records, list[Issue]]:
    """Read `images/` and `masks/` in the folder of each split."""
    records: _Records = {}
    issues: list[Issue] = []
    for split, folder in folders.items():
        pairs, found = _pairs(root, folder, split)
        records[split] = tuple(pairs)
        issues += found
    return records, issues


def _read_alone(root: Path, seed: int) -> tuple[_Records, list[Issue]]:
    """Read `images/` and `masks/` in `root` and split the slices 70/20/10.

    The slices are ordered by a hash of the seed and their name. Hence a split depends on nothing but the two, and
    further slices leave most of the others where they are.
    """
    pairs, issues = _pairs(root, root, "train")
    if len(pairs) < 2:
        raise DataError(
            f"{root}: {len(pairs)} image(s) with a mask of the same stem in {IMAGES}/ and {MASKS}/; "
            "at least 2 are needed for a training and a validation split."
        )
    shuffled = sorted(
        pairs, key=lambda record: hashlib.sha256(f"{seed}:{record.name}".encode(errors="surrogateescape")).digest()
    )
    valid = max(1, round(VALID_SHARE * len(shuffled)))
    test = round(TEST_SHARE * len(shuffled))
    parts = {"valid": shuffled[:valid], "test": shuffled[valid : valid + test], "train": shuffled[valid + test :]}
    records = {
        split: tuple(replace(one, split=split) for one in sorted(part, key=lambda one: one.name))
        for split, part in parts.items()
    }
    return records, issues


def _pairs(root: Path, folder: Path, split: str) -> tuple[list[SliceRecord], list[Issue]]:
    """Return the images of a folder that have a mask, and what is wrong with the others."""
    for needed in (IMAGES, MASKS):
        if not (folder / needed).is_dir():
            raise DataError(f"{folder}: has no folder {needed}/; image/mask folders need both {IMAGES}/ and {MASKS}/.")
    images = _by_stem(image_files(folder / IMAGES))
    masks = _by_stem(image_files(folder / MASKS))
    records: list[SliceRecord] = []
    issues: list[Issue] = []
    for stem, files in images.items():
        name = files[0].relative_to(root).as_posix()
        of_stem = masks.get(stem, [])
        if len(files) > 1 or len(of_stem) > 1:
            listed = ", ".join(path.name for path in (*files, *of_stem))
            message = f"several files share the stem {stem!r}, so image and mask cannot be paired: {listed}."
            issues.append(Issue("error", "duplicate-stem", name, None, message))
        elif not of_stem:
            message = f"no mask of the stem {stem!r} in {MASKS}/; a slice without a tumour needs an all-zero mask."
            issues.append(Issue("error", "missing-mask", name, None, message))
        else:
            records.append(SliceRecord(name, split, files[0], stem, mask=of_stem[0]))
    for stem in masks.keys() - images.keys():
        for path in masks[stem]:
            message = f"no image of the stem {stem!r} in {IMAGES}/, hence not used."
            issues.append(Issue("warning", "unlisted-file", path.relative_to(root).as_posix(), None, message))
    return records, sorted(issues, key=lambda issue: (issue.level, issue.file))


def _by_stem(paths: Iterable[Path]) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        files[path.stem].append(path)
    return files
