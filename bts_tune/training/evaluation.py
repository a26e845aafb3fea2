"""What is measured of a trained model once, after its training: the test split, and slices to look at."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bts_tune.data.prepared.prepare import PreparedData, PreparedSplit
from bts_tune.losses.base import Loss
from bts_tune.metrics.base import ImageStatistics, metrics_in_use
from bts_tune.models.build import to_device
from bts_tune.registry import LOSSES
from bts_tune.results.record.scores import SPLITS, SUMS, Scores, Shapes, SplitScores, image_iou
from bts_tune.training.checkpoint import load_model
from bts_tune.training.device import MixedPrecision, resolve_device
from bts_tune.training.loader import BatchLoader, channels_first
from bts_tune.training.measure import Measured, SplitMeter, measure
from bts_tune.training.prediction.ensemble import load_segmenter
from bts_tune.training.prediction.postprocessing import GRID, Postprocessing, best_of_grid, grid_counts
from bts_tune.training.prediction.segmenter import Segmenter
from bts_tune.training.shapes import ShapeCollector

SAMPLES_OF_A_KIND = 2


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate_model`.

    Attributes:
        test: `test_*` metrics by column name; empty where the dataset has no test split.
        samples: the content of an .npz file with validation slices of every kind that `choose_samples` tells apart:
            `images` uint8 [k, S, S], of several channels their mean, `truths` uint8 {0, 1} [k, S, S], `probabilities`
            float16 [k, S, S], `names` [k], `iou` [k], `kind` [k].
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
    amp = MixedPrecision.for_inference(resolve_device(device), saved.config.precision, saved.cpu_precision)
    model = to_device(saved.model, amp.device)
    loader = BatchLoader(data, saved.config, amp.device, amp.loader_threads(threads))
    loss = LOSSES.get(saved.config.loss)(saved.config).to(amp.device)

    def measured(split: PreparedSplit) -> tuple[Measured, SplitScores]:
        collector = ShapeCollector()
        found = measure(model, split, loader, amp, loss, watch=collector.add)
        images, shapes = found.images, collector.shapes()
        return found, SplitScores.of(split.names, split.images, images.sums, shapes, images.further)

    try:
        test: dict[str, float | None] = {}
        splits = {"valid": measured(data.valid)[1]}
        samples = _samples(Segmenter(saved, device), data.valid, splits["valid"])
        if len(data.test.names):
            on_test, splits["test"] = measured(data.test)
            test = on_test.columns("test")
        return Evaluation(test, samples, Scores(saved.epoch, saved.config.image_size**2, splits))
    finally:
        loader.close()


@dataclass(frozen=True)
class Variant:
    """What another way to use trained models scores: see `TrialRecord.variants`.

    Attributes:
        metrics: `val_*` and `test_*` by column name, of the splits that were measured.
        scores: the scores of every image of these splits.
        seconds: that the measuring took, for its cost.
        postprocessing: where that is what is other.
    """

    metrics: dict[str, float | None]
    scores: Scores
    seconds: float
    postprocessing: Postprocessing | None = None


def evaluate_variant(
    folders: Sequence[Path],
    data: PreparedData,
    *,
    augmented: bool,
    splits: Sequence[str] = SPLITS,
    device: str = "auto",
    threads: int = 0,
) -> Variant:
    """Measure saved models as one, the mean of their probabilities, on data prepared as their training data was.

    Args:
        folders: of the models; of one model alone, the mean is its own.
        data: whose splits are measured.
        augmented: whether each sees flips of an image too (test-time augmentation).
        splits: which of `SPLITS`.
        device: as in `TrialSetup`.
        threads: CPU threads; 0 leaves torch's own choice.
    """
    if threads:
        torch.set_num_threads(threads)
    model = load_segmenter(folders, device, tta=augmented)
    config = model.config
    loss = LOSSES.get(config.loss)(config).to(resolve_device(device))
    metrics: dict[str, float | None] = {}
    scores: dict[str, SplitScores] = {}
    started = time.perf_counter()
    for name in splits:
        split = {"valid": data.valid, "test": data.test}[name]
        if len(split.names):
            measured = _measure_segmenter(model, split, config.batch_size, loss)
            metrics |= measured.columns({"valid": "val", "test": "test"}[name])
            images = measured.images
            scores[name] = SplitScores.of(split.names, split.images, images.sums, None, images.further)
    seconds = time.perf_counter() - started
    return Variant(metrics, Scores(model.epoch, config.image_size**2, scores), seconds)


def evaluate_postprocessed(folder: Path, data: PreparedData, *, device: str = "auto", threads: int = 0) -> Variant:
    """Choose a saved model's postprocessing on the validation split, and measure both splits with it.

    Metrics that are made of probabilities alone, such as the Dice loss, stay as they are; those of plugins that need
    more than the sums of an image are left out.
    """
    if threads:
        torch.set_num_threads(threads)
    model = load_segmenter([folder], device)
    config = model.config
    loss = LOSSES.get(config.loss)(config).to(resolve_device(device))
    started = time.perf_counter()
    metrics: dict[str, float | None] = {}
    scores: dict[str, SplitScores] = {}
    chosen = 0
    for name, prefix, split in (("valid", "val", data.valid), ("test", "test", data.test)):
        if not len(split.names):
            continue
        # The counts under every postprocessing, a few hundred bytes an image: the network sees each image once.
        counted: list[np.ndarray] = []

        def count(logits: torch.Tensor, truth: torch.Tensor, counted: list[np.ndarray] = counted) -> None:
            probabilities = torch.sigmoid(logits.float()).squeeze(1).cpu().numpy()
            counted += map(grid_counts, probabilities, truth.squeeze(1).cpu().numpy())

        sums = _measure_segmenter(model, split, config.batch_size, loss, count).images.sums.copy()
        counts = np.stack(counted)
        if name == "valid":
            chosen = best_of_grid(counts)
        sums[:, :3] = counts[:, chosen]  # true positives, false positives, false negatives
        images = ImageStatistics(SUMS, sums)
        own = [metric for metric in metrics_in_use() if not metric.statistics]
        metrics |= {f"{prefix}_{metric.key()}": metric.value_of(images) for metric in own}
        scores[name] = SplitScores.of(split.names, split.images, sums)
    seconds = time.perf_counter() - started
    return Variant(metrics, Scores(model.epoch, config.image_size**2, scores), seconds, GRID[chosen])


def _measure_segmenter(
    model: Segmenter,
    split: PreparedSplit,
    batch_size: int,
    loss: Loss,
    watch: Callable[[torch.Tensor, torch.Tensor], None] | None = None,
) -> Measured:
    meter = SplitMeter(loss)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(split.names), batch_size):
            part = slice(start, start + batch_size)
            logits = model(channels_first(np.array(split.images[part])))
            truth = channels_first(np.array(split.masks[part])).float()
            meter.add(logits, truth.to(logits.device))
            if watch is not None:
                watch(logits, truth)
    return meter.result()


def grey_views(images: np.ndarray) -> np.ndarray:
    """Return prepared images to look at, uint8 [n, S, S]: the mean of the channels where there are several."""
    if images.ndim == 3:
        return images
    return np.stack([np.rint(image.mean(axis=2)).astype(np.uint8) for image in images])


def choose_samples(sums: np.ndarray, shapes: Shapes) -> list[tuple[int, str]]:
    """Return the images to look at, each with its kind; at most two of a kind, and no image twice.

    `best`, `median` and `worst` are by IoU, of the tumours of which something was found. `missed` are tumours without a
    single predicted pixel, the largest first. `false alarm` are images with predicted regions that hold no true pixel,
    the largest first, whether or not there is a tumour elsewhere. Where none of these exist, `tumour-free` images.

    Args:
        sums: float64 [N, 6], columns as in `scores.SUMS`; N is at least 1.
        shapes: of the same images.
    """
    found, truth = sums[:, SUMS.index("true_positives")], sums[:, SUMS.index("truth")]
    hit = np.flatnonzero(found > 0)
    ranked = hit[np.argsort(-image_iou(sums)[hit], kind="stable")]
    few = SAMPLES_OF_A_KIND
    middle = max(0, (len(ranked) - few) // 2)
    lost = np.flatnonzero((truth > 0) & (found == 0))
    false_positive_area = np.flatnonzero(shapes.false_positive_area > 0)
    kinds = {
        "best": ranked[:few],
        "worst": ranked[-few:],
        "median": ranked[middle : middle + few],
        "missed": lost[np.argsort(-truth[lost], kind="stable")][:few],
        # More than needed: some may be shown already.
        "false alarm": false_positive_area[np.argsort(-shapes.false_positive_area[false_positive_area], kind="stable")],
    }
    chosen: dict[int, str] = {}
    for kind, places in kinds.items():
        fresh = [int(place) for place in places if int(place) not in chosen]
        chosen |= dict.fromkeys(fresh[:few], kind)
    chosen = chosen or dict.fromkeys(range(min(few, len(sums))), "tumour-free")
    order = ("best", "median", "worst", "missed", "false alarm", "tumour-free")
    iou = image_iou(sums)
    return sorted(chosen.items(), key=lambda one: (order.index(one[1]), -iou[one[0]], one[0]))


def _samples(segmenter: Segmenter, split: PreparedSplit, scores: SplitScores) -> bytes:
    assert scores.shapes is not None
    picked = choose_samples(scores.sums, scores.shapes)
    chosen = np.array([place for place, _ in picked])
    images = split.images[chosen]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        images=grey_views(images),
        truths=split.masks[chosen],
        probabilities=segmenter.prepared_probabilities(images).astype(np.float16),
        names=np.array([split.names[place] for place in chosen]),
        iou=image_iou(scores.sums)[chosen],
        kind=np.array([kind for _, kind in picked]),
    )
    return buffer.getvalue()
