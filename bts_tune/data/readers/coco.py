"""COCO annotation files, wherever they and the images lie: Roboflow, COCO 2017, CVAT, Label Studio.

- An annotation file in each of `train/ valid/ test/`, images beside it or below it.
- `annotations/instances_train.json`, …, with `train2017/`, `images/train/` or `images/`.
- One file for all images, such as `result.json` beside `images/`; the slices are split later.

A file whose structure is broken is a `DataError` that names the file and the field. A broken annotation becomes an
`Issue` instead, so that one check lists all of them. A file name that nearly is that of a file is taken for it, where
no other file fits; see `_file_names`.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from bts_tune.data.files import read_file
from bts_tune.data.layout.annotation_files import (
    ANNOTATION_FILE,
    annotation_files,
    image_folders,
    images_in,
    is_one_of_several_splits,
)
from bts_tune.data.layout.file_names import FileNames, plain
from bts_tune.data.layout.names import examples
from bts_tune.data.layout.patients import folders_of_name
from bts_tune.data.layout.split_folders import (
    require_training,
    split_folders,
    split_without_masks,
)
from bts_tune.data.parallel import parallel_map
from bts_tune.data.prepared.decoding import displayed_size
from bts_tune.data.readers._outlines import RunsByRow, ScaledOutlines
from bts_tune.data.readers._polygons import crosses_itself
from bts_tune.data.readers._segmentations import BrokenError, Strict, explain, segmentation_of, without_fraction
from bts_tune.data.readers.base import Reader, ReaderOptions
from bts_tune.data.readers.folders import with_lone_groups, with_patients
from bts_tune.data.records import MAX_PIXELS, SPLITS, Annotation, Dataset, Issue, Level, SliceRecord
from bts_tune.errors import DataError
from bts_tune.registry import READERS
from bts_tune.text import nearest, plural, quoted, without_values

_FEW = 3
_LONGEST_PATH = 4096  # Linux opens no longer one


def _number(value: Any) -> Any:
    """Return a whole number that is written as text, or as tables write it: `3.0`."""
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,15}\s*", value):
        return int(value)
    return without_fraction(value)


_Id = Annotated[int | str, BeforeValidator(without_fraction)]
_Number = Annotated[int, BeforeValidator(_number)]
_Side = Annotated[Annotated[int, Field(ge=0)] | None, BeforeValidator(_number)]


class _Category(Strict):
    id: _Number
    name: str


class _Image(Strict):
    id: _Id
    file_name: Annotated[str, Field(min_length=1)]
    width: _Side = None
    height: _Side = None


class _File(Strict):
    categories: list[_Category]
    images: list[_Image]
    annotations: list[dict[str, Any]]


class _Annotation(Strict):
    id: _Id | None = None
    image_id: _Id
    category_id: _Number
    bbox: Any = None


@READERS.register("coco")
class CocoReader(Reader):
    """COCO exports, as Roboflow writes them. All annotations of the chosen categories are tumour."""

    title = "COCO export"
    expects = f"train/ and valid/ (test/ is optional), each with {ANNOTATION_FILE}, or instances_train.json, …"
    has_categories = True

    def recognises(self, root: Path) -> bool:
        """Return whether there is an annotation file in a usual place, and not also folders of masks."""
        return bool(annotation_files(root))

    def read(self, root: Path, options: ReaderOptions) -> Dataset:
        """Read the annotation file of each split.

        Raises:
            DataError: a split or its file is missing, a file is not COCO, the files disagree about a category, or a
                wanted category does not exist.
        """
        found = annotation_files(root)
        folders = split_folders(root)
        issues: list[Issue] = []
        for split, paths in found.items():
            if len(paths) > 1:
                names = " and ".join(path.relative_to(root).as_posix() for path in paths)
                raise DataError(f"{root}: {names} may each be the annotations of {split or 'all images'}; keep one.")
        files = {split: found[split][0] for split in SPLITS if split in found}
        if any(files[split].parent == folder for split, folder in folders.items() if split in files):
            if "test" not in files and "test" in folders and len(files) > 1:
                place = folders.pop("test")
                count = len(images_in([place]))
                issues.append(split_without_masks("test", place.relative_to(root).as_posix(), count, "annotations"))
            missing = ", ".join(
                str(folder / ANNOTATION_FILE) for split, folder in folders.items() if split not in files
            )
            if missing:
                raise DataError(f"{missing}: missing; every split of a COCO export has one.")
        own: tuple[str, ...] | None = None
        if "train" not in files and None in found:
            own = ("train", *files) if files else ()
            files = {"train": found[None][0], **files}
        require_training(root, files)
        parsed = {split: _parse(path, may_lack_annotations=split == "test") for split, path in files.items()}
        if "test" in parsed and parsed["test"].images and not parsed["test"].annotations:
            name, count = files.pop("test").relative_to(root).as_posix(), len(parsed.pop("test").images)
            issues.append(split_without_masks("test", name, count, "annotations"))
        categories: dict[int, str] = {}
        for split, content in parsed.items():
            for category in content.categories:
                if categories.setdefault(category.id, category.name) != category.name:
                    raise DataError(
                        f"{files[split]}: categories: id {category.id} is named {quoted(category.name)} here and "
                        f"{quoted(categories[category.id])} in another place; an id must mean the same in all splits."
                    )
        chosen = choose_categories(options.tumor_categories, categories)
        records: dict[str, tuple[SliceRecord, ...]] = {}
        counts: dict[str, dict[int, int]] = {}
        listed: set[str] = set()
        of_split = {split: image_folders(root, None if own == () else split, path) for split, path in files.items()}
        for split, content in parsed.items():
            file = _AnnotationFile(root, split, files[split], content, categories, frozenset(chosen))
            records[split] = file.records(of_split[split], listed)
            issues += file.issues
            counts[split] = dict(file.counts)
        reported: set[str] = set()
        for split, places in of_split.items():
            for path in images_in(places):
                name = path.relative_to(root).as_posix()
                if name not in listed and name not in reported:
                    reported.add(name)
                    message = f"not listed in {files[split].relative_to(root).as_posix()}, hence not used."
                    issues.append(Issue("warning", "unlisted-file", name, None, message))
        within = {one.name: folders_of_name(one.name) for members in records.values() for one in members}
        return Dataset(
            root=root,
            layout=self.name,
            categories=dict(sorted(categories.items())),
            records=with_lone_groups(with_patients(records, within, issues), issues),
            issues=tuple(issues),
            tumor_categories=chosen,
            annotation_counts=counts,
            own_splits=own,
        )

    def hint(self, root: Path) -> str | None:
        """Tell a single split from a dataset."""
        if (root / ANNOTATION_FILE).is_file() and is_one_of_several_splits(root):
            return "is a single split; name the folder above it, which holds train/ and valid/."
        return None


def choose_categories(wanted: Sequence[str] | None, categories: Mapping[int, str]) -> tuple[int, ...]:
    """Return the ids of the wanted categories, sorted.

    A word is compared with the names first and then with the ids, so in a dataset whose category 2 is named "1" the
    word `1` means category 2. `id:1` and `name:1` say which is meant. A name that several categories share means all
    of them.

    Args:
        wanted: names or ids; None for all categories.
        categories: names by id.

    Raises:
        DataError: a word fits no category, or there are no words; the sentence lists the known categories.
    """
    if wanted is None:
        return tuple(sorted(categories))
    known = ", ".join(f"{number} {name!r}" for number, name in sorted(categories.items())) or "none"
    if not wanted:
        raise DataError(f"Tumour categories: none is given; the dataset's categories (id, name) are: {known}.")
    chosen: set[int] = set()
    for word in wanted:
        kind, _, rest = word.partition(":")
        by_name = {number for number, name in categories.items() if name == (rest if kind == "name" else word)}
        by_id = {number for number in categories if str(number) == (rest if kind == "id" else word)}
        found = by_name or by_id
        if not found:
            hint = nearest(word, list(categories.values()))
            raise DataError(
                f"Tumour categories: {word!r} is not a category of the dataset.{hint} Known (id, name): {known}."
            )
        chosen |= found
    return tuple(sorted(chosen))


def _parse(path: Path, *, may_lack_annotations: bool = False) -> _File:
    data = read_file(path)
    try:
        content = json.loads(data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"))
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text in UTF-8 or UTF-16; save it as UTF-8.") from None
    except RecursionError:
        raise DataError(f"{path}: is not a COCO file: it is nested too deeply.") from None
    except ValueError as error:
        raise DataError(f"{path}: is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: is not a COCO file: it holds a {type(content).__name__}; an object with categories, images and "
            "annotations is needed."
        )
    if content and all(isinstance(one, dict) and "regions" in one for one in content.values()):
        raise DataError(f"{path}: is a project of the VGG Image Annotator (VIA); export it from there as COCO.")
    if may_lack_annotations:
        content.setdefault("annotations", [])
    try:
        return _File.model_validate(content)
    except ValidationError as error:
        raise DataError(f"{path}: {explain(error)}.") from None


def _plain(number: int | str) -> int | str:
    """Return an id as a number where it is one, written as text or with zeros before it."""
    return int(number) if isinstance(number, str) and re.fullmatch(r"[0-9]{1,18}", number) else number


class _AnnotationFile:
    """The parsed annotation file of one split: its records, and what is wrong with it."""

    def __init__(
        self,
        root: Path,
        split: str,
        file: Path,
        content: _File,
        categories: Mapping[int, str],
        chosen: frozenset[int],
    ) -> None:
        self.root = root
        self.split = split
        self.folder = file.parent
        self.file_name = file.relative_to(root).as_posix()
        self.content = content
        self.categories = categories
        self.chosen = chosen
        self.issues: list[Issue] = []
        self.counts: Counter[int] = Counter()
        self.dropped: frozenset[int | str] = frozenset()

    def records(self, folders: Sequence[Path], listed: set[str]) -> tuple[SliceRecord, ...]:
        """Return the records, and note what is wrong.

        Args:
            folders: where its images may lie.
            listed: names that earlier files list; those of this one are added.
        """
        images = self._images(folders, listed)
        outlines, runs = ScaledOutlines(), RunsByRow()
        annotations: dict[int | str, list[Annotation]] = {number: [] for number in images}
        counts: dict[int | str, Counter[int]] = {number: Counter() for number in images}
        # Some tools write the ids of images as text, and those that annotations name as numbers.
        by_number: dict[int | str, list[int | str]] = defaultdict(list)
        for one in (*images, *self.dropped):
            by_number[_plain(one)].append(one)
        broken: dict[str, list[tuple[str, int | str | None, str]]] = defaultdict(list)
        repeated: list[tuple[str, int | str]] = []
        seen: set[int | str] = set()
        for index, fields in enumerate(self.content.annotations):
            number = fields.get("id")
            shown = number if isinstance(number, int | str) else None
            where = self.file_name
            try:
                head = _Annotation.model_validate(fields)
                own_id = index if head.id is None else head.id
                image_id = head.image_id
                if image_id not in images and image_id not in self.dropped:
                    alike = by_number.get(_plain(image_id), [])
                    image_id = alike[0] if len(alike) == 1 else image_id
                entry = images.get(image_id)
                if entry is None and image_id in self.dropped:
                    continue
                if entry is None:
                    raise BrokenError(f"image_id {quoted(head.image_id)} is not the id of an image")
                where, width, height = entry
                if head.category_id not in self.categories:
                    raise BrokenError(f"category_id {head.category_id} is not the id of a category")
                self.counts[head.category_id] += 1
                counts[image_id][head.category_id] += 1
                if head.id in seen:
                    repeated.append((where, own_id))
                if head.id is not None:
                    seen.add(head.id)
                if head.category_id in self.chosen:
                    segmentation = segmentation_of(fields.get("segmentation"), width, height)
                    if isinstance(segmentation, list):
                        outlines.compare(segmentation, head.bbox, fields.get("area"), (width, height))
                    else:
                        runs.compare(segmentation, head.bbox)
                    if isinstance(segmentation, list) and any(map(crosses_itself, segmentation)):
                        message = "its outline crosses itself, so what is inside of it is for COCO's drawing to say."
                        self._find("warning", "self-crossing", where, own_id, message)
                    bbox = tuple(head.bbox) if isinstance(head.bbox, list) else None
                    annotations[image_id].append(Annotation(own_id, head.category_id, segmentation, bbox))
            except (ValidationError, BrokenError) as error:
                said = explain(error) if isinstance(error, ValidationError) else str(error)
                broken[without_values(said)].append((where, shown, f"annotations[{index}]: {said}."))
        for found in broken.values():
            self._find_together("error", "broken-annotation", found)
        message = "another annotation has this id."
        self._find_together("warning", "duplicate-annotation-id", [(*one, message) for one in repeated])
        for problem in (one for one in (outlines.problem(), runs.problem()) if one is not None):
            self._find(problem.level, problem.code, self.file_name, None, problem.message)
        return tuple(
            SliceRecord(
                name=name,
                split=self.split,
                image=self.root / name,
                image_id=number,
                width=width,
                height=height,
                annotations=tuple(annotations[number]),
                annotation_counts=tuple(sorted(counts[number].items())),
            )
            for number, (name, width, height) in images.items()
        )

    def _images(self, folders: Sequence[Path], listed: set[str]) -> dict[int | str, tuple[str, int, int]]:
        """Return name, width and height of the usable images by id."""
        images: dict[int | str, tuple[str, int, int]] = {}
        names = FileNames(self.root, self.folder, folders, images_in(folders))
        # A path that is absolute or leads out is of another machine; its end may tell which file here is meant.
        absolute = {
            image.file_name
            for image in self.content.images
            if image.file_name.startswith("/") or _leads_out(self.root, self.folder, image.file_name)
        }
        inside = [
            _inside(self.root, self.folder, plain(one) if one in absolute else one)
            for one in (image.file_name for image in self.content.images)
        ]
        resolved = names.resolve(
            [
                (image.file_name, name)
                for image, name in zip(self.content.images, inside, strict=True)
                if name is not None
            ]
        )
        inside = [
            name if image.file_name not in absolute or name in resolved or (name and names.exists(name)) else None
            for image, name in zip(self.content.images, inside, strict=True)
        ]
        missing: list[str] = []
        outside = [image.file_name for image, name in zip(self.content.images, inside, strict=True) if name is None]
        own: set[str] = set()
        dropped: set[int | str] = set()
        for index, (image, written) in enumerate(zip(self.content.images, inside, strict=True)):
            name = None if written is None else resolved.get(written, written)
            problem = None
            if name is None:
                code = "unsafe-path"
                problem = f"file_name {quoted(image.file_name)} is not a path inside the dataset's folder."
                if len(outside) > _FEW:  # one cause, one error
                    if image.file_name != outside[0]:
                        dropped.add(image.id)
                        continue
                    problem = problem.removesuffix(".") + (
                        f", and so are {len(outside) - 1} more of {len(self.content.images)}; write them relative to "
                        "the annotation file."
                    )
            elif (image.width or 0) * (image.height or 0) > MAX_PIXELS:
                code = "too-large"
                problem = f"{image.width} x {image.height} pixels are declared; at most {MAX_PIXELS} are allowed."
            elif image.id in images:
                code = "duplicate-image"
                problem = f"id {quoted(image.id)} is that of another image too, so annotations cannot be told apart."
            elif name in own:
                code = "duplicate-image"
                problem = (
                    f"file_name {quoted(image.file_name)} is listed twice, so one entry lacks the other's annotations."
                )
            if name is not None and problem is None:
                images[image.id] = (name, image.width or 0, image.height or 0)
                if not names.exists(name):
                    missing.append(name)
            elif problem is not None:
                dropped.add(image.id)
                where = self.file_name if name is None else name
                self._find("error", code, where, None, f"images[{index}]: {problem}")
            if name is not None:
                own.add(name)
        several = own & listed
        if several:
            twice = {number for number, one in images.items() if one[0] in several}
            images = {number: one for number, one in images.items() if number not in twice}
            dropped |= twice
            message = f"lists {plural(len(several), 'image')} that the file of another split lists too "
            message += f"({examples(sorted(several))}); a slice has one split."
            self._find("error", "several-splits", self.file_name, None, message)
        listed |= own
        if names.resolved:
            self._find("warning", "resolved-names", self.file_name, None, names.said(len(self.content.images)))
        if missing:
            absent = {number for number, one in images.items() if one[0] in set(missing)}
            images = {number: one for number, one in images.items() if number not in absent}
            dropped |= absent
            cause = names.cause(missing, listed)
            count = "" if len(missing) == 1 else f" This is so of {len(missing)} of {len(self.content.images)} images: "
            count += examples(missing) + "." if count else ""
            self._find("error", "missing-image", missing[0], None, f"the file does not exist{cause}.{count}")
        images = self._with_sizes(images, dropped)
        # Of the annotations of these, nothing is to be said: their images' errors stand for them.
        self.dropped = frozenset(dropped - images.keys())
        return images

    def _with_sizes(
        self, images: Mapping[int | str, tuple[str, int, int]], dropped: set[int | str]
    ) -> dict[int | str, tuple[str, int, int]]:
        """Return the images with the sizes of their files, where their entries give none; the others are dropped."""

        def size(name: str) -> tuple[int, int] | str:
            try:
                return displayed_size(self.root / name)
            except DataError as error:
                return str(error).removeprefix(f"{self.root / name}: ")

        unknown = {number: name for number, (name, *sides) in images.items() if not all(sides)}
        if not unknown:
            return dict(images)
        found = dict(zip(unknown, parallel_map(size, list(unknown.values())), strict=True))
        message = (
            f"of its {plural(len(images), 'image')} {len(unknown)} have no width and height, such as "
            f"{next(iter(unknown.values()))}; those of the files are taken."
        )
        self._find("warning", "no-size", self.file_name, None, message)
        known: dict[int | str, tuple[str, int, int]] = {}
        for number, (name, width, height) in images.items():
            of_file = found.get(number, (width, height))
            if isinstance(of_file, str):
                message = f"its entry has no width and height, and its file tells none: {of_file}"
                self._find("error", "unreadable-image", name, None, message)
                dropped.add(number)
            else:
                known[number] = (name, *of_file)
        return known

    def _find(self, level: Level, code: str, file: str, annotation: int | str | None, message: str) -> None:
        self.issues.append(Issue(level, code, file, annotation, message))

    def _find_together(self, level: Level, code: str, found: Sequence[tuple[str, int | str | None, str]]) -> None:
        """Note what is wrong with several annotations: file, annotation and message of each; many are one issue."""
        if len(found) <= _FEW:
            for file, annotation, message in found:
                self._find(level, code, file, annotation, message)
            return
        file, annotation, message = found[0]
        ids = examples(str(number) for _, number, _ in found if number is not None)
        also = f" This is so of {len(found)} of {len(self.content.annotations)} annotations{f': {ids}' if ids else ''}."
        self._find(level, code, file, annotation, message + also)


def _leads_out(root: Path, folder: Path, file_name: str) -> bool:
    return file_name.startswith("../") and _inside(root, folder, file_name) is None


def _inside(root: Path, folder: Path, file_name: str) -> str | None:
    """Return the name of `folder / file_name` relative to `root`, or None where it is not a plain path inside it."""
    try:
        file_name.encode()
    except UnicodeEncodeError:
        return None
    if len(file_name) > _LONGEST_PATH or "\0" in file_name or PurePosixPath(file_name).is_absolute():
        return None
    steps: list[str] = []
    for step in (folder.relative_to(root) / file_name).parts:
        if step != "..":
            steps.append(step)
        elif steps:
            steps.pop()
        else:
            return None
    return "/".join(steps) or None
