"""A dataset -> prepared arrays: equalised, resized, memory-mapped, built once and shared by all trials.

An entry of the cache holds, for each split, `<split>_images.npy` and `<split>_masks.npy`, uint8 [N, S, S] with S the
image size and masks of 0 and 1, and `meta.json` with the names of the slices, the training split's mean and standard
deviation, and what the entry was made from. Its key is a hash of the dataset's fingerprint, the preprocessing and the
versions that decide on pixels.

An entry is built in a temporary folder and renamed, so it is whole or not there at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import cv2
import numpy as np

from bts_tune.config import PreprocessingPart
from bts_tune.data.mask_rule import MaskRule, MaskValues
from bts_tune.data.parallel import Progress, parallel_map
from bts_tune.data.prepared.cache import META_FILE, Lease, building, default_cache, remove, temporary_folder
from bts_tune.data.prepared.decoding import read_header
from bts_tune.data.prepared.images import preprocess, read_bytes, read_mask, read_plane, read_slice, resize_mask
from bts_tune.data.prepared.judge_masks import judge_masks
from bts_tune.data.prepared.masks import mask_values
from bts_tune.data.records import SPLITS, Dataset, FileDigests, SliceRecord
from bts_tune.errors import DataError

FORMAT = 1
"""Version of the entries; raise it whenever the same files would give other pixels."""

DECODING = 2
"""Version of the decoding of files that are turned, inverted or scaled; the others' has never changed."""

# By a dataset's files: every search of the cache asks for it again.
_KNOWN_PLAIN: WeakKeyDictionary[FileDigests, bool] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class PreparedSplit:
    """The arrays of one split.

    Attributes:
        images: uint8 [N, S, S], memory-mapped, read-only.
        masks: uint8 [N, S, S] of 0 and 1, memory-mapped, read-only.
        names: names of the N slices, as in `SliceRecord.name`.
    """

    images: np.ndarray
    masks: np.ndarray
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class PreparedData:
    """A prepared dataset. It is pickled as its folder, so handing it to another process copies no pixels.

    Attributes:
        folder: where the arrays are.
        key: what names the entry in its cache.
        train, valid, test: the splits; `test` may hold no slice.
        mean, std: of the training split's pixels, in units of 0 … 255.
        preprocessing: what was done to the images.
    """

    folder: Path
    key: str
    train: PreparedSplit
    valid: PreparedSplit
    test: PreparedSplit
    mean: float
    std: float
    preprocessing: PreprocessingPart
    _lease: Lease | None = field(default=None, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return load_prepared, (self.folder,)


def prepare(
    dataset: Dataset,
    preprocessing: PreprocessingPart,
    *,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> PreparedData:
    """Return the prepared arrays of a dataset, from the cache where they are in it.

    Args:
        dataset: what to prepare.
        preprocessing: size and equalisation.
        cache: folder of the cache; by default `default_cache()`.
        workers: number of threads; by default one a core.
        progress: called after each slice; not at all where the cache has the arrays.

    Two processes may prepare the same dataset at once: the second waits for the first. A broken entry is built anew.

    Raises:
        DataError: the dataset has errors or an empty split, a file cannot be read or does not fit its mask or its
            declared size, or the cache cannot be written.
    """
    if dataset.errors:
        first = dataset.errors[0]
        where = first.file if first.annotation is None else f"{first.file}, annotation {first.annotation}"
        raise DataError(
            f"{dataset.root}: {len(dataset.errors)} error(s), the first one in {where}: {first.message} "
            f"`bts-tune data check {dataset.root}` lists them all."
        )
    for split in ("train", "valid"):
        if not dataset.records[split]:
            raise DataError(f"{dataset.root}: the {split} split holds no image.")
    dataset = with_mask_rule(dataset, workers=workers)
    # Absolute, because the processes that open the entry may work in another folder.
    cache = (default_cache() if cache is None else Path(cache)).absolute()
    key = _key(dataset, preprocessing)
    folder = cache / key
    with contextlib.suppress(DataError):
        return load_prepared(folder)
    try:
        with building(cache, key):
            with contextlib.suppress(DataError):
                return load_prepared(folder)
            if folder.exists():
                remove(folder)
            temporary = temporary_folder(cache, key)
            try:
                _build(temporary, key, dataset, preprocessing, workers, progress)
                temporary.rename(folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            return load_prepared(folder)
    except OSError as error:
        raise DataError(
            f"{error.filename or cache}: the cache cannot be written: {error.strerror}; "
            "name another folder with --cache DIR, or with the environment variable BTS_TUNE_CACHE."
        ) from None


def bytes_to_prepare(dataset: Dataset, preprocessing: PreprocessingPart, *, cache: Path | None = None) -> int:
    """Return how many bytes `prepare` would write: an image and a mask of each slice; 0 where the cache has them."""
    dataset = with_mask_rule(dataset)
    folder = (default_cache() if cache is None else Path(cache)).absolute() / _key(dataset, preprocessing)
    if (folder / META_FILE).is_file():
        return 0
    return 2 * preprocessing.image_size**2 * sum(len(records) for records in dataset.records.values())


def with_mask_rule(dataset: Dataset, *, workers: int | None = None) -> Dataset:
    """Return a dataset that knows which values of its masks are tumour: all masks are looked at, where nobody has.

    Raises:
        DataError: a mask cannot be read, or what is tumour in the masks cannot be known.
    """
    if dataset.mask_rule is not None:
        return dataset
    records = [record for record in dataset if record.mask is not None]

    def look(record: SliceRecord) -> MaskValues:
        return mask_values(*read_plane(record, str(record.mask)), str(record.mask))

    found = parallel_map(look, records, workers=workers)
    judged = judge_masks({record.name: one for record, one in zip(records, found, strict=True)}, dataset.tumor_labels)
    for issue in judged.issues:
        if issue.level == "error":
            raise DataError(f"{dataset.root}: {issue.message}")
    return replace(dataset, mask_rule=judged.rule)


def load_prepared(folder: Path) -> PreparedData:
    """Open prepared arrays by their folder.

    Raises:
        DataError: the folder is missing, incomplete or of another format.
    """
    folder = Path(folder)
    try:
        held = Lease(folder)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(held.close)
            prepared = _load(folder, held)
            on_failure.pop_all()
            return prepared
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: is not a whole prepared dataset: {error}.") from None


def _load(folder: Path, held: Lease) -> PreparedData:
    meta = json.loads(held.read())
    if meta["format"] != FORMAT:
        raise DataError(f"{folder}: has format {meta['format']!r}; this version of bts-tune reads format {FORMAT}.")
    preprocessing = PreprocessingPart.model_validate(meta["preprocessing"])
    mean, std = float(meta["mean"]), float(meta["std"])
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise ValueError(f"mean and std are {mean} and {std}")
    splits = {split: _load_split(folder, split, meta["names"][split], preprocessing.image_size) for split in SPLITS}
    return PreparedData(
        folder=folder,
        key=str(meta["key"]),
        train=splits["train"],
        valid=splits["valid"],
        test=splits["test"],
        mean=mean,
        std=std,
        preprocessing=preprocessing,
        _lease=held,
    )


def _key(dataset: Dataset, preprocessing: PreprocessingPart) -> str:
    # Decoders and resizing may change in the last bit from one version of OpenCV to the next.
    made_from: dict[str, Any] = {
        "format": FORMAT,
        "dataset": dataset.fingerprint(),
        "preprocessing": preprocessing.model_dump(mode="json"),
        "opencv": cv2.__version__,
    }
    # What is read as it always was keeps its key.
    if dataset.mask_rule not in (None, MaskRule()):
        made_from["masks"] = dataset.mask_rule.to_dict()
    if not _all_plain(dataset):
        made_from["decoding"] = DECODING
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]


def _all_plain(dataset: Dataset) -> bool:
    """Return whether all files hold 8-bit values that are used as they are stored."""
    if dataset.digests not in _KNOWN_PLAIN:
        own = (record for record in dataset if record.source is None)
        paths = sorted({path for record in own for path in (record.image, record.mask) if path is not None})
        _KNOWN_PLAIN[dataset.digests] = all(parallel_map(_plain, paths))
    return _KNOWN_PLAIN[dataset.digests]


def _plain(path: Path) -> bool:
    try:
        return read_header(read_bytes(path), str(path)).plain
    except DataError:  # preparing it says so
        return True


def _build(
    folder: Path,
    key: str,
    dataset: Dataset,
    preprocessing: PreprocessingPart,
    workers: int | None,
    progress: Progress | None,
) -> None:
    """Write an entry into `folder`."""
    size = preprocessing.image_size
    names = {split: [record.name for record in dataset.records[split]] for split in SPLITS}
    images = {split: _new_array(_file(folder, split, "images"), len(names[split]), size) for split in SPLITS}
    masks = {split: _new_array(_file(folder, split, "masks"), len(names[split]), size) for split in SPLITS}

    def work(place: tuple[str, int]) -> np.ndarray | None:
        """Prepare one slice; return the histogram of a training image."""
        split, index = place
        image, mask = _prepare_slice(dataset.records[split][index], preprocessing, dataset.mask_rule)
        images[split][index] = image
        masks[split][index] = mask
        return np.bincount(image.ravel(), minlength=256) if split == "train" else None

    places = [(split, index) for split in SPLITS for index in range(len(names[split]))]
    histograms = parallel_map(work, places, workers=workers, progress=progress)
    # From the summed histogram mean and deviation are exact, whatever the order of the threads.
    counts = np.sum([one for one in histograms if one is not None], axis=0, dtype=np.int64)
    values = np.arange(256, dtype=np.float64)
    mean = float(np.average(values, weights=counts))
    std = math.sqrt(np.average((values - mean) ** 2, weights=counts))
    if std == 0:
        raise DataError(f"{dataset.root}: all pixels of the training split have the same value.")
    for array in (*images.values(), *masks.values()):
        if isinstance(array, np.memmap):
            array.flush()
    meta = {
        "format": FORMAT,
        "key": key,
        "dataset": str(dataset.root.absolute()),
        "preprocessing": preprocessing.model_dump(mode="json"),
        "mean": mean,
        "std": std,
        "names": names,
    }
    with (folder / META_FILE).open("w", encoding="utf-8") as file:
        json.dump(meta, file)
        file.flush()
        os.fsync(file.fileno())


def _prepare_slice(
    record: SliceRecord, preprocessing: PreprocessingPart, rule: MaskRule | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return image and mask of one slice, uint8 [S, S] each."""
    image = read_slice(record)
    mask = read_mask(record, rule)
    if image.shape != mask.shape:
        raise DataError(
            f"{record.image}: has {image.shape[1]} x {image.shape[0]} pixels, "
            f"its mask or declared size {mask.shape[1]} x {mask.shape[0]}."
        )
    return preprocess(image, preprocessing), resize_mask(mask, preprocessing.image_size)


def _file(folder: Path, split: str, kind: str) -> Path:
    return folder / f"{split}_{kind}.npy"


def _new_array(path: Path, count: int, size: int) -> np.ndarray:
    """Return a writable array uint8 [count, size, size] in a file.

    Raises:
        OSError: there is no room for it. Without the reservation a full disk would kill the process as it writes.
    """
    shape = (count, size, size)
    if count == 0:
        empty = np.empty(shape, dtype=np.uint8)
        np.save(path, empty)
        return empty
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _load_split(folder: Path, split: str, names: list[str], size: int) -> PreparedSplit:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"names of {split} are no list of words")
    arrays = []
    for kind in ("images", "masks"):
        path = _file(folder, split, kind)
        # An empty array cannot be mapped.
        array = np.load(path, mmap_mode="r" if names else None, allow_pickle=False)
        if array.dtype != np.uint8 or array.shape != (len(names), size, size):
            raise ValueError(f"{path.name} is {array.dtype} {list(array.shape)}")
        arrays.append(array)
    return PreparedSplit(arrays[0], arrays[1], names)
