"""A folder -> a `Dataset`, read by the one reader that recognises its layout.

The layouts are in `readers/`, one a file; further ones come from plugins (see `bts_tune.registry.READERS`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bts_tune.data.readers.base import Reader, ReaderOptions
from bts_tune.data.records import SPLITS, Dataset
from bts_tune.data.unsafe_names import without_unsafe_names
from bts_tune.errors import DataError
from bts_tune.registry import READERS
from bts_tune.text import quoted


def open_dataset(
    root: Path,
    *,
    tumor_categories: Sequence[str] | None = None,
    tumor_labels: Sequence[str | float] | None = None,
    split_seed: int = 0,
    reader: str | None = None,
) -> Dataset:
    """Read what a folder says of its slices; no image is opened.

    Args:
        root: folder of the dataset.
        tumor_categories: names or ids of the categories that count as tumour, None for all; a name is preferred to an
            id, `id:1` and `name:1` say which is meant (see `coco.choose_categories`).
        tumor_labels: the values of mask files that are tumour; None where the masks themselves tell, see
            `bts_tune.data.mask_rule`.
        split_seed: seed of the split of a dataset that comes without one.
        reader: name of the reader; by default the one that recognises the folder.

    Raises:
        DataError: no reader recognises the folder, or several do; it lacks a split, a file is structurally broken, or
            a category is unknown.
        ConfigError: there is no reader of that name.
    """
    # The lexical path: a link is followed by the system, and names stay those that the user sees.
    root = Path(root)
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root}: {problem}; expected {_expected(_readers())}.")
    try:
        chosen = _recognising(root) if reader is None else READERS.get(reader)()
        if tumor_categories is not None and not chosen.has_categories:
            raise DataError(
                f"{root}: there are no categories to choose from in {chosen.title}; leave --tumor-categories out."
            )
        dataset = chosen.read(root, ReaderOptions(tumor_categories, split_seed))
    except OSError as error:
        raise DataError(f"{error.filename or root}: cannot be read: {error.strerror}.") from None
    if tumor_labels is not None:
        if len(dataset) and not any(record.mask is not None for record in dataset):
            raise DataError(f"{root}: has no mask files to choose labels in; leave --tumor-labels out.")
        dataset = replace(dataset, tumor_labels=tuple(sorted({_label(one) for one in tumor_labels})))
    dataset = without_unsafe_names(dataset)
    records = {split: dataset.records.get(split, ()) for split in SPLITS}
    counts = {split: dataset.annotation_counts.get(split, {}) for split in SPLITS}
    return replace(dataset, records=records, annotation_counts=counts)


def _label(value: str | float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"--tumor-labels {quoted(value)}: must be a value that masks hold, such as 1.")
    return number


def _readers() -> list[Reader]:
    return [reader() for reader in READERS.all().values()]


def _recognising(root: Path) -> Reader:
    """Return the one reader that recognises a folder."""
    readers = _readers()
    recognising = [reader for reader in readers if reader.recognises(root)]
    if len(recognising) == 1:
        return recognising[0]
    if recognising:
        names = " and ".join(f"{one.name!r} (expects {one.expects})" for one in recognising)
        raise DataError(f"{root}: is recognised by several readers: {names}; it must have the layout of one of them.")
    hints = [hint for reader in readers if (hint := reader.hint(root)) is not None]
    raise DataError(f"{root}: {hints[0]}" if hints else f"{root}: is not a dataset; expected {_expected(readers)}.")


def _expected(readers: Sequence[Reader]) -> str:
    return ", or ".join(reader.expects for reader in readers)
