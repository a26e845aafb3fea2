"""NIfTI volumes as slices: along a plane, with the share of slices without a tumour that was asked for.

A volume is turned to the nearest axes of the body first, so that `axial` means the same whatever the scanner wrote.
Values are scaled to 0 … 255 between the 0.5 % and 99.5 % quantiles of the whole volume, which keeps its slices
comparable. A few volumes are held in memory at a time, and none above `MAX_VOXELS`.
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

from bts_tune.data.files import open_file
from bts_tune.data.parallel import parallel_map
from bts_tune.data.planes import PLANES
from bts_tune.data.prepared.arrays import narrowed
from bts_tune.data.readers._extras import import_extra
from bts_tune.data.readers.base import ReaderOptions
from bts_tune.data.records import Issue, PixelSource, SliceRecord
from bts_tune.data.unsafe_names import inside
from bts_tune.data.volumes import MAX_VOXELS, Volume, chosen_slices, cut, filled_slices, pixel_spacing, window_of
from bts_tune.errors import DataError
from bts_tune.text import plural

NIFTI_SUFFIXES = (".nii", ".nii.gz")

_HELD, _HELD_CHANNELS = 4, 8
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


def slices_of(root: Path, cases: Sequence[Case], options: ReaderOptions, issues: list[Issue]) -> list[SliceRecord]:
    """Return the slices of volumes, and note what is wrong with those that cannot be used.

    Raises:
        DataError: nibabel is not installed, or there is no such plane or share.
    """
    check_options(options)
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
            return _slices(name, case, options)
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


def check_options(options: ReaderOptions) -> None:
    """Refuse a plane or a share of empty slices that does not exist.

    Raises:
        DataError: there is no such plane or share.
    """
    if options.plane not in PLANES:
        raise DataError(f"--plane {options.plane!r}: must be one of {', '.join(PLANES)}.")
    if not 0 <= options.empty_slices <= 1:
        raise DataError(f"--empty-slices {options.empty_slices:g}: must be a share from 0 to 1.")


def _slices(name: str, case: Case, options: ReaderOptions) -> list[SliceRecord]:
    image, mask = _header(case.image, max(case.numbers, default=None)), _volume(case.mask)
    if image.shape != mask.values.shape:
        sizes = [" x ".join(map(str, shape)) for shape in (mask.values.shape, image.shape)]
        raise DataError(f"{case.image}: its mask {case.mask.name} has {sizes[0]} voxels, the image {sizes[1]}.")
    if not np.allclose(image.affine, mask.affine, atol=1e-2):
        raise DataError(f"{case.image}: its mask {case.mask.name} lies elsewhere in space; {_cure(case.mask)}.")
    for path in case.further:
        other = _header(path)
        if other.shape != image.shape or not np.allclose(other.affine, image.affine, atol=1e-2):
            raise DataError(
                f"{case.image}: does not lie on the voxels of {path.name} (another shape or affine); resample one of "
                "them."
            )
    spacing = pixel_spacing(image.spacing, options.plane)
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
        for index in chosen_slices(filled_slices(mask.values, options.plane), options.empty_slices)
    ]


def _cure(mask: Path) -> str:
    """Return what to do with a mask that lies elsewhere than its image."""
    stored = _stored(mask)
    if np.allclose(stored.affine, np.eye(4)) or not (stored.header["sform_code"] or stored.header["qform_code"]):
        return "it was written without an affine of its own: write it with its image's, if its voxels are the image's"
    return "it has another affine: resample one of them"


@dataclass(frozen=True, eq=False)
class _Header:
    shape: tuple[int, ...]
    spacing: tuple[float, float, float]
    affine: np.ndarray


def count_volumes(path: Path) -> int:
    """Return how many volumes a file holds, such as sequences or times; 1 of a plain volume.

    Raises:
        DataError: it cannot be read.
    """
    shape = _stored(path).shape
    return int(shape[3]) if len(shape) == 4 else 1


def _header(path: Path, number: int | None = None) -> _Header:
    stored = _stored(path)
    shape = _shape(path, stored, number)
    # Turned to the body's axes without a look at the values.
    turned = _turned(path, type(stored)(np.broadcast_to(np.int16(0), shape), stored.affine, stored.header))
    spacing = tuple(float(size) for size in turned.header.get_zooms()[:3])
    return _Header(turned.shape, spacing, turned.affine)  # type: ignore[arg-type]


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


def read_nifti(path: Path, number: int | None = None) -> tuple[Volume, Any]:
    """Return a volume on the body's axes, and nibabel's image of the file as it is stored.

    Args:
        path: the file.
        number: of one that holds several volumes, which of them, from 0.

    Raises:
        DataError: it cannot be read.
    """
    stored, image = _stored(path), _opened(path, number)
    try:
        values = np.asanyarray(image.dataobj)
    except Exception as error:
        raise DataError(f"{path}: is broken or truncated: {str(error).splitlines()[0][:200]}.") from None
    sizes = image.header.get_zooms()
    spacing = (float(sizes[0]), float(sizes[1]), float(sizes[2]))
    return Volume(values, spacing, image.affine, window_of(values)), stored


def like_nifti(mask: np.ndarray, stored: Any) -> bytes:
    """Return the content of a `.nii.gz` that holds a mask, on the grid of another file.

    Affine, spacing, units and extensions are those of the other file.

    Args:
        mask: uint8 on the body's axes, as `Volume.values`.
        stored: nibabel's image of the other file.
    """
    import nibabel

    values = on_own_grid(mask, stored)
    header = stored.header.copy()
    header.set_data_dtype(np.uint8)
    header["cal_min"] = header["cal_max"] = 0  # the image's window would show the mask as black
    kind = nibabel.Nifti2Image if isinstance(stored, nibabel.Nifti2Image) else nibabel.Nifti1Image
    return _packed(kind(values, stored.affine, header))


def on_own_grid(mask: np.ndarray, stored: Any) -> np.ndarray:
    """Return a mask on the body's axes in the order and the shape of nibabel's image of a file."""
    from nibabel import orientations

    own = orientations.io_orientation(stored.affine)
    back = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), own)
    return np.asarray(orientations.apply_orientation(mask, back).reshape(stored.shape))


def new_nifti(mask: np.ndarray, affine: np.ndarray) -> bytes:
    """Return the content of a `.nii.gz` that holds a mask, uint8 [I, J, K], with this affine, in mm."""
    import nibabel

    image = nibabel.Nifti1Image(mask, affine)
    image.header.set_xyzt_units("mm")
    return _packed(image)


def _packed(image: Any) -> bytes:
    import gzip

    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def _stored(path: Path) -> Any:
    import nibabel

    open_file(path).close()
    try:
        return nibabel.load(path)
    except Exception as error:
        raise DataError(f"{path}: is no NIfTI file that can be read: {str(error).splitlines()[0][:200]}.") from None


def _opened(path: Path, number: int | None = None) -> Any:
    """Return a volume on the body's axes; `number` says which, of a file that holds several."""
    image = _stored(path)
    _shape(path, image, number)
    try:
        while len(image.shape) > 3:
            image = image.slicer[..., (number or 0) if len(image.shape) == 4 else 0]
    except Exception as error:
        raise DataError(f"{path}: is broken or truncated: {str(error).splitlines()[0][:200]}.") from None
    return _turned(path, image)


def _shape(path: Path, image: Any, number: int | None) -> tuple[int, int, int]:
    """Return the voxels of a volume, having seen that there is one that can be read."""
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    volumes = shape[3] if len(shape) == 4 else 1
    if number is None and volumes > 1:
        raise DataError(
            f"{path}: holds {volumes} volumes of {' x '.join(map(str, shape[:3]))} voxels, such as times or "
            "sequences; save each as a file of its own."
        )
    if number is not None and number >= volumes:
        raise DataError(f"{path}: holds {plural(volumes, 'volume')}, none of which has the number {number}.")
    if len(shape) == 4:
        shape = shape[:3]
    if len(shape) != 3 or image.get_data_dtype().kind not in "buif":
        listed = " x ".join(map(str, shape))
        raise DataError(f"{path}: has {listed} values of {image.get_data_dtype()}; one volume of numbers is needed.")
    if not 0 < np.prod(shape, dtype=np.float64) <= MAX_VOXELS:
        raise DataError(f"{path}: has {' x '.join(map(str, shape))} voxels; at most {MAX_VOXELS} are allowed.")
    return int(shape[0]), int(shape[1]), int(shape[2])


def _turned(path: Path, image: Any) -> Any:
    """Return a volume on the body's axes."""
    import nibabel

    try:
        return nibabel.as_closest_canonical(image)
    except Exception as error:
        raise DataError(f"{path}: has an affine that cannot be used: {str(error).splitlines()[0][:200]}.") from None
