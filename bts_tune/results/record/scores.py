"""The scores of every image under one trained model, and the file that keeps them; no torch, so that a report reads it.

The metrics that a run is ranked by, and most others, follow from a few sums over the pixels of each image. So these
numbers are all that intervals, comparisons and views by kind of image need. The formulas of the two that results are
ranked by, Dice loss and IoU, stand here.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bts_tune.errors import RunError

METRICS_VERSION = 1
"""Of the definitions of the metrics; metrics of two versions are not to be set beside each other."""
EPS = 1e-6
SUMS = ("true_positives", "false_positives", "false_negatives", "overlap", "predicted", "truth")
"""The sums of an image: pixels at the threshold, then sum p*y, sum p and sum y of probabilities p and truth y."""
SPLITS = ("valid", "test")

Floats = NDArray[np.float64]
_TP, _FP, _FN, _OVERLAP, _PREDICTED, _TRUTH = range(len(SUMS))


def pooled_dice_loss(sums: Floats) -> Floats:
    """Return 1 - (2 sum p*y + eps) / (sum p + sum y + eps), from sums [..., 6] already pooled over images."""
    return 1 - (2 * sums[..., _OVERLAP] + EPS) / (sums[..., _PREDICTED] + sums[..., _TRUTH] + EPS)


def pooled_iou(sums: Floats) -> Floats:
    """Return TP / (TP + FP + FN), 1 where that is 0 / 0, from sums [..., 6] already pooled over images."""
    union = sums[..., _TP] + sums[..., _FP] + sums[..., _FN]
    return np.divide(sums[..., _TP], union, out=np.ones_like(union), where=union > 0)


def image_dice(sums: Floats) -> Floats:
    """Return 2 TP / (2 TP + FP + FN) of each image, from sums [..., 6]; NaN where neither holds a tumour."""
    whole = 2 * sums[..., _TP] + sums[..., _FP] + sums[..., _FN]
    return np.divide(2 * sums[..., _TP], whole, out=np.full_like(whole, np.nan), where=whole > 0)


def image_iou(sums: Floats) -> Floats:
    """Return TP / (TP + FP + FN) of each image, 1 where that is 0 / 0, from sums [..., 6]."""
    return pooled_iou(sums)


def has_tumour(sums: Floats) -> NDArray[np.bool_]:
    """Return whether the truth of each image holds a tumour, from sums [..., 6]."""
    return sums[..., _TRUTH] > 0


def missed(sums: Floats) -> NDArray[np.bool_]:
    """Return whether an image holds a tumour of which not one pixel is predicted, from sums [..., 6]."""
    return has_tumour(sums) & (sums[..., _TP] == 0)


@dataclass(frozen=True)
class Shapes:
    """What the predicted masks of a split look like beside the true ones; definitions in `training/shapes.py`.

    Attributes:
        tolerance: of the surface Dice, in pixels.
        hausdorff: float64 [N], in pixels; NaN where truth or prediction is empty.
        surface_dice: float64 [N], in 0..1; 0 where one of the two is empty, NaN where both are.
        false_positive_area: float64 [N], pixels of predicted regions without a single true pixel.
        true_boxes: float64 [K, 5], a row for each true region: place of its image, left, top, width, height.
        boxes: float64 [M, 6], a row for each predicted region: the same, then its score in 0..1.
    """

    tolerance: float
    hausdorff: NDArray[np.float64]
    surface_dice: NDArray[np.float64]
    false_positive_area: NDArray[np.float64]
    true_boxes: NDArray[np.float64]
    boxes: NDArray[np.float64]

    def problem(self, images: int) -> str | None:
        """Return what is wrong with the arrays as those of so many images, or None."""
        measures = (self.hausdorff, self.surface_dice, self.false_positive_area)
        if any(one.shape != (images,) for one in measures):
            return "its arrays differ in length"
        for boxes, columns in ((self.true_boxes, 5), (self.boxes, 6)):
            if boxes.ndim != 2 or boxes.shape[1] != columns:
                return f"a table of boxes has no {columns} columns"
            if not np.isfinite(boxes).all() or (boxes < 0).any() or (boxes[:, 0] >= images).any():
                return "a box is of no image, or no box"
        with np.errstate(invalid="ignore"):
            if any((np.isinf(one) | (one < 0)).any() for one in measures) or not np.isfinite(self.tolerance):
                return "it holds numbers that are not finite"
        return None


@dataclass(frozen=True)
class SplitScores:
    """The scores of the images of one split.

    Attributes:
        names: the images, in the order of the split.
        sums: float64 [N, 6], columns as in `SUMS`, in pixels of the trial's image size.
        brightness: float64 [N], mean grey value of the image as the network saw it, before standardising, in 0..1.
        contrast: float64 [N], the population standard deviation of the same grey values.
        shapes: boundaries and boxes; None in a file of an earlier version.
        further: by name, float64 [N], what metrics of plugins are made of.
    """

    names: tuple[str, ...]
    sums: NDArray[np.float64]
    brightness: NDArray[np.float64]
    contrast: NDArray[np.float64]
    shapes: Shapes | None = None
    further: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        names: list[str],
        images: NDArray[np.uint8],
        sums: NDArray[np.float64],
        shapes: Shapes | None = None,
        further: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> SplitScores:
        """Join the sums and shapes of a split with what its prepared images, uint8 [N, S, S], look like.

        Of several channels, [N, S, S, C], brightness and contrast are those of all of them together.
        """
        # One image at a time: a memory-mapped split may be larger than memory.
        grey = [(float(image.mean()) / 255, float(image.std()) / 255) for image in images]
        brightness, contrast = np.array(grey, dtype=np.float64).reshape(len(names), 2).T
        return cls(tuple(names), sums, brightness, contrast, shapes, further or {})


@dataclass(frozen=True)
class Scores:
    """The scores of one trial.

    Attributes:
        epoch: the epoch that the model's weights are from.
        pixels: pixels of one image.
        splits: by name, `valid` and, where the dataset has one, `test`.
    """

    epoch: int
    pixels: int
    splits: Mapping[str, SplitScores]

    def to_bytes(self) -> bytes:
        """Return the content of the .npz file: `epoch`, `pixels`, `columns`, and each split's arrays by its name."""
        arrays: dict[str, np.ndarray] = {
            "epoch": np.array(self.epoch),
            "pixels": np.array(self.pixels),
            "columns": np.array([*SUMS, *self._further()]),
        }
        for name, split in self.splits.items():
            arrays[f"{name}_names"] = np.array(split.names, dtype=str)
            arrays[f"{name}_sums"] = np.column_stack([split.sums, *(split.further[one] for one in self._further())])
            arrays[f"{name}_brightness"] = split.brightness
            arrays[f"{name}_contrast"] = split.contrast
            if split.shapes is not None:
                arrays |= {f"{name}_{_key(field)}": np.array(part) for field, part in vars(split.shapes).items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    def _further(self) -> list[str]:
        return sorted({name for split in self.splits.values() for name in split.further})


def read_scores(path: Path) -> Scores:
    """Read the file that `Scores.to_bytes` fills.

    Raises:
        RunError: the file is missing, is not such a file, or its arrays do not fit together.
    """
    if not path.is_file():
        raise RunError(f"scores/{path.name} is missing.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            columns = [str(name) for name in archive["columns"]]
            if len(set(columns)) < len(columns) or not set(SUMS) <= set(columns):
                raise ValueError(f"its columns are not {', '.join(SUMS)}")
            splits = {
                split: SplitScores(
                    tuple(str(name) for name in archive[f"{split}_names"]),
                    _sums(archive[f"{split}_sums"], columns),
                    archive[f"{split}_brightness"].astype(np.float64),
                    archive[f"{split}_contrast"].astype(np.float64),
                    _shapes(archive, split),
                    _further(archive[f"{split}_sums"], columns),
                )
                for split in SPLITS
                if f"{split}_names" in archive
            }
            scores = Scores(int(archive["epoch"]), int(archive["pixels"]), splits)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"scores/{path.name} cannot be read: {error}.") from None
    for split in splits.values():
        count = len(split.names)
        if split.sums.shape != (count, len(SUMS)) or not split.brightness.shape == split.contrast.shape == (count,):
            raise RunError(f"scores/{path.name} cannot be used: its arrays differ in length.")
        if not np.isfinite(split.sums).all():
            raise RunError(f"scores/{path.name} cannot be used: it holds numbers that are not finite.")
        if split.shapes is not None and (problem := split.shapes.problem(count)):
            raise RunError(f"scores/{path.name} cannot be used: {problem}.")
    return scores


def _shapes(archive: Mapping[str, np.ndarray], split: str) -> Shapes | None:
    if f"{split}_boxes" not in archive:  # written before there were any
        return None
    tolerance, *arrays = (archive[f"{split}_{_key(one.name)}"].astype(np.float64) for one in fields(Shapes))
    return Shapes(float(tolerance), *arrays)


def _sums(table: np.ndarray, columns: list[str]) -> NDArray[np.float64]:
    if table.ndim != 2 or table.shape[1] != len(columns):
        raise ValueError("its sums have not as many columns as names")
    return np.ascontiguousarray(table[:, [columns.index(name) for name in SUMS]], dtype=np.float64)


def _further(table: np.ndarray, columns: list[str]) -> dict[str, NDArray[np.float64]]:
    # A file of an earlier version holds each image's cross-entropy, which no metric is made of.
    names = [name for name in columns if name not in SUMS and name != "cross_entropy"]
    return {name: table[:, columns.index(name)].astype(np.float64) for name in names}


def _key(field: str) -> str:
    """Return the name in the file of a field of `Shapes`; one had another name when the first files were written."""
    return "stray" if field == "false_positive_area" else field
