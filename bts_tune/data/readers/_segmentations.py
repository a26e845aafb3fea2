"""What stands in an annotation's `segmentation`, as exports write it: polygons or run lengths that can be drawn."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pycocotools import mask as coco_mask
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from bts_tune.data.prepared.masks import run_lengths
from bts_tune.data.records import MAX_PIXELS
from bts_tune.text import quoted

Value = TypeVar("Value")


class Strict(BaseModel):
    """A part of an annotation file; nothing is converted."""

    model_config = ConfigDict(strict=True)


def without_fraction(value: Any) -> Any:
    """Return a whole number that is written as `3.0`, as tables do, as `3`."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


class _Rle(Strict):
    size: Annotated[list[Annotated[int, BeforeValidator(without_fraction)]], Field(min_length=2, max_length=2)]
    counts: Any


_FEWEST_NUMBERS = 6
"""Of a polygon: x and y of 3 points."""

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_POLYGONS = TypeAdapter(list[list[float]], config=_STRICT)
_Run = Annotated[int, BeforeValidator(without_fraction), Field(ge=0, le=MAX_PIXELS)]
_COUNTS = TypeAdapter(list[_Run], config=_STRICT)


class BrokenError(Exception):
    """An annotation cannot be used; the message lacks the full stop."""


def segmentation_of(value: Any, width: int, height: int) -> list[list[float]] | dict[str, Any]:
    """Return a segmentation that can be drawn on an image of this size.

    Raises:
        BrokenError: it cannot.
    """
    if isinstance(value, dict):
        return _run_length_encoding(value, width, height)
    if isinstance(value, list) and value and all(isinstance(one, dict) and "counts" in one for one in value):
        parts = [_run_length_encoding(one, width, height) for one in value]
        return parts[0] if len(parts) == 1 else _united(parts)
    if value is None or value == []:
        raise BrokenError("segmentation is missing; a box alone is not drawn")
    value = _without_pairs(_without_names(value))
    polygons = validated(_POLYGONS.validate_python, value, "segmentation")
    for index, polygon in enumerate(polygons):
        if len(polygon) % 2:
            raise BrokenError(f"segmentation[{index}] has {len(polygon)} numbers; x and y must come in pairs")
    if all(len(polygon) < _FEWEST_NUMBERS for polygon in polygons):
        raise BrokenError("segmentation has no polygon of 3 points; a box alone is not drawn")
    xs = [x for polygon in polygons for x in polygon[::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    far = min(xs) < -width or max(xs) > 2 * width or min(ys) < -height or max(ys) > 2 * height
    if far or max(xs) <= 0 or max(ys) <= 0 or min(xs) >= width or min(ys) >= height:
        raise BrokenError(
            f"segmentation lies outside the image of {width} x {height} pixels: "
            f"x {min(xs):g} to {max(xs):g}, y {min(ys):g} to {max(ys):g}"
        )
    return polygons


def _run_length_encoding(value: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    rle = validated(_Rle.model_validate, value, "segmentation")
    if rle.size != [height, width]:
        raise BrokenError(f"segmentation.size is {rle.size}, the image's is {[height, width]}")
    counts = _as_text(rle.counts)
    if isinstance(counts, str):
        runs = run_lengths(counts)
    else:
        runs = counts = validated(_COUNTS.validate_python, counts, "segmentation.counts")
    # pycocotools leaves pixels undefined where the runs are short, and may crash on empty counts.
    if not runs or min(runs) < 0 or sum(runs) != height * width:
        raise BrokenError(f"segmentation.counts do not add up to the {height * width} pixels of the image")
    return {"size": rle.size, "counts": counts}


def _as_text(counts: Any) -> Any:
    """Return compressed counts that Python wrote as `b'…'`, which is how it shows the bytes that pycocotools gives."""
    if not isinstance(counts, str) or not counts.startswith(("b'", 'b"')):
        return counts
    try:
        read = ast.literal_eval(counts)
        return read.decode("ascii") if isinstance(read, bytes) else counts
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return counts


def _united(parts: list[dict[str, Any]]) -> dict[str, Any]:
    height, width = parts[0]["size"]
    encodings = [
        {"size": one["size"], "counts": one["counts"].encode()}
        if isinstance(one["counts"], str)
        else coco_mask.frPyObjects(one, height, width)
        for one in parts
    ]
    return {"size": [height, width], "counts": coco_mask.merge(encodings)["counts"].decode()}


def _without_names(value: Any) -> Any:
    """Return points that are written as `{"x": …, "y": …}` as pairs."""
    if isinstance(value, list) and value:
        if all(isinstance(point, dict) and point.keys() == {"x", "y"} for point in value):
            return [[point["x"], point["y"]] for point in value]
        if all(isinstance(one, list) and one and isinstance(one[0], dict) for one in value):
            return [_without_names(one) for one in value]
    return value


def _without_pairs(value: Any) -> Any:
    """Return polygons as flat lists in a list.

    Points may be pairs: `[[x, y], …]` is one polygon, `[[[x, y], …], …]` are several. One polygon may lack the outer
    list.
    """
    if not isinstance(value, list):
        return value
    if len(value) >= 6 and all(isinstance(one, int | float) and not isinstance(one, bool) for one in value):
        return [value]
    if len(value) >= 3 and all(isinstance(point, list) and len(point) == 2 for point in value):
        several = any(isinstance(step, list) for point in value for step in point)
        return value if several else [[number for point in value for number in point]]
    nested = all(isinstance(one, list) and one and all(isinstance(point, list) for point in one) for one in value)
    if nested and all(len(point) == 2 for one in value for point in one):
        return [[number for point in one for number in point] for one in value]
    return value


def validated(validate: Callable[[Any], Value], value: Any, field: str) -> Value:
    try:
        return validate(value)
    except ValidationError as error:
        raise BrokenError(explain(error, field)) from None


def explain(error: ValidationError, field: str = "") -> str:
    """Return field, problem and value of a validation error's first mistake, without a full stop."""
    first = error.errors()[0]
    path = field
    for step in first["loc"]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    # Of a union, pydantic names the member that it tried.
    path = path.removeprefix(".").removesuffix(".int").removesuffix(".str")
    message = first["msg"]
    return f"{path}: {message[0].lower()}{message[1:]}, got {quoted(first['input'])}"
