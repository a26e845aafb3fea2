"""A folder -> a `Dataset`, read by the one reader that recognises its layout.

The layouts are in `readers/`, one a file; further ones come from plugins (see `bts_tune.registry.READERS`).
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bts_tune.data.files import Links, OutsideError, files_below
from bts_tune.data.layout.names import strata_of
from bts_tune.data.layout.patients import with_alike_patients_told
from bts_tune.data.layout.split_folders import subfolders
from bts_tune.data.left_out import ARCHIVES, left_out_lines, with_left_out_files
from bts_tune.data.not_a_dataset import what_else_to_do
from bts_tune.data.readers.base import Reader, ReaderOptions
from bts_tune.data.records import SPLITS, Dataset, Issue, SliceRecord, all_files
from bts_tune.data.unsafe_names import without_unsafe_names
from bts_tune.data.unused_tables import with_unused_tables
from bts_tune.errors import DataError
from bts_tune.registry import READERS
from bts_tune.text import plural, quoted

_DEPTH, _FOLDERS = 3, 100
"""How deep, and in how many folders of a level, a dataset is looked for below a folder that is none."""


def open_dataset(
    root: Path,
    *,
    tumor_categories: Sequence[str] | None = None,
    tumor_labels: Sequence[str | float] | None = None,
    split_seed: int = 0,
    reader: str | None = None,
    plane: str = "axial",
    empty_slices: float = 0.2,
    sequence: str | None = None,
) -> Dataset:
    """Read what a folder says of its slices; no image is opened.

    Args:
        root: folder of the dataset.
        tumor_categories: names or ids of the categories that count as tumour, None for all; a name is preferred to an
            id, `id:1` and `name:1` say which is meant (see `coco.choose_categories`).
        tumor_labels: the values of mask files that are tumour; None where the masks themselves tell, see
            `bts_tune.data.mask_rule`.
        split_seed: seed of a split that a plugin's reader makes.
        reader: name of the reader; by default the one that recognises the folder.
        plane, empty_slices, sequence: of volumes; see `ReaderOptions`.

    Raises:
        DataError: no reader recognises the folder, or several do; it lacks a split, a file is structurally broken, a
            category is unknown, or something is chosen that such a dataset does not have.
        ConfigError: there is no reader of that name.
    """
    labels = None if tumor_labels is None else tuple(sorted({_label(one) for one in tumor_labels}))
    options = ReaderOptions(tumor_categories, split_seed, plane, empty_slices, sequence, labels)
    # The lexical path: a link is followed by the system, and names stay those that the user sees.
    root = Path(root)
    try:
        if not root.is_dir():
            if root.is_file() and root.name.lower().endswith(ARCHIVES):
                raise DataError(f"{root}: is an archive, which is not opened; unpack it and name the folder.")
            problem = "is not a folder" if root.exists() else "does not exist"
            raise DataError(f"{root}: {problem}; expected {_expected(_readers())}.")
        with files_below(root):
            chosen = _recognising(root) if reader is None else READERS.get(reader)()
            for given, taken, what, option in (
                (tumor_categories, chosen.has_categories, "categories", "--tumor-categories"),
                (sequence, chosen.has_sequences, "sequences", "--sequence"),
            ):
                if given is not None and not taken:
                    raise DataError(
                        f"{root}: there are no {what} to choose from in {chosen.title}; leave {option} out."
                    )
            dataset = _read(chosen, root, options)
            _require_own_names(dataset)
            _refuse_a_copy_within(dataset)
            dataset = with_alike_patients_told(with_unused_tables(with_left_out_files(dataset)))
    except OSError as error:
        raise DataError(f"{error.filename or root}: cannot be read: {error.strerror}.") from None
    left_out = left_out_lines(dataset)
    # With splits, the check says which of them is empty; without, nothing could be split.
    if not len(dataset) and dataset.own_splits == () and not dataset.errors:
        why = f"; {' '.join(left_out)}" if left_out else "."
        raise DataError(f"{root}: is read as {chosen.title}, and holds no slice of it{why}")
    if labels is not None:
        records = [record for members in dataset.records.values() for record in members]
        if records and not any(record.mask is not None for record in records):
            raise DataError(f"{root}: has no mask files to choose labels in; leave --tumor-labels out.")
        dataset = replace(dataset, tumor_labels=labels)
    dataset = without_unsafe_names(dataset)
    own = tuple(dataset.records) if dataset.own_splits is None else dataset.own_splits
    if own and not {"valid", "test"} & set(own):
        own = ()  # all slices are for training: no split at all
    by_split = {
        split: tuple(replace(one, strata=_strata(one)) for one in members)
        for split, members in ((split, dataset.records.get(split, ())) for split in SPLITS)
    }
    counts = {split: dataset.annotation_counts.get(split, {}) for split in SPLITS}
    dataset = replace(dataset, records=by_split, annotation_counts=counts, own_splits=own)
    _require_volumes(dataset, chosen, options)
    return dataset


def _read(reader: Reader, root: Path, options: ReaderOptions) -> Dataset:
    """Return what a reader reads; no slice, but an error, where a file that all depends on lies outside."""
    try:
        return reader.read(root, options)
    except OutsideError as error:
        name = error.path.relative_to(root).as_posix() if error.path.is_relative_to(root) else error.path.name
        issue = Issue("error", "unsafe-path", name, None, str(error).removeprefix(f"{error.path}: "))
        return Dataset(root, reader.name, {}, {}, (issue,), own_splits=SPLITS)


def _require_volumes(dataset: Dataset, reader: Reader, options: ReaderOptions) -> None:
    """Refuse a choice of how volumes are cut where there are none.

    Raises:
        DataError: a choice other than the usual one was made.
    """
    cut = reader.cuts_volumes and any(record.source is not None for record in dataset)
    usual = ReaderOptions()
    for option, chosen in (
        ("--plane", options.plane != usual.plane),
        ("--empty-slices", options.empty_slices != usual.empty_slices),
    ):
        if chosen and len(dataset) and not cut:
            raise DataError(f"{dataset.root}: there are no volumes to cut into slices; leave {option} out.")


def _require_own_names(dataset: Dataset) -> None:
    """Refuse two slices of one name, by which all that is known of a slice is found.

    Raises:
        DataError: there are such.
    """
    counts = Counter(record.name for members in dataset.records.values() for record in members)
    several = [name for name, count in counts.items() if count > 1]
    if several:
        raise DataError(
            f"{dataset.root}: the reader {dataset.layout!r} gives {counts[several[0]]} slices the name "
            f"{quoted(several[0])}; each slice needs a name of its own."
        )


def _refuse_a_copy_within(dataset: Dataset) -> None:
    """Refuse a folder that holds its dataset a second time, a folder deeper, as Kaggle's archive of the LGG set does.

    Raises:
        DataError: it does.
    """
    images = {record.name: record.image for members in dataset.records.values() for record in members}
    again = {name: within for name in images if (within := name.partition("/")[2]) in images}
    if not again or 2 * len(again) != len(images):
        return
    if all(images[name].stat().st_size == images[within].stat().st_size for name, within in again.items()):
        name, within = next(iter(again.items()))
        raise DataError(
            f"{dataset.root}: holds the same {plural(len(again), 'slice')} twice, such as {within} and {name}; name "
            f"the folder of one copy: {dataset.root / name.partition('/')[0]}."
        )


def _strata(record: SliceRecord) -> tuple[tuple[str, str], ...]:
    """Return what a slice's file tells of it, and its name of what the file does not tell."""
    return tuple(sorted({**dict(strata_of(record.name)), **dict(record.strata)}.items()))


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
    recognising = [reader for reader in recognising if not reader.gives_way] or recognising
    if len(recognising) == 1:
        return recognising[0]
    if recognising:
        names = " and ".join(f"{one.name!r} (expects {one.expects})" for one in recognising)
        raise DataError(f"{root}: is recognised by several readers: {names}; it must have the layout of one of them.")
    inner = _within(root, readers)
    if inner is not None:
        raise DataError(f"{root}: is not a dataset, but {inner} is; name that folder{_copy_of_links(inner)}.")
    hints = [hint for reader in readers if (hint := reader.hint(root)) is not None]
    hint = hints[0] if hints else what_else_to_do(root)
    raise DataError(f"{root}: {f'is not a dataset; expected {_expected(readers)}.' if hint is None else hint}")


def _within(root: Path, readers: Sequence[Reader]) -> Path | None:
    """Return the one folder, a few steps below, that a reader recognises; None where there are none or several."""
    level = [root]
    for _ in range(_DEPTH):
        level = [folder for above in level for folder in subfolders(above) if not folder.is_symlink()][:_FOLDERS]
        found = [folder for folder in level if any(reader.recognises(folder) for reader in readers)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _copy_of_links(folder: Path) -> str:
    """Return what to do first where the files are links that lead out of a folder, as hubs lay them."""
    links = Links(folder)
    if any(links.lead_out(path) for path in all_files(folder)):
        return f", after its links were replaced by the files themselves: cp -rL {shlex.quote(str(folder))} COPY"
    return ""


def _expected(readers: Sequence[Reader]) -> str:
    return ", or ".join(reader.expects for reader in readers)
