"""A dataset -> prepared arrays: equalised, resized, memory-mapped, built once and shared by all trials.

An entry of the cache holds, for each split, `<split>_images.npy` and `<split>_masks.npy`, uint8 [N, S, S] with S the
image size and masks of 0 and 1, and `meta.json` with the names of the slices, the training split's mean and standard
deviation, and what the entry was made from. Images of C > 1 channels are [N, S, S, C], with a mean and a deviation
each. Its key is a hash of the dataset's fingerprint, the preprocessing and the versions that decide on pixels.

An entry is built in a temporary folder and renamed, so it is whole or not there at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shlex
import shutil
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import cv2
import numpy as np

from bts_tune.config import PreprocessingPart
from bts_tune.data.mask_rule import MaskRule, MaskValues
from bts_tune.data.parallel import Progress, parallel_map
from bts_tune.data.prepared.cache import META_FILE, Lease, building, places, remove, temporary_folder
from bts_tune.data.prepared.decoding import read_header
from bts_tune.data.prepared.images import preprocess, read_bytes, read_mask, read_plane, read_slice, resize_mask
from bts_tune.data.prepared.judge_masks import judge_masks
from bts_tune.data.prepared.masks import mask_values
from bts_tune.data.records import SPLITS, Dataset, FileDigests, SliceRecord
from bts_tune.data.training_share import with_training_share
from bts_tune.errors import DataError

FORMAT = 1
"""Version of the entries; raise it whenever the same files would give other pixels."""

DECODING = 2
"""Version of the decoding of files that are turned, inverted or scaled; the others' has never changed."""

# By a dataset's files: every search of the cache asks for it again.
_KNOWN_PLAIN: WeakKeyDictionary[FileDigests, bool] = WeakKeyDictionary()


Level = float | tuple[float, ...]
"""Of one channel, or of each of several."""


@dataclass(frozen=True, eq=False)
class PreparedSplit:
    """The arrays of one split.

    Attributes:
        images: uint8 [N, S, S], or [N, S, S, C] of C > 1 channels, memory-mapped, read-only.
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
        mean, std: of the training split's pixels, in units of 0 … 255; of several channels one each.
        preprocessing: what was done to the images.
    """

    folder: Path
    key: str
    train: PreparedSplit
    valid: PreparedSplit
    test: PreparedSplit
    mean: Level
    std: Level
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
        preprocessing: size and equalisation, and the share of the training images.
        cache: folder of the cache; by default `default_cache()`. Where it cannot be written to, what it lacks is kept
            in this user's own.
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
            f"`{shlex.join(['bts-tune', 'data', 'check', str(dataset.root)])}` lists them all."
        )
    for split in ("train", "valid"):
        if not dataset.records[split]:
            raise DataError(f"{dataset.root}: the {split} split holds no image.")
    dataset = with_mask_rule(dataset, workers=workers)
    key = _key(dataset, preprocessing)
    for place in places(cache):
        folder = place / key
        with contextlib.suppress(DataError):
            return load_prepared(folder)
    cache = folder.parent
    try:
        with building(cache, key):
            with contextlib.suppress(DataError):
                return load_prepared(folder)
            if folder.exists():
                remove(folder)
            temporary = temporary_folder(cache, key)
            shared = with_training_share(dataset, preprocessing.train_share)
            try:
                _build(temporary, key, shared, preprocessing, workers, progress)
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
    """Return how many bytes `prepare` would write: images and masks of all slices; 0 where the cache has them."""
    dataset = with_mask_rule(dataset)
    key = _key(dataset, preprocessing)
    if any(os.access(place / key / META_FILE, os.R_OK) for place in places(cache)):
        return 0
    return (
        (preprocessing.channels + 1)
        * preprocessing.image_size**2
        * len(with_training_share(dataset, preprocessing.train_share))
    )


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
    held = {record.name: one for record, one in zip(records, found, strict=True)}
    judged = judge_masks(held, dataset.tumor_labels, dataset.ignored_labels)
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
    mean, std = (read_level(meta[key], preprocessing.channels) for key in ("mean", "std"))
    if np.min(std) <= 0:
        raise ValueError(f"std is {std}")
    splits = {split: _load_split(folder, split, meta["names"][split], preprocessing) for split in SPLITS}
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
        "dataset": with_training_share(dataset, preprocessing.train_share).fingerprint(),
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
        return read_header(read_bytes(path), str(path), many=True).plain
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
    names = {split: [record.name for record in dataset.records[split]] for split in SPLITS}
    one_image, one_mask = _shapes(preprocessing)
    images = {split: _new_array(_file(folder, split, "images"), (len(names[split]), *one_image)) for split in SPLITS}
    masks = {split: _new_array(_file(folder, split, "masks"), (len(names[split]), *one_mask)) for split in SPLITS}

    counts = np.zeros((preprocessing.channels, 256), dtype=np.int64)
    counting = threading.Lock()

    def work(place: tuple[str, int]) -> None:
        """Prepare one slice, and count the values of each channel of a training image."""
        split, index = place
        image, mask = _prepare_slice(dataset.records[split][index], preprocessing, dataset.mask_rule)
        images[split][index] = image
        masks[split][index] = mask
        if split == "train":
            planes = np.moveaxis(np.atleast_3d(image), 2, 0)
            own = np.stack([np.bincount(plane.ravel(), minlength=256) for plane in planes])
            with counting:
                np.add(counts, own, out=counts)

    places = [(split, index) for split in SPLITS for index in range(len(names[split]))]
    parallel_map(work, places, workers=workers, progress=progress)
    # From the summed histogram mean and deviation are exact, whatever the order of the threads.
    levels = [_mean_and_deviation(channel) for channel in counts]
    if any(std == 0 for _, std in levels):
        where = "" if len(levels) == 1 else f" of channel {[std for _, std in levels].index(0) + 1}"
        raise DataError(f"{dataset.root}: all pixels{where} of the training split have the same value.")
    means, stds = zip(*levels, strict=True)
    for array in (*images.values(), *masks.values()):
        if isinstance(array, np.memmap):
            array.flush()
    meta = {
        "format": FORMAT,
        "key": key,
        "dataset": str(dataset.root.absolute()),
        "preprocessing": preprocessing.model_dump(mode="json"),
        "mean": means[0] if len(means) == 1 else means,
        "std": stds[0] if len(stds) == 1 else stds,
        "names": names,
    }
    with (folder / META_FILE).open("w", encoding="utf-8") as file:
        json.dump(meta, file)
        file.flush()
        os.fsync(file.fileno())


def _prepare_slice(
    record: SliceRecord, preprocessing: PreprocessingPart, rule: MaskRule | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return image, uint8 [S, S] or [S, S, C], and mask, uint8 [S, S], of one slice."""
    image = read_slice(record, preprocessing.channels)
    mask = read_mask(record, rule)
    if image.shape[:2] != mask.shape:
        raise DataError(
            f"{record.image}: has {image.shape[1]} x {image.shape[0]} pixels, "
            f"its mask or declared size {mask.shape[1]} x {mask.shape[0]}."
        )
    return preprocess(image, preprocessing), resize_mask(mask, preprocessing.image_size)


def _file(folder: Path, split: str, kind: str) -> Path:
    return folder / f"{split}_{kind}.npy"


def read_level(stored: Any, channels: int) -> Level:
    """Return a mean or a deviation as a file has it: a number, or one a channel.

    Raises:
        ValueError, TypeError: it is something else.
    """
    found = [float(one) for one in stored] if channels > 1 else [float(stored)]
    if len(found) != channels or not np.isfinite(found).all():
        raise ValueError(f"of {channels} channels, a mean or a deviation is {stored}")
    return tuple(found) if channels > 1 else found[0]


def _mean_and_deviation(counts: np.ndarray) -> tuple[float, float]:
    values = np.arange(256, dtype=np.float64)
    mean = float(np.average(values, weights=counts))
    return mean, math.sqrt(np.average((values - mean) ** 2, weights=counts))


def _shapes(preprocessing: PreprocessingPart) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of one image and of one mask."""
    plane = (preprocessing.image_size, preprocessing.image_size)
    return (plane if preprocessing.channels == 1 else (*plane, preprocessing.channels)), plane


def _new_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return a writable array uint8 in a file.

    Raises:
        OSError: there is no room for it. Without the reservation a full disk would kill the process as it writes.
    """
    if shape[0] == 0:
        empty = np.empty(shape, dtype=np.uint8)
        np.save(path, empty)
        return empty
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _load_split(folder: Path, split: str, names: list[str], preprocessing: PreprocessingPart) -> PreparedSplit:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"names of {split} are no list of words")
    arrays = []
    for kind, shape in zip(("images", "masks"), _shapes(preprocessing), strict=True):
        path = _file(folder, split, kind)
        # An empty array cannot be mapped.
        array = np.load(path, mmap_mode="r" if names else None, allow_pickle=False)
        if array.dtype != np.uint8 or array.shape != (len(names), *shape):
            raise ValueError(f"{path.name} is {array.dtype} {list(array.shape)}")
        arrays.append(array)
    return PreparedSplit(arrays[0], arrays[1], names)
