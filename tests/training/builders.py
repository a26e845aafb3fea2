"""Small prepared datasets, models and trials for the tests of `bts_tune.training`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bts_tune.config import PreprocessingPart, TrialConfig
from bts_tune.data.prepared.prepare import PreparedData, PreparedSplit
from bts_tune.models.build import build_model
from bts_tune.models.weights import EncoderWeights
from bts_tune.training.loop import open_trial, rows
from bts_tune.training.prediction.segmenter import Segmenter
from bts_tune.training.trial import Row, Trial, TrialSetup

TINY: dict[str, Any] = {
    "decoder": "linknet",
    "encoder": "tu-test_efficientnet",  # timm's own for tests: every kind of layer, few parameters
    "encoder_weights": "none",
    "image_size": 32,
    "epochs": 3,
    "batch_size": 4,
    "learning_rate": 0.01,
}
"""The quickest configuration that is still a whole one."""

TIMING = {"seconds", "train_seconds", "images_per_second"}
"""Columns of a row that no two runs share."""


def tiny(**changes: Any) -> TrialConfig:
    return TrialConfig.parse({**TINY, **changes})


def split(count: int, *, size: int = 32, seed: int = 0, empty: Sequence[int] = ()) -> PreparedSplit:
    """Return `count` noisy slices with a bright disc, the tumour; those in `empty` have none."""
    rng = np.random.default_rng(seed)
    images = rng.normal(80, 15, (count, size, size))
    masks = np.zeros((count, size, size), dtype=np.uint8)
    y, x = np.mgrid[:size, :size]
    for index in range(count):
        row, column = rng.uniform(0.3, 0.7, 2) * size
        radius = rng.uniform(0.15, 0.28) * size
        if index not in empty:
            masks[index] = (y - row) ** 2 + (x - column) ** 2 < radius**2
    images += 90.0 * masks
    return PreparedSplit(images.clip(0, 255).astype(np.uint8), masks, [f"slice{seed}_{i}.png" for i in range(count)])


def data(
    train: int = 8, valid: int = 5, test: int = 4, *, size: int = 32, seed: int = 0, empty: Sequence[int] = ()
) -> PreparedData:
    """Return a dataset in memory; `empty` are the validation slices without a tumour."""
    training = split(train, size=size, seed=seed)
    return PreparedData(
        folder=Path("nowhere"),
        key="toy",
        train=training,
        valid=split(valid, size=size, seed=seed + 1, empty=empty),
        test=split(test, size=size, seed=seed + 2),
        mean=float(training.images.mean()),
        std=float(training.images.std()),
        preprocessing=PreprocessingPart(image_size=size),
    )


def model_of(seed: int = 0, **fields: Any) -> Any:
    """Return a network with random weights from a seed."""
    part = tiny(**fields)
    torch.manual_seed(seed)
    return build_model(part, EncoderWeights(part.encoder))


def opened(
    config: TrialConfig, prepared: PreparedData | None = None, folder: Path | None = None, device: str = "cpu"
) -> Trial:
    setup = TrialSetup(EncoderWeights(config.encoder), device=device, threads=1, folder=folder)
    return open_trial(config, prepared or data(size=config.image_size), setup)


def trained(config: TrialConfig, prepared: PreparedData | None = None, folder: Path | None = None) -> list[Row]:
    """Run a trial to its end and return its rows."""
    trial = opened(config, prepared, folder)
    try:
        return list(rows(trial))
    finally:
        trial.close()


def timeless(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.to_dict().items() if name not in TIMING}


class Bright(Segmenter):
    """Finds what is brighter than grey: its probability is the grey value; it remembers how many it saw at a time."""

    config = tiny()

    def __init__(self) -> None:
        self.batches: list[int] = []

    def probability_batch(self, images: Iterable[Any]) -> list[np.ndarray]:
        """Return the grey values from 0 to 1."""
        found = [image.astype(np.float32) / 255 for image in images]
        self.batches.append(len(found))
        return found
