"""Which folders within a dataset are patients, and which are kinds of slices, such as tumours, grades and planes.

Folders of one depth are looked at together, as one name alone tells little:

- Names that are known, such as `glioma`, `no` beside `yes`, `LGG`, `axial` or `T2`, are kinds; but where all of more
  than six names are of three letters at most, and most are not known, they are initials, hence patients.
- A folder that all slices lie in is a place to put files; so is one of folders that are called as patients are in
  known collections (BraTS, TCGA, UPENN-GBM, …).
- Names that say that they count kinds or parts (`class_1`, `Type 2`, `batch-3`) are no patients; nor are a few words
  without any digit.
- A few bare numbers (`1`, `2`, `3`) are kinds where they are in several splits, hold a hundred slices or more each, or
  are at most four whose slices do not count anew in each; else they are patients.
- All others are patients, also those with a number beside the name of a kind: `P01_axial` is patient P01, in axial
  slices. Where all slices lie in a further folder that may be a patient, this is said.

A group is called after its patient, and after the kind of tumour too where patients of several kinds have one name
(`glioma/P01`, `meningioma/P01`). Planes, sequences and `yes` beside `no` are of one patient.

What was guessed is an issue, which says how to say otherwise.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from bts_tune.data.layout.names import (
    INITIALS,
    PLANES,
    SEQUENCES,
    examples,
    folded,
    meaning,
    split_words,
    strata_of,
    tells_strata,
)
from bts_tune.data.records import Dataset, Issue, SliceRecord
from bts_tune.text import plural

_MOST = 6
"""Folders of which a few words, or a few numbers, are kinds."""
_MOST_COUNTED = 30
_MOST_WITHOUT_A_SIGN = 4
_MANY_SLICES = 100
_COUNTED = {
    *("class", "classes", "type", "kind", "grade", "category", "stage", "cluster"),
    *("site", "center", "centre", "hospital", "institution", "scanner", "cohort"),
    *(_PARTS := ("batch", "fold", "part", "chunk", "subset")),
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
    **{word: ("sequence", word) for word in SEQUENCES},
}
_OF_ONE_PATIENT = {word for word, (stratum, _) in _KINDS.items() if stratum in ("plane", "sequence")} | PLANES
_NAMING = ("tumour", "grade", "folder")
# A patient's name in collections that name each visit: BraTS from 2023 on, UPENN-GBM, UCSF-PDGM, UCSD-PTGBM, TCGA,
# those that put a date with dots behind it, and BIDS.
_VISIT = re.compile(
    r"(?:(BraTS-[A-Z]+(?:-RT)?-\d{4,5})-\d{1,3}|((?:UPENN-GBM|UCSD-PTGBM)-\d{4,5})_\d\d"
    r"|(UCSF-PDGM-\d{3,4})(?:_FU\d+d)?(?:_nifti)?|(TCGA[-_][A-Z0-9]{2}[-_][A-Z0-9]{4})[-_]\d{8}"
    r"|([\w-]*\d[\w-]*)_\d{4}\.\d\d\.\d\d|(sub-[A-Z0-9]+)_ses-.+)",
    re.IGNORECASE,
)
_OF_A_COLLECTION = re.compile(
    r"(?:BraTS(?:[-_]?[A-Z0-9]+)*?[-_]\d{3,}|(?:UPENN-GBM|UCSF-PDGM|UCSD-PTGBM)-\d{3,}|TCGA[-_][A-Z0-9]{2}[-_][A-Z0-9]{4})"
    r"(?:[-_].*)?",
    re.IGNORECASE,
)
"""A patient's name in a collection: a folder around several such is a part of it."""

Folders = tuple[str, ...]
Strata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Placed:
    """Where a slice, or a volume, lies.

    Attributes:
        split: its split.
        folders: from the outermost on, below that of the images.
        stem: of its file.
    """

    split: str
    folders: Folders
    stem: str


class FolderMeanings:
    """What the folders mean that slices lie in, below that of the images.

    Args:
        placed: of each slice, or volume.
        issues: what was guessed is added to them.
        file: to name in such an issue.
    """

    def __init__(self, placed: Sequence[Placed], issues: list[Issue], file: str) -> None:
        self._strata: list[dict[str, Strata]] = []
        self._issues, self._file = issues, file
        for depth in range(max((len(one.folders) for one in placed), default=0)):
            members: dict[str, list[Placed]] = defaultdict(list)
            for one in placed:
                if len(one.folders) > depth:
                    members[one.folders[depth]].append(one)
            is_whole = len(members) == 1 and sum(map(len, members.values())) == len(placed)
            parts: dict[str, Strata] = {name: () for name, of in members.items() if _is_part(name, of, depth)}
            others = {name: of for name, of in members.items() if name not in parts}
            self._strata.append(parts | self._level(others, is_whole))
        self._kinds: dict[str, set[str]] = defaultdict(set)
        for one in placed:
            patient = self.patient(one.folders)
            if patient is not None:
                self._kinds[patient].add(self._kind(one.folders))
        self._say_of_deeper(placed)

    def patient(self, folders: Folders) -> str | None:
        """Return the patient, None where no folder is one."""
        folder = self._patients_folder(folders)
        return None if folder is None else patient_of(folder)

    def group(self, folders: Folders, otherwise: str | None = None) -> str | None:
        """Return what a patient's slices are kept together by.

        Args:
            folders: those that the slices lie in.
            otherwise: the patient where no folder is one, such as the name of a volume.
        """
        patient, kind = self.patient(folders), self._kind(folders)
        if patient is None:
            patient = None if otherwise is None else patient_of(otherwise)
            return f"{kind}/{patient}" if patient is not None and kind else patient
        return f"{kind}/{patient}" if kind and len(self._kinds[patient]) > 1 else patient

    def _patients_folder(self, folders: Folders) -> str | None:
        return next((one for one, known in zip(folders, self._strata, strict=False) if one not in known), None)

    def _kind(self, folders: Folders) -> str:
        """Return which of several patients of one name one in these folders is, as far as kinds tell."""
        found = [
            value
            for stratum, value in self.strata(folders)
            if stratum in _NAMING and value not in ("present", "none") and not set(split_words(value)) & set(_PARTS)
        ]
        return "/".join(found)

    def strata(self, folders: Folders) -> Strata:
        """Return what the kinds tell that the slices in these folders are of, sorted."""
        found: dict[str, str] = {}
        for one, known in zip(folders, self._strata, strict=False):
            for stratum, value in known.get(one, _strata_of_patient(one)):
                found.setdefault(stratum, value)
            if one not in known:
                break
        return tuple(sorted(found.items()))

    def told(self, record: SliceRecord, folders: Folders) -> SliceRecord:
        """Return a record with the patient and the strata that the folders tell."""
        return replace(record, group=self.group(folders), strata=self.strata(folders))

    def _level(self, members: Mapping[str, Sequence[Placed]], is_whole: bool) -> dict[str, Strata]:
        """Return the names of one depth that are no patients, each with what it tells."""
        known = {name: strata for name in members if (strata := _told(name)) is not None}
        numbered = [name for name in known if _has_number(name)]
        kinds = Counter(known[name] for name in numbered)
        # `1_glioma` beside `2_meningioma` is a kind; of `glioma_1` beside `glioma_2` each is a patient.
        if not all(kinds[known[name]] == 1 and _has_number(name, alone=True) for name in numbered):
            known = {name: strata for name, strata in known.items() if name not in numbered}
        # Of `T1` to `T9` no two are sequences.
        alike = {_shape(name) for name in members.keys() - known.keys()}
        known = {name: strata for name, strata in known.items() if not _has_digit(name) or _shape(name) not in alike}
        others = sorted(members.keys() - known.keys())
        # Of the initials `NO`, `PD` and `JS` some are words for kinds too.
        initials = bool(known) and all(len(name) <= INITIALS and name.isalpha() for name in members)
        if initials and len(members) > _MOST and len(others) > len(known):
            self._say_of_patients(sorted(members))
            return {}
        if initials and others and len(members) <= _MOST:
            self._say_of_kinds(sorted(members), "they are few and have no number")
        if known and len(members) <= _MOST:  # what stands beside `no_tumor` is a kind too
            has_tumours = any(stratum == "tumour" for strata in known.values() for stratum, _ in strata)
            beside = [name for name in others if _is_worded(name)]
            known |= {name: (("tumour", name.casefold()),) if has_tumours else () for name in beside}
            others = [name for name in others if name not in known]
        if not others:
            return known
        if is_whole:
            return {others[0]: ()}
        why = _why_kinds({name: members[name] for name in others})
        if why is None:
            if 1 < len(others) <= _MOST and all(_is_number(name) or len(name) == 1 for name in others):
                self._say_of_patients(others)
            return known
        self._say_of_kinds(others, why)
        return known | {name: (("folder", name),) for name in others}

    def _say_of_patients(self, names: Sequence[str]) -> None:
        self._say(
            "folders-as-patients",
            f"{plural(len(names), 'folder')} ({examples(names)}) are taken for patients; where they are "
            "kinds of tumour or the like: --group-by none.",
        )

    def _say_of_kinds(self, names: Sequence[str], why: str) -> None:
        pattern = f"(?:^|/)({'|'.join(map(re.escape, names))})/"
        self._say(
            "folders-as-kinds",
            f"{plural(len(names), 'folder')} ({examples(names)}) are taken for kinds of slices and not for patients, "
            f"as {why}; where they are patients: --group-by {shlex.quote(pattern)}.",
        )

    def _say_of_deeper(self, placed: Sequence[Placed]) -> None:
        """Say which folders are taken for patients, where all slices lie in a folder within that may be one."""
        deeper: set[Folders] = set()
        patients: list[str] = []
        for one in placed:
            folder = self._patients_folder(one.folders)
            if folder is None:
                return
            depth = one.folders.index(folder) + 1
            if len(one.folders) <= depth or one.folders[depth] in self._strata[depth]:
                return
            deeper.add(one.folders[: depth + 1])
            patients.append(folder)
        found = sorted(set(patients))
        if len(deeper) > len(found):
            within = examples(sorted({folders[-1] for folders in deeper}))
            self._say(
                "folders-as-patients",
                f"{plural(len(found), 'folder')} ({examples(found)}) are taken for patients, and those within "
                f"({within}) for their scans; where these are the patients, give them with --group-by.",
            )

    def _say(self, code: str, message: str) -> None:
        self._issues.append(Issue("warning", code, self._file, None, message))


def _is_part(name: str, members: Sequence[Placed], depth: int) -> bool:
    """Return whether a folder, of no kind, holds those of several patients of a collection, named alike everywhere."""
    is_kind = _told(name) is not None or _COUNTED.difference(_PARTS) & set(split_words(name))
    if is_kind or _OF_A_COLLECTION.fullmatch(name):
        return False
    within = {one.folders[depth + 1] if len(one.folders) > depth + 1 else "" for one in members}
    return len(within) > 1 and all(map(_OF_A_COLLECTION.fullmatch, within))


def _why_kinds(members: Mapping[str, Sequence[Placed]]) -> str | None:
    """Return why folders are no patients, None where they are."""
    if len(members) < 2:
        return None
    if len(members) <= _MOST_COUNTED and all(_COUNTED & set(split_words(name)) for name in members):
        return "their names say so"
    if len(members) > _MOST:
        return None
    if all(map(_is_worded, members)):
        return "they are few and have no number"
    if not all(map(_is_number, members)):
        return None
    if all(len({one.split for one in of}) > 1 for of in members.values()):
        return "each is in several splits"
    fewest = min(map(len, members.values()))
    if fewest >= _MANY_SLICES:
        return f"they are few and hold {fewest} slices or more each"
    if len(members) <= _MOST_WITHOUT_A_SIGN and not _count_anew(members):
        return "they are few, and their slices do not count anew in each"
    return None


def _count_anew(members: Mapping[str, Sequence[Placed]]) -> bool:
    """Return whether slices of several folders have the same names, or names that begin with the folder's."""
    stems = Counter(stem for of in members.values() for stem in {one.stem for one in of})
    if 2 * sum(count > 1 for count in stems.values()) > len(stems):
        return True
    first = [split_words(one.stem, digits=True)[:1] == [name] for name, of in members.items() for one in of]
    return len(stems) > len(members) and 2 * sum(first) > len(first)


def with_alike_patients_told(dataset: Dataset) -> Dataset:
    """Return a dataset with a warning where names of patients differ in letter case or accents alone.

    They may be one patient, whose slices a split would then tear apart.
    """
    groups = {one.group: one.name for members in dataset.records.values() for one in members if one.group is not None}
    written: dict[str, list[str]] = defaultdict(list)
    for group in sorted(groups):
        written[folded(group)].append(group)
    alike = [names for names in written.values() if len(names) > 1]
    if not alike:
        return dataset
    message = (
        f"names of patients differ in letter case or accents alone ({examples([' and '.join(one) for one in alike])}), "
        "and count as several; where they are one, write them alike or give the patients with --group-by."
    )
    issue = Issue("warning", "patients-alike", groups[alike[0][0]], None, message)
    return replace(dataset, issues=(*dataset.issues, issue))


def _told(name: str) -> Strata | None:
    """Return what a name that is known to be a kind tells; nothing where the slices' own names tell it."""
    if tells_strata(name):
        return strata_of(f"{name}/0")
    words = split_words(name, digits=True)
    found = [_KINDS[word] for word in words if word in _KINDS]
    return tuple(found[:1]) if found and len(found) == len(words) else None


def _has_number(name: str, *, alone: bool = False) -> bool:
    """Return whether a number is left in a name beside the words for kinds.

    With `alone`, only a bare number counts: `1` in `1_glioma`, not `P01` in `P01_glioma`.
    """
    words = [word for word in split_words(name, digits=True) if word not in _KINDS]
    if _COUNTED & set(split_words(name)) or not any(map(_has_digit, words)):
        return False
    return not alone or all(word.isdecimal() or not _has_digit(word) for word in words)


def patient_of(name: str) -> str:
    """Return the patient of a folder or a volume: without words for planes and sequences, and without the visit."""
    name = unicodedata.normalize("NFC", name)
    words = re.findall(r"([^\W_]*)([\W_]*)", name)  # each with what stands behind it
    short = "".join(word + behind for word, behind in words if word.lower() not in _OF_ONE_PATIENT).strip("_-. ")
    name = short if _has_digit(short) else name
    visit = _VISIT.fullmatch(name)
    return name if visit is None else next(filter(None, visit.groups()))


def _strata_of_patient(folder: str) -> Strata:
    """Return the kinds that a patient's name tells beside its number."""
    if not _has_number(folder):
        return ()
    words = [word for word in split_words(folder, digits=True) if word in _OF_ONE_PATIENT]
    return (*strata_of(f"{folder}/0"), *(_KINDS[word] for word in words if word in _KINDS))


def _shape(name: str) -> str:
    """Return a name with one digit for each number."""
    return re.sub(r"\d+", "0", name)


def _has_digit(name: str) -> bool:
    return any(map(str.isdigit, name))


def _is_worded(name: str) -> bool:
    return len(name) > 1 and not _has_digit(name)


def _is_number(name: str) -> bool:
    return name.isdecimal() and len(name) <= 2


def folders_of_name(name: str) -> Folders:
    """Return the folders of a slice's name that say more than a split, images or masks."""
    return tuple(part for part in PurePosixPath(name).parent.parts if meaning(part) is None)


def folders_between(folders: Iterable[str]) -> Folders:
    """Return the folders on a slice's way, without that of the start itself."""
    return tuple(one for one in folders if one != ".")
