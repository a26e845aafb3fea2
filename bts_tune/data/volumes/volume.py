"""Volumes on the axes of the body, whatever file they come from, and their slices along a plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from bts_tune.data.mask_rule import FLAT_LABELS, IGNORED, SMALL_LABEL, is_one_of
from bts_tune.errors import DataError

MAX_VOXELS = 200_000_000
"""Largest volume; anything above is taken for a mistake or an attack."""

_SAMPLED = 5_000_000
_NEAR = 0.25
_QUANTILES = (0.005, 0.995)
_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume, turned to the nearest axes of the body.

    Attributes:
        values: numbers, [X, Y, Z]; the axes run to the right, to the front and to the head.
        spacing: distance of the voxels' centres in mm along each axis.
        affine: from indices to mm, [4, 4]; x to the right, y to the front, z to the head.
        window: the values that become black and white.
        inverted: whether it is the other way round.
    """

    values: np.ndarray
    spacing: tuple[float, float, float]
    affine: np.ndarray
    window: tuple[float, float]
    inverted: bool = False

    def grey(self, plane: str, index: int, name: str) -> np.ndarray:
        """Return a slice as uint8 [height, width].

        Args:
            plane: one of `PLANES`.
            index: of the slice along the axis, from 0.
            name: what to call the volume in an error.

        Raises:
            DataError: a value of the volume is infinite or not a number.
        """
        low, high = self.window
        values = cut(self.values, plane, index).astype(np.float32)
        if not (np.isfinite([low, high]).all() and np.isfinite(values).all()):
            raise DataError(f"{name}: holds values that are infinite or not numbers.")
        if high <= low:
            return np.zeros(values.shape, dtype=np.uint8)
        scaled = np.rint(np.clip((values - low) * (255.0 / (high - low)), 0, 255)).astype(np.uint8)
        return 255 - scaled if self.inverted else scaled


@dataclass(frozen=True)
class Turn:
    """How the axes of a file become those of the body.

    Attributes:
        axes: the file's axis that becomes each axis of the body.
        flipped: whether that axis then runs the other way.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def to_body(self, values: np.ndarray) -> np.ndarray:
        """Return values in a file's order on the body's axes."""
        return np.flip(np.transpose(values, self.axes), self._turned())

    def to_file(self, values: np.ndarray) -> np.ndarray:
        """Return values on the body's axes in the file's order."""
        return np.transpose(np.flip(values, self._turned()), np.argsort(self.axes))

    def affine(self, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return the affine of a file of that shape for values on the body's axes."""
        turned = affine.astype(np.float64)
        turned[:, :3] = turned[:, list(self.axes)]
        for axis in self._turned():
            turned[:, 3] += turned[:, axis] * (shape[self.axes[axis]] - 1)
            turned[:, axis] *= -1
        return turned

    def _turned(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(3) if self.flipped[axis])


def nearest_turn(affine: np.ndarray) -> Turn:
    """Return how values with this affine are turned so that each axis is as near to one of the body as can be."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    best = max(permutations(range(3)), key=lambda axes: sum(abs(directions[body, axes[body]]) for body in range(3)))
    x, y, z = (bool(directions[body, best[body]] < 0) for body in range(3))
    return Turn(best, (x, y, z))  # type: ignore[arg-type]


def slice_count(shape: tuple[int, ...], plane: str) -> int:
    """Return the number of slices of a volume along a plane."""
    return shape[_AXES[plane]]


def cut(values: np.ndarray, plane: str, index: int) -> np.ndarray:
    """Return a slice as it is looked at: the front, or the top of the head, is up."""
    return np.ascontiguousarray(np.rot90(np.take(values, index, axis=_AXES[plane])))


def on_same_voxels(affine: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> bool:
    """Return whether two volumes of one shape lie on the same voxels, as far as programs round their places.

    Args:
        affine: of one, [4, 4].
        other: of the other one.
        shape: of both; at its corners no voxel may be further away than a quarter of the shortest side of a voxel.
    """
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in shape))])
    away = np.linalg.norm((corners @ (other - affine).T)[:, :3], axis=1).max()
    return bool(away <= _NEAR * np.linalg.norm(affine[:3, :3], axis=0).min())


def paste(values: np.ndarray, plane: str, index: int, pixels: np.ndarray) -> None:
    """Put a slice into a volume, in place: `cut` gives it back."""
    place: list[int | slice] = [slice(None)] * 3
    place[_AXES[plane]] = index
    values[tuple(place)] = np.rot90(pixels, -1)


def filled_slices(
    mask: np.ndarray, plane: str, labels: Sequence[float] | None = None, ignored: Sequence[float] = ()
) -> np.ndarray:
    """Return whether each slice of a mask shows a tumour, bool [N].

    Args:
        mask: the labels of a volume [I, J, K].
        plane: one of `PLANES`.
        labels: those that are tumour; None for all but 0 and those that are to be ignored.
        ignored: those that the dataset says are to be ignored; a 255 that stands beside regions of small labels is
            ignored too, see `bts_tune.data.mask_rule`.
    """
    if labels is not None:
        tumour = is_one_of(mask, labels)
    else:
        tumour = mask != 0
        for value in (*ignored, *_ignored_in(mask, plane)):
            tumour &= mask != value
    return np.asarray(tumour.any(axis=_others(plane)))


def _ignored_in(mask: np.ndarray, plane: str) -> list[float]:
    """Return the values of a mask that stand beside regions of small labels, and no others but 0."""
    ends = mask.min(), mask.max()
    found = [value for value in IGNORED if value in ends]
    small = (mask > 0) & (mask <= SMALL_LABEL)
    if not found or not small.any() or not (small | np.isin(mask, (0, *found))).all():
        return []  # values between are those of a smooth mask
    inside = small.copy()
    for axis in _others(plane):
        along, whole = np.moveaxis(inside, axis, 0), np.moveaxis(small, axis, 0)
        along[1:] &= whole[:-1]
        along[:-1] &= whole[1:]
    return found if inside.sum() >= FLAT_LABELS * small.sum() else []


def pixel_spacing(spacing: tuple[float, float, float], plane: str) -> tuple[float, float]:
    """Return the distances of rows and of columns in a slice, in mm."""
    first, second = _others(plane)
    return spacing[second], spacing[first]  # `cut` makes rows of the second


def window_of(values: np.ndarray) -> tuple[float, float]:
    """Return the values of a volume between which it is scaled: its 0.5 % and 99.5 % quantiles.

    It is not a number where a value is infinite or none.
    """
    step = max(1, values.size // _SAMPLED)
    sample = values.ravel(order="K")[::step].astype(np.float64)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return math.nan, math.nan
    low, high = np.quantile(sample, _QUANTILES)
    if high <= low:  # nearly all voxels are alike
        low, high = values.min(), values.max()
    return float(low), float(high)


def chosen_slices(filled: np.ndarray, empty_share: float) -> list[int]:
    """Return the indices of the slices that are used: all with a tumour, and evenly spaced ones without.

    Args:
        filled: whether each slice shows a tumour, bool [N].
        empty_share: share that slices without a tumour should be of those used; 1 for all of them. The outer tenths of
            a volume, which hold little of the head, are passed over unless all are wanted.
    """
    if empty_share >= 1:
        return list(range(len(filled)))
    margin = len(filled) // 10
    inner = np.arange(margin, len(filled) - margin)
    empty = inner[~filled[inner]]
    shown = int(filled.sum())
    wanted = round(shown * empty_share / (1 - empty_share)) if shown else round(empty_share * len(filled))
    count = min(len(empty), wanted)
    kept = empty[np.linspace(0, len(empty) - 1, count).round().astype(int)] if count else empty[:0]
    return sorted({*np.flatnonzero(filled).tolist(), *kept.tolist()})


def _others(plane: str) -> tuple[int, int]:
    first, second = (axis for axis in range(3) if axis != _AXES[plane])
    return first, second
