"""The figshare set of 3,064 T1-weighted slices: `1.mat`, `2.mat`, …, each of MATLAB 7.3 with image, mask and patient.

A file holds `cjdata` with `image`, `tumorMask`, `PID` (the patient, whose slices are a group) and `label` (the kind of
tumour, which splits balance). The files may lie in several folders, as they come.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bts_tune.data.extras import import_extra
from bts_tune.data.files import open_file
from bts_tune.data.layout.split_folders import subfolders
from bts_tune.data.readers.base import Reader, ReaderOptions
from bts_tune.data.records import MAX_PIXELS, Dataset, Issue, PixelSource, SliceRecord
from bts_tune.data.unsafe_names import inside
from bts_tune.errors import DataError
from bts_tune.registry import READERS
from bts_tune.text import first_line

_TUMOURS = {1: "meningioma", 2: "glioma", 3: "pituitary"}
_NAME = re.compile(r"\d+\.mat", re.IGNORECASE)
_OLDER = b"MATLAB 5.0 MAT-file"
"""How files of versions 5 to 7 begin."""


@READERS.register("figshare")
class FigshareReader(Reader):
    """MATLAB files of one slice each."""

    title = "figshare brain tumour set"
    expects = "1.mat, 2.mat, … with cjdata (MATLAB 7.3)"
    opens_files = True

    def recognises(self, root: Path) -> bool:
        """Return whether numbered MATLAB files lie in the folder or in one below it."""
        return any(True for _ in _files(root))

    def read(self, root: Path, options: ReaderOptions) -> Dataset:
        """Read patient and kind of tumour of each file.

        Raises:
            DataError: h5py is not installed, or there is no file that can be read.
        """
        paths = sorted(_files(root), key=lambda path: (path.parent, int(path.stem)))
        if paths:
            import_extra("h5py", "figshare", root)
        records: list[SliceRecord] = []
        issues: list[Issue] = []
        for path in inside(root, paths, lambda one: one.relative_to(root).as_posix(), lambda one: (one,), issues):
            name = path.relative_to(root).as_posix()
            try:
                patient, tumour = _described(path)
            except DataError as error:
                issues.append(Issue("error", "unreadable-image", name, None, str(error).removeprefix(f"{path}: ")))
                continue
            strata = (("tumour", tumour),) if tumour else ()
            source = MatlabSlice(path)
            records.append(
                SliceRecord(name, "train", path, path.stem, mask=path, group=patient, strata=strata, source=source)
            )
        if not records and not any(issue.code == "unsafe-path" for issue in issues):
            first = f"; {issues[0].file}: {issues[0].message}" if issues else "."
            raise DataError(f"{root}: holds no MATLAB file with cjdata that can be read{first}")
        return Dataset(root, self.name, {}, {"train": tuple(records)}, tuple(issues), own_splits=())


@dataclass(frozen=True)
class MatlabSlice(PixelSource):
    """The slice of one file.

    Attributes:
        path: the file.
    """

    path: Path

    def image(self) -> np.ndarray:
        """Return the image as it is stored."""
        return self._pixels("image")

    def mask(self) -> np.ndarray:
        """Return the mask as it is stored: 0 and 1."""
        return self._pixels("tumorMask")

    def describe(self) -> dict[str, Any]:
        """Return how the file is read."""
        return {"format": "figshare", "version": 1}

    def _pixels(self, field: str) -> np.ndarray:
        with _content(self.path) as content:
            stored = _field(self.path, content, field)
            if len(stored.shape) != 2 or not 0 < stored.size <= MAX_PIXELS or stored.dtype.kind not in "buif":
                shape = " x ".join(map(str, stored.shape))
                raise DataError(f"{self.path}: cjdata.{field} is {stored.dtype} {shape}; a slice of numbers is needed.")
            # MATLAB stores columns first.
            pixels = np.ascontiguousarray(np.asarray(stored[()]).T)
        return pixels.astype(np.uint8) if pixels.dtype == bool else pixels


def _files(root: Path) -> Iterator[Path]:
    for folder in (root, *subfolders(root)):
        if folder.is_dir():
            yield from (path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def _described(path: Path) -> tuple[str, str | None]:
    """Return patient and kind of tumour."""
    with _content(path) as content:
        for field in ("image", "tumorMask"):
            _field(path, content, field)
        patient = _text(path, content, _field(path, content, "PID"))
        label = _field(path, content, "label")
        number = np.asarray(label[()]).ravel().tolist() if label.size == 1 else [0]
        return patient.strip() or path.stem, _TUMOURS.get(int(number[0]))


def _text(path: Path, content: Any, stored: Any) -> str:
    """Return a patient's name: codes of characters, a number, or either of them in a cell."""
    import h5py

    if stored.size > 100:
        raise DataError(f"{path}: cjdata.PID has {stored.size} characters; a patient's name is needed.")
    if "MATLAB_empty" in stored.attrs:  # its size is stored in its place
        return ""
    values = np.asarray(stored[()]).ravel().tolist()
    if h5py.check_ref_dtype(stored.dtype) is h5py.Reference:
        targets = [content.file[value] if value else None for value in values]
        if (
            len(targets) != 1
            or not isinstance(targets[0], h5py.Dataset)
            or targets[0].external
            or targets[0].is_virtual
        ):
            raise DataError(f"{path}: cjdata.PID is a cell of {len(targets)} values; one patient's name is needed.")
        if h5py.check_ref_dtype(targets[0].dtype) is not None:
            raise DataError(f"{path}: cjdata.PID is a cell in a cell; a patient's name is needed.")
        return _text(path, content, targets[0])
    is_number = stored.attrs.get("MATLAB_class", b"char") not in (b"char", "char")
    if stored.dtype.kind in "iu" and not is_number:
        return "".join(map(chr, values))
    return "".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


@contextmanager
def _content(path: Path) -> Iterator[Any]:
    """Yield `cjdata` of a file; whatever h5py stumbles on is a `DataError`."""
    import h5py

    try:
        with open_file(path) as start:  # a regular file, and not too large
            if start.read(len(_OLDER)) == _OLDER:
                raise DataError(f"{path}: is of MATLAB's older format, which is not read; save it with -v7.3.")
        with h5py.File(path, "r") as file:
            if not isinstance(file.get("cjdata", getlink=True), h5py.HardLink):
                raise DataError(f"{path}: holds no cjdata.")
            yield file["cjdata"]
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: is no MATLAB 7.3 file that can be read: {first_line(error)}") from None


def _field(path: Path, content: Any, name: str) -> Any:
    """Return a field that lies in the file itself: links and external storage would lead out of the dataset."""
    import h5py

    is_group = isinstance(content, h5py.Group)
    if not is_group or not isinstance(content.get(name, getlink=True), h5py.HardLink):
        raise DataError(f"{path}: cjdata has no field {name}.")
    stored = content[name]
    if not isinstance(stored, h5py.Dataset) or stored.external or stored.is_virtual or stored.shape is None:
        raise DataError(f"{path}: cjdata.{name} holds no numbers of its own.")
    return stored
