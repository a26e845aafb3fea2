"""The folders `train/`, `valid/` (or `val/`) and `test/` of layouts that have them; the test split is optional."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bts_tune.data.records import SPLITS
from bts_tune.errors import DataError


def possible_split_folders(root: Path) -> list[Path]:
    """Return every folder that is named like a split."""
    return [folder for folder in (root / name for name in (*SPLITS, "val")) if folder.is_dir()]


def split_folders(root: Path) -> dict[str, Path]:
    """Return the folders of the splits that are there, by split.

    Raises:
        DataError: there are both valid/ and val/.
    """
    folders = {split: root / split for split in SPLITS if (root / split).is_dir()}
    if (root / "val").is_dir():
        if "valid" in folders:
            raise DataError(f"{root}: has both valid/ and val/; keep the one that is the validation split.")
        folders["valid"] = root / "val"
    return {split: folders[split] for split in SPLITS if split in folders}


def require_splits(root: Path, folders: Mapping[str, Path]) -> None:
    """Raise a `DataError` where the training or the validation split is missing."""
    missing = [split for split in ("train", "valid") if split not in folders]
    if missing:
        raise DataError(f"{root}: has no {' and no '.join(missing)} split; train/ and valid/ are needed.")
