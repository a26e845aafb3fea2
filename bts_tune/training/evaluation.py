"""What is measured of a trained model once, after its training: the test split, and slices to look at."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bts_tune.config import OptimizationPart
from bts_tune.data.prepare import PreparedData, PreparedSplit
from bts_tune.training.batches import BatchLoader, standardize
from bts_tune.training.checkpoint import SavedModel, load_model
from bts_tune.training.device import Arithmetic, resolve_device
from bts_tune.training.loop import split_sums
from bts_tune.training.metrics import metrics_from_sums
from bts_tune.training.model import to_device
from bts_tune.training.scores import Scores, SplitScores

SAMPLES = 6


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate_model`.

    Attributes:
        test: `test_*` metrics by column name; empty where the dataset has no test split.
        samples: the content of an .npz file with validation slices from the best to the worst predicted: `images`
            uint8 [k, S, S], `truths` uint8 {0, 1} [k, S, S], `probabilities` float16 [k, S, S], `names` [k], `iou` [k].
        scores: the scores of every validation and test image.
    """

    test: dict[str, float | None]
    samples: bytes
    scores: Scores


def evaluate_model(folder: Path, data: PreparedData, *, device: str = "auto", threads: int = 0) -> Evaluation:
    """Measure the saved model of a trial on data that was prepared as its training data was."""
    if threads:
        torch.set_num_threads(threads)
    saved = load_model(folder)
    arithmetic = Arithmetic.for_inference(resolve_device(device), saved.config.precision)
    model = to_device(saved.model, arithmetic.device)
    loader = BatchLoader(data, saved.config, arithmetic.device, arithmetic.loader_threads(threads))
    try:
        pixels = saved.config.image_size**2
        test: dict[str, float | None] = {}
        splits: dict[str, SplitScores] = {}
        sums = split_sums(model, data.valid, loader, arithmetic)
        splits["valid"] = SplitScores.of(data.valid.names, data.valid.images, sums)
        samples = _samples(saved, data.valid, sums, arithmetic)
        if len(data.test.names):
            sums = split_sums(model, data.test, loader, arithmetic)
            splits["test"] = SplitScores.of(data.test.names, data.test.images, sums)
            test = metrics_from_sums(sums, pixels, saved.config.part(OptimizationPart)).columns("test")
        return Evaluation(test, samples, Scores(saved.epoch, pixels, splits))
    finally:
        loader.close()


def _samples(saved: SavedModel, split: PreparedSplit, sums: np.ndarray, arithmetic: Arithmetic) -> bytes:
    """Predict the slices at even steps of the images' IoU, from the best to the worst."""
    union = sums[:, :3].sum(axis=1)
    with_tumour = np.flatnonzero(sums[:, 5] > 0)
    candidates = with_tumour if len(with_tumour) else np.arange(len(sums))
    iou = np.divide(sums[:, 0], union, out=np.ones(len(sums)), where=union > 0)
    ordered = candidates[np.argsort(-iou[candidates], kind="stable")]
    places = np.unique(np.linspace(0, len(ordered) - 1, SAMPLES).round().astype(int))
    chosen = ordered[places]
    images = split.images[chosen]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        images=images,
        truths=split.masks[chosen],
        probabilities=probabilities(saved, images, arithmetic).astype(np.float16),
        names=np.array([split.names[index] for index in chosen]),
        iou=iou[chosen],
    )
    return buffer.getvalue()


def probabilities(saved: SavedModel, images: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """Return the tumour probability of each pixel, float32 [n, S, S], of prepared uint8 images [n, S, S]."""
    batch = torch.from_numpy(standardize(images, saved.mean, saved.std)).unsqueeze(1).to(arithmetic.device)
    with torch.inference_mode(), arithmetic.autocast():
        logits = saved.model(batch.contiguous(memory_format=torch.channels_last))
    return torch.sigmoid(logits.float()).squeeze(1).cpu().numpy()
