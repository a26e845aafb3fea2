"""COCO exports: the annotation file of a split -> records, and annotations -> masks.

A file whose structure is broken stops the reading with a `DataError` that names the file and the field. A broken
annotation becomes a `Finding` instead, so that one check lists all of them.

Masks are drawn by pycocotools, hence exactly as COCO defines them: the polygons of an annotation are united, and so are
the annotations of an image; holes can only be expressed by run-length encodings.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bts_tune.config import explain
from bts_tune.data.records import MAX_PIXELS, Annotation, Dataset, Finding, Level, SliceRecord, image_files
from bts_tune.errors import DataError, nearest

ANNOTATION_FILE = "_annotations.coco.json"

_Id = int | str


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


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
    counts: str | list[Annotated[int, Field(ge=0, le=MAX_PIXELS)]]


_POLYGONS = TypeAdapter(list[list[float]], config=ConfigDict(strict=True, allow_inf_nan=False))

# A number of a compressed run-length encoding: characters with the continuation bit set, then one without it.
_COMPRESSED = re.compile(r"(?:[P-o]{0,6}[0-O])+")


def read_coco(root: Path, files: Mapping[str, Path], wanted: Sequence[str] | None = None) -> Dataset:
    """Read the annotation file of each split.

    Args:
        root: folder of the dataset.
        files: annotation file by split; images lie beside it.
        wanted: categories that count as tumour, see `choose_categories`; None for all.

    Raises:
        DataError: a file is not COCO, the files disagree about a category, or a wanted category does not exist.
    """
    parsed = {split: _parse(path) for split, path in files.items()}
    categories: dict[int, str] = {}
    for split, content in parsed.items():
        for category in content.categories:
            if categories.setdefault(category.id, category.name) != category.name:
                raise DataError(
                    f"{files[split]}: categories: id {category.id} is named {category.name!r} here and "
                    f"{categories[category.id]!r} in another place; an id must mean the same in all splits."
                )
    chosen = choose_categories(wanted, categories)
    records: dict[str, tuple[SliceRecord, ...]] = {}
    findings: list[Finding] = []
    counts: dict[str, dict[int, int]] = {}
    for split, content in parsed.items():
        reader = _SplitReader(root, split, files[split], content, categories, frozenset(chosen))
        records[split] = reader.read()
        findings += reader.findings
        counts[split] = dict(reader.counts)
    return Dataset(
        root=root,
        layout="coco",
        categories=dict(sorted(categories.items())),
        records=records,
        findings=tuple(findings),
        tumor_categories=chosen,
        annotation_counts=counts,
    )


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


def draw_mask(annotations: Sequence[Annotation], height: int, width: int) -> np.ndarray:
    """Return the union of annotations as uint8 [height, width] of 0 and 1; zeros where there are none."""
    encodings = [encoding for one in annotations for encoding in encode(one, height, width)]
    if not encodings:
        return np.zeros((height, width), dtype=np.uint8)
    return np.ascontiguousarray(coco_mask.decode(coco_mask.merge(encodings)))


def drawn_area(annotation: Annotation, height: int, width: int) -> int:
    """Return how many pixels of an image of this size the annotation covers."""
    encodings = encode(annotation, height, width)
    return int(coco_mask.area(coco_mask.merge(encodings))) if encodings else 0


def encode(annotation: Annotation, height: int, width: int) -> list[dict[str, Any]]:
    """Return the annotation's parts as pycocotools' run-length encodings; none for polygons without an inside."""
    segmentation = annotation.segmentation
    if isinstance(segmentation, list):
        # pycocotools takes a list of four numbers for a box; two points of a polygon are not one.
        polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
        return coco_mask.frPyObjects(polygons, height, width) if polygons else []
    if isinstance(segmentation["counts"], str):
        return [{"size": [height, width], "counts": segmentation["counts"].encode()}]
    return [coco_mask.frPyObjects(segmentation, height, width)]


def _parse(path: Path) -> _File:
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
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
        raise DataError(f"{path}: {_short(explain(error))}") from None


class _SplitReader:
    """Turns one parsed annotation file into records, and collects what is wrong with it."""

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
        self.findings: list[Finding] = []
        self.counts: Counter[int] = Counter()

    def read(self) -> tuple[SliceRecord, ...]:
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
                    raise _BrokenError(f"image_id {head.image_id!r} is not the id of an image")
                where = entry[0]
                if head.category_id not in self.categories:
                    raise _BrokenError(f"category_id {head.category_id} is not the id of a category")
                self.counts[head.category_id] += 1
                if head.id in seen:
                    self._find("warning", "duplicate-annotation-id", where, head.id, "another annotation has this id.")
                seen.add(head.id)
                if head.category_id in self.chosen:
                    segmentation = _segmentation(fields.get("segmentation"), entry[1])
                    bbox = tuple(head.bbox) if isinstance(head.bbox, list) else None
                    annotations[head.image_id].append(Annotation(head.id, head.category_id, segmentation, bbox))
            except ValidationError as error:
                message = f"annotations[{index}]: {_short(explain(error))}"
                self._find("error", "broken-annotation", where, shown, message)
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
                problem = f"file_name {image.file_name!r} is not a path inside the dataset's folder."
            elif image.width * image.height > MAX_PIXELS:
                code = "too-large"
                problem = f"{image.width} x {image.height} pixels are declared; at most {MAX_PIXELS} are allowed."
            elif image.id in images:
                code = "duplicate-image"
                problem = f"id {image.id!r} is that of another image too, so annotations cannot be told apart."
            elif name in listed:
                code = "duplicate-image"
                problem = f"file_name {image.file_name!r} is listed twice, so one entry lacks the other's annotations."
            if name is not None and problem is None:
                images[image.id] = (name, image)
            elif problem is not None:
                where = self.file_name if name is None else name
                self._find("error", code, where, None, f"images[{index}]: {_short(problem)}")
            if name is not None:
                listed.add(name)
        for path in image_files(self.folder, recursive=True):
            name = path.relative_to(self.root).as_posix()
            if name not in listed:
                self._find("warning", "unlisted-file", name, None, f"not listed in {self.file_name}, hence not used.")
        return images

    def _find(self, level: Level, code: str, file: str, annotation: _Id | None, message: str) -> None:
        self.findings.append(Finding(level, code, file, annotation, message))


class _BrokenError(Exception):
    """An annotation cannot be used; the message lacks the full stop."""


def _inside(root: Path, folder: Path, file_name: str) -> str | None:
    """Return the name of `folder / file_name` relative to `root`, or None where it is not a plain path inside it."""
    try:
        file_name.encode()
    except UnicodeEncodeError:
        return None
    if "\0" in file_name or PurePosixPath(file_name).is_absolute():
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
        _BrokenError or ValidationError: it cannot.
    """
    if isinstance(value, dict):
        rle = _Rle.model_validate(value)
        if rle.size != [image.height, image.width]:
            raise _BrokenError(f"segmentation.size is {rle.size}, the image's is {[image.height, image.width]}")
        runs = run_lengths(rle.counts) if isinstance(rle.counts, str) else rle.counts
        # pycocotools leaves pixels undefined where the runs are short, and may crash on empty counts.
        if runs is None or not runs or min(runs) < 0 or sum(runs) != image.height * image.width:
            raise _BrokenError(
                f"segmentation.counts do not add up to the {image.height * image.width} pixels of the image"
            )
        return {"size": rle.size, "counts": rle.counts}
    if value is None or value == []:
        raise _BrokenError("segmentation is missing; a box alone is not drawn")
    polygons = _POLYGONS.validate_python(value)
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


def run_lengths(counts: str) -> list[int] | None:
    """Return the run lengths of COCO's compressed encoding, or None where the text is not one.

    The format is that of pycocotools' `rleToString`: little-endian groups of five bits with a continuation bit and a
    sign, each character offset by 48, every number from the fourth on relative to the one two places before.
    pycocotools decodes it, but reads past the end of a broken text; this is what tells a broken text.
    """
    if not _COMPRESSED.fullmatch(counts):
        return None
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs


def _short(message: str, limit: int = 300) -> str:
    """Cut a message that quotes a large value of the file."""
    return message if len(message) <= limit else f"{message[: limit - 2]} …"
