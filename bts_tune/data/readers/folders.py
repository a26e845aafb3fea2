"""Image/mask folders: images in one, masks in another, paired by the stem of their names.

The folders have their usual names in any case (`images`, `imgs`, …; `masks`, `labels`, `annotations`, …), below the
splits (`train/images`), above them (`images/train`), or without splits; the slices are split later then, by groups.
`x` and `y`, `input` and `target`, `img_dir` and `ann_dir` are such names where both are there. A mask's name may say
that it is one (`x_mask.png` for `x.png`).

A folder within is a patient, whose slices are a group, unless it is one of a kind of slices (see `_patients`); so is a
folder that holds folders of images and of masks itself, beside others that do. NIfTI volumes are cut into slices; each
is a patient. A validation or test split without any mask is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bts_tune.data.layout.annotation_files import annotation_files
from bts_tune.data.layout.names import examples, meaning
from bts_tune.data.layout.patients import FolderMeanings, Folders, Placed
from bts_tune.data.layout.split_folders import (
    Found,
    Kind,
    Place,
    image_and_mask_folders,
    possible_split_folders,
    require_training,
    split_without_masks,
    subfolders,
)
from bts_tune.data.readers._nifti_slices import Case, slices_of
from bts_tune.data.readers._pairing import folders_below, pair
from bts_tune.data.readers.base import Reader, ReaderOptions
from bts_tune.data.records import SPLITS, Dataset, Issue, SliceRecord, all_files
from bts_tune.data.volumes.nifti import NIFTI_SUFFIXES, is_nifti, volume_stem
from bts_tune.errors import DataError
from bts_tune.registry import READERS
from bts_tune.text import plural

_KINDS: tuple[Kind, Kind] = ("images", "masks")
_DEPTH = 3
"""Folders, such as those of a grade and a patient, in which one of images and one of masks are looked for."""


@READERS.register("folders")
class FoldersReader(Reader):
    """Folders of images and masks, with splits or without."""

    title = "image/mask folders"
    expects = "train/ and valid/ (test/ is optional), each with images/ and masks/, or images/ and masks/ alone"
    cuts_volumes = True

    def recognises(self, root: Path) -> bool:
        """Return whether a split has a folder of images or of masks, or the dataset has both.

        A folder with an annotation file is a COCO export, whose images may lie in a folder `images/`.
        """
        if annotation_files(root):
            return False
        return self._is_found(image_and_mask_folders(root)) or bool(_patients(root))

    def _is_found(self, found: Found) -> bool:
        whole = found.get(None, {"images": [], "masks": []})
        return any(split is not None for split in found) or bool(whole["images"] and whole["masks"])

    def read(self, root: Path, options: ReaderOptions) -> Dataset:
        """Read the pairs of each split, or of the whole dataset, which is split later.

        Raises:
            DataError: the training split or one of a split's folders is missing.
        """
        found = image_and_mask_folders(root)
        issues: list[Issue] = []
        own, sources = _of_splits(root, found, issues) if self._is_found(found) else _of_patients(root)
        images: dict[str, list[SliceRecord]] = {one: [] for one in SPLITS if any(of.split == one for of in sources)}
        folders: dict[str, Folders] = {}
        volumes: list[SliceRecord] = []
        for source in sources:
            kinds = [False, True] if any(map(is_nifti, source.images.files(*NIFTI_SUFFIXES))) else [False]
            for are_volumes in kinds:
                pairs = pair(root, source.split, source.images, source.masks, volumes=are_volumes)
                issues += pairs.issues
                (volumes if are_volumes else images[source.split]).extend(pairs.records)
                folders |= {
                    one.name: (*source.above, *folders_below(source.images.folder, one.image)) for one in pairs.records
                }
        meanings = _meanings((*volumes, *(one for members in images.values() for one in members)), folders, issues)
        records = _all_told({split: tuple(members) for split, members in images.items()}, folders, meanings)
        cases: list[Case] = []
        for one in volumes:
            assert one.mask is not None
            within = folders[one.name]
            group = meanings.group(within, volume_stem(one.image)) or ""
            cases.append(Case(one.image, one.mask, one.split, group, strata=meanings.strata(within)))
        of_cases = slices_of(root, cases, options, issues) if cases else []
        records = {
            split: (*members, *(one for one in of_cases if one.split == split)) for split, members in records.items()
        }
        records = with_lone_groups(records, issues)
        return Dataset(
            root=root, layout=self.name, categories={}, records=records, issues=tuple(issues), own_splits=own
        )


@dataclass(frozen=True)
class _Source:
    """A folder of images and the one of their masks.

    Attributes:
        split: of its slices.
        images, masks: where they lie.
        above: folders above that of the images that may be a patient's, or of a kind.
    """

    split: str
    images: Place
    masks: Place
    above: Folders = ()


def _of_splits(root: Path, found: Found, issues: list[Issue]) -> tuple[tuple[str, ...] | None, list[_Source]]:
    """Return the splits that a dataset comes with, as `Dataset.own_splits` has them, and the folders of each."""
    own: tuple[str, ...] | None = None
    whole = found.get(None, {"images": [], "masks": []})
    of_splits: Found = {split: kinds for split, kinds in found.items() if split is not None}
    if not of_splits:
        own, of_splits = (), {"train": whole}
    elif "train" not in of_splits and all(any(place.files(*NIFTI_SUFFIXES) for place in of) for of in whole.values()):
        of_splits["train"] = whole  # images/ and masks/ beside val/ or test/
    # Of train/P1/images beside test/images, each split has a depth of its own.
    by_patient = [] if own == () else [one for split, one in _by_patient(root) if split not in (None, *of_splits)]
    splits = [*of_splits, *(one.split for one in by_patient)]
    require_training(root, {split: True for split in splits if split is not None})
    kept = _with_masks(root, of_splits, issues)
    return own, [
        *by_patient,
        *(
            _Source(split, _one(root, kept, split, "images"), _one(root, kept, split, "masks"))
            for split in SPLITS
            if split in kept
        ),
    ]


def _of_patients(root: Path) -> tuple[tuple[str, ...] | None, list[_Source]]:
    """Return the same of a dataset with a folder of images and one of masks in each patient's folder."""
    found = _by_patient(root)
    if not found:
        raise DataError(f"{root}: has no folder images/ beside a folder masks/; image/mask folders need both.")
    splits = {split for split, _ in found}
    if splits != {None}:
        require_training(root, {split: True for split in splits if split is not None})
    return () if splits == {None} else None, [one for _, one in found]


def _by_patient(root: Path) -> list[tuple[str | None, _Source]]:
    """Return the folders of each patient, with the split that they lie in, if any."""
    found: list[tuple[str | None, _Source]] = []
    for folder, above, kinds, split in _patients(root):
        of_split = split or "train"
        images, masks = (_one(folder, {of_split: kinds}, of_split, kind) for kind in _KINDS)
        found.append((split, _Source(of_split, images, masks, above)))
    return found


def _with_masks(root: Path, found: Found, issues: list[Issue]) -> Found:
    """Return the splits but those for validation or test that have images and no mask at all, as challenges have."""
    kept = dict(found)
    for split in ("valid", "test"):
        places = found.get(split)
        if places is None or any(_holds_anything(place) for place in places["masks"]):
            continue
        images = [path for place in places["images"] for path in place.files(*NIFTI_SUFFIXES)]
        # What else lies in the split may be the masks, under a name that says nothing.
        if images and not any(_has_others(place.folder) for place in places["images"]):
            folder = places["images"][0].folder.relative_to(root).as_posix()
            issues.append(split_without_masks(split, folder, len(images)))
            del kept[split]
    return kept


def _has_others(images: Path) -> bool:
    """Return whether a split's folder holds images or volumes in a folder of another name too."""
    said = meaning(images.parent.name)
    return (said is not None and said.split is not None) and any(
        meaning(folder.name) is None and Place(folder).files(*NIFTI_SUFFIXES) for folder in subfolders(images.parent)
    )


def _holds_anything(place: Place) -> bool:
    return bool(place.files(*NIFTI_SUFFIXES)) or any(
        path.suffix.lower() in (".json", ".xml", ".txt") for path in all_files(place.folder)
    )


def _meanings(records: Iterable[SliceRecord], folders: Mapping[str, Folders], issues: list[Issue]) -> FolderMeanings:
    members = list(records)
    placed = [Placed(one.split, folders[one.name], one.image.stem) for one in members]
    return FolderMeanings(placed, issues, members[0].name if members else "")


def with_patients(
    records: Mapping[str, tuple[SliceRecord, ...]], folders: Mapping[str, Folders], issues: list[Issue]
) -> dict[str, tuple[SliceRecord, ...]]:
    """Return the records with what their folders tell: the patient, and kinds as strata.

    Args:
        records: by split.
        folders: of each slice, by name, those that it lies in below that of the images.
        issues: what was guessed is added to them.
    """
    meanings = _meanings((one for members in records.values() for one in members), folders, issues)
    return _all_told(records, folders, meanings)


def _all_told(
    records: Mapping[str, tuple[SliceRecord, ...]], folders: Mapping[str, Folders], meanings: FolderMeanings
) -> dict[str, tuple[SliceRecord, ...]]:
    return {
        split: tuple(meanings.told(one, folders[one.name]) for one in members) for split, members in records.items()
    }


def _patients(root: Path) -> list[tuple[Path, Folders, dict[Kind, list[Place]], str | None]]:
    """Return the folders that hold a folder of images and one of masks each, those of a patient or of a kind.

    They lie in one depth: `P1/images`, `HGG/P1/images`; splits may be around them, or within (`glioma/train/images`).
    With each are returned the folders that it lies in, itself included, what it holds, and the split, if any.
    """
    level: list[tuple[Path, Folders, str | None]] = [(root, (), None)]
    level += [(folder, (), said.split) for folder in possible_split_folders(root) if (said := meaning(folder.name))]
    for _ in range(_DEPTH):
        level = [
            (folder, (*above, folder.name), split)
            for place, above, split in level
            for folder in subfolders(place)
            if meaning(folder.name) is None and not (above and folder.is_symlink())
        ]
        found = [
            (folder, above, kinds, split or within)
            for folder, above, split in level
            for within, kinds in image_and_mask_folders(folder).items()
            if all(kinds.values()) and None in (split, within)
        ]
        # One such folder is a dataset in a folder.
        if len({folder for folder, *_ in found}) > 1:
            return found if len({split is None for *_, split in found}) == 1 else []
    return []


def _one(root: Path, found: Found, split: str, kind: Kind) -> Place:
    """Return the one folder of a split's images or masks."""
    places = found[split][kind]
    if len(places) > 1 and kind == "masks":
        places = [place for place in places if place.files(*NIFTI_SUFFIXES)] or places
    if not places:
        other = next((place.folder for place in found[split]["masks" if kind == "images" else "images"]), root)
        where = other.parent if other != root else root
        raise DataError(f"{where}: has no folder {kind}/; image/mask folders need both images/ and masks/.")
    if len(places) > 1:
        names = " and ".join(f"{place.folder.relative_to(root).as_posix()}/" for place in places)
        raise DataError(f"{root}: {names} may each hold the {kind} of {split}; keep one.")
    if kind == "masks" and not places[0].files(*NIFTI_SUFFIXES):
        described = [path for path in all_files(places[0].folder) if path.suffix.lower() in (".json", ".xml")]
        if described:
            raise DataError(
                f"{places[0].folder}: holds {plural(len(described), 'JSON or XML file')} and no image; outlines in one "
                "file an image (Supervisely, LabelMe, Pascal VOC) are not read: export masks, or a COCO file."
            )
        outlines = [path for path in all_files(places[0].folder) if path.suffix.lower() == ".txt"]
        if outlines:
            raise DataError(
                f"{places[0].folder}: holds {plural(len(outlines), 'text file')} and no image; YOLO's boxes and "
                "outlines are not read: export masks, or a COCO file."
            )
    return places[0]


def with_lone_groups(
    records: dict[str, tuple[SliceRecord, ...]],
    issues: list[Issue],
    *,
    lack: str = "in no patient's folder, while others are",
    cure: str = "put it into its patient's folder",
) -> dict[str, tuple[SliceRecord, ...]]:
    """Return the records such that all have a group where some have: a slice without a patient is its own.

    Args:
        records: by split.
        issues: one that says how many these are is added to them.
        lack: what such slices lack.
        cure: what to do with one.
    """
    alone = [record.name for members in records.values() for record in members if record.group is None]
    if not alone or len(alone) == sum(map(len, records.values())):
        return records
    message = (
        f"{plural(len(alone), 'slice')} {lack} ({examples(alone)}); each is taken "
        f"for a patient of its own: {cure}, or give the patients with --group-by."
    )
    issues.append(Issue("warning", "no-patient", alone[0], None, message))
    return {
        split: tuple(one if one.group is not None else replace(one, group=one.name) for one in members)
        for split, members in records.items()
    }
