"""A folder -> a `Dataset`, whichever of the supported layouts it has.

    <root>/{train,valid,test}/_annotations.coco.json    COCO export, images beside the file or below it
    <root>/{train,valid,test}/{images,masks}/           image/mask folders
    <root>/{images,masks}/                              image/mask folders, split 70/20/10 by a seed

`val` is read as `valid`. The test split may be missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bts_tune.data.readers.coco import ANNOTATION_FILE, read_coco
from bts_tune.data.readers.folders import IMAGES, MASKS, read_flat_folders, read_split_folders
from bts_tune.data.readers.unsafe_names import without_unsafe_names
from bts_tune.data.records import SPLITS, Dataset
from bts_tune.errors import DataError

_LAYOUTS = (
    f"expected train/ and valid/ (test/ is optional), each with {ANNOTATION_FILE} or with {IMAGES}/ and {MASKS}/, "
    f"or {IMAGES}/ and {MASKS}/ alone"
)


def open_dataset(root: Path, *, tumor_categories: Sequence[str] | None = None, split_seed: int = 0) -> Dataset:
    """Read what a folder says of its slices; no image is opened.

    Args:
        root: folder of the dataset.
        tumor_categories: names or ids of the COCO categories that count as tumour, None for all; a name is preferred to
            an id, `id:1` and `name:1` say which is meant (see `coco.choose_categories`).
        split_seed: seed of the split of image/mask folders that come without one.

    Raises:
        DataError: the folder has none of the layouts or lacks a split, a COCO file is structurally broken, or a
            category is unknown.
    """
    # The lexical path: a link is followed by the system, and names stay those that the user sees.
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: {'is not a folder' if root.exists() else 'does not exist'}; {_LAYOUTS}.")
    try:
        dataset = _read(root, tumor_categories, split_seed)
    except OSError as error:
        raise DataError(f"{error.filename or root}: cannot be read: {error.strerror}.") from None
    dataset = without_unsafe_names(dataset)
    records = {split: dataset.records.get(split, ()) for split in SPLITS}
    counts = {split: dataset.annotation_counts.get(split, {}) for split in SPLITS}
    return replace(dataset, records=records, annotation_counts=counts)


def _read(root: Path, tumor_categories: Sequence[str] | None, split_seed: int) -> Dataset:
    folders = _split_folders(root)
    files = {split: folder / ANNOTATION_FILE for split, folder in folders.items()}
    is_coco = [file.is_file() for file in files.values()]
    is_folders = [(folder / IMAGES).is_dir() or (folder / MASKS).is_dir() for folder in folders.values()]
    if any(is_coco) and all(is_coco):
        _require_splits(root, folders)
        return read_coco(root, files, tumor_categories)
    if any(is_coco):
        missing = ", ".join(str(file) for file, there in zip(files.values(), is_coco, strict=True) if not there)
        raise DataError(f"{missing}: missing; every split of a COCO export has one.")
    if tumor_categories is not None and (any(is_folders) or (root / IMAGES).is_dir()):
        raise DataError(f"{root}: image/mask folders have no categories to choose from; leave --tumor-categories out.")
    if any(is_folders):
        _require_splits(root, folders)
        return read_split_folders(root, folders)
    if (root / IMAGES).is_dir() and (root / MASKS).is_dir():
        return read_flat_folders(root, split_seed)
    if (root / ANNOTATION_FILE).is_file():
        raise DataError(f"{root}: is a single split; name the folder above it, which holds train/ and valid/.")
    raise DataError(f"{root}: is not a dataset; {_LAYOUTS}.")


def _split_folders(root: Path) -> dict[str, Path]:
    """Return the folders of the splits that are there."""
    folders = {split: root / split for split in SPLITS if (root / split).is_dir()}
    if (root / "val").is_dir():
        if "valid" in folders:
            raise DataError(f"{root}: has both valid/ and val/; keep the one that is the validation split.")
        folders["valid"] = root / "val"
    return {split: folders[split] for split in SPLITS if split in folders}


def _require_splits(root: Path, folders: dict[str, Path]) -> None:
    missing = [split for split in ("train", "valid") if split not in folders]
    if missing:
        raise DataError(f"{root}: has no {' and no '.join(missing)} split; train/ and valid/ are needed.")
