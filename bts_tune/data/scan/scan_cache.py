"""What opening every slice showed, kept in the cache beside the prepared images: the next run need not open them again.

An entry holds `slices.json`, all that opening a slice showed but its signature and its detail, `signatures.npy` and
`details.npy` with those, float32 [N, 1024] and int8 [N, 64, 64], and `meta.json`. The arrays are mapped, so that the
system may drop their pages from memory; so are those of many slices while they are opened. Once the slices have been
compared, `pairs.npz` holds the pairs of similar ones.

The key is a hash of everything that this depends on: names, files and annotations of the slices, the versions that
decode images, and the code that judges them. What masks mean is judged anew each time, so that other tumour labels
open nothing again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import secrets
import shutil
import sys
import tempfile
import zipfile
from dataclasses import fields
from functools import cache as once
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL

from bts_tune.data.mask_rule import MaskValues
from bts_tune.data.parallel import Progress
from bts_tune.data.prepared.cache import META_FILE, building, places, remove, temporary_folder
from bts_tune.data.records import Dataset, Issue, canonical
from bts_tune.data.scan.scan import (
    FineCorrelations,
    Scan,
    SliceScan,
    Versions,
    judge_scan,
    open_slices,
    scan_dataset,
)
from bts_tune.data.scan.similarity import DETAIL_SIDE, LIMITS, SIDE, Indices, Pairs
from bts_tune.errors import DataError

HOLDS = "data check"
"""What `meta.json` says of such an entry."""

_IN_MEMORY = 10_000
"""Slices whose signatures and details, 8 KiB each, are held in memory while they are opened."""

_BROKEN = (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, zipfile.BadZipFile)


def cached_scan(dataset: Dataset, cache: Path, *, progress: Progress | None = None) -> Scan:
    """Return a dataset's scan, from the cache where it is in it; else open every slice, and keep what that shows.

    A dataset with a file that cannot be read is scanned anew each time. Where the cache cannot be written, nothing is
    kept; preparing the dataset will say so.

    Args:
        dataset: as `open_dataset` read it.
        cache: folder of the cache; where it cannot be written to, what it lacks is kept in this user's own.
        progress: called after each slice; not at all where the cache has the scan.
    """
    try:
        key = _key(dataset)
    except DataError:  # the scan says which file it is, and looks at the others
        return scan_dataset(dataset, progress=progress)
    names = [record.name for record in dataset]
    for place in places(cache):
        folder = place / key
        with contextlib.suppress(*_BROKEN):
            return judge_scan(dataset, *_load(folder, names))
    versions = _versions(folder.parent, len(names))
    slices = open_slices(dataset, versions, progress=progress)
    with contextlib.suppress(OSError), building(folder.parent, key):
        with contextlib.suppress(*_BROKEN):
            return judge_scan(dataset, *_load(folder, names))  # another run has kept it meanwhile
        _write(folder, dataset, slices, versions)
        with contextlib.suppress(*_BROKEN):
            return judge_scan(dataset, *_load(folder, names))  # the file's pages may leave memory
    return judge_scan(dataset, slices, versions)


def _versions(cache: Path, count: int) -> Versions:
    """Return versions to be filled: of many slices in files of the cache without a name, which end with the process."""
    if count <= _IN_MEMORY:
        return Versions.blank(count)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return Versions(
            _in_a_file(cache, (count, SIDE * SIDE), np.float32),
            _in_a_file(cache, (count, DETAIL_SIDE, DETAIL_SIDE), np.int8),
        )
    except OSError:  # preparing the dataset will say that the cache cannot be written
        return Versions.blank(count)


def _in_a_file(folder: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
    with tempfile.TemporaryFile(dir=folder) as file:
        # A file without its blocks would end the process where the disk is full.
        os.posix_fallocate(file.fileno(), 0, math.prod(shape) * np.dtype(dtype).itemsize)
        return np.asarray(np.memmap(file, dtype=dtype, mode="r+", shape=shape))


def _key(dataset: Dataset) -> str:
    digests = dataset.file_digests()
    whole = hashlib.sha256(canonical({"code": _code(), "opencv": cv2.__version__, "pillow": PIL.__version__}))
    for record in sorted(dataset, key=lambda record: record.name):
        whole.update(
            canonical(
                {
                    "name": record.name,
                    "size": [record.width, record.height],
                    "image": digests[record.image],
                    "mask": None if record.mask is None else [record.mask.name, digests[record.mask]],
                    "annotations": [[one.annotation_id, one.segmentation] for one in record.annotations],
                    "source": None if record.source is None else record.source.describe(),
                }
            )
        )
    return whole.hexdigest()[:32]


@once
def _code() -> str:
    """Return a hash of what reads and judges datasets: another version may find what this one does not."""
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


class _KeptPairs:
    """What comparing the slices of an entry found, in its file `pairs.npz`.

    Args:
        folder: the entry.
        places: where each slice of the scan is in the entry, int64 [N].
    """

    def __init__(self, folder: Path, places: Indices) -> None:
        self._file = folder / "pairs.npz"
        self._places = places

    def load(self) -> tuple[Pairs, FineCorrelations] | None:
        """Return what is kept; None where nothing is, or where other correlations made a pair then."""
        with contextlib.suppress(*_BROKEN), np.load(self._file, allow_pickle=False) as kept:
            if kept["limits"].tolist() != list(LIMITS):
                return None
            here = np.argsort(self._places)
            pairs = Pairs(**{field.name: kept[field.name] for field in fields(Pairs)}).renumbered(here)
            first, second, orientation = kept["fine_of"].T
            keys = zip(here[first].tolist(), here[second].tolist(), orientation.tolist(), strict=True)
            return pairs, dict(zip(keys, kept["fine"].tolist(), strict=True))
        return None

    def keep(self, pairs: Pairs, fine: FineCorrelations) -> None:
        """Write them; where that is not possible, the next run compares anew."""
        stored = pairs.renumbered(self._places)
        keys = np.array(list(fine), dtype=np.int64).reshape(-1, 3)
        keys[:, :2] = self._places[keys[:, :2]]
        arrays = {field.name: getattr(stored, field.name) for field in fields(Pairs)}
        correlations = np.array(list(fine.values()), dtype=np.float64)
        temporary = self._file.with_name(f".pairs-{secrets.token_hex(8)}.npz")
        with contextlib.suppress(OSError):
            try:
                np.savez(temporary, limits=np.array(LIMITS), fine_of=keys, fine=correlations, **arrays)
                temporary.replace(self._file)
            finally:
                temporary.unlink(missing_ok=True)


def _load(folder: Path, names: list[str]) -> tuple[dict[str, SliceScan], Versions, _KeptPairs]:
    """Read an entry.

    Raises:
        OSError and whatever else is in `_BROKEN`: there is none, or it is broken.
    """
    described = json.loads((folder / "slices.json").read_bytes())
    # An empty array cannot be mapped.
    signatures, details = (
        np.asarray(np.load(folder / f"{kind}.npy", mmap_mode="r" if names else None, allow_pickle=False))
        for kind in ("signatures", "details")
    )
    if signatures.dtype != np.float32 or signatures.shape != (len(names), SIDE * SIDE):
        raise ValueError(f"{folder}: is of other slices")
    if details.dtype != np.int8 or details.shape != (len(names), DETAIL_SIDE, DETAIL_SIDE):
        raise ValueError(f"{folder}: is of other slices")
    if described.keys() != set(names):
        raise ValueError(f"{folder}: is of other slices")
    places = {name: place for place, name in enumerate(described)}
    slices = {name: _slice(described[name], signatures[places[name]], details[places[name]]) for name in names}
    in_order = list(described) == names
    versions = Versions(signatures, details) if in_order else Versions.of(slices.values())
    return slices, versions, _KeptPairs(folder, np.array([places[name] for name in names], dtype=np.int64))


def _slice(described: dict[str, Any], signature: np.ndarray, detail: np.ndarray) -> SliceScan:
    issues = tuple(Issue(*found) for found in described["issues"])
    if described["digest"] is None:
        return SliceScan(issues)
    mask = None if described["mask"] is None else MaskValues.from_dict(described["mask"])
    # There are few sizes and kinds, and each would be kept as often as there are slices.
    fields = (described["digest"], sys.intern(described["size"]), sys.intern(described["kind"]))
    return SliceScan(issues, *fields, described["tumor_share"], signature, mask, described["channels"], detail)


def _write(folder: Path, dataset: Dataset, slices: dict[str, SliceScan], versions: Versions) -> None:
    """Write an entry; the right to build it is the caller's."""
    if folder.exists():
        remove(folder)
    temporary = temporary_folder(folder.parent, folder.name)
    try:
        np.save(temporary / "signatures.npy", versions.signatures)
        np.save(temporary / "details.npy", versions.details)
        described = {
            name: {
                "issues": [[f.level, f.code, f.file, f.annotation, f.message] for f in one.issues],
                "digest": one.digest,
                "size": one.size,
                "kind": one.kind,
                "mask": None if one.mask is None else one.mask.to_dict(),
                "tumor_share": one.tumor_share,
                "channels": one.channels,
            }
            for name, one in slices.items()
        }
        (temporary / "slices.json").write_text(json.dumps(described), encoding="utf-8")
        meta = {"holds": HOLDS, "dataset": str(dataset.root.absolute())}
        (temporary / META_FILE).write_text(json.dumps(meta), encoding="utf-8")
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
