"""Methods and limits of a report: what its figures mean, what they were made from, and what they cannot show."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from bts_tune.report.blocks import Block, Bullets, CodeBlock, Subheading, Table, paragraph, table
from bts_tune.report.wording import MISSING
from bts_tune.results.configurations import configurations, result_stage
from bts_tune.results.run_folder import TrialRecord
from bts_tune.results.settings import setting, value
from bts_tune.results.statistics import LEVEL, RESAMPLES, SEED
from bts_tune.results.warnings import is_demo
from bts_tune.text import plural

METRIC_DEFINITIONS: Mapping[str, str] = {
    "val_dice_loss": "1 - (2 sum p*y + eps) / (sum p + sum y + eps), the sums over all pixels of all images of the "
    "split (soft, pooled). The ranking key",
    "val_iou": "TP / (TP + FP + FN), pooled over all images of the split. The second key",
    "val_dice_image, val_iou_image": "mean over the images that hold a tumour",
    "val_empty_false_positive_rate": "share of the tumour-free images with any predicted pixel; empty when there are "
    "none",
    "val_loss": "the training objective on the validation split",
    "train_dice_loss": "the formula of val_dice_loss over the training batches of the epoch, augmentation and dropout "
    "on, while the weights change",
    "train_loss": "the training objective over the same batches",
    "test_*": "the same on the test split, computed once, at the epoch that was best on the validation split",
    "best_epoch": "the epoch with the lowest val_dice_loss, the earliest of equals; every metric of a trial in the "
    "leaderboard is that epoch's",
    "seconds": "of all recorded epochs, validation included",
    "images_per_second": "training images over training time, validation excluded",
}

_CHOSEN: Mapping[str, str] = {
    "batch_size": "not documented",
    "schedule": "not documented",
    "weight_decay": "not documented",
    "dice_weight": "only 'Dice loss + binary cross-entropy' is documented",
    "bce_weight": "only 'Dice loss + binary cross-entropy' is documented",
    "precision": "not documented",
    "seed": "not documented",
}

_STATISTICS = (
    "A configuration is everything a training depends on but its seed. Where several seeds repeat one, or several "
    "folds, its figure is the mean over those trainings, and the spread is their sample standard deviation. "
    "Two trainings are two values, no more than a range: both are shown, and no deviation.",
    "Where a final stage was run, only that is ranked: configurations chosen by the search, and all baselines, trained "
    "again to the full budget with the same fresh seeds for each.",
    f"Intervals: {LEVEL:.0%}, of the expected figure of a new training on new images. Images: bias-corrected and "
    f"accelerated bootstrap (Efron 1987; scipy.stats.bootstrap), {RESAMPLES} draws with replacement, seed {SEED}; the "
    "metric is pooled over each draw and averaged over the trainings. Where groups of related slices are on record "
    "(split.csv), whole groups are drawn. Where a figure never changes over the draws, the percentiles take its place. "
    "Seeds: the variance of the mean over trainings is added to that of the draws; the limits are moved out by the "
    "root of the ratio and by Student's t in place of the normal quantile, with the degrees of freedom of the sum "
    "(Satterthwaite 1946), on the logit scale of what the figure can be (0 to 1, a difference -1 to 1), which no limit "
    "leaves (DiCiccio and Efron 1996; Brown, Cai and DasGupta 2001). With one training the interval is of images "
    "alone; with two it rests on the assumption that trainings are normally distributed, and is wide.",
    "Folds: the validation scores of one seed's folds together hold every image once, and are pooled as one; on the "
    "test split every fold's training counts as one.",
    "Difference: the metric of two configurations on the same draws, paired by seed. Dice gained is the Dice loss of "
    "the best baseline minus the configuration's, so that positive is better. The best baseline is that of the "
    "validation split.",
    "First: the share of the draws, each with the means over seeds moved by Student's t with their standard error, in "
    "which the configuration has the lowest Dice loss of those compared; equals share a draw.",
    "p: Wilcoxon's signed-rank test, two-sided, on the Dice at the threshold of each image that holds a tumour, mean "
    "over trainings (of each group, the mean difference of its images), zero differences as Pratt (1959) treats them; "
    "corrected for the number of comparisons of the table as Holm (1979). It knows nothing of the seeds' spread.",
    "Optimism of the search: the final stage's mean validation Dice loss minus that of the search's trial of the same "
    "configuration.",
    "An image is missed where it holds a tumour and not one pixel of it is predicted; brightness and contrast are the "
    "mean and the standard deviation of the grey values that the network is given, before standardising, in 0..1.",
)

_MAX_LISTED = 12


def methods(run: Mapping[str, Any], trials: Sequence[TrialRecord]) -> list[Block]:
    """Return the methods section: metrics, dataset, space, choices, versions, hardware and the command line."""
    blocks: list[Block] = [Subheading("Metrics"), *_metrics(), Subheading("Statistics"), Bullets(_STATISTICS)]
    blocks += [Subheading("Dataset"), _facts(_dataset(run)), Subheading("Search space"), *_space(run)]
    choices = _choices(trials)
    if choices:
        blocks += [Subheading("Choices that the baselines' documentation leaves open"), choices]
    blocks += [Subheading("The run"), _facts(_run(run, trials))]
    command = run.get("command")
    if command:
        blocks += [paragraph("Command line:"), CodeBlock(shlex.join(str(word) for word in command), "sh")]
    return blocks


def limits(run: Mapping[str, Any], trials: Sequence[TrialRecord]) -> str:
    """Return one paragraph on what the figures cannot show."""
    ranked = configurations(trials)
    final = result_stage(trials) == "final"
    repeated = sum(one.seeds > 1 for one in ranked)
    twice = sum(one.seeds == 2 for one in ranked)
    if repeated == len(ranked) and ranked:
        noise = "Every ranked configuration ran with more than one seed; a difference within their spread is noise."
    elif repeated:
        noise = (
            f"{repeated} of the {len(ranked)} ranked configurations ran with more than one seed, and a difference "
            "within the spread of the seeds is noise; the others ran with a single seed, which tells nothing of that "
            "spread."
        )
    else:
        noise = (
            "Every configuration ran with a single seed, so nothing here tells a small difference from the noise "
            "between seeds."
        )
    if final:
        chosen = (
            "The configurations of the final stage were chosen on the validation images that it is ranked on, though "
            "by other trainings, and each training's best epoch on the same images: validation figures are a little "
            "optimistic, those of the test split are not. Of several configurations that are about as good, the first "
            "is the luckiest, which no interval of a single configuration shows."
        )
    else:
        chosen = (
            "The best epoch of each trial, and the best trial, were chosen on the very validation images that the "
            "figures are computed on, which makes them optimistic, the more so the more trials were compared; the test "
            "split's figures do not have this fault. No final stage has trained the best configuration and the "
            "baselines again with fresh seeds, which would show how much of a lead is luck."
        )
    if twice:
        noise += (
            f" Of {plural(twice, 'configuration')} there are two seeds: two values, no more than a range, and no "
            "measure of how seeds spread."
        )
    sentences = [
        noise,
        chosen,
        "The intervals hold the chance in which images the split has and, where a configuration was trained more than "
        "once, in which seeds it was trained with, and nothing else: where images of one patient resemble each other "
        "and no group says so, too little of what a new patient brings; of another scanner or clinic, nothing.",
        "The split may leak: where neighbouring slices of one patient lie in different splits, and the dataset names "
        "no patients, every figure, the test split's included, says more about patients that the model has seen than "
        "about new ones.",
        "Annotations that are rectangles rather than outlines bound what any figure can mean.",
    ]
    if len({setting(one.best, "image_size") for one in ranked}) > 1:
        sentences.append(
            "The ranked trials have different image sizes, and each is measured at its own, against masks resized to "
            "it."
        )
    if len({setting(one.best, "epochs") for one in ranked}) > 1:
        sentences.append("The ranked trials have different numbers of epochs in their budget.")
    if is_demo(run):
        sentences.insert(0, "This is a demo on generated phantoms: nothing here says anything about real images.")
    return " ".join(sentences)


def _metrics() -> list[Block]:
    text = (
        "Computed over the whole split at the trial's image size from sums per image, so no figure depends on the "
        "batch size. p is the sigmoid output, y the truth; the threshold is 0.5 where one is needed."
    )
    return [paragraph(text), table(["column", "definition"], list(METRIC_DEFINITIONS.items()))]


def _dataset(run: Mapping[str, Any]) -> Mapping[str, Any]:
    dataset = run.get("dataset")
    if not isinstance(dataset, Mapping):
        return {}
    return {"kind": "generated phantoms (demo)", **dataset} if is_demo(run) else dataset


def _space(run: Mapping[str, Any]) -> list[Block]:
    space = run.get("space")
    if not isinstance(space, Mapping) or not space:
        return [paragraph("Not recorded.")]
    rest = {key: content for key, content in space.items() if key != "description"}
    document = yaml.safe_dump(_without_published(rest), sort_keys=False, allow_unicode=True, width=110)
    return [*_paragraphs(str(space.get("description", ""))), CodeBlock(document, "yaml")]


def _without_published(content: Any) -> Any:
    """Published figures have a section of their own, which says what they are; here they would stand unexplained."""
    if isinstance(content, Mapping):
        return {key: _without_published(inner) for key, inner in content.items() if key != "published"}
    if isinstance(content, list):
        return [_without_published(inner) for inner in content]
    return content.strip() if isinstance(content, str) else content


def _paragraphs(text: str) -> Iterator[Block]:
    """Yield the paragraphs and lists of a description."""
    lines = [line.strip() for line in text.split("\n")]
    for listed, group in itertools.groupby(filter(None, lines), key=lambda line: line.startswith("- ")):
        if listed:
            yield Bullets(tuple(line[2:] for line in group))
        else:
            yield from map(paragraph, group)


def _choices(trials: Sequence[TrialRecord]) -> Table | None:
    baselines = [record for record in trials if record.baseline]
    if not baselines:
        return None
    rows = [
        (field, ", ".join(sorted({value(setting(record, field)) for record in baselines})), why)
        for field, why in _CHOSEN.items()
    ]
    rows += [
        (
            "dropout",
            "after each decoder block but the last, and before the segmentation head",
            "only its rate is documented",
        ),
        (
            "classification head",
            "read as the per-pixel segmentation head on the decoder",
            "no image-level loss is documented, and nearly every image of the dataset holds a tumour",
        ),
        ("averaging of metrics", "pooled over the split, as defined above", "not documented"),
    ]
    return table(["choice", "here", "why it had to be chosen"], rows)


def _run(run: Mapping[str, Any], trials: Sequence[TrialRecord]) -> dict[str, Any]:
    shown: dict[str, Any] = {key: run.get(key) for key in ("created", "ended", "status", "device", "seeds", "options")}
    if warm := run.get("warm_start"):
        shown["trials that the search knew from the start"] = f"{len(warm['trials'])} of {warm['run']}"
    for stage in ("search", "final"):
        found = sorted({setting(record, "seed") for record in trials if record.stage == stage})
        if found:
            shown[f"seeds of the {stage} stage"] = found
    for key in ("precision", "torch_threads", "augmented"):
        found = sorted({str(record.started[key]) for record in trials if record.started.get(key) is not None})
        if found:
            shown[key] = found
    if retried := [f"{record.trial}: {reason}" for record in trials for reason in record.retries]:
        shown["attempts that failed, each followed by another from the last checkpoint"] = retried
    return {**shown, "hardware": run.get("hardware"), "versions": run.get("versions")}


def _facts(content: Mapping[str, Any]) -> Block:
    rows = [(key, text) for key, text in _flat(content) if text]
    return table(["what", "value"], rows) if rows else paragraph("Not recorded.")


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every leaf of nested mappings with its dotted name; long lists are cut short, with their length told."""
    for key, inner in content.items():
        name = f"{prefix}{key}"
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{name}.")
        elif isinstance(inner, list | tuple):
            text = ", ".join(_leaf(item) for item in inner[:_MAX_LISTED])
            more = f", … ({len(inner)} in all)" if len(inner) > _MAX_LISTED else ""
            yield name, (text or "none") + more
        else:
            yield name, _leaf(inner)


def _leaf(content: Any) -> str:
    if content is None:
        return MISSING
    if isinstance(content, bool):
        return "yes" if content else "no"
    if isinstance(content, Mapping):
        return " ".join(f"{key} {_leaf(inner)}" for key, inner in content.items())
    return value(content)
