"""DICOM series as volumes: the frames of their files, sorted by position."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from bts_tune.data.files import open_file
from bts_tune.data.parallel import parallel_map
from bts_tune.data.volumes.dicom_files import SAME, Frame, Header, read_header, stored_pixels
from bts_tune.data.volumes.volume import MAX_VOXELS, Turn, Volume, nearest_turn, window_of
from bts_tune.errors import DataError

HELD = 4
"""Volumes, and labels of volumes, that are held in memory."""

_loading = threading.Lock()


@dataclass(frozen=True)
class Series:
    """A series as a stack of slices, from its first file's position on along the normal.

    Attributes:
        headers: of its files.
        frames: sorted by position.
        gap: a sentence on slices that are missing, None where there is none.
    """

    headers: tuple[Header, ...]
    frames: tuple[Frame, ...]
    gap: str | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices."""
        rows, columns = self.headers[0].size or (0, 0)
        return columns, rows, len(self.frames)

    @property
    def affine(self) -> np.ndarray:
        """From column, row and slice to mm to the right, to the front and to the head."""
        first = self.headers[0]
        along, down = np.array(first.orientation[:3]), np.array(first.orientation[3:])
        start, end = (np.array(self.frames[place].position) for place in (0, -1))
        count = len(self.frames) - 1
        step = (end - start) / count if count else np.cross(along, down) * first.thickness
        affine = np.eye(4)
        affine[:3] = np.stack([along * first.spacing[1], down * first.spacing[0], step, start], axis=1)
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine

    @property
    def turn(self) -> Turn:
        """How its axes become those of the body."""
        return nearest_turn(self.affine)


def stacked(headers: Sequence[Header]) -> Series:
    """Return the files of a series as a stack of slices, sorted by position.

    Raises:
        DataError: they are no such stack.
    """
    first = headers[0]
    for one in headers:
        same = np.allclose(one.orientation, first.orientation, atol=SAME) and np.allclose(one.spacing, first.spacing)
        if one.size != first.size or not same:
            raise DataError(
                f"{first.path}: {one.path.name} of the same series has another size, orientation or spacing; one stack "
                "of slices is needed."
            )
        if one.inverted != first.inverted:
            raise DataError(
                f"{first.path}: {one.path.name} of the same series is shown with black and white exchanged "
                "(MONOCHROME1 beside MONOCHROME2); save all files as one kind."
            )
    rows, columns = first.size or (0, 0)
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    frames = sorted(
        (frame for one in headers for frame in one.frames), key=lambda frame: float(normal @ np.array(frame.position))
    )
    if rows * columns * len(frames) > MAX_VOXELS:
        raise DataError(
            f"{first.path}: its series has {columns} x {rows} x {len(frames)} voxels; at most {MAX_VOXELS} are allowed."
        )
    heights = np.array([normal @ np.array(frame.position) for frame in frames])
    gap = None
    if len(frames) > 1:
        steps = np.diff(heights)
        if steps.min() < 1e-3:
            place = int(np.argmin(steps))
            raise DataError(
                f"{frames[place].file}: its series has two slices in one place (also {frames[place + 1].file.name}); "
                "one volume is needed, not several echoes or times."
            )
        if steps.max() > 1.1 * np.median(steps):
            gap = f"slices are missing or unevenly spaced: {np.median(steps):.3g} to {steps.max():.3g} mm apart."
    return Series(tuple(headers), tuple(frames), gap)


def read_series(files: Sequence[Path]) -> Series:
    """Return the series of files, without pixels.

    Raises:
        DataError: they are no stack of slices.
    """
    return stacked([read_header(path) for path in files])


def volume_of(files: tuple[Path, ...], content: str) -> Volume:
    """Return the volume of a series' files. A few are held in memory at a time.

    Args:
        files: the series.
        content: the digest of the files; those of another content are read anew.

    Raises:
        DataError: it cannot be read.
    """
    with _loading:  # threads that work on slices of one volume wait for it, and do not read it again
        return _load_volume(files, content)


def content_digest(files: Sequence[Path]) -> str:
    """Return one SHA-256 of the content of several files.

    Raises:
        DataError: a file cannot be read.
    """

    def digest(path: Path) -> bytes:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").digest()

    return hashlib.sha256(b"".join(parallel_map(digest, list(files)))).hexdigest()


@lru_cache(maxsize=HELD)
def _load_volume(files: tuple[Path, ...], _content: str) -> Volume:
    series = read_series(files)
    columns, rows, count = series.shape
    values = np.empty((columns, rows, count), dtype=np.float32)
    places = {(frame.file, frame.number): place for place, frame in enumerate(series.frames)}
    for header in series.headers:
        pixels = stored_pixels(header)
        for frame in header.frames:
            scaled = pixels[frame.number].astype(np.float32) * frame.slope + frame.intercept
            values[:, :, places[frame.file, frame.number]] = scaled.T
    windows = {frame.window for frame in series.frames}
    window = windows.pop() if len(windows) == 1 else None
    turn, affine = series.turn, series.affine
    sizes = np.linalg.norm(turn.affine(affine, values.shape)[:3, :3], axis=0)
    spacing = (float(sizes[0]), float(sizes[1]), float(sizes[2]))
    return Volume(
        turn.to_body(values),
        spacing,
        turn.affine(affine, values.shape),
        window or window_of(values),
        inverted=series.headers[0].inverted,
    )
