"""The slices of NIfTI volumes: along a plane, with the share of slices without a tumour that was asked for.

Values are scaled to 0 … 255 between the 0.5 % and 99.5 % quantiles of the whole volume, which keeps its slices
comparable. A few volumes are held in memory at a time.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bts_tune.data.extras import import_extra
from bts_tune.data.files import open_file
from bts_tune.data.parallel import parallel_map
from bts_tune.data.prepared.arrays import narrowed
from bts_tune.data.readers.base import ReaderOptions
from bts_tune.data.records import Issue, PixelSource, SliceRecord
from bts_tune.data.unsafe_names import inside
from bts_tune.data.volumes.nifti import Header, has_affine, read_header, read_nifti, volume_stem
from bts_tune.data.volumes.volume import Volume, chosen_slices, cut, filled_slices, on_same_voxels, pixel_spacing
from bts_tune.errors import DataError

_ROUNDED = 1e-2
_HELD, _HELD_CHANNELS = 4, 8
_loading = threading.Lock()


@dataclass(frozen=True)
class Case:
    """A volume, its mask and its patient.

    Attributes:
        image: the volume.
        mask: its mask.
        split: of its slices.
        group: its patient.
        further: volumes of other sequences that are further channels.
        numbers: of a file that holds several volumes, those that are read, from 0: one, or each as a channel.
        strata: what folders tell of it.
    """

    image: Path
    mask: Path
    split: str
    group: str
    further: tuple[Path, ...] = ()
    numbers: tuple[int, ...] = ()
    strata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class VolumeSlice(PixelSource):
    """One slice of a volume.

    Attributes:
        path, mask_path: the volumes of image and mask.
        plane: one of `PLANES`.
        index: of the slice along the axis, from 0.
        further: volumes of other sequences that are further channels.
        numbers: of a file that holds several volumes, those that are read, from 0.
    """

    path: Path
    mask_path: Path
    plane: str
    index: int
    further: tuple[Path, ...] = ()
    numbers: tuple[int, ...] = ()

    def image(self) -> np.ndarray:
        """Return the image, uint8; of several sequences each is a channel."""
        sources: list[tuple[Path, int | None]] = [(path, None) for path in (self.path, *self.further)]
        if self.numbers:
            sources = [(self.path, number) for number in self.numbers]
        load = _load if len(sources) == 1 else _load_channel
        channels = [_volume(path, load, number).grey(self.plane, self.index, str(path)) for path, number in sources]
        if len(channels) == 1:
            return channels[0]
        order = [2, 1, 0, 3][: len(channels)] if len(channels) in (3, 4) else range(len(channels))
        return np.stack([channels[place] for place in order], axis=2)

    def mask(self) -> np.ndarray:
        """Return the labels."""
        return narrowed(cut(_volume(self.mask_path).values, self.plane, self.index))

    def describe(self) -> dict[str, Any]:
        """Return which slice it is, and how the volume is read."""
        described = {"format": "nifti", "version": 1, "plane": self.plane, "index": self.index}
        if self.further:
            described["further"] = [_digest(path) for path in self.further]
        if self.numbers:
            described["numbers"] = list(self.numbers)
        return described

    def files(self) -> tuple[Path, ...]:
        """Return the volumes of other sequences."""
        return self.further


def slices_of(
    root: Path, cases: Sequence[Case], options: ReaderOptions, issues: list[Issue], ignored: Sequence[float] = ()
) -> list[SliceRecord]:
    """Return the slices of volumes, and note what is wrong with those that cannot be used.

    Args:
        root: the dataset's folder.
        cases: the volumes.
        options: what the user chose.
        issues: what is wrong is added to them.
        ignored: labels that the dataset says are to be ignored.

    Raises:
        DataError: nibabel is not installed.
    """
    cases = inside(
        root,
        cases,
        name=lambda one: one.image.relative_to(root).as_posix(),
        files=lambda one: (one.image, one.mask, *one.further),
        issues=issues,
    )
    if cases:
        import_extra("nibabel", "nifti", root)

    def sliced(case: Case) -> list[SliceRecord] | Issue:
        name = case.image.relative_to(root).as_posix()
        try:
            return _slices(name, case, options, ignored)
        except DataError as error:
            message = str(error).removeprefix(f"{case.image}: ").replace(f"{root}/", "")
            return Issue("error", "unreadable-volume", name, None, message)

    records: list[SliceRecord] = []
    for found in parallel_map(sliced, cases):
        if isinstance(found, Issue):
            issues.append(found)
        else:
            records += found
    return records


def _slices(name: str, case: Case, options: ReaderOptions, ignored: Sequence[float]) -> list[SliceRecord]:
    image, mask = read_header(case.image, max(case.numbers, default=None)), _volume(case.mask)
    if image.shape != mask.values.shape:
        sizes = [" x ".join(map(str, shape)) for shape in (mask.values.shape, image.shape)]
        raise DataError(f"{case.image}: its mask {case.mask.name} has {sizes[0]} voxels, the image {sizes[1]}.")
    if not _on_same_voxels(image, mask.affine):
        raise DataError(f"{case.image}: its mask {case.mask.name} lies elsewhere in space; {_cure(case.mask)}.")
    for path in case.further:
        other = read_header(path)
        if other.shape != image.shape or not _on_same_voxels(image, other.affine):
            raise DataError(
                f"{case.image}: does not lie on the voxels of {path.name} (another shape or affine); resample one of "
                "them."
            )
    spacing = pixel_spacing(image.spacing, options.plane)
    filled = filled_slices(mask.values, options.plane, options.tumor_labels, ignored)
    return [
        SliceRecord(
            f"{name}/{index:03}",
            case.split,
            case.image,
            f"{volume_stem(case.image)}/{index:03}",
            mask=case.mask,
            group=case.group,
            strata=case.strata,
            spacing=spacing,
            source=VolumeSlice(case.image, case.mask, options.plane, index, case.further, case.numbers),
        )
        for index in chosen_slices(filled, options.empty_slices)
    ]


def _on_same_voxels(image: Header, affine: np.ndarray) -> bool:
    # Sides that are rounded to two decimals add up to more than a quarter of a voxel in a large volume.
    rounded = np.allclose(affine, image.affine, atol=_ROUNDED)
    return rounded or on_same_voxels(image.affine, affine, image.shape)


def _cure(mask: Path) -> str:
    """Return what to do with a mask that lies elsewhere than its image."""
    if has_affine(mask):
        return "it has another affine: resample one of them"
    return "it was written without an affine of its own: write it with its image's, if its voxels are the image's"


def _digest(path: Path) -> str:
    status = path.stat()
    return _digest_of(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _digest_of(path: Path, _changed: int, _size: int) -> str:
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _volume(
    path: Path, load: Callable[[Path, int | None, int, int], Volume] | None = None, number: int | None = None
) -> Volume:
    status = path.stat()
    with _loading:  # threads that work on slices of one volume wait for it, and do not read it again
        return (load or _load)(path, number, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=_HELD)
def _load(path: Path, number: int | None, _changed: int, _size: int) -> Volume:
    return read_nifti(path, number)[0]


@lru_cache(maxsize=_HELD_CHANNELS)
def _load_channel(path: Path, number: int | None, _changed: int, _size: int) -> Volume:
    """Hold the sequences of a case apart from masks, of which each slice needs all."""
    return read_nifti(path, number)[0]
