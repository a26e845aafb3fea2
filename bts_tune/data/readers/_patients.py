"""Which folders within a dataset are patients, and which are kinds of slices, such as tumours, grades and planes.

Folders of one depth are looked at together, as one name alone tells little:

- Names that are known, such as `glioma`, `no` beside `yes`, `LGG`, `axial` or `T2`, are kinds.
- A folder that all slices lie in is a place to put files.
- Names that say that they count kinds or parts (`class_1`, `Type 2`, `batch-3`) are no patients; nor are a few words
  without any digit, nor a few bare numbers that are in several splits, or that hold a hundred slices or more each.
- All others are patients.

What was guessed is an issue, which says how to say otherwise.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import median

from bts_tune.data.readers._names import examples, split_words, strata_of, tells_strata
from bts_tune.data.records import Issue
from bts_tune.text import plural

_MOST = 6
"""Folders of which a few words, or a few numbers, are kinds."""
_MOST_COUNTED = 30
_MANY_SLICES = 100
_COUNTED = {
    *("class", "classes", "type", "kind", "grade", "category", "stage", "cluster"),
    *("batch", "fold", "part", "chunk", "subset"),
}
_KINDS = {
    **dict.fromkeys(("yes", "tumor", "tumour", "tumors", "tumours", "positive", "pos"), ("tumour", "present")),
    **dict.fromkeys(("no", "negative", "neg", "control", "controls"), ("tumour", "none")),
    **{word: ("tumour", word) for word in ("benign", "malignant", "gbm", "glioblastoma", "astrocytoma")},
    **{word: ("tumour", word) for word in ("oligodendroglioma", "ependymoma", "medulloblastoma", "schwannoma")},
    **dict.fromkeys(("metastasis", "metastases"), ("tumour", "metastasis")),
    "hgg": ("grade", "high"),
    "lgg": ("grade", "low"),
    **dict.fromkeys(("ax", "tra", "transverse"), ("plane", "axial")),
    "cor": ("plane", "coronal"),
    "sag": ("plane", "sagittal"),
    **{word: ("sequence", word) for word in ("t1", "t1w", "t1c", "t1ce", "t1gd", "t2", "t2w", "t2f", "flair")},
    **{word: ("sequence", word) for word in ("pd", "dwi", "adc", "swi")},
}

Folders = tuple[str, ...]
Strata = tuple[tuple[str, str], ...]


class FolderMeanings:
    """What the folders mean that slices lie in, below that of the images.

    Args:
        placed: of each slice, or volume, its split and the folders, from the outermost on.
        issues: what was guessed is added to them.
        file: to name in such an issue.
    """

    def __init__(self, placed: Sequence[tuple[str, Folders]], issues: list[Issue], file: str) -> None:
        self._strata: list[dict[str, Strata]] = []
        self._issues, self._file = issues, file
        for depth in range(max((len(folders) for _, folders in placed), default=0)):
            slices = Counter(folders[depth] for _, folders in placed if len(folders) > depth)
            splits: dict[str, set[str]] = defaultdict(set)
            for split, folders in placed:
                if len(folders) > depth:
                    splits[folders[depth]].add(split)
            whole = len(slices) == 1 and slices.total() == len(placed)
            self._strata.append(self._level(slices, splits, whole))

    def patient(self, folders: Folders) -> str | None:
        """Return the patient, None where no folder is one."""
        return next((one for one, known in zip(folders, self._strata, strict=False) if one not in known), None)

    def strata(self, folders: Folders) -> Strata:
        """Return what the kinds tell that the slices in these folders are of, sorted."""
        found: dict[str, str] = {}
        for one, known in zip(folders, self._strata, strict=False):
            if one not in known:
                break
            for stratum, value in known[one]:
                found.setdefault(stratum, value)
        return tuple(sorted(found.items()))

    def _level(self, slices: Counter[str], splits: dict[str, set[str]], whole: bool) -> dict[str, Strata]:
        """Return the names of one depth that are no patients, each with what it tells."""
        known = {name: strata for name in slices if (strata := _told(name)) is not None}
        others = sorted(slices.keys() - known.keys())
        if known and len(slices) <= _MOST:  # what stands beside `no_tumor` is a kind too
            beside = [name for name in others if _is_worded(name)]
            known |= {name: (("tumour", name.casefold()),) for name in beside if _has_tumours(known)}
            others = [name for name in others if name not in known]
        if not others:
            return known
        if whole:
            return {others[0]: ()}
        why = self._why_kinds(others, slices, splits)
        if why is None:
            if 1 < len(others) <= _MOST and all(_is_number(name) or len(name) == 1 for name in others):
                self._say(
                    "folders-as-patients",
                    f"{plural(len(others), 'folder')} ({examples(others)}) are taken for patients; where they are "
                    "kinds of tumour or the like: --group-by none.",
                )
            return known
        pattern = f"(?:^|/)({'|'.join(map(re.escape, others))})/"
        self._say(
            "folders-as-kinds",
            f"{plural(len(others), 'folder')} ({examples(others)}) are taken for kinds of slices and not for patients, "
            f"as {why}; where they are patients: --group-by {shlex.quote(pattern)}.",
        )
        return known | {name: (("folder", name),) for name in others}

    def _why_kinds(self, names: Sequence[str], slices: Counter[str], splits: dict[str, set[str]]) -> str | None:
        """Return why folders are no patients, None where they are."""
        if len(names) < 2:
            return None
        if len(names) <= _MOST_COUNTED and all(_COUNTED & set(split_words(name)) for name in names):
            return "their names say so"
        if len(names) > _MOST:
            return None
        if all(map(_is_worded, names)):
            return "they are few and have no number"
        if all(map(_is_number, names)):
            if all(len(splits[name]) > 1 for name in names):
                return "each is in several splits"
            if median(slices[name] for name in names) >= _MANY_SLICES:
                return f"they are few and hold {min(slices[name] for name in names)} slices or more each"
        return None

    def _say(self, code: str, message: str) -> None:
        self._issues.append(Issue("warning", code, self._file, None, message))


def _told(name: str) -> Strata | None:
    """Return what a name that is known to be a kind tells; nothing where the slices' own names tell it."""
    if tells_strata(name):
        return strata_of(f"{name}/0")
    words = split_words(name, digits=True)
    found = [_KINDS[word] for word in words if word in _KINDS]
    return tuple(found[:1]) if found and len(found) == len(words) else None


def _has_tumours(known: dict[str, Strata]) -> bool:
    return any(stratum == "tumour" for strata in known.values() for stratum, _ in strata)


def _is_worded(name: str) -> bool:
    return len(name) > 1 and not any(character.isdigit() for character in name)


def _is_number(name: str) -> bool:
    return name.isdecimal() and len(name) <= 2


def folders_between(folders: Iterable[str]) -> Folders:
    """Return the folders on a slice's way, without that of the start itself."""
    return tuple(one for one in folders if one != ".")
