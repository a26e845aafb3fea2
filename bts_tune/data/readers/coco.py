"""COCO exports: `train/ valid/ test/`, each with an annotation file, images beside it or below it.

`val` is read as `valid`. The test split may be missing.

A file whose structure is broken is a `DataError` that names the file and the field. A broken annotation becomes an
`Issue` instead, so that one check lists all of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bts_tune.data.files import read_file
from bts_tune.data.prepared.masks import run_lengths
from bts_tune.data.readers._polygons import crosses_itself
from bts_tune.data.readers._split_folders import possible_split_folders, require_splits, split_folders
from bts_tune.data.readers.base import Reader, ReaderOptions
from bts_tune.data.records import MAX_PIXELS, Annotation, Dataset, Issue, Level, SliceRecord, image_files
from bts_tune.errors import DataError
from bts_tune.registry import READERS
from bts_tune.text import nearest, quoted

ANNOTATION_FILE = "_annotations.coco.json"

_LONGEST_PATH = 4096  # Linux opens no longer one

_Id = int | str

Value = TypeVar("Value")


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class _Category(_Strict):
    id: int
    name: str


class _Image(_Strict):
    id: _Id
    file_name: Annotated[str, Field(min_length=1)]
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]


class _File(_Strict):
    categories: list[_Category]
    images: list[_Image]
    annotations: list[dict[str, Any]]


class _Annotation(_Strict):
    id: _Id
    image_id: _Id
    category_id: int
    bbox: Any = None


class _Rle(_Strict):
    size: Annotated[list[int], Field(min_length=2, max_length=2)]
    counts: Any


_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_POLYGONS = TypeAdapter(list[list[float]], config=_STRICT)
_COUNTS = TypeAdapter(list[Annotated[int, Field(ge=0, le=MAX_PIXELS)]], config=_STRICT)


@READERS.register("coco")
class CocoReader(Reader):
    """COCO exports, as Roboflow writes them. All annotations of the chosen categories are tumour."""

    title = "COCO export"
    expects = f"train/ and valid/ (test/ is optional), each with {ANNOTATION_FILE}"
    has_categories = True

    def recognises(self, root: Path) -> bool:
        """Return whether any split has an annotation file."""
        return any((folder / ANNOTATION_FILE).is_file() for folder in possible_split_folders(root))

    def read(self, root: Path, options: ReaderOptions) -> Dataset:
        """Read the annotation file of each split.

        Raises:
            DataError: a split or its file is missing, a file is not COCO, the files disagree about a category, or a
                wanted category does not exist.
        """
        folders = split_folders(root)
        files = {split: folder / ANNOTATION_FILE for split, folder in folders.items()}
        missing = ", ".join(str(file) for file in files.values() if not file.is_file())
        if missing:
            raise DataError(f"{missing}: missing; every split of a COCO export has one.")
        require_splits(root, folders)
        parsed = {split: _parse(path) for split, path in files.items()}
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
        issues: list[Issue] = []
        counts: dict[str, dict[int, int]] = {}
        for split, content in parsed.items():
            file = _AnnotationFile(root, split, files[split], content, categories, frozenset(chosen))
            records[split] = file.records()
            issues += file.issues
            counts[split] = dict(file.counts)
        return Dataset(
            root=root,
            layout=self.name,
            categories=dict(sorted(categories.items())),
            records=records,
            issues=tuple(issues),
            tumor_categories=chosen,
            annotation_counts=counts,
        )

    def hint(self, root: Path) -> str | None:
        """Tell a single split from a dataset."""
        if (root / ANNOTATION_FILE).is_file():
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


def _parse(path: Path) -> _File:
    try:
        content = json.loads(read_file(path).decode("utf-8-sig"))
    except RecursionError:
        raise DataError(f"{path}: is not a COCO file: it is nested too deeply.") from None
    except ValueError as error:
        raise DataError(f"{path}: is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: is not a COCO file: it holds a {type(content).__name__}; an object with categories, images and "
            "annotations is needed."
        )
    try:
        return _File.model_validate(content)
    except ValidationError as error:
        raise DataError(f"{path}: {_explain(error)}.") from None


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

    def records(self) -> tuple[SliceRecord, ...]:
        images = self._images()
        annotations: dict[_Id, list[Annotation]] = {number: [] for number in images}
        seen: set[_Id] = set()
        for index, fields in enumerate(self.content.annotations):
            number = fields.get("id")
            shown = number if isinstance(number, int | str) else None
            where = self.file_name
            try:
                head = _Annotation.model_validate(fields)
                entry = images.get(head.image_id)
                if entry is None:
                    raise _BrokenError(f"image_id {quoted(head.image_id)} is not the id of an image")
                where = entry[0]
                if head.category_id not in self.categories:
                    raise _BrokenError(f"category_id {head.category_id} is not the id of a category")
                self.counts[head.category_id] += 1
                if head.id in seen:
                    self._find("warning", "duplicate-annotation-id", where, head.id, "another annotation has this id.")
                seen.add(head.id)
                if head.category_id in self.chosen:
                    segmentation = _segmentation(fields.get("segmentation"), entry[1])
                    if isinstance(segmentation, list) and any(map(crosses_itself, segmentation)):
                        message = "its outline crosses itself, so what is inside of it is for COCO's drawing to say."
                        self._find("warning", "self-crossing", where, head.id, message)
                    bbox = tuple(head.bbox) if isinstance(head.bbox, list) else None
                    annotations[head.image_id].append(Annotation(head.id, head.category_id, segmentation, bbox))
            except ValidationError as error:
                self._find("error", "broken-annotation", where, shown, f"annotations[{index}]: {_explain(error)}.")
            except _BrokenError as error:
                self._find("error", "broken-annotation", where, shown, f"annotations[{index}]: {error}.")
        return tuple(
            SliceRecord(
                name=name,
                split=self.split,
                image=self.root / name,
                image_id=number,
                width=image.width,
                height=image.height,
                annotations=tuple(annotations[number]),
            )
            for number, (name, image) in images.items()
        )

    def _images(self) -> dict[_Id, tuple[str, _Image]]:
        """Return name and entry of the usable images by id."""
        images: dict[_Id, tuple[str, _Image]] = {}
        listed: set[str] = set()
        for index, image in enumerate(self.content.images):
            name = _inside(self.root, self.folder, image.file_name)
            problem = None
            if name is None:
                code = "unsafe-path"
                problem = f"file_name {quoted(image.file_name)} is not a path inside the dataset's folder."
            elif image.width * image.height > MAX_PIXELS:
                code = "too-large"
                problem = f"{image.width} x {image.height} pixels are declared; at most {MAX_PIXELS} are allowed."
            elif image.id in images:
                code = "duplicate-image"
                problem = f"id {quoted(image.id)} is that of another image too, so annotations cannot be told apart."
            elif name in listed:
                code = "duplicate-image"
                problem = (
                    f"file_name {quoted(image.file_name)} is listed twice, so one entry lacks the other's annotations."
                )
            if name is not None and problem is None:
                images[image.id] = (name, image)
            elif problem is not None:
                where = self.file_name if name is None else name
                self._find("error", code, where, None, f"images[{index}]: {problem}")
            if name is not None:
                listed.add(name)
        for path in image_files(self.folder, recursive=True):
            name = path.relative_to(self.root).as_posix()
            if name not in listed:
                self._find("warning", "unlisted-file", name, None, f"not listed in {self.file_name}, hence not used.")
        return images

    def _find(self, level: Level, code: str, file: str, annotation: _Id | None, message: str) -> None:
        self.issues.append(Issue(level, code, file, annotation, message))


class _BrokenError(Exception):
    """An annotation cannot be used; the message lacks the full stop."""


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


def _segmentation(value: Any, image: _Image) -> list[list[float]] | dict[str, Any]:
    """Return a segmentation that can be drawn on `image`.

    Raises:
        _BrokenError: it cannot.
    """
    if isinstance(value, dict):
        rle = _validated(_Rle.model_validate, value, "segmentation")
        if rle.size != [image.height, image.width]:
            raise _BrokenError(f"segmentation.size is {rle.size}, the image's is {[image.height, image.width]}")
        if isinstance(rle.counts, str):
            runs = run_lengths(rle.counts)
        else:
            runs = _validated(_COUNTS.validate_python, rle.counts, "segmentation.counts")
        # pycocotools leaves pixels undefined where the runs are short, and may crash on empty counts.
        if not runs or min(runs) < 0 or sum(runs) != image.height * image.width:
            raise _BrokenError(
                f"segmentation.counts do not add up to the {image.height * image.width} pixels of the image"
            )
        return {"size": rle.size, "counts": rle.counts}
    if value is None or value == []:
        raise _BrokenError("segmentation is missing; a box alone is not drawn")
    polygons = _validated(_POLYGONS.validate_python, value, "segmentation")
    for index, polygon in enumerate(polygons):
        if len(polygon) % 2:
            raise _BrokenError(f"segmentation[{index}] has {len(polygon)} numbers; x and y must come in pairs")
        if not polygon:
            raise _BrokenError(f"segmentation[{index}] is empty")
    xs = [x for polygon in polygons for x in polygon[::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    far = min(xs) < -image.width or max(xs) > 2 * image.width or min(ys) < -image.height or max(ys) > 2 * image.height
    if far or max(xs) <= 0 or max(ys) <= 0 or min(xs) >= image.width or min(ys) >= image.height:
        raise _BrokenError(
            f"segmentation lies outside the image of {image.width} x {image.height} pixels: "
            f"x {min(xs):g} to {max(xs):g}, y {min(ys):g} to {max(ys):g}"
        )
    return polygons


def _validated(validate: Callable[[Any], Value], value: Any, field: str) -> Value:
    try:
        return validate(value)
    except ValidationError as error:
        raise _BrokenError(_explain(error, field)) from None


def _explain(error: ValidationError, field: str = "") -> str:
    """Return field, problem and value of a validation error's first mistake, without a full stop."""
    first = error.errors()[0]
    path = field
    for step in first["loc"]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    # Of a union, pydantic names the member that it tried.
    path = path.removeprefix(".").removesuffix(".int").removesuffix(".str")
    message = first["msg"]
    return f"{path}: {message[0].lower()}{message[1:]}, got {quoted(first['input'])}"
