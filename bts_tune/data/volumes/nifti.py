"""NIfTI files, read as volumes on the nearest axes of the body and written on the grid of another file.

None is read that has more than `MAX_VOXELS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bts_tune.data.files import open_file
from bts_tune.data.volumes.volume import MAX_VOXELS, Volume, window_of
from bts_tune.errors import DataError
from bts_tune.text import first_line, plural

_UNITS = {"meter": 1000.0, "micron": 0.001}

NIFTI_SUFFIXES = (".nii", ".nii.gz")


def is_nifti(path: Path) -> bool:
    """Return whether a file's name is that of a NIfTI volume."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def volume_stem(path: Path) -> str:
    """Return a file's name without the suffix, which may have two parts."""
    name = path.name
    return name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else path.stem


@dataclass(frozen=True, eq=False)
class Header:
    """What a file says of its volume, on the body's axes.

    Attributes:
        shape: voxels along each axis.
        spacing: size of a voxel along each axis, in mm.
        affine: from voxels to the file's own unit, float64 [4, 4].
    """

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


def read_header(path: Path, number: int | None = None) -> Header:
    """Return what a file says of its volume; no value is read.

    Args:
        path: the file.
        number: of one that holds several volumes, which of them, from 0.

    Raises:
        DataError: it cannot be read.
    """
    stored = _stored(path)
    shape = _shape(path, stored, number)
    # Turned to the body's axes without a look at the values.
    turned = _turned(path, type(stored)(np.broadcast_to(np.int16(0), shape), stored.affine, stored.header))
    return Header(turned.shape, _spacing(turned.header), turned.affine)


def has_affine(path: Path) -> bool:
    """Return whether a file says where its voxels lie.

    Raises:
        DataError: it cannot be read.
    """
    stored = _stored(path)
    known = stored.header["sform_code"] or stored.header["qform_code"]
    return bool(known) and not np.allclose(stored.affine, np.eye(4))


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
        raise DataError(f"{path}: is broken or truncated: {first_line(error)}") from None
    return Volume(values, _spacing(image.header), image.affine, window_of(values)), stored


def _spacing(header: Any) -> tuple[float, float, float]:
    """Return the size of a voxel in mm; a file without a unit is taken for one in mm, as all viewers do."""
    unit = _UNITS.get(header.get_xyzt_units()[0], 1.0)
    first, second, third, *_ = (unit * float(size) for size in header.get_zooms())
    return first, second, third


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
        raise DataError(f"{path}: is no NIfTI file that can be read: {first_line(error)}") from None


def _opened(path: Path, number: int | None = None) -> Any:
    """Return a volume on the body's axes; `number` says which, of a file that holds several."""
    image = _stored(path)
    _shape(path, image, number)
    try:
        while len(image.shape) > 3:
            image = image.slicer[..., (number or 0) if len(image.shape) == 4 else 0]
    except Exception as error:
        raise DataError(f"{path}: is broken or truncated: {first_line(error)}") from None
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
        raise DataError(f"{path}: has an affine that cannot be used: {first_line(error)}") from None
