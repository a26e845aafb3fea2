"""NIfTI volumes as slices: along a plane, with the share of slices without a tumour that was asked for.

A volume is turned to the nearest axes of the body first, so that `axial` means the same whatever the scanner wrote.
Values are scaled to 0 … 255 between the 0.5 % and 99.5 % quantiles of the whole volume, which keeps its slices
comparable. A few volumes are held in memory at a time, and none above `MAX_VOXELS`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bts_tune.data.files import open_file
from bts_tune.data.parallel import parallel_map
from bts_tune.data.planes import PLANES
from bts_tune.data.prepared.arrays import narrowed
from bts_tune.data.readers._extras import import_extra
from bts_tune.data.readers.base import ReaderOptions
from bts_tune.data.records import Issue, PixelSource, SliceRecord
from bts_tune.errors import DataError

NIFTI_SUFFIXES = (".nii", ".nii.gz")

MAX_VOXELS = 200_000_000
"""Largest volume; anything above is taken for a mistake or an attack."""

_HELD = 4
_SAMPLED = 5_000_000
_QUANTILES = (0.005, 0.995)
_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
_loading = threading.Lock()


def is_nifti(path: Path) -> bool:
    """Return whether a file's name is that of a NIfTI volume."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def volume_stem(path: Path) -> str:
    """Return a file's name without the suffix, which may have two parts."""
    name = path.name
    return name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else path.stem


@dataclass(frozen=True)
class Case:
    """A volume, its mask and its patient."""

    image: Path
    mask: Path
    split: str
    group: str


@dataclass(frozen=True)
class VolumeSlice(PixelSource):
    """One slice of a volume.

    Attributes:
        path, mask_path: the volumes of image and mask.
        plane: one of `PLANES`.
        index: of the slice along the axis, from 0.
    """

    path: Path
    mask_path: Path
    plane: str
    index: int

    def image(self) -> np.ndarray:
        """Return the image, uint8."""
        volume = _volume(self.path)
        low, high = volume.window
        values = _cut(volume.values, self.plane, self.index).astype(np.float32)
        if not np.isfinite(values).all():
            raise DataError(f"{self.path}: holds values that are infinite or not numbers.")
        if high <= low:
            return np.zeros(values.shape, dtype=np.uint8)
        return np.rint(np.clip((values - low) * (255.0 / (high - low)), 0, 255)).astype(np.uint8)

    def mask(self) -> np.ndarray:
        """Return the labels."""
        return narrowed(_cut(_volume(self.mask_path).values, self.plane, self.index))

    def describe(self) -> dict[str, Any]:
        """Return which slice it is, and how the volume is read."""
        return {"format": "nifti", "version": 1, "plane": self.plane, "index": self.index}


@dataclass(frozen=True, eq=False)
class _Volume:
    values: np.ndarray
    spacing: tuple[float, float, float]
    affine: np.ndarray
    window: tuple[float, float]


def slices_of(root: Path, cases: Sequence[Case], options: ReaderOptions, issues: list[Issue]) -> list[SliceRecord]:
    """Return the slices of volumes, and note what is wrong with those that cannot be used.

    Raises:
        DataError: nibabel is not installed, or there is no such plane or share.
    """
    if options.plane not in PLANES:
        raise DataError(f"--plane {options.plane!r}: must be one of {', '.join(PLANES)}.")
    if not 0 <= options.empty_slices <= 1:
        raise DataError(f"--empty-slices {options.empty_slices:g}: must be a share from 0 to 1.")
    if cases:
        import_extra("nibabel", "nifti", root)

    def sliced(case: Case) -> list[SliceRecord] | Issue:
        name = case.image.relative_to(root).as_posix()
        try:
            return _slices(name, case, options)
        except DataError as error:
            return Issue("error", "unreadable-volume", name, None, str(error).removeprefix(f"{case.image}: "))

    records: list[SliceRecord] = []
    for found in parallel_map(sliced, list(cases)):
        if isinstance(found, Issue):
            issues.append(found)
        else:
            records += found
    return records


def _slices(name: str, case: Case, options: ReaderOptions) -> list[SliceRecord]:
    image, mask = _header(case.image), _volume(case.mask)
    if image.shape != mask.values.shape:
        sizes = [" x ".join(map(str, shape)) for shape in (mask.values.shape, image.shape)]
        raise DataError(f"{case.image}: its mask {case.mask.name} has {sizes[0]} voxels, the image {sizes[1]}.")
    if not np.allclose(image.affine, mask.affine, atol=1e-2):
        raise DataError(
            f"{case.image}: its mask {case.mask.name} lies elsewhere in space (another affine); resample one of them."
        )
    axis = _AXES[options.plane]
    others = tuple(one for one in range(3) if one != axis)
    filled = (mask.values != 0).any(axis=others)
    # What `_cut` makes rows of is the second axis that is left.
    spacing = (image.spacing[others[1]], image.spacing[others[0]])
    return [
        SliceRecord(
            f"{name}/{index:03}",
            case.split,
            case.image,
            f"{volume_stem(case.image)}/{index:03}",
            mask=case.mask,
            group=case.group,
            spacing=spacing,
            source=VolumeSlice(case.image, case.mask, options.plane, index),
        )
        for index in chosen_slices(filled, options.empty_slices)
    ]


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


def _cut(values: np.ndarray, plane: str, index: int) -> np.ndarray:
    """Return a slice as it is looked at: the front, or the top of the head, is up."""
    return np.ascontiguousarray(np.rot90(np.take(values, index, axis=_AXES[plane])))


@dataclass(frozen=True, eq=False)
class _Header:
    shape: tuple[int, ...]
    spacing: tuple[float, float, float]
    affine: np.ndarray


def _header(path: Path) -> _Header:
    image = _opened(path)
    spacing = tuple(float(size) for size in image.header.get_zooms()[:3])
    return _Header(image.shape, spacing, image.affine)  # type: ignore[arg-type]


def _volume(path: Path) -> _Volume:
    status = path.stat()
    with _loading:  # threads that work on slices of one volume wait for it, and do not read it again
        return _load(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=_HELD)
def _load(path: Path, _changed: int, _size: int) -> _Volume:
    image = _opened(path)
    try:
        values = np.asanyarray(image.dataobj)
    except Exception as error:
        raise DataError(f"{path}: is broken or truncated: {str(error).splitlines()[0][:200]}.") from None
    step = max(1, values.size // _SAMPLED)
    sample = values.ravel(order="K")[::step].astype(np.float64)
    window = (0.0, 0.0)
    if np.isfinite(sample).all():
        low, high = np.quantile(sample, _QUANTILES)
        if high <= low:  # nearly all voxels are alike
            low, high = values.min(), values.max()
        window = (float(low), float(high))
    header = image.header.get_zooms()
    return _Volume(values, (float(header[0]), float(header[1]), float(header[2])), image.affine, window)


def _opened(path: Path) -> Any:
    """Return a volume on the body's axes; its values are not read yet."""
    import nibabel

    open_file(path).close()
    try:
        image: Any = nibabel.load(path)
        shape = image.shape
    except Exception as error:
        raise DataError(f"{path}: is no NIfTI file that can be read: {str(error).splitlines()[0][:200]}.") from None
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    if len(shape) != 3 or image.get_data_dtype().kind not in "buif":
        listed = " x ".join(map(str, shape))
        raise DataError(f"{path}: has {listed} values of {image.get_data_dtype()}; one volume of numbers is needed.")
    if not 0 < np.prod(shape, dtype=np.float64) <= MAX_VOXELS:
        raise DataError(f"{path}: has {' x '.join(map(str, shape))} voxels; at most {MAX_VOXELS} are allowed.")
    try:
        if len(image.shape) == 4:
            image = image.slicer[..., 0]
        return nibabel.as_closest_canonical(image)
    except Exception as error:
        raise DataError(f"{path}: has an affine that cannot be used: {str(error).splitlines()[0][:200]}.") from None
