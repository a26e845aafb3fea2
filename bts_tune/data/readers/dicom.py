"""DICOM series with their segmentations, in folders of any depth: DICOM SEG, or NIfTI or image masks beside them.

A series is a volume, whatever its files are called: one slice a file, or several (enhanced DICOM). It is turned to the
body's axes and cut along the plane that was asked for. `PatientID` is the patient, unless it is missing, a placeholder
or the same in all studies; a study is one then. Folders named like splits are the splits; without any, the slices are
split later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bts_tune.data.extras import import_extra
from bts_tune.data.files import leads_out
from bts_tune.data.layout.annotation_files import annotation_files
from bts_tune.data.layout.names import examples, mask_of, meaning
from bts_tune.data.layout.split_folders import require_training, split_folders, subfolders
from bts_tune.data.parallel import parallel_map
from bts_tune.data.prepared.arrays import narrowed
from bts_tune.data.readers.base import Reader, ReaderOptions
from bts_tune.data.readers.folders import FoldersReader
from bts_tune.data.readers.pairs import PairsReader
from bts_tune.data.records import IMAGE_SUFFIXES, Dataset, Issue, PixelSource, SliceRecord, all_files
from bts_tune.data.unsafe_names import inside
from bts_tune.data.volumes.dicom_files import DICOM_SUFFIXES, Header, is_dicom, read_header
from bts_tune.data.volumes.dicom_masks import labels_of
from bts_tune.data.volumes.dicom_series import content_digest, stacked, volume_of
from bts_tune.data.volumes.nifti import NIFTI_SUFFIXES, read_nifti, volume_stem
from bts_tune.data.volumes.volume import chosen_slices, cut, filled_slices, nearest_turn, pixel_spacing
from bts_tune.errors import DataError
from bts_tune.registry import READERS
from bts_tune.text import plural, quoted

_FEW_LABELS = 20
"""Distinct values of a mask, with the background's 0."""

_PLACEHOLDERS = (
    *("anon", "anonym", "anonymous", "anonymized", "anonymised", "deidentified", "removed", "hidden", "unknown"),
    *("patient", "patientid", "noname", "none", "null", "nan", "na"),
)
"""What programs write for a `PatientID` that they take away, in small letters and nothing else."""

_DEPTH = 6
"""Folders below the dataset's in which files are looked for to recognise it: patient, study, series and some more."""

_LOOKED_AT = 2000
"""Folders, or files, after which a folder is given up: it may be a home folder, named by mistake."""


@READERS.register("dicom")
class DicomReader(Reader):
    """DICOM series and what was segmented on them."""

    title = "DICOM series"
    expects = "DICOM series (.dcm) with DICOM SEG files, or masks beside them"
    cuts_volumes = True
    has_sequences = True
    gives_way = True
    opens_files = True

    def recognises(self, root: Path) -> bool:
        """Return whether DICOM files lie at any depth, and the folder has no other layout."""
        if annotation_files(root) or FoldersReader().recognises(root) or PairsReader().recognises(root):
            return False
        return any(_has_dicom(folder) for folder in islice(_folders(root, _DEPTH), _LOOKED_AT))

    def hint(self, root: Path) -> str | None:
        """Return how DICOM files without a suffix are read."""
        folders = islice(_folders(root, _DEPTH), _LOOKED_AT)
        for path in islice((entry for folder in folders for entry in folder.iterdir()), _LOOKED_AT):
            if is_dicom(path):
                return "holds DICOM files without the suffix .dcm, which are read when they are named: --reader dicom."
        return None

    def read(self, root: Path, options: ReaderOptions) -> Dataset:
        """Read the series that have a segmentation, and note what is left out.

        Raises:
            DataError: pydicom is not installed, or no series has a segmentation.
        """
        if not root.is_dir():
            raise DataError(f"{root}: is not a folder.")
        import_extra("pydicom", "dicom", root)
        issues: list[Issue] = []
        headers = _headers(root, issues)
        splits = split_folders(root)
        if splits:
            require_training(root, splits)
        records: dict[str, list[SliceRecord]] = {split: [] for split in splits} or {"train": []}
        used = list(_with_masks(root, headers, options, issues))
        patients = _patients(root, [series[0] for series, _ in used], issues)
        for series, masks in used:
            split = _split_of(series[0].path, splits)
            if split is None:
                name = series[0].path.relative_to(root).as_posix()
                issues.append(Issue("warning", "unlisted-file", name, None, "its series lies in no split, not used."))
                continue
            try:
                records[split] += _slices(root, split, series, masks, patients[series[0].series], options, issues)
            except DataError as error:
                name = series[0].path.relative_to(root).as_posix()
                message = str(error).removeprefix(f"{series[0].path}: ")
                issues.append(Issue("error", "unreadable-volume", name, None, message))
        if not any(records.values()) and not any(issue.level == "error" for issue in issues):
            raise DataError(
                f"{root}: holds no DICOM series with a segmentation: a DICOM SEG, or NIfTI or image masks beside it."
            )
        return Dataset(
            root=root,
            layout=self.name,
            categories={},
            records={split: tuple(members) for split, members in records.items()},
            issues=tuple(issues),
            own_splits=None if splits else (),
        )


@dataclass(frozen=True)
class DicomSlice(PixelSource):
    """One slice of a series.

    Attributes:
        series: its files.
        masks: the DICOM SEG or NIfTI file, or an image for each file of the series.
        content: a digest of all these files.
        plane: one of `PLANES`.
        index: of the slice along the axis, from 0.
    """

    series: tuple[Path, ...]
    masks: tuple[Path, ...]
    content: str
    plane: str
    index: int

    def image(self) -> np.ndarray:
        """Return the image, uint8."""
        return volume_of(self.series, self.content).grey(self.plane, self.index, str(self.series[0]))

    def mask(self) -> np.ndarray:
        """Return the labels: in a DICOM SEG the number of the segment."""
        return narrowed(cut(labels_of(self.series, self.masks, self.content), self.plane, self.index))

    def describe(self) -> dict[str, Any]:
        """Return which slice it is, how the series is read, and a digest of its files."""
        return {"format": "dicom", "version": 1, "plane": self.plane, "index": self.index, "content": self.content}

    def files(self) -> tuple[Path, ...]:
        """Return the files of the series, and its masks."""
        return (*self.series, *self.masks)


def _folders(root: Path, depth: int) -> Iterator[Path]:
    if root.is_dir():
        yield root
    if depth:
        for folder in subfolders(root):
            if not folder.is_symlink():
                yield from _folders(folder, depth - 1)


def _has_dicom(folder: Path) -> bool:
    return any(entry.name.lower().endswith(DICOM_SUFFIXES) or entry.name == "DICOMDIR" for entry in folder.iterdir())


def _headers(root: Path, issues: list[Issue]) -> list[Header]:
    """Return the headers of all DICOM files, and note those that cannot be read."""
    named = [path for path in all_files(root) if is_dicom(path)]
    paths = inside(root, named, lambda one: one.relative_to(root).as_posix(), lambda one: (one,), issues)

    def header(path: Path) -> Header | Issue:
        try:
            return read_header(path)
        except DataError as error:
            message = str(error).removeprefix(f"{path}: ")
            return Issue("error", "unreadable-volume", path.relative_to(root).as_posix(), None, message)

    found = parallel_map(header, paths)
    issues += [one for one in found if isinstance(one, Issue)]
    return [one for one in found if isinstance(one, Header)]


def _with_masks(
    root: Path, headers: Sequence[Header], options: ReaderOptions, issues: list[Issue]
) -> Iterator[tuple[list[Header], tuple[Path, ...]]]:
    """Yield each series that is used with the files of its mask, and note what is left out."""
    series: dict[str, list[Header]] = defaultdict(list)
    segmentations: dict[str, list[Path]] = defaultdict(list)
    others: dict[str, list[str]] = defaultdict(list)
    for one in headers:
        name = one.path.relative_to(root).as_posix()
        if one.is_segmentation and one.refers_to and one.frames:
            segmentations[one.refers_to].append(one.path)
        elif one.is_segmentation:
            issues.append(Issue("error", "missing-image", name, None, "is a segmentation that names no series."))
        elif not one.frames:
            others[one.modality or "of an unknown kind"].append(name)
        elif not one.series:
            issues.append(Issue("error", "unreadable-volume", name, None, "has no SeriesInstanceUID."))
        else:
            series[one.series].append(one)
    for kind, names in sorted(others.items()):
        cure = "; convert contours to a DICOM SEG" if kind == "RTSTRUCT" else ""
        message = f"{plural(len(names), 'DICOM file')} without images ({kind}) left out{cure}: {examples(names)}."
        issues.append(Issue("warning", "left-out", names[0], None, message))
    for uid, paths in sorted(segmentations.items()):
        if uid not in series:
            name = paths[0].relative_to(root).as_posix()
            issues.append(
                Issue("warning", "unlisted-file", name, None, "the series that it names is not here, not used.")
            )
    ordered = sorted(series.items(), key=lambda one: one[1][0].path)
    wanted = options.sequence
    known = sorted({one[0].description for _, one in ordered if one[0].description})
    if wanted is not None and wanted.casefold() not in map(str.casefold, known):
        raise DataError(f"{root}: --sequence {wanted!r}: must be one of {examples(known, 8) or 'no descriptions'}.")
    shared = {folder for folder, count in _series_of_folders(series).items() if count > 1}
    unused: list[str] = []
    for uid, members in ordered:
        name = members[0].path.relative_to(root).as_posix()
        described = f"{members[0].description or 'no description'} ({name})"
        try:
            masks = _masks_of(root, members, segmentations.get(uid, []), members[0].path.parent not in shared)
        except DataError as error:
            message = str(error).removeprefix(f"{members[0].path}: ")
            issues.append(Issue("error", "missing-mask", name, None, message))
            continue
        if not masks or (wanted is not None and members[0].description.casefold() != wanted.casefold()):
            unused.append(described)
            continue
        yield members, masks
    if unused:
        why = "without a segmentation" if wanted is None else f"without a segmentation, or other than {wanted!r},"
        message = f"{len(unused)} of {len(series)} series {why} left out: {examples(unused)}."
        issues.append(Issue("warning", "left-out", unused[0].rpartition(" (")[2][:-1], None, message))


def _series_of_folders(series: Mapping[str, Sequence[Header]]) -> dict[Path, int]:
    found: dict[Path, set[str]] = defaultdict(set)
    for uid, members in series.items():
        for one in members:
            found[one.path.parent].add(uid)
    return {folder: len(uids) for folder, uids in found.items()}


def _masks_of(root: Path, members: Sequence[Header], segmentations: Sequence[Path], alone: bool) -> tuple[Path, ...]:
    """Return the files of a series' mask; none where it has none.

    Args:
        root: the dataset's folder, outside of which nothing is looked for.
        members: the files of the series.
        segmentations: the DICOM SEG files that name it.
        alone: whether no other series lies in its folder.

    Raises:
        DataError: several fit, slices have none, or one is a link that leads out of the dataset.
    """
    first = members[0].path
    folder = first.parent
    named = {path.stem for path in (one.path for one in members)} if len(members) == 1 else set()
    found = list(segmentations)
    for path in sorted(path for path in folder.iterdir() if path.name.lower().endswith(NIFTI_SUFFIXES)):
        stem = volume_stem(path)
        said = meaning(stem)
        is_mask = mask_of(stem) is not None or (said is not None and said.kind == "masks")
        if mask_of(stem) in named or (alone and is_mask):
            found.append(path)
    if alone and folder != root:
        for path in sorted(path for path in folder.parent.iterdir() if path.name.lower().endswith(NIFTI_SUFFIXES)):
            stem = volume_stem(path)
            # What is called like the series alone is a copy of it, as dcm2niix writes one, or its mask.
            if mask_of(stem) == folder.name or (stem == folder.name and _may_be_mask(root, path)):
                found.append(path)
    beside = _images_of(members)
    several = next((of for of in beside if len(of) > 1), None)
    if several is not None:
        names = ", ".join(path.name for path in several)
        raise DataError(f"{first}: several masks fit a slice of its series, one is needed: {names}.")
    images = [of[0] for of in beside if of]
    if len(found) + bool(images) > 1:
        names = ", ".join(path.name for path in (*found, *images[:1]))
        raise DataError(f"{first}: several masks fit its series, one is needed: {names}.")
    if images and len(images) < len(members):
        raise DataError(
            f"{first}: {len(members) - len(images)} of the {len(members)} slices of its series have no mask of their "
            "name beside them; a slice without a tumour needs an all-zero one."
        )
    for path in images or found:
        if path.is_symlink() and leads_out(root, path):
            raise DataError(f"{first}: its mask {path.name} is a link that leads out of the dataset's folder.")
    return tuple(images or found)


def _may_be_mask(root: Path, path: Path) -> bool:
    """Return whether a volume holds few labels and mostly background; so may one that cannot be read."""
    if path.is_symlink() and leads_out(root, path):
        return True
    try:
        values = read_nifti(path)[0].values
    except DataError:
        return True
    drawn = values[values != 0]
    if drawn.size > values.size / 2:
        return False
    labels = np.unique(drawn)
    return labels.size < _FEW_LABELS and bool((labels == np.round(labels)).all())


def _images_of(members: Sequence[Header]) -> list[list[Path]]:
    """Return the image masks beside each file of a series, in the order of the files."""
    if any(len(one.frames) > 1 for one in members):
        return []
    beside: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for folder in {one.path.parent for one in members}:
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in IMAGE_SUFFIXES and mask_of(path.stem) is not None:
                beside[folder, str(mask_of(path.stem))].append(path)
    # The mask of `IM001.dcm` may be called `IM001.dcm_mask.png` too.
    return [
        [path for name in dict.fromkeys((one.path.stem, one.path.name)) for path in beside[one.path.parent, name]]
        for one in members
    ]


def _patients(root: Path, firsts: Sequence[Header], issues: list[Issue]) -> dict[str, str]:
    """Return the patient of each series, and say where studies are taken for patients.

    Args:
        root: the dataset's folder.
        firsts: of each series one file.
        issues: what is said is added to them.
    """
    is_shared = len({one.patient for one in firsts}) == 1 and len({one.study for one in firsts}) > 1
    nameless = [one for one in firsts if is_shared or _is_placeholder(one.patient)]
    taken = {one.series: one.study or one.series for one in nameless}
    count = len(set(taken.values()))
    if count > 1:
        written = sorted({one.patient for one in nameless if one.patient})
        what = f"PatientID is {examples([quoted(one) for one in written])}" if written else "PatientID is missing"
        instead = "studies (StudyInstanceUID)" if all(one.study for one in nameless) else "studies or series"
        message = (
            f"{what} in {len(nameless)} of {len(firsts)} series, which tells no patients apart: each of their {count} "
            f"{instead} is taken for a patient; where a patient has several, give the patients with --group-by."
        )
        name = nameless[0].path.relative_to(root).as_posix()
        issues.append(Issue("warning", "studies-as-patients", name, None, message))
    return {one.series: taken.get(one.series, one.patient) for one in firsts}


def _is_placeholder(patient: str) -> bool:
    """Return whether an identifier names nobody: nothing, a word such as `ANONYMOUS`, or a row of x."""
    letters = "".join(filter(str.isalnum, patient.casefold()))
    return not letters or letters in _PLACEHOLDERS or (len(letters) > 1 and set(letters) == {"x"})


def _split_of(path: Path, splits: Mapping[str, Path]) -> str | None:
    if not splits:
        return "train"
    return next((split for split, folder in splits.items() if path.is_relative_to(folder)), None)


def _slices(
    root: Path,
    split: str,
    members: Sequence[Header],
    masks: tuple[Path, ...],
    patient: str,
    options: ReaderOptions,
    issues: list[Issue],
) -> list[SliceRecord]:
    stack = stacked(members)
    files = tuple(one.path for one in members)
    first = members[0]
    name = first.path.relative_to(root).as_posix()
    if stack.gap is not None:
        issues.append(Issue("warning", "missing-slices", name, None, f"in its series {stack.gap}"))
    content = content_digest((*files, *masks))
    labels = labels_of(files, masks, content)
    sizes = np.linalg.norm(nearest_turn(stack.affine).affine(stack.affine, stack.shape)[:3, :3], axis=0)
    filled = filled_slices(labels, options.plane, options.tumor_labels)
    spacing = pixel_spacing((float(sizes[0]), float(sizes[1]), float(sizes[2])), options.plane)
    return [
        SliceRecord(
            f"{name}/{index:03}",
            split,
            first.path,
            f"{name}/{index:03}",
            mask=masks[0],
            group=patient,
            strata=(("scanner", first.scanner),) if first.scanner else (),
            spacing=spacing,
            source=DicomSlice(files, masks, content, options.plane, index),
        )
        for index in chosen_slices(filled, options.empty_slices)
    ]
