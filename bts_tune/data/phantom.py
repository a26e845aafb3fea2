"""Synthetic axial brain MRI with tumours, as arrays and as a COCO dataset like the real one.

A *patient* is a set of random but smooth three-dimensional functions (head, ventricles, folds, bias field, tumour); a
slice is a cut through them, so neighbouring slices resemble each other as they do in a scan. Nothing here is a
simulation of MR physics: the aim is images that look plausible, that a small network can learn from and that a
threshold cannot segment, in any number, without downloading anything.

Lengths are in units of the brain's mean half-length (about 85 mm); x points to the image's right, y to the front of
the head (up in the image), z to its top. Intensities are relative, 1 being the brightest scalp fat.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import json
import math
import multiprocessing
import os
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
from numpy.typing import NDArray

from bts_tune.errors import DataError

Annotation = Literal["outline", "box"]
Floats = NDArray[np.float32]
Image = NDArray[np.uint8]

SPLITS = ("train", "valid", "test")
MIN_IMAGE_SIZE = 32
MAX_IMAGE_SIZE = 2048

_DATE = "1970-01-01T00:00:00+00:00"  # the export format wants one; the bytes must not depend on the day
_LICENSES = [{"id": 1, "url": "https://creativecommons.org/publicdomain/zero/1.0/", "name": "CC0 1.0"}]
_CATEGORIES = [  # the first is the name of the group, as in Roboflow's exports; no annotation has it
    {"id": 0, "name": "Tumor", "supercategory": "none"},
    {"id": 1, "name": "tumor", "supercategory": "Tumor"},
]

_FIELD_OF_VIEW = 1.32  # half the width of an image
_LOWEST, _HIGHEST = -0.25, 0.62  # the z between which slices are cut: from the thalamus to below the vertex
_LATTICE = 40  # points a side of the coarse grid on which coordinates are warped
_GREY, _CSF, _BONE = 0.44, 0.13, 0.07
_DEEP_GREY = (  # (centre, radii, share of grey matter) of the thalamus, putamen and head of the caudate nucleus
    ((0.12, -0.1, -0.02), (0.10, 0.17, 0.2), 0.7),
    ((0.31, 0.08, 0.0), (0.07, 0.2, 0.2), 0.9),
    ((0.14, 0.27, 0.1), (0.06, 0.1, 0.2), 0.9),
)
_SPLITTING, _ANATOMY, _NOISE = range(3)  # independent random streams


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
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        # Below some seconds of work, processes cost more than they bring.
        workers = 1 if count * image_size**2 < 300 * 256**2 else min(usable, patients)
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
            jobs = _jobs(temporary, count, patients, image_size, annotation, tumor_free, seed, splits)
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
    seed: int,
    splits: tuple[float, float, float],
) -> Iterator[_Job]:
    """Share slices, splits and tumours out among the patients."""
    sizes = _patients_per_split(patients, splits)
    membership = _generator(seed, _SPLITTING).permutation(np.repeat(np.arange(len(SPLITS), dtype=np.uint8), sizes))
    digits = max(4, len(str(patients - 1)))
    slices_before = [0] * len(SPLITS)
    for number, split in enumerate(membership.tolist()):
        slices = count // patients + (number < count % patients)
        before, after = slices_before[split], slices_before[split] + slices
        slices_before[split] = after
        # Rounding up the running total gives the first patient of each split a tumour.
        tumor_slices = _round_up((1 - tumor_free) * after) - _round_up((1 - tumor_free) * before)
        name, patient = SPLITS[split], f"p{number:0{digits}d}"
        yield _Job(root / name, name, seed, number, patient, slices, tumor_slices, image_size, annotation)


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
    # Not forked: whoever calls may have threads (torch, Ray).
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
    drawn = _Patient(job.seed, job.number, job.slices, job.tumor_slices)
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


# ---- One patient


def _drawn_patient(slices: int, tumor_slices: int, image_size: int, seed: int, patient: int) -> _Patient:
    _check_range("slices", slices, 1)
    _check_range("tumor_slices", tumor_slices, 0, slices)
    _check_range("image_size", image_size, MIN_IMAGE_SIZE, MAX_IMAGE_SIZE)
    _check_range("seed", seed, 0)
    _check_range("patient", patient, 0)
    return _Patient(seed, patient, slices, tumor_slices)


@dataclass(frozen=True)
class _Tumor:
    """A lesion: where it lies, how it is shaped and how it shows on T1.

    `x`, `y` are relative to the brain section's half-axes; `rim` is the share of the radius that is not necrotic
    (1: solid); `edge` the share of the radius over which it fades into the brain.
    """

    kind: str
    x: float
    y: float
    radius: float
    stretch: float
    angle: float
    lobulation: float
    intensity: float
    patchiness: float
    core: float
    rim: float
    edge: float
    edema: float
    push: float


@dataclass(frozen=True)
class _Cut:
    """What the layers of one slice are computed from.

    `x`, `y` are the coordinates of the undisturbed anatomy at every pixel, `depth` the distance below the brain's
    surface (negative outside), `coarse` and `fine` smooth random textures of unit variance; `section` is the size of
    the brain's section relative to the largest, `pixel` the width of a pixel.
    """

    z: float
    section: float
    pixel: float
    x: Floats
    y: Floats
    depth: Floats
    coarse: Floats
    fine: Floats

    @functools.cached_property
    def across(self) -> Floats:
        """Distance from the midline."""
        return np.abs(self.x)


class _Patient:
    """The functions that one patient's slices are cut from, whatever the image size."""

    def __init__(self, seed: int, number: int, slices: int, tumor_slices: int) -> None:
        self._seed, self._number = seed, number
        rng = _generator(seed, _ANATOMY, number)

        def lattice(depth: int, height: int, width: int) -> Floats:
            return rng.standard_normal((depth, height, width), dtype=np.float32)

        self.contrast_agent = rng.random() < 0.8
        self.angle = math.radians(rng.normal(0, 5))
        self.shift = rng.normal(0, 0.025), rng.normal(0, 0.025)
        self.half_length = rng.uniform(0.92, 1.04)
        self.half_width = self.half_length * rng.uniform(0.76, 0.85)
        self.taper = rng.uniform(0.04, 0.14)  # how much narrower the front is than the back
        self.atrophy = rng.uniform(0, 1)  # widens sulci, ventricles and the gap below the skull together
        self.ventricle = (0.028 + 0.045 * self.atrophy) * rng.uniform(0.8, 1.2)
        self.ventricle_height = rng.uniform(0.25, 0.31)
        self.grey_white = rng.uniform(0.09, 0.15) if self.contrast_agent else rng.uniform(0.13, 0.2)
        self.skull = rng.uniform(0.75, 1.1)
        self.marrow = rng.uniform(0.3, 0.6)
        self.scalp = rng.uniform(0.76, 1.0)
        self.scalp_thickness = rng.uniform(0.04, 0.085)
        self.bias = rng.uniform(0.04, 0.12)
        self.noise = rng.uniform(0.010, 0.028)
        self.gain = rng.uniform(0.82, 1.02)

        self.warp_fields = lattice(4, 5, 10)
        self.fold_field = lattice(8, 4, 54)
        self.side_field = lattice(8, 24, 24)
        self.coarse_field = lattice(6, 14, 14)
        self.fine_field = lattice(8, 48, 48)
        self.bias_field = lattice(3, 3, 3)

        self.tumor = _draw_tumor(rng, self.contrast_agent) if tumor_slices else None
        # As in published collections of tumour slices, the spacing follows the lesion, so that it spans the slices
        # asked for; the small ones are cut finely.
        self.spacing = min(0.08, (_HIGHEST - _LOWEST) / slices)
        if self.tumor:
            self.spacing = min(1.7 * self.tumor.radius / tumor_slices, self.spacing)
        self.bottom = rng.uniform(_LOWEST, _HIGHEST - self.spacing * (slices - 1))
        first = rng.integers(0, slices - tumor_slices + 1)
        self.tumor_center = self.bottom + self.spacing * (first + (tumor_slices - 1) / 2)
        # Half a spacing beyond the outermost slices with tumour: it is cut by exactly `tumor_slices` of them.
        self.tumor_half_height = self.spacing * tumor_slices / 2

    def render(self, index: int, size: int) -> tuple[Image, Image]:
        """Cut slice `index`: the image and the tumour mask, both uint8 of `size` x `size`."""
        z = self.bottom + self.spacing * index
        section = math.sqrt(1 - z * z)
        grid_x, grid_y = self._head_coordinates(z)
        x, y = grid_x, grid_y
        relative = (z - self.tumor_center) / self.tumor_half_height if self.tumor else 1.0
        # The floor keeps the outermost cross-sections of a lesion visible.
        profile = max(0.42, math.sqrt(1 - relative * relative)) if abs(relative) < 1 else 0.0
        if self.tumor and profile:
            x, y = self._pushed(self.tumor, profile, section, x, y)
        x, y = _enlarged(x, size), _enlarged(y, size)
        coarse, fine = (_enlarged(self._at(field, z), size) for field in (self.coarse_field, self.fine_field))
        cut = _Cut(z, section, 2 * _FIELD_OF_VIEW / size, x, y, self._depth(x, y, section), coarse, fine)
        signal = self._healthy(cut)
        mask = np.zeros((size, size), np.uint8)
        if self.tumor and profile:
            self._add_tumor(self.tumor, profile, cut, grid_x, grid_y, signal, mask)
        return self._acquired(signal, z, index), mask

    def _at(self, lattice: Floats, z: float) -> Floats:
        """The plane of `lattice` at height `z`, of unit variance between its layers too."""
        position = (z - _LOWEST) / (_HIGHEST - _LOWEST) * (len(lattice) - 1)
        below = min(max(int(position), 0), len(lattice) - 2)
        weight = position - below
        plane = (1 - weight) * lattice[below] + weight * lattice[below + 1]
        return (plane / math.hypot(weight, 1 - weight)).astype(np.float32)

    def _head_coordinates(self, z: float) -> tuple[Floats, Floats]:
        """The head's x and y at the points of the coarse grid: turned, shifted and smoothly warped."""
        grid_x, grid_y = _coarse_grid()
        grid_x, grid_y = grid_x - self.shift[0], grid_y - self.shift[1]
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        warp = self._at(self.warp_fields, z)
        x = cosine * grid_x + sine * grid_y + 0.016 * _enlarged(warp[:, :5], _LATTICE)
        y = cosine * grid_y - sine * grid_x + 0.016 * _enlarged(warp[:, 5:], _LATTICE)
        return x.astype(np.float32), y.astype(np.float32)

    def _pushed(self, tumor: _Tumor, profile: float, section: float, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Coordinates after the tumour's mass effect: anatomy moves away from it, the skull stays."""
        center_x, center_y = self._tumor_position(tumor, section)
        inside = np.clip(self._depth(x, y, section) / 0.25, 0, 1)
        distance = ((x - center_x) ** 2 + (y - center_y) ** 2) / (2 * (1.3 * tumor.radius * profile) ** 2)
        weight = tumor.push * inside * np.exp(-distance)
        return x - weight * (x - center_x), y - weight * (y - center_y)

    def _tumor_position(self, tumor: _Tumor, section: float) -> tuple[float, float]:
        return tumor.x * self.half_width * section, tumor.y * self.half_length * section

    def _depth(self, x: Floats, y: Floats, section: float) -> Floats:
        """Approximate distance below the brain's surface; negative outside it."""
        v = y / (self.half_length * section)
        u = x / (self.half_width * section * (1 - self.taper * v))
        u2, v2 = u * u, v * v
        return (1 - np.sqrt(u2 + v2 - 0.16 * np.minimum(u2 * v2, 2))) * (0.9 * section)

    def _healthy(self, cut: _Cut) -> Floats:
        """Intensity of the healthy head: scalp, skull, folded cortex, white matter, ventricles, deep grey matter."""
        signal = self._brain(cut)
        outside = cut.depth < 0
        signal[outside] = self._shell(cut, outside)
        inside = np.clip(cut.depth / 0.05, 0, 1)
        signal *= 1 + inside * (0.02 * cut.fine + 0.02 * cut.coarse)
        if self.contrast_agent:
            self._add_vessels(cut, inside, signal)
        return signal

    def _shell(self, cut: _Cut, where: NDArray[np.bool_]) -> Floats:
        """Intensity outside the brain: inner table, marrow and outer table of the skull, fat, skin, air."""
        table, marrow = 0.016 + 0.022 * self.skull, 0.016 + 0.055 * self.skull
        bone = 0.016 + 0.085 * self.skull
        skin = bone + self.scalp_thickness
        knots = [
            *((-skin - 0.025, 0.0), (-skin - 0.018, 0.45), (-skin - 0.004, 0.5), (-skin + 0.008, self.scalp)),
            *((-bone - 0.008, self.scalp), (-bone + 0.004, _BONE), (-marrow - 0.008, _BONE), (-marrow, self.marrow)),
            *((-table - 0.006, self.marrow), (-table, _BONE), (-0.016, _BONE)),
            *((-0.006, 0.3 if self.contrast_agent else _CSF), (0.004, _CSF)),
        ]
        # Thickness and marrow vary round the head.
        uneven = 1 + 0.045 * cut.coarse[where]
        return _lookup(cut.depth[where] * uneven, knots, cut.pixel) * (0.94 + 0.06 * np.square(uneven))

    def _brain(self, cut: _Cut) -> Floats:
        """Intensity of the brain, by the distance to the nearest cerebrospinal fluid: fluid, cortex, white matter."""
        white = _GREY + self.grey_white
        gap = 0.006 + 0.022 * self.atrophy
        # The surface is cut ever more obliquely towards the vertex, so the cortex looks thicker there.
        fluid = np.minimum(cut.depth * cut.section - gap, self._sulci(cut))
        fluid = np.minimum(fluid, self._fissures(cut)) + 0.004 * cut.fine
        knots = [(-0.012, _CSF), (0.003, _GREY - 0.02), (0.034, _GREY), (0.05, white)]
        signal = _lookup(fluid, knots, cut.pixel)
        for center, radii, strength in _DEEP_GREY:
            if abs(cut.z - center[2]) < radii[2]:
                inside = np.clip(_ellipsoid(cut, center, radii) / 0.4, 0, 1)
                signal += inside * (strength * (_GREY + 0.02 - signal))
        signal += np.clip(self._ventricles(cut) / cut.pixel + 0.5, 0, 1) * (_CSF - signal)
        return signal

    def _sulci(self, cut: _Cut) -> Floats:
        """Distance to the nearest sulcus.

        The main ones are the zero lines of a random field over angle and depth, so that they run inwards and close
        there; the zero lines of an isotropic field are their side branches.
        """
        plane = self._at(self.fold_field, cut.z)
        turns = plane.shape[1]
        wrapped = np.concatenate([plane[:, -2:], plane, plane[:, :3]], axis=1)
        field = cv2.resize(wrapped, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
        column = cv2.phase(cut.x, cut.y) * np.float32(8 * turns / (2 * math.pi)) + np.float32(8 * 2 + 3.5)
        row = cut.depth * np.float32(8 / 0.14 * cut.section) + np.float32(3.5)
        main = cv2.remap(field, column + cut.coarse * 3, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        side = _enlarged(self._at(self.side_field, cut.z), len(cut.x))
        depth = cut.depth * np.float32(cut.section)
        width = 0.004 + 0.012 * self.atrophy
        main = np.abs(main) * 0.07 + np.maximum(depth - 0.15 - 0.04 * cut.coarse, 0) * 0.35
        side = np.abs(side) * 0.1 + np.maximum(depth - 0.1, 0) * 0.35 + 0.006
        return np.minimum(main, side) - width

    def _fissures(self, cut: _Cut) -> Floats:
        """Distance to the interhemispheric fissure (bridged by the corpus callosum low down) and the lateral sulci."""
        across, y, z = cut.across, cut.y, cut.z
        bridge = max(0.0, 0.46 * (1 - (max(z, 0.0) / 0.42) ** 2))
        closed = np.clip((bridge - np.abs(y + 0.02)) / 0.05, 0, 1)
        distance = across - (0.003 + 0.008 * self.atrophy) + 0.1 * closed
        if z < 0.2:
            width = (0.006 + 0.012 * self.atrophy) * min(1.0, (0.2 - z) / 0.15)
            wavy = 0.03 * cut.coarse
            lateral = np.abs(y - 0.12 + 0.45 * (across - 0.45) + wavy) + 0.7 * np.maximum(0.5 - across, 0)
            insula = np.abs(across - 0.47 - 0.9 * (y + 0.02) ** 2 + wavy) + 0.7 * np.maximum(np.abs(y + 0.02) - 0.16, 0)
            distance = np.minimum(distance, np.minimum(lateral, insula) - width)
        return distance

    def _ventricles(self, cut: _Cut) -> Floats:
        """Approximate distance inside the ventricles: two arched tubes that part in front and behind, and a slit."""
        y = cut.y
        front, back = np.maximum(y, 0), np.minimum(y, 0)
        width = self.ventricle * (1 + 0.5 * np.minimum(front, 0.3) - 0.9 * np.maximum(np.minimum(y + 0.1, 0), -0.4))
        middle = 0.012 + width + 0.75 * front * front + 1.15 * back * back
        arch = self.ventricle_height - 1.15 * (y + 0.03) ** 2
        tube = 1 - ((cut.across - middle) / width) ** 2 - ((cut.z - arch) / (0.07 + 0.9 * self.ventricle)) ** 2
        tube -= 40 * np.maximum(np.abs(y + 0.03) - 0.44, 0)
        distance = tube * (0.5 * width)
        if cut.z < 0.08:
            slit = _ellipsoid(cut, (0.0, -0.06, -0.1), (0.4 * self.ventricle + 0.004, 0.14, 0.2))
            distance = np.maximum(distance, slit * (0.2 * self.ventricle))
        return distance

    def _add_vessels(self, cut: _Cut, inside: Floats, signal: Floats) -> None:
        """Add enhancing vessels in some of the side branches, and the superior sagittal sinus behind and in front."""
        lines = np.abs(_enlarged(self._at(self.side_field, cut.z), len(signal))) * 0.1
        lines = np.clip(1 - lines / max(0.009, 0.6 * cut.pixel), 0, 1)
        signal += inside * lines * np.clip(cut.coarse - 0.7, 0, 0.5) * 0.6
        for side, strength in ((-1.0, 0.9), (1.0, 0.5)):
            pole = side * (self.half_length * cut.section + 0.005)
            spot = np.clip(1.3 - (cut.x / 0.03) ** 2 - ((cut.y - pole) / 0.04) ** 2, 0, 1)
            signal += spot * (0.8 - signal) * strength

    def _add_tumor(
        self,
        tumor: _Tumor,
        profile: float,
        cut: _Cut,
        grid_x: Floats,
        grid_y: Floats,
        signal: Floats,
        mask: Image,
    ) -> None:
        """Draw the tumour and its oedema into `signal` and `mask`, in place.

        `grid_x`, `grid_y` are the coordinates before its mass effect, at the points of the coarse grid.
        """
        size = len(signal)
        radius = max(tumor.radius * profile, 1.7 * cut.pixel)
        center_x, center_y = self._tumor_position(tumor, cut.section)
        x, y = grid_x - np.float32(center_x), grid_y - np.float32(center_y)
        window = _window(np.hypot(x, y) < 3 * radius, size)
        x, y = _enlarged(x, size)[window], _enlarged(y, size)[window]
        coarse, fine, depth, part = cut.coarse[window], cut.fine[window], cut.depth[window], signal[window]

        cosine, sine = math.cos(tumor.angle), math.sin(tumor.angle)
        along, beside = (x * cosine + y * sine) / tumor.stretch, (y * cosine - x * sine) * tumor.stretch
        distance = np.sqrt(along * along + beside * beside) * np.float32(1 / radius)
        distance *= 1 + tumor.lobulation * np.clip(coarse + 0.35 * fine, -1.5, 1.5)
        pixel = cut.pixel / radius

        edema = np.clip((1.9 + 0.5 * coarse + 0.2 * fine - distance) / 0.9, 0, 1) * (depth > 0.03)
        part -= tumor.edema * edema * np.maximum(part - 0.28, 0)
        inner = tumor.intensity * (1 + 0.06 * fine + tumor.patchiness * coarse)
        if tumor.rim < 1:
            necrosis = 1 - tumor.rim * np.clip(1 + 0.35 * coarse + 0.12 * fine, 0.4, 2)
            necrosis = np.clip((necrosis - distance) / max(0.15, pixel) + 0.5, 0, 1)
            inner += necrosis * (tumor.core * (1 + 0.1 * fine) - inner)
        opacity = np.clip((1 - distance) / max(tumor.edge, pixel) + 0.5, 0, 1) * (depth > 0)
        part += opacity * (inner - part)
        mask[window] = _largest_part(((distance < 1) & (depth > 0)).astype(np.uint8))

    def _acquired(self, signal: Floats, z: float, index: int) -> Image:
        """The image as a scanner gives it: bias field, point spread, Rician noise, eight bits."""
        size = len(signal)
        signal *= _enlarged(self.gain * np.exp(self.bias * self._at(self.bias_field, z)), size)
        blurred = cv2.GaussianBlur(signal, (3, 3), 0.55)
        rng = _generator(self._seed, _NOISE, self._number, index)
        noise = rng.standard_normal((2, size, size), dtype=np.float32) * np.float32(self.noise)
        magnitude = cv2.magnitude(blurred + noise[0], noise[1])
        return np.asarray(cv2.convertScaleAbs(magnitude, alpha=245), np.uint8)


def _draw_tumor(rng: np.random.Generator, contrast_agent: bool) -> _Tumor:
    """Draw a lesion of a kind that the sequence can show: without contrast agent none enhances."""
    kinds = ["ring", "solid", "surface"] if contrast_agent else ["dark", "dark", "surface"]
    kind = rng.choice(kinds, p=[0.4, 0.4, 0.2])
    angle = rng.uniform(-math.pi, math.pi)
    distance = rng.uniform(0.25, 0.72)
    if kind == "surface":
        distance = rng.uniform(0.8, 0.88)
    radius = {"ring": (0.18, 0.38), "solid": (0.15, 0.32), "surface": (0.16, 0.32), "dark": (0.18, 0.36)}[kind]
    bright = rng.uniform(0.66, 0.9)
    return _Tumor(
        kind=str(kind),
        x=distance * math.cos(angle),
        y=distance * math.sin(angle),
        radius=rng.uniform(*radius),
        stretch=math.exp(rng.normal(0, 0.12)),
        angle=rng.uniform(0, math.pi),
        lobulation=rng.uniform(0.03, 0.07) if kind == "surface" else rng.uniform(0.08, 0.18),
        intensity=bright if contrast_agent else rng.uniform(0.22, 0.34),
        patchiness=rng.uniform(0.03, 0.08) if kind == "surface" else rng.uniform(0.04, 0.15),
        core=rng.uniform(0.18, 0.36),
        rim=rng.uniform(0.25, 0.5) if kind == "ring" else 1.0,
        edge=rng.uniform(0.04, 0.25) if kind != "surface" else 0.05,
        edema=rng.uniform(0, 0.5) if kind != "surface" else rng.uniform(0, 0.2),
        push=rng.uniform(0.2, 0.6),
    )


def _generator(seed: int, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))


@functools.cache
def _coarse_grid() -> tuple[Floats, Floats]:
    centers = ((np.arange(_LATTICE, dtype=np.float32) + 0.5) * 2 / _LATTICE - 1) * np.float32(_FIELD_OF_VIEW)
    return np.tile(centers, (_LATTICE, 1)), np.tile(-centers[:, None], (1, _LATTICE))


def _enlarged(plane: Floats, size: int) -> Floats:
    return np.asarray(cv2.resize(plane, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def _lookup(distance: Floats, knots: list[tuple[float, float]], pixel: float) -> Floats:
    """Interpolate intensities between `knots` (distance, intensity), averaged over one pixel so as not to alias."""
    low, high, entries = -0.32, 0.12, 1024
    step = (high - low) / entries
    at, values = zip(*knots, strict=True)
    table = np.interp(low + step * np.arange(entries), at, values).astype(np.float32)
    table = cv2.blur(table[None], (max(1, round(pixel / step)), 1), borderType=cv2.BORDER_REPLICATE)[0]
    return table[np.clip((distance - low) * (1 / step), 0, entries - 1).astype(np.int32)]


def _ellipsoid(cut: _Cut, center: tuple[float, float, float], radii: tuple[float, float, float]) -> Floats:
    """1 at the centre, 0 on the surface of an ellipsoid and of its mirror image, negative outside."""
    height = 1 - ((cut.z - center[2]) / radii[2]) ** 2
    return height - ((cut.across - center[0]) / radii[0]) ** 2 - ((cut.y - center[1]) / radii[1]) ** 2


def _window(near: NDArray[np.bool_], size: int) -> tuple[slice, slice]:
    """The rows and columns of an image of `size` that cover the points of the coarse grid that are `near`."""
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    scale = size / _LATTICE
    top, left = (max(0, math.floor((found[0] - 1) * scale)) for found in (rows, columns))
    bottom, right = (math.ceil((found[-1] + 2) * scale) for found in (rows, columns))
    return slice(top, bottom), slice(left, right)


def _largest_part(mask: Image) -> Image:
    """The largest connected part of `mask`, its holes filled: what an annotator would outline."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    part = np.zeros_like(mask)
    largest = max(contours, key=lambda contour: (cv2.contourArea(contour), len(contour)))
    cv2.drawContours(part, [largest], -1, 1, cv2.FILLED)
    return part
