"""Where a dataset has its splits, images and masks, found by the usual names of their folders (see `_names`).

Splits first (`train/images`), kinds first (`images/train`), both in one name (`train_images`), or no splits at all.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from bts_tune.data.layout.names import INITIALS, Kind, bare, ends_as_mask, folded, masks_among, meaning
from bts_tune.data.records import SPLITS, Issue, image_files
from bts_tune.errors import DataError
from bts_tune.text import plural

_VOLUMES = (".nii", ".nii.gz")
_SPLIT_NAMES = {"train": "training", "valid": "validation", "test": "test"}


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted; hidden ones are passed over. A missing folder has none."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:  # which knows what is a folder without a look at each file
        return sorted(
            Path(entry.path)
            for entry in entries
            if not entry.name.startswith(".")
            and (Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir(follow_symlinks=False))
        )


def possible_split_folders(root: Path) -> list[Path]:
    """Return every folder that is named like a split."""
    return [folder for folder, _ in _named(root)]


def split_folders(root: Path) -> dict[str, Path]:
    """Return the folders of the splits that are there, by split.

    Raises:
        DataError: a split has several folders, such as valid/ and val/.
    """
    folders: dict[str, Path] = {}
    for folder, split in sorted(_named(root), key=lambda one: (SPLITS.index(one[1]), -len(one[0].name))):
        if split in folders:
            raise _several(root, split, [folders[split], folder])
        folders[split] = folder
    return folders


def _named(root: Path) -> list[tuple[Path, str]]:
    found = [(folder, meaning(folder.name)) for folder in subfolders(root)]
    return [(folder, said.split) for folder, said in found if said and said.split and said.kind is None]


def _several(root: Path, split: str, folders: list[Path]) -> DataError:
    names = " and ".join(f"{folder.relative_to(root).as_posix()}/" for folder in folders)
    which = {"train": "training", "valid": "validation", "test": "test"}[split]
    return DataError(f"{root}: has both {names}; keep the one that is the {which} split.")


def require_training(root: Path, folders: Mapping[str, object]) -> None:
    """Raise a `DataError` where the training split is missing."""
    if "train" not in folders:
        raise DataError(f"{root}: has no train split; train/ is needed.")


def split_without_masks(split: str, place: str, images: int, lacking: str = "masks") -> Issue:
    """Return the warning that a split is left out since nothing says what is tumour in it, as of challenges.

    Args:
        split: which.
        place: its folder or file, relative to the dataset.
        images: how many it has.
        lacking: what it lacks.
    """
    message = (
        f"it has no {lacking} for its {plural(images, 'image')}, so the {_SPLIT_NAMES[split]} split is left out; "
        "predict segments them."
    )
    return Issue("warning", "split-without-masks", place, None, message)


@dataclass(frozen=True)
class Place:
    """A folder of images or of masks.

    Attributes:
        folder: where they lie.
        deep: whether folders within it belong to it.
        in_a_pair: whether it is one only beside a folder of the other kind, see `Meaning`.
        is_output: whether that must be in a pair itself, see `Meaning`.
        only: stems of the files that count, None for all.
    """

    folder: Path
    deep: bool = True
    in_a_pair: bool = False
    is_output: bool = False
    only: frozenset[str] | None = None

    def files(self, *more: str) -> list[Path]:
        """Return its image files, sorted; also files whose names end in one of `more`."""
        found = image_files(self.folder, recursive=self.deep, more=more)
        return found if self.only is None else [path for path in found if path.stem in self.only]


Found = dict[str | None, dict[Kind, list[Place]]]
"""Places by split, None where there are no splits, and kind."""


def image_and_mask_folders(root: Path) -> Found:
    """Return every folder that is named like one of images or of masks.

    Where only those of masks are, the images are those beside them, in a folder of any name, that have their stems.
    """
    found: Found = defaultdict(lambda: {"images": [], "masks": []})

    def visit(folder: Path, split: str | None, kind: Kind | None, in_a_pair: bool, is_output: bool) -> bool:
        """Look into a folder; return whether it is divided by folders within it."""
        divided = False
        for child in subfolders(folder):
            said = meaning(child.name)
            # A second word on the same matter, as in masks/labels/, says no more.
            if said is None or (said.split and split) or (said.kind and kind) or _is_of_initials(child):
                continue
            of_split, of_kind, of_pair = said.split or split, said.kind or kind, said.in_a_pair or in_a_pair
            of_output = said.is_output or is_output
            divided = True
            is_told = of_split is not None and of_kind is not None
            if not is_told and visit(child, of_split, of_kind, of_pair, of_output):
                continue
            if of_kind is not None:
                found[of_split][of_kind].append(Place(child, in_a_pair=of_pair, is_output=of_output))
        return divided

    visit(root, None, None, False, False)
    for split in list(found):
        kinds = found[split]
        if any(not place.in_a_pair for place in kinds["images"]):
            kinds["masks"] = [place for place in kinds["masks"] if not place.is_output]
        for kind, places in kinds.items():
            kinds[kind] = [place for place in places if not place.in_a_pair] or places
        if not all(kinds.values()):
            for kind, places in kinds.items():
                kinds[kind] = [place for place in places if not place.in_a_pair]
        if not any(kinds.values()):
            del found[split]
    for split, kinds in found.items():
        # `train/` beside `train_masks/`, and images beside `masks/`: they lie in the split's own folder.
        if kinds["masks"] and not kinds["images"]:
            above = [folder for folder, of in _named(root) if of == split] if split is not None else [root]
            kinds["images"] += [Place(folder, deep=False) for folder in above if _holds_images(folder, kinds["masks"])]
        if kinds["masks"] and not kinds["images"]:
            kinds["images"] += _beside(kinds["masks"])
    return dict(found)


def _is_of_initials(folder: Path) -> bool:
    """Return whether a folder such as `GT` or `X` holds images with their masks: it is called after a patient."""
    if len(folder.name) > INITIALS:
        return False
    stems = {_stem(path) for path in image_files(folder, more=_VOLUMES)}
    return any(image in stems for image in masks_among(stems).values())


def _holds_images(folder: Path, masks: Sequence[Place]) -> bool:
    """Return whether a folder above or beside those of masks holds images itself.

    Of volumes most must have the stem of a mask: others are sequences, of which the reader of pairs chooses.
    """
    files = image_files(folder, more=_VOLUMES)
    volumes = [path for path in files if path.name.lower().endswith(_VOLUMES)]
    if len(files) > len(volumes):
        return True
    stems = {_compared(path) for place in masks for path in place.files(*_VOLUMES)} if volumes else set()
    return 2 * sum(_compared(path) in stems for path in volumes) > len(volumes)


def _beside(masks: Sequence[Place]) -> list[Place]:
    """Return the folders beside those of masks that hold files of their stems, whatever the folders are called.

    Files that are called masks themselves are no images: they are other masks of the same.
    """
    found: list[Place] = []
    for place in masks:
        stems = {_compared(path) for path in place.files(*_VOLUMES)}
        for folder in subfolders(place.folder.parent):
            if meaning(folder.name) is None and not folder.is_symlink():
                beside = Place(folder)
                files = [path for path in beside.files(*_VOLUMES) if not ends_as_mask(_stem(path))]
                if any(_compared(path) in stems for path in files):
                    found.append(beside)
    return found


def _compared(path: Path) -> str:
    return folded(bare(_stem(path)))


def _stem(path: Path) -> str:
    return PurePath(path.name.removesuffix(".gz")).stem
