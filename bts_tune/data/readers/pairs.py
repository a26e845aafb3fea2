"""Pairs side by side: `x.tif` and its mask `x_mask.tif` in one folder, often one folder for each patient.

The image may be called `x_image.tif` too, or the two of a patient's folder `image.tif` and `mask.tif`.

So the LGG set (`kaggle_3m`) comes. Folders named like splits are the splits; without any, the slices are split later. A
folder in which pairs lie is a patient, whose slices are a group, unless it is one of a kind (see `_patients`).
NIfTI volumes, such as BraTS has (`x_seg.nii.gz` beside `x_flair.nii.gz`, or `seg.nii.gz` beside `flair.nii.gz`), are
cut into slices; each volume is a patient, where no folder is. Where no volume lies beside its mask, as in UPENN-GBM
and BIDS derivatives, the two are found by their names, wherever they lie. A validation or test split without any mask
is left out.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from bts_tune.data.layout.annotation_files import annotation_files
from bts_tune.data.layout.names import (
    INITIALS,
    SEQUENCES,
    ends_as_mask,
    examples,
    folded,
    is_mask_alone,
    is_mask_by_program,
    mask_of,
    masks_among,
    meaning,
    one_of_several_masks,
    pair_key,
    split_in,
    split_words,
)
from bts_tune.data.layout.patients import FolderMeanings, Folders, Placed
from bts_tune.data.layout.split_folders import require_training, split_folders, split_without_masks, subfolders
from bts_tune.data.left_out import AS_NIFTI, VOLUMES_OF_ITK
from bts_tune.data.readers._nifti_slices import Case, slices_of
from bts_tune.data.readers.base import ALL_SEQUENCES, Reader, ReaderOptions
from bts_tune.data.readers.folders import FoldersReader, with_lone_groups
from bts_tune.data.records import SPLITS, Dataset, Issue, SliceRecord, image_files
from bts_tune.data.volumes.nifti import NIFTI_SUFFIXES, is_nifti, volume_stem
from bts_tune.errors import DataError
from bts_tune.registry import READERS
from bts_tune.text import plural

_BRAIN_MASK = re.compile(r"(?:^|[_\-. ])(?:brain|bet|skull)[_\-. ]?masks?$", re.IGNORECASE)
"""A mask of the brain, as FSL and HD-BET call it."""
_MARGIN = re.compile(r"(?:^|[_\-. ])(?:ctv|ptv)\d*$", re.IGNORECASE)
"""A volume of radiotherapy that holds the tumour and a margin around it."""
_SESSION = re.compile(r"ses-[A-Za-z0-9]+_?")
_OF_TISSUE = re.compile(r"_(?:dseg|probseg)$", re.IGNORECASE)
"""A segmentation in BIDS; where no name says that it is the tumour's, it is of tissues."""
_DEPTH, _DEPTH_APART, _LOOKED_AT = 3, 6, 5000
"""Folders below the dataset's in which pairs are looked for: a split, a patient, and one more; in which volumes apart
from their masks are, as in `derivatives/x/sub-01/ses-1/anat/`; and how many of these are looked at."""


@READERS.register("pairs")
class PairsReader(Reader):
    """Images with their masks beside them."""

    title = "image/mask pairs side by side"
    expects = "x.png and x_mask.png side by side, also in patients' folders"
    cuts_volumes = True
    has_sequences = True
    gives_way = True

    def recognises(self, root: Path) -> bool:
        """Return whether a folder holds an image and its mask, and neither an annotation file nor mask folders."""
        if annotation_files(root) or FoldersReader().recognises(root):
            return False
        return any(_has_pair(folder) for folder in _folders(root, _DEPTH)) or _has_pairs_apart(root)

    def read(self, root: Path, options: ReaderOptions) -> Dataset:
        """Read every pair.

        Raises:
            DataError: there is none, the training split is missing, or a sequence is chosen where there are no volumes.
        """
        if not root.is_dir():
            raise DataError(f"{root}: is not a folder.")
        splits = split_folders(root)
        issues: list[Issue] = []
        if splits:
            require_training(root, splits)
        folders = {split: splits[split] for split in SPLITS if split in splits} if splits else {"train": root}
        folders = _with_masks(root, folders, issues)
        pairs = {split: _read(root, folder, split, issues) for split, folder in folders.items()}
        volumes = _cases(root, folders, options, issues)
        if options.sequence is not None and any(pairs.values()) and not any(volumes.values()):
            raise DataError(f"{root}: there are no sequences to choose from without volumes; leave --sequence out.")
        placed: list[Placed] = []
        for split, folder in folders.items():
            placed += [Placed(split, _way(folder, one.image), one.image.stem) for one in pairs[split]]
            placed += [Placed(split, _way(folder, one.mask), one.mask.stem) for one in volumes[split]]
        some = next((one.name for members in pairs.values() for one in members), root.name)
        meanings = FolderMeanings(placed, issues, some)
        records = {
            split: (
                *(meanings.told(one, _way(folder, one.image)) for one in pairs[split]),
                *slices_of(
                    root, [_case(one, _way(folder, one.mask), meanings) for one in volumes[split]], options, issues
                ),
            )
            for split, folder in folders.items()
        }
        told = {"unsafe-path", "unreadable-volume", "duplicate-stem"} & {issue.code for issue in issues}
        if not any(records.values()) and not told:
            raise DataError(f"{root}: holds no image with its mask beside it, such as x.png and x_mask.png.")
        return Dataset(
            root=root,
            layout=self.name,
            categories={},
            records=with_lone_groups(records, issues),
            issues=tuple(issues),
            own_splits=tuple(folders) if splits else (),
        )

    def hint(self, root: Path) -> str | None:
        """Tell of volumes in other formats than NIfTI, and of those that are no masks of the tumour alone."""
        for folder in _folders(root, _DEPTH):
            margins = [path for path in image_files(folder, more=NIFTI_SUFFIXES) if _is_margin(path)]
            if margins:
                return (
                    f"holds {margins[0].relative_to(root).as_posix()} and no mask: CTV and PTV are the tumour with a "
                    "margin around it; the tumour is the GTV (x_gtv.nii.gz)."
                )
            found = image_files(folder, more=VOLUMES_OF_ITK)
            path = next((path for path in found if path.suffix.lower() in VOLUMES_OF_ITK), None)
            if path is not None:
                return f"holds {path.relative_to(root).as_posix()}. {AS_NIFTI}"
        return None


def _folders(root: Path, depth: int) -> Iterator[Path]:
    yield root
    if depth:
        for folder in subfolders(root):
            if not folder.is_symlink():
                yield from _folders(folder, depth - 1)


def _is_margin(path: Path) -> bool:
    return is_nifti(path) and _MARGIN.search(volume_stem(path)) is not None


def _has_pairs_apart(root: Path) -> bool:
    volumes: list[Path] = []
    for folder, folders, names in islice(os.walk(root), _LOOKED_AT):  # of a home folder, named by mistake, this is much
        is_deep = len(Path(folder).parts) - len(root.parts) >= _DEPTH_APART
        folders[:] = [] if is_deep else [name for name in folders if not name.startswith(".")]
        volumes += [Path(folder, name) for name in names if name.lower().endswith(NIFTI_SUFFIXES)]
    found, unclear = _volumes_apart([path for path in volumes if not path.name.startswith(".")])
    return bool(found or unclear)


def _has_pair(folder: Path) -> bool:
    stems = {path.stem for path in image_files(folder)}
    masks = masks_among(map(folded, stems))
    images = {pair_key(stem)[0] for stem in map(folded, stems) if stem not in masks} | {folded(stem) for stem in stems}
    return any(key in images for key in masks.values()) or bool(_volumes(image_files(folder, more=NIFTI_SUFFIXES)))


def _with_masks(root: Path, folders: dict[str, Path], issues: list[Issue]) -> dict[str, Path]:
    """Return the splits but those for validation or test that have images and no mask at all, as challenges have."""
    kept = dict(folders)
    for split in ("valid", "test"):
        files = image_files(folders[split], recursive=True, more=NIFTI_SUFFIXES) if split in folders else []
        stems = [volume_stem(path) if is_nifti(path) else path.stem for path in files]
        if files and not masks_among(map(folded, stems)):
            name = folders[split].relative_to(root).as_posix()
            issues.append(split_without_masks(split, name, len(files)))
            del kept[split]
    return kept


def _way(folder: Path, path: Path) -> Folders:
    """Return the folders between a split's folder and a file, without those that say no more than images or masks.

    Of images beside their masks a short name such as `GT` is a patient's.
    """
    parts = path.relative_to(folder).parts[:-1]
    short = [len(part) <= INITIALS and split_in(part) is None for part in parts]
    return tuple(part for part, is_short in zip(parts, short, strict=True) if is_short or meaning(part) is None)


def _case(case: Case, way: Folders, meanings: FolderMeanings) -> Case:
    group = meanings.group(way, mask_of(volume_stem(case.mask)) or case.mask.name) or ""
    return replace(case, group=group, strata=meanings.strata(way))


def _volumes(files: Sequence[Path]) -> dict[Path, dict[str, Path]]:
    """Return the volumes of each sequence by their mask, of files in one folder.

    A mask that is called `mask` or `seg` alone is that of all volumes beside it, where it is the only one. Of the masks
    of `P1_flair_mask` and `P1_seg` either may be that of `P1_flair`, which is then given to both.
    """
    volumes = {path: volume_stem(path) for path in files if is_nifti(path) and not _is_margin(path)}
    masks = masks_among(volumes.values())
    volumes = {path: stem for path, stem in volumes.items() if stem in masks or not _OF_TISSUE.search(stem)}
    of_masks = [path for path, stem in volumes.items() if stem in masks or is_mask_alone(stem)]
    for is_worse in (_is_of_brain, is_mask_by_program):
        worse = [path for path in of_masks if path in volumes and is_worse(volumes[path])]
        if len(worse) < sum(path in volumes for path in of_masks):
            volumes = {path: stem for path, stem in volumes.items() if path not in worse}
    cases = {
        path: case
        for path, stem in volumes.items()
        if stem in masks and (case := mask_of(stem) or one_of_several_masks(stem)) is not None
    }
    images = {path: stem for path, stem in volumes.items() if path not in cases and not is_mask_alone(stem)}
    alone = [path for path, stem in volumes.items() if is_mask_alone(stem)]
    masks_of: dict[str, list[Path]] = defaultdict(list)
    for path, case in cases.items():
        masks_of[case].append(path)
    found: dict[Path, dict[str, Path]] = defaultdict(dict)
    for image, stem in images.items():
        # Of `P1`, `P10` and `P1_2` in one folder, neither `P10_t1` nor `P1_2_t1` is a sequence of the first.
        starts = (stem[:end] for end in range(len(stem), 0, -1) if not stem[end : end + 1].isalnum())
        of = [start for start in starts if start in masks_of]
        if not of:
            continue
        longest, *others = of
        shorter = [case for case in others if _is_sequence(longest.removeprefix(case))]
        for case in (longest, *shorter):
            for mask in masks_of[case]:
                found[mask][stem[len(case) :].strip("_-. ") or "image"] = image
        if len(alone) == 1 and _is_sequence(longest):
            found[alone[0]][stem] = image
    if len(alone) == 1 and not found and images:
        found[alone[0]] = {stem: image for image, stem in images.items()}
    return dict(found)


def _is_of_brain(stem: str) -> bool:
    return _BRAIN_MASK.search(stem) is not None


def _volumes_apart(files: Sequence[Path]) -> tuple[dict[Path, dict[str, Path]], dict[Path, list[Path]]]:
    """Return the volumes of each sequence by their mask, where masks lie in other folders than their volumes.

    Those of the smallest folder around both are taken. A mask names its volumes then: one that is called `mask` alone
    is of none, and one without a session in its name is of the only one that there is.

    Returns:
        The volumes, and the masks that several volumes of one name fit, with these.
    """
    volumes = {path: stem for path in files if is_nifti(path) and not is_mask_alone(stem := volume_stem(path))}
    masks = [path for path, stem in volumes.items() if ends_as_mask(stem) or mask_of(stem) is not None]
    automated = {path for path in masks if is_mask_by_program(volumes[path])}
    if len(automated) < sum(not _is_of_brain(volumes[path]) for path in masks):
        volumes = {path: stem for path, stem in volumes.items() if path not in automated}
    below: dict[Path, list[Path]] = defaultdict(list)
    around = Path(os.path.commonpath([path.parent for path in volumes])) if volumes else Path()
    for path in volumes:
        for folder in (one for one in path.parents if one.is_relative_to(around)):
            below[folder].append(path)
    found: dict[Path, dict[str, Path]] = {}
    unclear: dict[Path, list[Path]] = {}
    for folder in sorted(below, key=lambda one: (-len(one.parts), one)):
        members = [path for path in below[folder] if path not in found and path not in unclear]
        of_stem: dict[str, list[Path]] = defaultdict(list)
        for path in members:
            of_stem[volume_stem(path)].append(path)
        for mask, of in _volumes(members).items():
            sessions = {match[0] for name in of if (match := _SESSION.search(name))}
            kept = {
                _SESSION.sub("", name): path
                for name, path in of.items()
                if (len(sessions) < 2 or "ses-" not in name) and not _are_of_others(path, mask)
            }
            several = next(
                (of_stem[volume_stem(path)] for path in kept.values() if len(of_stem[volume_stem(path)]) > 1), None
            )
            if several is not None:
                unclear[mask] = several
            elif kept:
                found[mask] = kept
    return found, unclear


def _are_of_others(image: Path, mask: Path) -> bool:
    """Return whether a volume and a mask lie in folders with numbers that are others, and not in the mask's name."""
    stem = folded(volume_stem(mask))
    of_image, of_mask = (
        {
            folded(part)
            for part in path.parent.parts
            if any(map(str.isdigit, part)) and folded(part) not in stem and not _is_sequence(part)
        }
        for path in (image, mask)
    )
    shared = of_image & of_mask
    return bool(of_image - shared) and bool(of_mask - shared)


def _is_sequence(name: str) -> bool:
    """Return whether a name holds words for sequences, and nothing else."""
    words = split_words(name, digits=True)
    return bool(words) and SEQUENCES.issuperset(words)


def _cases(
    root: Path, folders: Mapping[str, Path], options: ReaderOptions, issues: list[Issue]
) -> dict[str, list[Case]]:
    """Return the volumes of each split with their masks, and note what is wrong.

    Raises:
        DataError: there are several sequences, and none of them is chosen.
    """
    found = {split: _volumes_below(root, folder, issues) for split, folder in folders.items()}
    for masks in found.values():
        _refuse_several_masks(root, masks, issues)
    # Of all splits together: one sequence must not be trained on and another one validated.
    names = _distinct(name for cases in found.values() for of in cases.values() for name in of)
    wanted = options.sequence
    if wanted is None and len(names) > 1:
        raise DataError(
            f"{root}: has {len(names)} sequences ({examples(names, 8)}); choose one: --sequence {names[0]}, or all as "
            f"channels: --sequence all with channels: {len(names)}."
        )
    chosen = names if wanted is None or wanted.casefold() == ALL_SEQUENCES else [wanted]
    if names and not set(map(str.casefold, chosen)) <= set(map(str.casefold, names)):
        raise DataError(f"{root}: --sequence {wanted!r}: must be one of {examples(names, 8)}.")
    _tell_of_lone(root, folders, found, chosen, issues)
    cases: dict[str, list[Case]] = {split: [] for split in folders}
    for split, masks in found.items():
        for mask, of in sorted(masks.items()):
            images = {name.casefold(): image for name, image in of.items()}
            missing = [name for name in chosen if name.casefold() not in images]
            if missing:
                message = f"no volume of the sequence {missing[0]!r} beside it."
                issues.append(Issue("error", "missing-image", mask.relative_to(root).as_posix(), None, message))
            else:
                first, *further = (images[name.casefold()] for name in chosen)
                cases[split].append(Case(first, mask, split, "", tuple(further)))
    return cases


def _volumes_below(root: Path, folder: Path, issues: list[Issue]) -> dict[Path, dict[str, Path]]:
    """Return the volumes of each sequence by their mask, of all files below a folder, and note what is not clear."""
    by_parent: dict[Path, list[Path]] = defaultdict(list)
    for path in image_files(folder, recursive=True, more=NIFTI_SUFFIXES):
        by_parent[path.parent].append(path)
    beside = {mask: of for files in by_parent.values() for mask, of in _volumes(files).items()}
    if beside:
        return beside
    found, unclear = _volumes_apart([path for files in by_parent.values() for path in files])
    for mask, fitting in sorted(unclear.items()):
        listed = ", ".join(path.relative_to(root).as_posix() for path in fitting)
        message = f"several volumes of one name fit it: {listed}; keep one of them."
        issues.append(Issue("error", "duplicate-stem", mask.relative_to(root).as_posix(), None, message))
    return found


def _refuse_several_masks(root: Path, masks: dict[Path, dict[str, Path]], issues: list[Issue]) -> None:
    """Note the volumes that several masks fit, and take these masks away."""
    of_image: dict[Path, list[Path]] = defaultdict(list)
    for mask, of in masks.items():
        for image in of.values():
            of_image[image].append(mask)
    for image, several in sorted(of_image.items()):
        if len(several) > 1 and any(mask in masks for mask in several):
            is_beside = all(path.parent == image.parent for path in several)
            listed = ", ".join(
                sorted(path.name if is_beside else path.relative_to(root).as_posix() for path in several)
            )
            message = f"several masks fit it: {listed}; keep one of them{' beside it' if is_beside else ''}."
            issues.append(Issue("error", "duplicate-stem", image.relative_to(root).as_posix(), None, message))
            for mask in several:
                masks.pop(mask, None)


def _tell_of_lone(
    root: Path,
    folders: Mapping[str, Path],
    found: Mapping[str, Mapping[Path, Mapping[str, Path]]],
    chosen: Sequence[str],
    issues: list[Issue],
) -> None:
    """Warn of volumes of the chosen sequence that no mask lies beside."""
    # Without the suffix: of `x_flair.nii` and `x_flair.nii.gz` one is a copy.
    used = {
        (path.parent, volume_stem(path))
        for masks in found.values()
        for mask, of in masks.items()
        for path in (mask, *of.values())
    }
    if not used:
        return
    ends = tuple(f"_{name.casefold()}" for name in chosen)
    lone = []
    for folder in folders.values():
        for path in image_files(folder, recursive=True, more=NIFTI_SUFFIXES):
            stem = folded(volume_stem(path)) if is_nifti(path) else ""
            is_wanted = "image" in chosen or f"_{stem}".replace("-", "_").endswith(ends)
            is_used = (path.parent, volume_stem(path)) in used
            if stem and is_wanted and not is_used and not masks_among([stem]):
                lone.append(path.relative_to(root).as_posix())
    if lone:
        message = (
            f"no mask lies beside {plural(len(lone), 'volume')} ({examples(lone)}), as x_seg.nii.gz does beside "
            "x_flair.nii.gz; left out."
        )
        issues.append(Issue("warning", "volume-without-mask", lone[0], None, message))


def _distinct(names: Iterable[str]) -> list[str]:
    """Return names that are alike in small letters once, sorted."""
    return list({name.casefold(): name for name in sorted(names)}.values())


def _read(root: Path, folder: Path, split: str, issues: list[Issue]) -> tuple[SliceRecord, ...]:
    """Return the pairs below a folder, and note what is wrong with other files."""
    files: dict[Path, list[Path]] = defaultdict(list)
    for path in image_files(folder, recursive=True):
        files[path.parent].append(path)
    records: list[SliceRecord] = []
    lone: list[str] = []
    count = 0
    for members in files.values():
        stems = {folded(path.stem) for path in members}
        named = masks_among(stems)
        masks: dict[str, list[Path]] = defaultdict(list)
        images: dict[str, list[Path]] = defaultdict(list)
        for path in members:
            stem = folded(path.stem)
            of = named.get(stem)
            if of is not None and (of in stems or mask_of(stem) is not None or not of):
                masks[of].append(path)
            else:
                images[stem].append(path)
        for stem, paths in images.items():
            count += len(paths)
            name = paths[0].relative_to(root).as_posix()
            of_stem = masks.pop(stem, [])
            key, is_mask = pair_key(stem)
            if not of_stem and not is_mask and key not in images:
                of_stem = masks.pop(key, [])
            if len(paths) > 1 or len(of_stem) > 1:
                listed = ", ".join(path.name for path in (*paths, *of_stem))
                message = f"image and mask cannot be told apart, as several files fit: {listed}."
                issues.append(Issue("error", "duplicate-stem", name, None, message))
            elif not of_stem:
                lone.append(name)
            else:
                records.append(SliceRecord(name, split, paths[0], paths[0].stem, mask=of_stem[0]))
        for paths in masks.values():
            for path in paths:
                name = path.relative_to(root).as_posix()
                issues.append(Issue("warning", "unlisted-file", name, None, "no image fits it, hence not used."))
    if lone:
        some = (
            "it has no mask beside it" if len(lone) == 1 else f"{len(lone)} of {count} images have no mask beside them"
        )
        message = f"{some} ({examples(lone)}); a slice without a tumour needs an all-zero mask, such as x_mask.png."
        issues.append(Issue("error", "missing-mask", lone[0], None, message))
    return tuple(sorted(records, key=lambda record: record.image))
