"""Pascal VOC: `JPEGImages/`, `SegmentationClass/`, and lists of stems in `ImageSets/Segmentation/`.

The lists `train.txt`, `val.txt` and `test.txt` are the splits, also in `ImageSets/Main/` or `ImageSets/` itself;
without a list of training images there are none, and the slices are split later. Images that no list names are left
out, as VOC has more of them than masks.
"""

from __future__ import annotations

from pathlib import Path

from bts_tune.data.files import read_file
from bts_tune.data.layout.names import split_in, split_words
from bts_tune.data.layout.patients import folders_between
from bts_tune.data.layout.split_folders import Place, subfolders
from bts_tune.data.readers.base import Reader, ReaderOptions
from bts_tune.data.readers.folders import pair, with_lone_groups, with_patients
from bts_tune.data.records import IMAGE_SUFFIXES, SPLITS, Dataset, Issue, SliceRecord
from bts_tune.errors import DataError
from bts_tune.registry import READERS
from bts_tune.text import quoted

_IMAGES, _MASKS = "jpegimages", "segmentationclass"
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
            only = frozenset(path.stem for path in Place(masks).files())
            pairs = pair(root, "train", Place(images, only=only), Place(masks))
            records["train"], issues = tuple(pairs.records), pairs.issues
        else:
            taken: dict[str, str] = {}
            known_stems = frozenset(path.stem for path in Place(images).files())
            for split in (one for one in SPLITS if one in lists):
                name = lists[split].relative_to(root).as_posix()
                stems = _stems(lists[split], known_stems)
                for stem in sorted(stems & taken.keys()):
                    message = f"lists {quoted(stem)}, which {taken[stem]} lists too; a slice has one split."
                    issues.append(Issue("error", "several-splits", name, None, message))
                stems -= taken.keys()
                taken |= dict.fromkeys(stems, name)
                places = (Place(folder, only=stems) for folder in (images, masks))
                pairs = pair(root, split, *places)
                known = {str(one.image_id) for one in pairs.records} | {Path(one.file).stem for one in pairs.issues}
                missing = sorted(stems - known)
                if missing:
                    message = (
                        f"lists {len(missing)} of {len(stems)} stems without a file, such as {quoted(missing[0])}."
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


def _lists(root: Path) -> dict[str, Path]:
    """Return the list of each split; `trainval.txt` is of two and is passed over."""
    for place in _LISTS:
        folder = _below(root, *place)
        files = [] if folder is None else sorted(path for path in folder.iterdir() if path.suffix.lower() == ".txt")
        # Other words than the split's are those of a class, as in `tumor_train.txt`.
        lists = {path: split for path in files if (split := split_in(path.stem)) is not None}
        plain = {split: path for path, split in lists.items() if len(split_words(path.stem)) == 1}
        if lists:
            return plain or {split: path for path, split in lists.items()}
    return {}


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
