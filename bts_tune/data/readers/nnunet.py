"""nnU-Net's raw layout: `imagesTr/case_0000.png`, `labelsTr/case.png` and `dataset.json`, in 2-D or as NIfTI volumes.

A case whose name ends in `_0000`, `_0001`, … has a file for each sequence, of which one is read. In the Medical
Segmentation Decathlon, where the layout is from, one four-dimensional file of a case holds all of them. `imagesTs/` is
the test split where `labelsTs/` holds its masks. A volume is one patient.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bts_tune.data.extras import import_extra
from bts_tune.data.files import read_file
from bts_tune.data.layout.names import examples
from bts_tune.data.layout.patients import patient_of
from bts_tune.data.layout.split_folders import split_without_masks
from bts_tune.data.readers._nifti_slices import Case, slices_of
from bts_tune.data.readers.base import ALL_SEQUENCES, Reader, ReaderOptions
from bts_tune.data.records import Dataset, Issue, SliceRecord, all_files, image_files
from bts_tune.data.volumes.nifti import NIFTI_SUFFIXES, count_volumes, is_nifti, volume_stem
from bts_tune.errors import DataError
from bts_tune.registry import READERS
from bts_tune.text import quoted

_CHANNEL = re.compile(r"(.+)_(\d{4})", re.DOTALL)
_FOLDERS = {"train": ("imagesTr", "labelsTr"), "test": ("imagesTs", "labelsTs")}


@READERS.register("nnunet")
class NnunetReader(Reader):
    """nnU-Net's raw datasets."""

    title = "nnU-Net raw dataset"
    expects = "imagesTr/, labelsTr/ and dataset.json"
    cuts_volumes = True
    has_sequences = True
    opens_files = True

    def recognises(self, root: Path) -> bool:
        """Return whether there are images or labels for training under nnU-Net's names."""
        return any((root / name).is_dir() for name in _FOLDERS["train"])

    def read(self, root: Path, options: ReaderOptions) -> Dataset:
        """Read the cases of the training split, and of the test split where it has labels.

        Raises:
            DataError: a folder is missing, a sequence must be chosen, or a package that reads the files is missing.
        """
        for name in _FOLDERS["train"]:
            if not (root / name).is_dir():
                raise DataError(f"{root}: has no folder {name}/; an nnU-Net dataset needs imagesTr/ and labelsTr/.")
        described = _described(root / "dataset.json")
        sequences = _sequences(root / "dataset.json", described)
        records: dict[str, tuple[SliceRecord, ...]] = {}
        issues: list[Issue] = []
        ignored = _ignored(described, issues)
        for split, (images, labels) in _FOLDERS.items():
            if (root / images).is_dir() and (split == "train" or _holds_files(root / labels)):
                records[split] = _read(root, split, images, labels, sequences, options, issues, ignored)
            elif (root / images).is_dir() and (files := image_files(root / images, more=NIFTI_SUFFIXES)):
                issues.append(split_without_masks(split, images, len(files), f"labels in {labels}/"))
        own = () if "test" not in records else tuple(records)
        return Dataset(root, self.name, {}, records, tuple(issues), own_splits=own, ignored_labels=ignored)


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and bool(all_files(folder))


def _read(
    root: Path,
    split: str,
    images: str,
    labels: str,
    sequences: dict[int, str],
    options: ReaderOptions,
    issues: list[Issue],
    ignored: tuple[float, ...],
) -> tuple[SliceRecord, ...]:
    masks = {_stem(path): path for path in image_files(root / labels, more=NIFTI_SUFFIXES)}
    of_case: dict[str, dict[int, Path]] = defaultdict(dict)
    files = image_files(root / images, more=NIFTI_SUFFIXES)
    matches = {path: None if _stem(path) in masks else _CHANNEL.fullmatch(_stem(path)) for path in files}
    # The name of a case itself may end in a number of four digits, as those tell that have a label.
    numbered = all(_stem(path) not in masks for path in files) or any(
        match is not None and match[1] in masks for match in matches.values()
    )
    for path in files:
        match = matches[path] if numbered else None
        case, number = (match[1], int(match[2])) if match else (_stem(path), 0)
        of_case[case][number] = path
    together = _volumes_of_a_file(root, of_case)
    numbers = sorted({number for channels in of_case.values() for number in channels})
    read = _chosen(root, list(range(together)) if together > 1 else numbers, sequences, options.sequence)
    chosen, *further = [0] if together > 1 else read
    lone = sorted(case for case in of_case if case not in masks)
    if lone:
        name = next(iter(of_case[lone[0]].values())).relative_to(root).as_posix()
        message = f"{len(lone)} of {len(of_case)} cases have no file of their name in {labels}/: {examples(lone)}."
        issues.append(Issue("error", "missing-mask", name, None, message))
    for case in sorted(masks.keys() - of_case.keys()):
        name = masks[case].relative_to(root).as_posix()
        issues.append(Issue("warning", "unlisted-file", name, None, f"no image of the case in {images}/, not used."))
    plain: list[SliceRecord] = []
    volumes: list[Case] = []
    for case in sorted(of_case.keys() & masks.keys()):
        missing = [number for number in (chosen, *further) if number not in of_case[case]]
        if missing:
            some = next(iter(of_case[case].values())).relative_to(root).as_posix()
            message = f"the case has no file of the sequence {sequences.get(missing[0], missing[0])!r}."
            issues.append(Issue("error", "missing-image", some, None, message))
            continue
        image = of_case[case][chosen]
        others = tuple(of_case[case][number] for number in further)
        if is_nifti(image):
            inside = tuple(read) if together > 1 else ()
            volumes.append(Case(image, masks[case], split, patient_of(case), others, inside))
        elif others:
            raise DataError(f"{root}: --sequence all: is for volumes; save the sequences of an image in one file.")
        else:
            name = image.relative_to(root).as_posix()
            plain.append(SliceRecord(name, split, image, patient_of(case), mask=masks[case]))
    return (*plain, *slices_of(root, volumes, options, issues, ignored))


def _volumes_of_a_file(root: Path, of_case: Mapping[str, Mapping[int, Path]]) -> int:
    """Return how many sequences each file holds, as the first volume that can be read tells: 1 where they are apart."""
    for case in sorted(of_case):
        files = list(of_case[case].values())
        if len(files) == 1 and is_nifti(files[0]):
            import_extra("nibabel", "nifti", root)
            with contextlib.suppress(DataError):  # which is told of the case itself
                return count_volumes(files[0])
    return 1


def _stem(path: Path) -> str:
    return volume_stem(path)


def _chosen(root: Path, numbers: list[int], sequences: dict[int, str], wanted: str | None) -> list[int]:
    """Return the numbers of the sequences that are read, at least one."""
    named = {number: sequences.get(number, str(number)) for number in numbers}
    if wanted is None:
        if len(numbers) > 1:
            listed = ", ".join(named.values())
            raise DataError(
                f"{root}: has {len(numbers)} sequences ({listed}); choose one: --sequence {named[numbers[0]]}, or all "
                f"as channels: --sequence all with channels: {len(numbers)}."
            )
        return numbers[:1] or [0]
    if wanted.casefold() == ALL_SEQUENCES and numbers:
        return numbers
    for number, name in named.items():
        if wanted.casefold() in (name.casefold(), str(number), f"{number:04}"):
            return [number]
    raise DataError(f"{root}: --sequence {wanted!r}: must be one of {', '.join(named.values())}.")


def _described(path: Path) -> dict[str, Any]:
    """Return what `dataset.json` says; nothing where it is missing."""
    if not path.is_file():
        return {}
    try:
        content: Any = json.loads(read_file(path).decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise DataError(f"{path}: is not JSON.") from None
    return content if isinstance(content, dict) else {}


def _sequences(path: Path, content: Mapping[str, Any]) -> dict[int, str]:
    """Return the names of the sequences by number, as `dataset.json` has them."""
    named = content.get("channel_names", content.get("modality", {}))
    if not isinstance(named, dict):
        raise DataError(f"{path}: channel_names: must map numbers to names, got {quoted(named)}.")
    return {int(number): str(name) for number, name in named.items() if str(number).isdecimal()}


def _ignored(content: Mapping[str, Any], issues: list[Issue]) -> tuple[float, ...]:
    """Return the label that `dataset.json` says is to be ignored, if any."""
    labels = content.get("labels")
    ignored = labels.get("ignore") if isinstance(labels, dict) else None
    if not isinstance(ignored, int) or ignored == 0:
        return ()
    message = f"names {ignored} as the label to be ignored: it is not taken for tumour; --tumor-labels chooses others."
    issues.append(Issue("warning", "ignore-label", "dataset.json", None, message))
    return (float(ignored),)
