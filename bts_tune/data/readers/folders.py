"""Image/mask folders: `images/` and `masks/` with files of the same stem.

Any non-zero pixel of a mask is tumour. Without `train/ valid/ test/` above them the slices are split 70/20/10; the
split knows nothing of patients, so neighbouring slices of one patient may come to lie in different splits.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from bts_tune.data.records import Dataset, Finding, SliceRecord, image_files
from bts_tune.errors import DataError

IMAGES = "images"
MASKS = "masks"

VALID_SHARE = 0.2
TEST_SHARE = 0.1


def read_split_folders(root: Path, folders: Mapping[str, Path]) -> Dataset:
    """Read `images/` and `masks/` in the folder of each split.

    Raises:
        DataError: a split lacks one of them.
    """
    records: dict[str, tuple[SliceRecord, ...]] = {}
    findings: list[Finding] = []
    for split, folder in folders.items():
        pairs, found = _pairs(root, folder, split)
        records[split] = tuple(pairs)
        findings += found
    return Dataset(root=root, layout="folders", categories={}, records=records, findings=tuple(findings))


def read_flat_folders(root: Path, seed: int) -> Dataset:
    """Read `images/` and `masks/` in `root` and split the slices 70/20/10.

    The slices are ordered by a hash of the seed and their name. Hence a split depends on nothing but the two, and
    further slices leave most of the others where they are.

    Raises:
        DataError: there are too few slices for a training and a validation split.
    """
    pairs, findings = _pairs(root, root, "train")
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
    return Dataset(root=root, layout="folders", categories={}, records=records, findings=tuple(findings))


def _pairs(root: Path, folder: Path, split: str) -> tuple[list[SliceRecord], list[Finding]]:
    """Return the images of a folder that have a mask, and what is wrong with the others."""
    for needed in (IMAGES, MASKS):
        if not (folder / needed).is_dir():
            raise DataError(f"{folder}: has no folder {needed}/; image/mask folders need both {IMAGES}/ and {MASKS}/.")
    images = _by_stem(image_files(folder / IMAGES))
    masks = _by_stem(image_files(folder / MASKS))
    records: list[SliceRecord] = []
    findings: list[Finding] = []
    for stem, files in images.items():
        name = files[0].relative_to(root).as_posix()
        of_stem = masks.get(stem, [])
        if len(files) > 1 or len(of_stem) > 1:
            listed = ", ".join(path.name for path in (*files, *of_stem))
            message = f"several files share the stem {stem!r}, so image and mask cannot be paired: {listed}."
            findings.append(Finding("error", "duplicate-stem", name, None, message))
        elif not of_stem:
            message = f"no mask of the stem {stem!r} in {MASKS}/; a slice without a tumour needs an all-zero mask."
            findings.append(Finding("error", "missing-mask", name, None, message))
        else:
            records.append(SliceRecord(name, split, files[0], stem, mask=of_stem[0]))
    for stem in masks.keys() - images.keys():
        for path in masks[stem]:
            message = f"no image of the stem {stem!r} in {IMAGES}/, hence not used."
            findings.append(Finding("warning", "unlisted-file", path.relative_to(root).as_posix(), None, message))
    return records, sorted(findings, key=lambda finding: (finding.level, finding.file))


def _by_stem(paths: Iterable[Path]) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        files[path.stem].append(path)
    return files
