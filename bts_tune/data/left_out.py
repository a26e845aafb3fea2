"""Files of a dataset's folder that look like slices and are used by no reader: each kind is counted and named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bts_tune.data.files import target_of
from bts_tune.data.records import GUESSED_PATIENTS, IMAGE_SUFFIXES, Dataset, Issue, all_files, linked_folders
from bts_tune.text import plural

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")

_OTHER_FORMATS = (
    *(
        ".dcm",
        ".dicom",
        ".ima",
        ".nii",
        ".nii.gz",
        ".mha",
        ".mhd",
        ".nrrd",
        ".nhdr",
        ".hdr",
        ".mgz",
        ".mat",
        ".npz",
        ".h5",
    ),
    *(".hdf5", ".jp2", ".heic", ".avif", ".svs", ".pgm", ".ppm", ".jfif", ".jpe", ".tga", ".exr", ".svg"),
    *ARCHIVES,
)
"""Formats of images, or of files that hold images, which are read in some layouts only, or not at all."""

_NO_SLICES = ("DICOMDIR", "LICENSE", "LICENCE", "README", "Makefile")
VOLUMES_OF_ITK = (".mha", ".mhd", ".nrrd", ".nhdr")
_DICOM = (".dcm", ".dicom", ".ima")
_AS_DICOM = (
    "DICOM series are read with --reader dicom, where their masks lie beside the slices (IM000_mask.png beside "
    "IM000.dcm) or are DICOM SEG files."
)
AS_NIFTI = "MetaImage and NRRD volumes are not read: save them as NIfTI (.nii.gz), as SimpleITK's WriteImage does."

LEFT_OUT = ("left-out", "unlisted-file")
"""Codes of issues that say that a file is not used."""


def with_left_out_files(dataset: Dataset) -> Dataset:
    """Return a dataset with an issue for each kind of file that looks like slices and is in no record or issue."""
    used: set[Path | None] = {
        path for members in dataset.records.values() for one in members for path in (one.image, one.mask)
    }
    sources = {one.source for members in dataset.records.values() for one in members if one.source is not None}
    used |= {path for files in {source.files() for source in sources} for path in files}
    root = dataset.root.resolve()
    targets = {target_of(path) for path in used if path is not None and path.is_symlink()}
    # A folder of images may be a link itself, to one beside it.
    behind = {folder: folder.resolve() for folder in {path.parent for path in used if path is not None}}
    targets |= {behind[path.parent] / path.name for path in used if path is not None}
    used |= {dataset.root / path.relative_to(root) for path in targets if path.is_relative_to(root)}
    named = {dataset.root / issue.file for issue in dataset.issues}
    folders = {path.parent for path in used if path is not None}
    by_kind: dict[str, list[Path]] = defaultdict(list)
    in_other_issues = {issue.code for issue in dataset.issues if issue.code in ("missing-mask", "duplicate-stem")}
    for path in all_files(dataset.root):
        is_unnamed = path.parent in folders and "." not in path.name and path.name not in _NO_SLICES
        kind = _kind(path) or ("unnamed" if is_unnamed else None)
        if kind is None or path in used or path in named:
            continue
        by_kind[kind].append(path)
    issues = list(dataset.issues)
    for kind, paths in sorted(by_kind.items()):
        if kind in IMAGE_SUFFIXES and in_other_issues:
            continue  # those issues say of them, by their number, that they have no mask
        names = [path.relative_to(dataset.root).as_posix() for path in paths]
        count = plural(len(paths), "file" if kind == "unnamed" else f"{kind} file")
        count += " without a suffix" if kind == "unnamed" else ""
        message = f"{count} left out, as the layout has no use for them: "
        message += ", ".join(names[:3])
        message += f", … and {len(names) - 3} more." if len(names) > 3 else "."
        if kind in VOLUMES_OF_ITK:
            message += f" {AS_NIFTI}"
        if kind in _DICOM and dataset.layout != "dicom":
            message += f" {_AS_DICOM}"
        issues.append(Issue("warning", "left-out", names[0], None, message))
    issues += _links(dataset.root, folders)
    return replace(dataset, issues=tuple(issues))


def _links(root: Path, used: set[Path]) -> Iterator[Issue]:
    """Yield an issue where links to folders are passed over."""
    links = [path for path in linked_folders(root) if not any(folder.is_relative_to(path) for folder in used)]
    if links:
        names = [path.relative_to(root).as_posix() for path in links]
        more = f", … and {len(names) - 3} more" if len(names) > 3 else ""
        message = (
            f"{plural(len(names), 'link')} to a folder not followed: {', '.join(names[:3])}{more}; put the folder "
            "itself in its place."
        )
        yield Issue("warning", "left-out", names[0], None, message)


def left_out_lines(dataset: Dataset) -> list[str]:
    """Return what the first lines of a run say of files that are left out, and of what was guessed."""
    guessed = (*GUESSED_PATIENTS, "unused-splits", "masks-by-common-name", "masks-by-folder")
    lines = [issue.message for issue in dataset.issues if issue.code in guessed]
    lines = [f"{line[:1].upper()}{line[1:]}" for line in lines]
    lines += [f"{issue.file}: {issue.message}" for issue in dataset.issues if issue.code == "split-without-masks"]
    lines += [issue.message for issue in dataset.issues if issue.code == "left-out"]
    unlisted = [issue.file for issue in dataset.issues if issue.code == "unlisted-file"]
    if unlisted:
        more = f", … and {len(unlisted) - 3} more" if len(unlisted) > 3 else ""
        lines.append(
            f"{plural(len(unlisted), 'file')} without a counterpart, left out: {', '.join(unlisted[:3])}{more}."
        )
    return lines


def _kind(path: Path) -> str | None:
    name = path.name.lower()
    return next((suffix for suffix in (*IMAGE_SUFFIXES, ".nii.gz", *_OTHER_FORMATS) if name.endswith(suffix)), None)
