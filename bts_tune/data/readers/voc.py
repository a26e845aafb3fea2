"""Pascal VOC: `JPEGImages/`, `SegmentationClass/`, and lists of stems in `ImageSets/Segmentation/`.

The lists `train.txt`, `val.txt` and `test.txt` are the splits, also in `ImageSets/Main/` or `ImageSets/` itself;
those of classes (`glioma_train.txt`) are united where there are no others. Without `train.txt`, the training images
are those of `trainval.txt` that `val.txt` does not name. Without either there are no splits, and the slices are split
later. Images that no list names are left out, as VOC has more of them than masks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from bts_tune.data.files import read_file
from bts_tune.data.layout.names import bare, examples, folded, split_in, split_words
from bts_tune.data.layout.patients import folders_between
from bts_tune.data.layout.split_folders import Place, subfolders
from bts_tune.data.readers._pairing import pair
from bts_tune.data.readers.base import Reader, ReaderOptions
from bts_tune.data.readers.folders import with_lone_groups, with_patients
from bts_tune.data.records import IMAGE_SUFFIXES, SPLITS, Dataset, Issue, SliceRecord
from bts_tune.errors import DataError
from bts_tune.registry import READERS
from bts_tune.text import quoted

_IMAGES, _MASKS = "jpegimages", "segmentationclass"
_BOTH = "trainval"
_LISTS = (("imagesets", "segmentation"), ("imagesets", "main"), ("imagesets",))


@READERS.register("voc")
class VocReader(Reader):
    """Images and masks in Pascal VOC's folders."""

    title = "Pascal VOC folders"
    expects = "JPEGImages/ and SegmentationClass/ (Pascal VOC)"

    def recognises(self, root: Path) -> bool:
        """Return whether the folders of images and masks are there."""
        return _below(root, _IMAGES) is not None and _below(root, _MASKS) is not None

    def read(self, root: Path, options: ReaderOptions) -> Dataset:
        """Read the pairs of each list, or all of them.

        Raises:
            DataError: a folder is missing, or a list is no text.
        """
        images, masks = _below(root, _IMAGES), _below(root, _MASKS)
        if images is None or masks is None:
            raise DataError(f"{root}: Pascal VOC needs both JPEGImages/ and SegmentationClass/.")
        lists = _lists(root)
        issues: list[Issue] = []
        records: dict[str, tuple[SliceRecord, ...]] = {}
        if "train" not in lists:
            pairs = pair(root, "train", _of_same_names(images, _stems_in(masks)), Place(masks))
            records["train"], issues = tuple(pairs.records), pairs.issues
            if lists:
                unused = sorted(path.relative_to(root).as_posix() for paths in lists.values() for path in paths)
                message = (
                    f"the lists of splits {examples(unused)} are not used, as none lists the training images; add "
                    "train.txt or trainval.txt."
                )
                issues.append(Issue("warning", "unused-splits", unused[0], None, message))
        else:
            taken: dict[str, str] = {}
            known = _stems_in(images)
            for split in (one for one in SPLITS if one in lists):
                name = lists[split][0].relative_to(root).as_posix()
                stems = _listed(lists[split], known)
                if split == "train" and _is_of_both(lists[split][0]):
                    stems -= _listed(lists.get("valid", []), known)
                for stem in sorted(stems & taken.keys()):
                    message = f"lists {quoted(stem)}, which {taken[stem]} lists too; a slice has one split."
                    issues.append(Issue("error", "several-splits", name, None, message))
                stems -= taken.keys()
                taken |= dict.fromkeys(stems, name)
                pairs = pair(root, split, Place(images, only=stems), _of_same_names(masks, stems))
                missing = sorted(stems - known)
                if missing:
                    message = (
                        f"lists {len(missing)} of {len(stems)} stems without an image, such as {quoted(missing[0])}."
                    )
                    issues.append(Issue("error", "missing-image", name, None, message))
                records[split] = tuple(pairs.records)
                issues += pairs.issues
        folders = {
            one.name: folders_between(one.image.parent.relative_to(images).parts)
            for members in records.values()
            for one in members
        }
        return Dataset(
            root=root,
            layout=self.name,
            categories={},
            records=with_lone_groups(with_patients(records, folders, issues), issues),
            issues=tuple(issues),
            own_splits=None if "train" in lists else (),
        )


def _below(folder: Path, *names: str) -> Path | None:
    """Return a folder below another one, in any case."""
    for name in names:
        found = [one for one in subfolders(folder) if one.name.casefold() == name]
        if not found:
            return None
        folder = found[0]
    return folder


def _stems_in(folder: Path) -> frozenset[str]:
    return frozenset(path.stem for path in Place(folder).files())


def _of_same_names(folder: Path, stems: frozenset[str]) -> Place:
    """Return the files of a folder that may be images or masks of these stems, as `s1_mask` is of `s1`."""
    names = {folded(bare(stem)) for stem in stems}
    return Place(folder, only=frozenset(stem for stem in _stems_in(folder) if folded(bare(stem)) in names))


def _lists(root: Path) -> dict[str, list[Path]]:
    """Return the lists of each split, several where each is of a class; of training `trainval.txt` for want of others.

    Those of the first folder that has a list of training images, else of the first that has any.
    """
    folders = [folder for place in _LISTS if (folder := _below(root, *place)) is not None]
    found = [lists for folder in folders if (lists := _lists_in(folder))]
    with_training = [lists for lists in found if not _is_of_both(lists.get("train", [Path(_BOTH)])[0])]
    with_both = [lists for lists in found if "train" in lists]
    return next(iter((*with_training, *with_both, *found)), {})


def _lists_in(folder: Path) -> dict[str, list[Path]]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".txt")
    splits = {path: split for path in files if (split := split_in(path.stem)) is not None}
    splits = splits if "train" in splits.values() else splits | {path: "train" for path in files if _is_of_both(path)}
    # Other words than the split's are those of a class, as in `tumor_train.txt`.
    plain = {path: split for path, split in splits.items() if _word(path) == _BOTH or len(split_words(path.stem)) == 1}
    found: dict[str, list[Path]] = defaultdict(list)
    for path, split in (plain or splits).items():
        found[split].append(path)
    return dict(found)


def _is_of_both(path: Path) -> bool:
    """Return whether a list is of the images for training and for validation, as `trainval.txt` is."""
    return _word(path).endswith(_BOTH)


def _word(path: Path) -> str:
    return "".join(split_words(path.stem))


def _listed(paths: Sequence[Path], known: frozenset[str]) -> frozenset[str]:
    return frozenset[str]().union(*(_stems(path, known) for path in paths))


def _stems(path: Path, known: frozenset[str]) -> frozenset[str]:
    """Return the stems that a list names: a line each, which may have a suffix, or a number behind them."""
    try:
        lines = read_file(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text in UTF-8; a stem a line is needed.") from None
    return frozenset(_stem(line.strip(), known) for line in lines if line.strip())


def _stem(line: str, known: frozenset[str]) -> str:
    first = line.split()[0]
    forms = (line, _without_suffix(line), first, _without_suffix(first))
    return next((form for form in forms if form in known), first)


def _without_suffix(name: str) -> str:
    return name.rpartition(".")[0] if name.lower().endswith(IMAGE_SUFFIXES) else name
