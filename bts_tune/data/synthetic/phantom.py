"""Synthetic axial brain MRI with tumours, as arrays and as a COCO dataset like the real one.

What a patient looks like is `anatomy.py`'s; here are the numbers of patients and slices, the splits and the files.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import multiprocessing
import shutil
import signal
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np

from bts_tune.data.parallel import available_cpus
from bts_tune.data.synthetic.anatomy import Image, Patient, random_stream
from bts_tune.errors import DataError

Annotation = Literal["outline", "box"]

SPLITS = ("train", "valid", "test")
MIN_IMAGE_SIZE = 32
MAX_IMAGE_SIZE = 2048

_DATE = "1970-01-01T00:00:00+00:00"  # the export format wants one; the bytes must not depend on the day
_LICENSES = [{"id": 1, "url": "https://creativecommons.org/publicdomain/zero/1.0/", "name": "CC0 1.0"}]
_CATEGORIES = [  # the first is the name of the group, as in Roboflow's exports; no annotation has it
    {"id": 0, "name": "Tumor", "supercategory": "none"},
    {"id": 1, "name": "tumor", "supercategory": "Tumor"},
]

_SPLITTING = 0  # the random stream that assigns patients to splits; anatomy.py has the others


def generate_patient(
    slices: int = 8, *, tumor_slices: int = 7, image_size: int = 256, seed: int = 0, patient: int = 0
) -> Iterator[tuple[Image, Image]]:
    """Yield the slices of one patient from bottom to top.

    Args:
        slices: how many.
        tumor_slices: how many of them, neighbours, the tumour spans; 0 for a healthy patient.
        image_size: width and height in pixels.
        seed: the same seed and patient give the same anatomy at every image size.
        patient: number of the patient.

    Yields:
        The image and its tumour mask (0 or 1), both uint8 of shape (image_size, image_size).

    Raises:
        DataError: an argument is out of its range.
    """
    drawn = _drawn_patient(slices, tumor_slices, image_size, seed, patient)
    return (drawn.render(index, image_size) for index in range(slices))


def generate_slice(
    index: int,
    slices: int = 8,
    *,
    tumor_slices: int = 7,
    image_size: int = 256,
    seed: int = 0,
    patient: int = 0,
) -> tuple[Image, Image]:
    """Return slice `index` (from 0, the lowest) of what `generate_patient` yields.

    Raises:
        DataError: an argument is out of its range.
    """
    _check_range("index", index, 0, slices - 1)
    return _drawn_patient(slices, tumor_slices, image_size, seed, patient).render(index, image_size)


def write_phantom(
    root: Path,
    *,
    count: int = 240,
    image_size: int = 256,
    slices_per_patient: int = 8,
    annotation: Annotation = "outline",
    tumor_free: float = 0.15,
    plain: bool = False,
    seed: int = 0,
    splits: tuple[float, float, float] = (0.7, 0.2, 0.1),
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a synthetic dataset as a COCO export: `train/ valid/ test/`, images beside `_annotations.coco.json`.

    The folder is whole or not there: it is written beside `root` and renamed. `patients.csv` lists the patients, and
    `images[].extra` of the JSON holds `patient` and `slice`; a file is named after both (`p0007_s003.png`). All
    slices of a patient lie in one split, and every split has a patient with a tumour. The same arguments give the
    same bytes, however many processes write them, with the same versions of numpy and OpenCV on the same kind of CPU
    (elsewhere a grey value may round otherwise). Memory does not grow with `count`, but for a byte a patient.

    Args:
        root: a folder that does not exist, or an empty one.
        count: how many slices, over all splits. There must be a patient for each split that gets a share, so at least
            `2 * slices_per_patient + 1` for three splits.
        image_size: width and height in pixels, 32 to 2048.
        slices_per_patient: at most how many slices a patient has; they are shared out evenly.
        annotation: `outline` (polygons along the mask's pixel edges) or `box` (its bounding box as a rectangle).
        tumor_free: share of slices without a tumour, at least 0 and below 1; exact to one slice a split.
        plain: whether all tumours are large and bright, as a small network finds them after few steps.
        seed: any integer from 0.
        splits: shares of the patients in train, valid and test; 0 leaves a split out.
        workers: processes; None takes as many as there are usable CPUs, or one for a small dataset.
        progress: called with the slices done and their total after each patient.

    Raises:
        DataError: `root` holds something or cannot be written, or an argument is out of its range.
    """
    patients = _checked_patients(count, image_size, slices_per_patient, annotation, tumor_free, seed, splits, workers)
    root = root.resolve()
    if root == Path.cwd():
        raise DataError(f"{root}: is the current folder; name a folder that does not exist yet.")
    if root.exists() and not root.is_dir():
        raise DataError(f"{root}: is a file; name a folder that does not exist yet.")
    if root.exists() and any(root.iterdir()):
        raise DataError(f"{root}: already holds something; name an empty folder or one that does not exist yet.")
    if workers is None:
        # Below some seconds of work, processes cost more than they bring.
        workers = 1 if count * image_size**2 < 300 * 256**2 else min(available_cpus(), patients)
    info = {
        "version": "1",
        "description": f"Synthetic brain MRI with tumours, made by bts-tune: not real patients (seed {seed}).",
        "contributor": "bts-tune",
        "date_created": _DATE,
    }
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=root.parent, prefix=f".{root.name}.", suffix=".part"))
        try:
            jobs = _jobs(temporary, count, patients, image_size, annotation, tumor_free, plain, seed, splits)
            _write_dataset(temporary, info, jobs, count, workers, progress)
            temporary.chmod(0o755)
            temporary.replace(root)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise DataError(f"{root}: cannot be written: {error.strerror or error}.") from None
    except BrokenExecutor:
        raise DataError(f"{root}: a worker process was killed; try again with fewer workers.") from None


def _drawn_patient(slices: int, tumor_slices: int, image_size: int, seed: int, patient: int) -> Patient:
    _check_range("slices", slices, 1)
    _check_range("tumor_slices", tumor_slices, 0, slices)
    _check_range("image_size", image_size, MIN_IMAGE_SIZE, MAX_IMAGE_SIZE)
    _check_range("seed", seed, 0)
    _check_range("patient", patient, 0)
    return Patient(seed, patient, slices, tumor_slices)


# ---- The dataset on disk


@dataclass(frozen=True)
class _Job:
    """One patient to write."""

    folder: Path
    split: str
    seed: int
    number: int
    patient: str
    slices: int
    tumor_slices: int
    image_size: int
    annotation: Annotation
    plain: bool


@dataclass(frozen=True)
class _Written:
    """The slices of one patient that are on disk: image records without their `id`, and annotations or None."""

    job: _Job
    lesion: str
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any] | None]


def _checked_patients(
    count: int,
    image_size: int,
    slices_per_patient: int,
    annotation: str,
    tumor_free: float,
    seed: int,
    splits: tuple[float, ...],
    workers: int | None,
) -> int:
    """Return the number of patients, or say which argument is out of its range."""
    _check_range("slices_per_patient", slices_per_patient, 1)
    _check_range("image_size", image_size, MIN_IMAGE_SIZE, MAX_IMAGE_SIZE)
    _check_range("seed", seed, 0)
    _check_range("workers", 1 if workers is None else workers, 1)
    if annotation not in get_args(Annotation):
        raise DataError(f"annotation is {annotation!r}; {' or '.join(get_args(Annotation))} is allowed.")
    if not 0 <= tumor_free < 1:
        raise DataError(f"tumor_free is {tumor_free}; a share of at least 0 and below 1 is allowed.")
    if len(splits) != len(SPLITS) or not all(share >= 0 for share in splits) or not math.isclose(sum(splits), 1):
        raise DataError(f"splits is {splits}; three shares (train, valid, test) from 0 that sum to 1 are allowed.")
    used = sum(share > 0 for share in splits)
    _check_range("count", count, slices_per_patient * (used - 1) + 1, note=f", a patient for each of {used} splits")
    return math.ceil(count / slices_per_patient)


def _check_range(name: str, value: int, low: int, high: int | None = None, note: str = "") -> None:
    if value < low or (high is not None and value > high):
        allowed = f"{low} to {high}" if high is not None else f"at least {low}"
        raise DataError(f"{name} is {value}; {allowed} is allowed{note}.")


def _jobs(
    root: Path,
    count: int,
    patients: int,
    image_size: int,
    annotation: Annotation,
    tumor_free: float,
    plain: bool,
    seed: int,
    splits: tuple[float, float, float],
) -> Iterator[_Job]:
    """Share slices, splits and tumours out among the patients."""
    sizes = _patients_per_split(patients, splits)
    membership = random_stream(seed, _SPLITTING).permutation(np.repeat(np.arange(len(SPLITS), dtype=np.uint8), sizes))
    digits = max(4, len(str(patients - 1)))
    slices_before = [0] * len(SPLITS)
    for number, split in enumerate(membership.tolist()):
        slices = count // patients + (number < count % patients)
        before, after = slices_before[split], slices_before[split] + slices
        slices_before[split] = after
        # Rounding up the running total gives the first patient of each split a tumour.
        tumor_slices = _round_up((1 - tumor_free) * after) - _round_up((1 - tumor_free) * before)
        name, patient = SPLITS[split], f"p{number:0{digits}d}"
        yield _Job(root / name, name, seed, number, patient, slices, tumor_slices, image_size, annotation, plain)


def _round_up(value: float) -> int:
    """The ceiling, blind to errors of floating-point arithmetic; at least 1 for a value above 0."""
    return max(math.ceil(round(value, 6)), int(value > 0))


def _patients_per_split(patients: int, splits: tuple[float, float, float]) -> list[int]:
    """Whole numbers nearest to the shares, at least one for each share above 0."""
    quotas = [share * patients for share in splits]
    sizes = [max(1, math.floor(quota)) if quota > 0 else 0 for quota in quotas]
    while sum(sizes) < patients:
        sizes[max(range(len(sizes)), key=lambda split: quotas[split] - sizes[split])] += 1
    while sum(sizes) > patients:
        reducible = [split for split in range(len(sizes)) if sizes[split] > 1]
        sizes[max(reducible, key=lambda split: sizes[split] - quotas[split])] -= 1
    return sizes


def _write_dataset(
    root: Path,
    info: dict[str, str],
    jobs: Iterator[_Job],
    count: int,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    done = 0
    with contextlib.ExitStack() as stack:
        table = csv.writer(stack.enter_context((root / "patients.csv").open("w", newline="")), lineterminator="\n")
        table.writerow(["patient", "split", "slices", "tumor_slices", "lesion"])
        add_to: dict[str, Callable[[_Written], None]] = {}

        def created() -> Iterator[_Job]:
            for job in jobs:
                if job.split not in add_to:
                    job.folder.mkdir()
                    add_to[job.split] = stack.enter_context(_coco_file(job.folder / "_annotations.coco.json", info))
                yield job

        for written in stack.enter_context(contextlib.closing(_written_in_order(created(), workers))):
            job = written.job
            add_to[job.split](written)
            table.writerow([job.patient, job.split, job.slices, job.tumor_slices, written.lesion])
            done += job.slices
            if progress:
                progress(done, count)


@contextlib.contextmanager
def _coco_file(path: Path, info: dict[str, str]) -> Iterator[Callable[[_Written], None]]:
    """Give a function that adds a patient to a COCO JSON file; annotations wait in a second one."""
    images = annotations = 0
    with path.open("w", encoding="utf-8") as file, tempfile.TemporaryFile("w+", dir=path.parent) as waiting:

        def add(written: _Written) -> None:
            nonlocal images, annotations
            for image, annotation in zip(written.images, written.annotations, strict=True):
                file.write((",\n" if images else "\n") + json.dumps({"id": images, **image}))
                if annotation is not None:
                    record = {"id": annotations, "image_id": images, **annotation}
                    waiting.write((",\n" if annotations else "\n") + json.dumps(record))
                    annotations += 1
                images += 1

        head = {"info": info, "licenses": _LICENSES, "categories": _CATEGORIES}
        file.write(json.dumps(head)[:-1] + ', "images": [')
        yield add
        file.write('\n], "annotations": [')
        waiting.seek(0)
        shutil.copyfileobj(waiting, file)
        file.write("\n]}\n")


def _written_in_order(jobs: Iterator[_Job], workers: int) -> Generator[_Written, None, None]:
    """Write the patients in `workers` processes; yield them in the order of `jobs`, few being under way at a time."""
    if workers == 1:
        yield from map(_write_patient, jobs)
        return
    # Not forked: the caller may have threads (torch, Ray).
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker) as pool:
        pending: deque[Future[_Written]] = deque()
        try:
            for job in jobs:
                pending.append(pool.submit(_write_patient, job))
                if len(pending) > 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _prepare_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    cv2.setNumThreads(1)


def _write_patient(job: _Job) -> _Written:
    drawn = Patient(job.seed, job.number, job.slices, job.tumor_slices, plain=job.plain)
    digits = max(3, len(str(job.slices - 1)))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any] | None] = []
    for index in range(job.slices):
        image, mask = drawn.render(index, job.image_size)
        name = f"{job.patient}_s{index:0{digits}d}.png"
        _, encoded = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        (job.folder / name).write_bytes(encoded.tobytes())
        images.append(
            {
                "license": 1,
                "file_name": name,
                "height": job.image_size,
                "width": job.image_size,
                "date_captured": _DATE,
                "extra": {"patient": job.patient, "slice": index},
            }
        )
        annotations.append(_annotated(mask, job.annotation) if mask.any() else None)
    return _Written(job, drawn.tumor.kind if drawn.tumor else "", images, annotations)


def _annotated(mask: Image, annotation: Annotation) -> dict[str, Any]:
    """The COCO annotation of a mask, but for its ids; coordinates are those of pixel edges."""
    left, top, width, height = cv2.boundingRect(mask)
    right, bottom = left + width, top + height
    if annotation == "box":
        polygons = [[left, top, right, top, right, bottom, left, bottom, left, top]]
        area = width * height
    else:
        # At twice the size, the pixels of a contour tell by their parity on which edge of the original pixel they lie.
        twice = cv2.resize(mask, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(twice, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        polygons = [((contour.ravel() + 1) // 2).astype(int).tolist() for contour in contours]
        area = int(np.count_nonzero(mask))
    return {
        "category_id": 1,
        "bbox": [left, top, width, height],
        "area": area,
        "segmentation": polygons,
        "iscrowd": 0,
    }
