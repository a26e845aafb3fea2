"""Finds the files that an annotation file means, where the names in it nearly are those of files.

A name that is a file's is that file. Any other is taken for the one file that fits it, if no second one does and no
other name means it, in this order: backslashes, letter case and how accents are put together do not count; then the
file's suffix does not count (`0.jpg` for `0.png`); then of the folders before the name the last ones count, as many as
fit; then none; then neither. Where the folders of other names are those of their files, folders that are not the file's
are another patient's, and its file is another image.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from bts_tune.data.layout.names import examples, folded
from bts_tune.data.layout.patients import folders_of_name
from bts_tune.data.records import IMAGE_SUFFIXES
from bts_tune.text import plural, printable, quoted

_Key = Callable[[str], str]


class FileNames:
    """The names of one annotation file beside the image files that there are.

    Args:
        root: the dataset's folder.
        folder: the annotation file's folder.
        image_folders: where its images may lie; a name may be relative to one of them, as in COCO's own files.
        files: the image files in them.
    """

    def __init__(self, root: Path, folder: Path, image_folders: Sequence[Path], files: Sequence[Path]) -> None:
        self.root = root
        self.files = {path.relative_to(root).as_posix() for path in files}
        self._bases = [one.relative_to(root) for one in image_folders]
        self._folder = folder.relative_to(root).as_posix()
        self._found: list[tuple[str, str]] = []

    def exists(self, name: str) -> bool:
        """Return whether a name, relative to the root, is that of a regular file."""
        return _is_file(self.root / name)

    def resolve(self, entries: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Return the files that nearly fit: by the name that has none, both relative to the root.

        Args:
            entries: each name as it is written, and the same relative to the root.
        """
        listed = {name: written for written, name in entries}
        open_names = {name: written for name, written in listed.items() if not self.exists(name)}
        free = self.files - (listed.keys() - open_names.keys())
        resolved = self._in_image_folders(open_names, free)
        usual = len(resolved)
        open_names = {name: written for name, written in open_names.items() if name not in resolved}
        free -= set(resolved.values())

        def folders_tell(still_open: Mapping[str, str]) -> bool:
            return any(map(_places, listed.keys() - still_open.keys()))

        steps: tuple[Callable[[Mapping[str, str], set[str]], dict[str, str]], ...] = (
            lambda names, files: self._fit(names, files, _alike),
            lambda names, files: self._fit(names, files, _without_suffix),
            self._ending_alike,
            lambda names, files: self._fit(names, files, _last, folders_tell(names)),
            lambda names, files: self._fit(names, files, lambda one: _without_suffix(_last(one)), folders_tell(names)),
        )
        for step in steps:
            resolved.update(step(open_names, free))
            open_names = {name: written for name, written in open_names.items() if name not in resolved}
            free -= set(resolved.values())
        self._found = [(listed[name], file) for name, file in list(resolved.items())[usual:]]
        return resolved

    @property
    def resolved(self) -> bool:
        """Whether a name was taken for a file that it only nearly fits."""
        return bool(self._found)

    def _in_image_folders(self, names: Mapping[str, str], free: set[str]) -> dict[str, str]:
        """Return the files that are named as they are, relative to a folder of images."""
        found: dict[str, str] = {}
        for name, written in names.items():
            fitting = {path for base in self._bases if (path := (base / written).as_posix()) in free}
            if len(fitting) == 1:
                found[name] = fitting.pop()
        return found

    def _fit(self, names: Mapping[str, str], free: set[str], key: _Key, folders_tell: bool = False) -> dict[str, str]:
        """Return the names that fit one free file that no other name fits, in no other folder where folders tell."""
        by_key: dict[str, list[str]] = defaultdict(list)
        for file in sorted(free):
            by_key[key(file)].append(file)
        wanted: dict[str, list[str]] = defaultdict(list)
        for name, written in names.items():
            # Written relative to the annotation file's folder, or to the dataset's.
            fitting = {file for form in (name, plain(written)) for file in by_key.get(key(form), [])}
            if len(fitting) == 1 and not (folders_tell and _lie_apart(name, next(iter(fitting)))):
                wanted[fitting.pop()].append(name)
        return {found[0]: file for file, found in wanted.items() if len(found) == 1}

    def _ending_alike(self, names: Mapping[str, str], free: set[str]) -> dict[str, str]:
        """Return the names of which the last folders and the file fit one free file better than all others."""
        by_end: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for file in sorted(free):
            parts = _without_suffix(file).split("/")
            for start in range(len(parts) - 1):
                by_end[tuple(parts[start:])].append(file)
        wanted: dict[str, list[str]] = defaultdict(list)
        for name, written in names.items():
            parts = _without_suffix(plain(written)).split("/")
            ends = (by_end.get(tuple(parts[start:]), []) for start in range(len(parts) - 1))
            longest = next(filter(None, ends), [])
            if len(longest) == 1:
                wanted[longest[0]].append(name)
        return {found[0]: file for file, found in wanted.items() if len(found) == 1}

    def said(self, count: int) -> str:
        """Return one sentence on the names that were resolved.

        Args:
            count: how many names the annotation file has.
        """
        written, file = self._found[0]
        more = f", and {len(self._found) - 1} more alike" if len(self._found) > 1 else ""
        return (
            f"{len(self._found)} of its {plural(count, 'file name')} read as the one file that nearly fits: "
            f"{quoted(written)} as {printable(file)} ({_difference(written, file, self._folder)}){more}."
        )

    def cause(self, missing: Sequence[str], listed: Set[str]) -> str:
        """Return the likely cause of names without a file, to be put behind a sentence without a full stop."""
        left = sorted(self.files - listed)
        if not self.files:
            where = "the dataset" if self._folder == "." else f"{self._folder}/"
            return f", and {where} holds no image file at all: copy the images there"
        if not left:
            return ""
        last = {_without_suffix(_last(name)) for name in missing}
        fitting = [file for file in left if _without_suffix(_last(file)) in last]
        if fitting:
            return f"; several files or entries fit its name ({examples(fitting)}): give each its own path"
        return f"; {plural(len(left), 'image file')} that no entry lists, such as {left[0]}: were files renamed?"


def plain(written: str) -> str:
    """Return a written name with forward slashes, and without a drive or steps up before it."""
    plain = unquote(written).strip().replace("\\", "/").partition("?")[0]
    return re.sub(r"^(?:[A-Za-z]:|[a-z]+://[^/]*)?/*(?:\.{1,2}/+)*", "", plain)


def _alike(name: str) -> str:
    return folded(str(PurePosixPath(name.replace("\\", "/"))))


def _without_suffix(name: str) -> str:
    alike = _alike(name)
    for suffix in IMAGE_SUFFIXES:
        if alike.endswith(suffix):
            return alike.removesuffix(suffix)
    return alike


def _last(name: str) -> str:
    return _alike(name).rpartition("/")[2]


def _places(name: str) -> frozenset[str]:
    """Return the folders of a name that may be a patient's, and not those of a split or of images."""
    return frozenset(folders_of_name(_alike(name)))


def _lie_apart(name: str, file: str) -> bool:
    named, of_file = _places(name), _places(file)
    return not (named <= of_file or of_file <= named)


def _difference(written: str, file: str, folder: str) -> str:
    """Return in what a name as it is written differs from the file that it is read as."""
    steps = plain(written)
    below = str(PurePosixPath(file).relative_to(folder)) if folder != "." and _is_below(file, folder) else file
    found = []
    if "\\" in written:
        found.append("backslashes")
    if unquote(written) != written:
        found.append("escaped characters")
    if steps == file and steps != below:
        found.append("relative to the dataset's folder")
    elif _alike(steps) not in (_alike(below), _alike(file)) and _last(steps) != _alike(steps):
        found.append("other folders")
    name, of_file = steps.rpartition("/")[2], file.rpartition("/")[2]
    if _without_suffix(name) == _without_suffix(of_file) and _alike(name) != _alike(of_file):
        found.append("another suffix")
    elif name != of_file:
        composed = [unicodedata.normalize("NFC", one) for one in (name, of_file)]
        found.append("accents put together otherwise" if composed[0] == composed[1] else "letter case")
    return ", ".join(found) or "other folders"


def _is_below(file: str, folder: str) -> bool:
    return PurePosixPath(file).is_relative_to(folder)


def _is_file(path: Path) -> bool:
    if sys.getfilesystemencoding() != "utf-8":
        os.fsencode(path)  # a name that cannot be given to the system is an error to be told, no missing file
    try:
        return path.is_file()
    except OSError:
        return False
