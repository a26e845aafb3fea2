"""How well an exported model agrees with the run's own, on images of the run's validation split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bts_tune.config import PreprocessingPart
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import equalize, read_slice
from bts_tune.data.splits.split import read_split
from bts_tune.data.synthetic.phantom import generate_slice
from bts_tune.errors import BtsTuneError, RunError
from bts_tune.export.context import ExportContext
from bts_tune.training.measure import THRESHOLD

_IMAGES = 8
# The options of a run that `open_dataset` takes: with others, its slices would have other names or none.
_READING = ("tumor_categories", "tumor_labels", "split_seed", "reader", "plane", "empty_slices", "sequence")
_LARGEST_MEAN = 0.01


@dataclass(frozen=True)
class Parity:
    """How well an exported model agrees with `bts-tune predict` on the CPU.

    Attributes:
        images: how many images both were given.
        source: what images those are.
        mean_difference: of the two probabilities of a pixel.
        largest_difference: the largest of these.
        pixels: of all images.
        flipped_share: share of the pixels that are tumour by one and not by the other, at the threshold.
    """

    images: int
    source: str
    mean_difference: float
    largest_difference: float
    pixels: int
    flipped_share: float

    def sentence(self) -> str:
        """Return it for a person."""
        flipped = round(self.flipped_share * self.pixels)
        return (
            f"Checked against bts-tune predict on {self.images} images ({self.source}): probabilities differ by at "
            f"most {self.largest_difference:.2g}, and {flipped} of {self.pixels} pixels flip."
        )


def check_parity(
    context: ExportContext, calculate: Callable[[NDArray[np.uint8]], NDArray[np.float32]], *, equalizes: bool
) -> Parity:
    """Compare an exported model with the run's own.

    Args:
        context: the run and its model.
        calculate: the exported model: images uint8 [n, C, H, W] to probabilities float32 [n, 1, H, W].
        equalizes: whether it equalises its images itself.

    Raises:
        RunError: it is another model: probabilities differ by more than a hundredth on average.
    """
    images, source = check_images(context, context.segmenter.config.channels)
    equalization = context.segmenter.config.part(PreprocessingPart).equalization
    total, largest, flipped, pixels = 0.0, 0.0, 0, 0
    for image in images:
        expected = context.segmenter.probability(image)
        planes = [np.ascontiguousarray(plane) for plane in np.moveaxis(np.atleast_3d(image), 2, 0)]
        given = planes if equalizes else [equalize(plane, equalization) for plane in planes]
        found = calculate(np.stack(given)[np.newaxis])[0, 0]
        difference = np.abs(found - expected)
        total += float(difference.sum(dtype=np.float64))
        largest = max(largest, float(difference.max()))
        flipped += int(((found > THRESHOLD) != (expected > THRESHOLD)).sum())
        pixels += expected.size
    parity = Parity(len(images), source, total / pixels, largest, pixels, flipped / pixels)
    if not parity.mean_difference <= _LARGEST_MEAN:  # not a number is refused as well
        raise RunError(
            f"{context.model_folder}: the exported model is not the run's: on {len(images)} images its "
            f"probabilities differ by {parity.mean_difference:.2g} on average, so nothing was written."
        )
    return parity


def check_images(context: ExportContext, channels: int = 1) -> tuple[list[NDArray[np.uint8]], str]:
    """Return images from over the run's validation split; phantoms where its dataset is not at hand."""
    try:
        found = _validation_images(context, channels)
    except (BtsTuneError, TypeError):  # TypeError: the options in a damaged record
        found = []
    if found:
        return found, "of the run's validation split"
    slices = (generate_slice(index, _IMAGES, tumor_slices=_IMAGES - 1)[0] for index in range(_IMAGES))
    grey = [np.asarray(one, dtype=np.uint8) for one in slices]
    images = grey if channels == 1 else [np.repeat(one[..., None], channels, axis=2) for one in grey]
    return images, "phantoms: the run's dataset is not at hand"


def _validation_images(context: ExportContext, channels: int) -> list[NDArray[np.uint8]]:
    dataset: Any = context.run.get("dataset") or {}
    options: Any = context.run.get("options") or {}
    path = dataset.get("path")
    if not isinstance(path, str) or not Path(path).is_dir():
        return []
    opened = open_dataset(Path(path), **{name: options[name] for name in _READING if options.get(name) is not None})
    splits = read_split(context.folder.split_file)
    valid = [record for record in opened if splits.get(record.name) == "valid"]
    spread = np.unique(np.linspace(0, len(valid) - 1, min(_IMAGES, len(valid))).round().astype(int))
    return [read_slice(valid[place], channels) for place in spread]
