"""Datasets: opened and checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bts_tune import plugins
from bts_tune.api.arguments import checked, texts_or_none
from bts_tune.paths import user_path

if TYPE_CHECKING:
    from bts_tune.data.checks.check import CheckReport
    from bts_tune.data.records import Dataset


@checked
def open_dataset(
    root: Path | str,
    *,
    tumor_categories: str | int | Sequence[str | int] | None = None,
    tumor_labels: str | float | Sequence[str | float] | None = None,
    split_seed: int = 0,
    reader: str | None = None,
    plane: str = "axial",
    empty_slices: float = 0.2,
    sequence: str | None = None,
) -> Dataset:
    """Read what a folder says of its slices; no image is opened.

    Args:
        root: the dataset's folder.
        tumor_categories: names or ids of the categories that count as tumour, or one; by default all.
        tumor_labels: values of mask files that are tumour, or one; by default the masks themselves tell.
        split_seed: seed of a split that a plugin's reader makes.
        reader: name of the reader; by default the one that recognises the folder.
        plane: how volumes are cut into slices: `axial`, `coronal` or `sagittal`.
        empty_slices: of a volume's slices, the share without a tumour; 1 for all.
        sequence: of a dataset with several MRI sequences, the one to read.

    Raises:
        DataError: no reader recognises the folder, or it is broken.
        ConfigError: there is no reader of that name.

    Examples:
        >>> dataset = open_dataset("slices")  # doctest: +SKIP
        >>> len(dataset)  # doctest: +SKIP
    """
    from bts_tune.data.open import open_dataset as read

    plugins.load_installed()
    return read(
        user_path(root, "root", recorded=False),
        tumor_categories=texts_or_none(tumor_categories, "tumor_categories"),
        tumor_labels=texts_or_none(tumor_labels, "tumor_labels"),
        split_seed=split_seed,
        reader=reader,
        plane=plane,
        empty_slices=empty_slices,
        sequence=sequence,
    )


def check_dataset(data: Dataset | Path | str) -> CheckReport:
    """Open every image and mask of a dataset, and return what is wrong with it.

    Args:
        data: a dataset, or its folder.

    Raises:
        DataError: the folder is no dataset.

    Examples:
        >>> checked = check_dataset("slices")  # doctest: +SKIP
        >>> for issue in checked.errors:  # doctest: +SKIP
        ...     print(issue.file, issue.message)
    """
    from bts_tune.data.checks.check import check_dataset as check
    from bts_tune.data.scan.scan import scan_dataset
    from bts_tune.data.splits.make import make_split

    dataset = as_dataset(data)
    scan = scan_dataset(dataset)
    dataset, split = make_split(dataset, scan)
    return check(dataset, scan=scan, groups=split.labels(scan))


def as_dataset(data: Dataset | Path | str) -> Dataset:
    """Return a dataset that is open already, or open the one of a folder."""
    from bts_tune.data.records import Dataset

    return data if isinstance(data, Dataset) else open_dataset(user_path(data, "data", recorded=False))


def with_splits(dataset: Dataset, *, grouped: bool = False) -> Dataset:
    """Return a dataset with a training and a validation split: its own, or one by groups.

    Args:
        dataset: what was read.
        grouped: whether its slices' groups are needed, by which a share of the training images is drawn.
    """
    from bts_tune.data.scan.scan import scan_dataset
    from bts_tune.data.splits.make import make_split

    if not grouped and not dataset.needs_splitting:
        return dataset
    dataset, split = make_split(dataset, scan_dataset(dataset))
    return dataset.with_groups(split.groups) if grouped else dataset
