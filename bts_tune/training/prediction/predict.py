"""Segments images of any size and volumes, seen or never seen, with a saved model."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path

import cv2
import numpy as np

from bts_tune.data.files import Links, behind_links, files_below, target_of
from bts_tune.data.parallel import Progress, parallel_map
from bts_tune.data.prepared.images import read_image
from bts_tune.data.records import all_files, image_files
from bts_tune.data.volumes.dicom_files import is_dicom
from bts_tune.data.volumes.nifti import NIFTI_SUFFIXES, volume_stem
from bts_tune.data.volumes.planes import PLANES
from bts_tune.errors import ConfigError, DataError, RunError
from bts_tune.results.record.files import write_atomically
from bts_tune.training.prediction.formats import (
    CocoFile,
    Prediction,
    chosen_formats,
    coco_annotations,
    files_of_image,
    files_of_volume,
    is_table,
    kind_of,
    mask_file,
    png,
    regions_and_box,
    rows_with_masks,
    table,
)
from bts_tune.training.prediction.postprocessing import Postprocessing
from bts_tune.training.prediction.segmenter import Segmenter
from bts_tune.training.prediction.volumes import segment_files, series_of

TABLE_FILE, COCO_FILE = "predictions.csv", "predictions.json"

_OUTLINE = (60, 60, 255)  # BGR


@dataclass(frozen=True)
class Scan:
    """What is segmented: an image or a volume.

    Attributes:
        files: an image, a NIfTI volume, or the files of a DICOM series.
        name: of its outputs: a file's stem, or its path below a folder that was named; of a series of several files
            its folder's, where no other series lies in it.
    """

    files: tuple[Path, ...]
    name: Path


def list_scans(paths: Sequence[Path]) -> list[Scan]:
    """Return each image and volume with the name of its outputs.

    Raises:
        DataError: a path does not exist, a folder holds no image, a DICOM file cannot be read, or two scans would get
            the same outputs.
    """
    listed: list[Scan] = []
    lone: list[Path] = []
    for path in paths:
        if path.is_dir():
            with files_below(path):
                files = image_files(path, recursive=True, more=NIFTI_SUFFIXES)
                series = series_of([file for file in all_files(path) if is_dicom(file)])
            outside = list(filter(Links(path).lead_out, files))
            if outside:
                raise DataError(f"{outside[0]}: is, or lies, {behind_links(path, folder='the folder')}")
            if not files and not series:
                raise DataError(f"{path}: holds no image (PNG, JPEG, TIFF, GIF, BMP, WebP, NPY, NIfTI or DICOM).")
            listed += [Scan((file,), file.relative_to(path).with_name(volume_stem(file))) for file in files]
            listed += [Scan(one, _name_of_series(path, one, series)) for one in series]
        elif path.is_file():
            if is_dicom(path):
                lone.append(path)
            else:
                listed.append(Scan((path,), Path(volume_stem(path))))
        else:
            raise DataError(f"{path}: no such image or folder.")
    series = series_of(lone)
    if lone and not series:
        raise DataError(f"{lone[0]}: holds no image that can be segmented.")
    listed += [Scan(one, Path(one[0].stem)) for one in series]
    taken: dict[Path, Path] = {}
    for scan in listed:
        if scan.name in taken:
            raise DataError(
                f"{scan.files[0]} and {taken[scan.name]} would both be written as {scan.name}; name them apart."
            )
        taken[scan.name] = scan.files[0]
    return listed


def _name_of_series(folder: Path, files: Sequence[Path], series: Sequence[Sequence[Path]]) -> Path:
    parents = {file.parent for file in files}
    alone = len(parents) == 1 and sum(one[0].parent in parents for one in series) == 1
    if len(files) == 1 or not alone:
        return files[0].relative_to(folder).with_name(files[0].stem)
    inner = files[0].parent.relative_to(folder)
    return inner if inner.parts else Path(folder.resolve().name)


def predict(
    model: Path | Segmenter,
    images: Sequence[Path],
    out: Path,
    *,
    device: str = "auto",
    plane: str = "axial",
    formats: Sequence[str] = (),
    batch_size: int = 8,
    progress: Progress | None = None,
) -> Iterator[Prediction]:
    """Write a mask and an overlay for each image, and yield what was written; at the end, `predictions.csv` of all.

    Rows of an earlier `predictions.csv` stay in it, but for those of images that are segmented again and those whose
    masks are gone; its column `model` tells what made each mask.

    An image is equalised and resized as the training images were; the probability map is resized back to the image's
    own size before it is cut at 0.5. A volume is cut into slices, and its mask has the volume's own grid. No more
    than one batch of images, or one volume, is in memory at a time.

    Args:
        model: the folder of a saved model, or a model that is loaded.
        images: images and volumes, or folders of them.
        out: folder of the masks and overlays.
        device: of a model that is not loaded yet.
        plane: one of `PLANES`, along which volumes are cut; the one that the model was trained on.
        formats: of the masks, of `ALL_FORMATS`; by default PNG of images, NIfTI of NIfTI, and DICOM SEG of DICOM.
            'coco' writes `predictions.json`, of all images, in place of a PNG each, unless 'png' is asked for too.
        batch_size: images, or slices, that go through the network together.
        progress: called with how many images and volumes are done, and how many there are.

    Raises:
        RunError: the model cannot be read, or a file cannot be written.
        ConfigError: there is no such format, or an image cannot be written in it.
        DataError: an image cannot be read (those before it are written); what is no earlier prediction would be
            overwritten; or `out` lies in a folder of images.
    """
    if plane not in PLANES:
        raise DataError(f"plane {plane!r}: must be one of {', '.join(PLANES)}.")
    if batch_size < 1:
        raise ConfigError(f"--batch-size {batch_size}: must be at least 1.")
    scans = list_scans(images)
    jobs = [
        _Job(scan, kind_of(file), out / scan.name, out / COCO_FILE, chosen_formats(file, formats))
        for scan in scans
        for file in scan.files[:1]
    ]
    _refuse_out(out, images, scans, jobs)
    segmenter = model if isinstance(model, Segmenter) else Segmenter.load(model, device)
    earlier = rows_with_masks(out / TABLE_FILE)
    if any("coco" in job.formats for job in jobs):  # which writes the file of all annotations anew
        earlier = [row for row in earlier if row["mask"] != str(out / COCO_FILE)]
    model_words = _described(segmenter)
    done: list[Prediction] = []
    coco_file = CocoFile(out / COCO_FILE)
    try:
        for one in _predicted(segmenter, jobs, plane, batch_size):
            with _told(out / COCO_FILE):
                coco_file.add(one)
            one = replace(one, model=model_words)
            done.append(replace(one, annotations=None))
            if len(done) == 1 and not is_table(out / TABLE_FILE):
                # It tells the next time, also after a kill, that what lies beside it may be replaced.
                _write({out / TABLE_FILE: _content(done, earlier)})
            if progress is not None:
                progress(len(done), len(jobs))
            yield one
    finally:  # what was written before an error or Ctrl-C is in the table too
        if done:
            _write({out / TABLE_FILE: _content(done, earlier)})
            with _told(out / COCO_FILE):
                coco_file.write()
        coco_file.close()


def _content(done: Sequence[Prediction], earlier: Sequence[Mapping[str, str]]) -> bytes:
    again = {str(path) for one in done for path in (one.image, one.mask)}
    kept = [row for row in earlier if row["image"] not in again and row["mask"] not in again]
    # A name that is no UTF-8 stands there in its own bytes, by which the file is found.
    return table(done, kept).encode(errors="surrogateescape")


def _described(segmenter: Segmenter) -> str:
    """Return what segments the images, in words: masks of one folder may be of several models."""
    chosen = segmenter.postprocessing
    if chosen == Postprocessing():
        return segmenter.source
    return f"{segmenter.source}, threshold {chosen.threshold:g}, smallest region {chosen.smallest_region:g}"


def _refuse_out(out: Path, images: Sequence[Path], scans: Sequence[Scan], jobs: Sequence[_Job]) -> None:
    """Refuse a folder where something else would be overwritten, or where masks would be taken for images next time."""
    inputs = {target_of(file) for scan in scans for file in scan.files}
    outputs = dict.fromkeys([out / TABLE_FILE, *(file for job in jobs for file in job.outputs)])
    for output in outputs:
        if target_of(output) in inputs:
            raise DataError(f"{output}: would be overwritten, but is one of the images; choose another --out.")
    for folder in images:
        if folder.is_dir() and target_of(out).is_relative_to(target_of(folder)):
            raise DataError(
                f"--out {out}: is, or lies in, {folder}, whose images are segmented: the next time its masks and "
                "overlays would be taken for images; choose a folder outside."
            )
    if is_table(out / TABLE_FILE):
        if out / COCO_FILE in outputs:
            _refuse_lost_annotations(out / COCO_FILE, {str(job.scan.files[0]) for job in jobs if "coco" in job.formats})
        return
    taken = next((output for output in outputs if os.path.lexists(output)), None)
    if taken is not None:
        raise DataError(
            f"{taken}: would be overwritten, but is no earlier prediction, as {out} has no {TABLE_FILE} of one; choose "
            "another --out."
        )


def _refuse_lost_annotations(file: Path, images: Set[str]) -> None:
    """Refuse to replace a file of annotations that has those of other images."""
    try:
        names = [str(image["file_name"]) for image in json.loads(file.read_bytes())["images"]]
    except (OSError, ValueError, KeyError, TypeError):  # it is not there, or nobody can use it
        return
    lost = next((name for name in names if name not in images), None)
    if lost is not None:
        raise DataError(
            f"{file}: has annotations of {lost}, which is not segmented again, and would lose them; choose another "
            "--out, or segment all of its images."
        )


@dataclass(frozen=True)
class _Job:
    scan: Scan
    kind: str
    stem: Path
    coco_file: Path
    formats: tuple[str, ...]

    @property
    def overlay(self) -> Path:
        return self.stem.with_name(f"{self.stem.name}_overlay.png")

    @property
    def masks(self) -> list[Path]:
        return [mask_file(self.stem, self.kind, name) for name in self.formats if name != "coco"] or [self.coco_file]

    @property
    def outputs(self) -> list[Path]:
        return [*self.masks, *([self.coco_file] if "coco" in self.formats else []), self.overlay]


def _predicted(segmenter: Segmenter, jobs: Sequence[_Job], plane: str, batch_size: int) -> Iterator[Prediction]:
    def read(file: Path) -> np.ndarray | DataError:
        try:
            return read_image(file, segmenter.config.channels)
        except DataError as error:
            return error

    for is_image, group in groupby(jobs, key=lambda job: job.kind == "image"):
        if not is_image:
            for job in group:
                yield _volume(segmenter, job, plane, batch_size)
            continue
        while batch := list(islice(group, batch_size)):
            images: list[np.ndarray] = []
            broken: DataError | None = None
            for one in parallel_map(read, [job.scan.files[0] for job in batch]):
                if isinstance(one, DataError):
                    broken = one
                    break
                images.append(one)
            found = segmenter.probability_batch(images) if images else []
            for job, image, probability in zip(batch, images, found, strict=False):
                yield _image(job, image, segmenter.postprocessing.mask(probability), probability)
            if broken is not None:
                raise broken


def _image(job: _Job, image: np.ndarray, mask: np.ndarray, probability: np.ndarray) -> Prediction:
    _write(files_of_image(mask, job.stem, job.formats) | {job.overlay: png(_overlay(image, mask))})
    inside = probability[mask > 0]
    regions, box = regions_and_box(mask.T[:, :, np.newaxis])
    return Prediction(
        image=job.scan.files[0],
        mask=job.masks[0],
        overlay=job.overlay,
        size=(mask.shape[1], mask.shape[0], 1),
        tumor_pixels=int(mask.sum(dtype=np.int64)),
        tumor_share=float(mask.mean()),
        tumor_mm3=None,
        regions=regions,
        box=box,
        highest_probability=float(probability.max()),
        mean_probability=float(inside.mean(dtype=np.float64)) if len(inside) else None,
        annotations=coco_annotations(mask, probability) if "coco" in job.formats else None,
    )


def _volume(segmenter: Segmenter, job: _Job, plane: str, batch_size: int) -> Prediction:
    found = segment_files(segmenter, job.scan.files, plane, batch_size)
    _write(files_of_volume(found, job.stem, job.formats) | {job.overlay: png(_overlay(*found.shown_slice()))})
    columns, rows, slices = found.own_mask.shape
    regions, box = regions_and_box(found.own_mask)
    voxels = int(found.mask.sum(dtype=np.int64))
    return Prediction(
        image=job.scan.files[0],
        mask=job.masks[0],
        overlay=job.overlay,
        size=(columns, rows, slices),
        tumor_pixels=voxels,
        tumor_share=voxels / found.mask.size,
        tumor_mm3=voxels * found.voxel_volume,
        regions=regions,
        box=box,
        highest_probability=found.highest,
        mean_probability=found.mean,
    )


def _write(files: Mapping[Path, bytes]) -> None:
    for path, content in files.items():
        with _told(path):
            write_atomically(path, content)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}.") from None


def _overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    grey = image if image.ndim == 2 else np.rint(image.mean(axis=2)).astype(np.uint8)
    colour = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(colour, outlines, -1, _OUTLINE, max(1, round(max(mask.shape) / 320)))
    return colour
