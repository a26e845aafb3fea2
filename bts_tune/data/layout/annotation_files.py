"""Where the files of a COCO export lie: those of annotations, and the images that they are about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bts_tune.data.files import open_file
from bts_tune.data.layout.names import meaning, split_in
from bts_tune.data.layout.split_folders import image_and_mask_folders, possible_split_folders, subfolders
from bts_tune.data.records import image_files
from bts_tune.errors import DataError

ANNOTATION_FILE = "_annotations.coco.json"

_NAMES = (r"_annotations\.coco", r"instances.*", r".*[_.-]coco|coco([_.-].*)?", r"results?|default|via_export_coco")
_LOOKED_AT = 2**18
_MOST_FILES = 10
"""JSON files whose content is looked at; many are one for each image."""


def annotation_files(root: Path) -> dict[str | None, list[Path]]:
    """Return the annotation files in their usual places, judged by their names, by split; None for no one split.

    Of several for one split, those are returned whose names say most clearly that they are annotations. Where no name
    says so, the content of those in the folder itself does.
    """
    splits = {folder: said.split for folder in possible_split_folders(root) if (said := meaning(folder.name))}
    if (root / ANNOTATION_FILE).is_file() and not splits and is_one_of_several_splits(root):
        return {}
    places: list[tuple[Path, str | None]] = [(root, None), *splits.items()]
    for folder, split in list(places):
        named = [(child, meaning(child.name)) for child in subfolders(folder)]
        places += [(child, said.split or split) for child, said in named if said and said.kind == "masks"]
    ranked: dict[str | None, dict[int, list[Path]]] = {}
    for folder, split in places:
        for path in sorted(folder.glob("*.json")):
            rank = _rank(path.stem)
            if rank is not None and path.is_file() and not path.name.startswith("."):
                ranked.setdefault(split or split_in(path.stem), {}).setdefault(rank, []).append(path)
    found = {split: ranks[min(ranks)] for split, ranks in ranked.items()}
    if not found:
        files = sorted(root.glob("*.json"))
        alike = [path for path in files if _begins_as_coco(path)] if len(files) <= _MOST_FILES else []
        found = {None: alike} if alike else {}
    if all(path.name != ANNOTATION_FILE for paths in found.values() for path in paths):
        masks = [place for kinds in image_and_mask_folders(root).values() for place in kinds["masks"]]
        if any(place.files() for place in masks):
            return {}
    return found


def _rank(stem: str) -> int | None:
    """Return how clearly a file's stem says that it holds annotations, from 0 for most; None where it does not."""
    for rank, pattern in enumerate(_NAMES):
        if re.fullmatch(pattern, stem, re.IGNORECASE):
            return rank
    said = meaning(stem)
    return None if said is None or said.in_a_pair else len(_NAMES)


def _begins_as_coco(path: Path) -> bool:
    """Return whether a file of any name begins, or ends, as annotations do."""
    if path.name.startswith(".") or not path.is_file():
        return False
    try:
        with open_file(path) as file:
            start = file.read(_LOOKED_AT)
            file.seek(max(0, file.seek(0, 2) - _LOOKED_AT))
            text = start + file.read()
    except (DataError, OSError):
        return False
    return (
        all(re.search(rb'"%s"\s*:\s*\[' % key, text) for key in (b"images", b"categories")) and b'"file_name"' in text
    )


def is_one_of_several_splits(folder: Path) -> bool:
    """Return whether a folder is one split of a COCO export, whose other splits lie beside it."""
    own = meaning(folder.absolute().name)
    if own is None or own.split is None:
        return False
    return any((other / ANNOTATION_FILE).is_file() for other in possible_split_folders(folder.absolute().parent))


def image_folders(root: Path, split: str | None, annotations: Path) -> list[Path]:
    """Return the folders whose images an annotation file may be about: those of its split, where there are such."""
    folders = {folder: said.split for folder in possible_split_folders(root) if (said := meaning(folder.name))}
    named = image_and_mask_folders(root)
    own = [place.folder for place in named.get(split, {}).get("images", [])]
    for folder in (annotations.parent, annotations.parent.parent):
        if folder in folders:
            return [folder, *(one for one in own if one.is_relative_to(folder))]
    own += [folder for folder, of in folders.items() if of == split]
    return own or [place.folder for place in named.get(None, {}).get("images", [])] or [root]


def images_in(folders: Sequence[Path]) -> list[Path]:
    """Return the image files below folders, of which one may lie in another."""
    return sorted({path for folder in folders for path in image_files(folder, recursive=True)})
