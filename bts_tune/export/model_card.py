"""A model card: what an exported model is, what it was trained on, how good it is, and how to load it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from bts_tune.config import Equalization
from bts_tune.export.context import ExportContext
from bts_tune.report.blocks import Block, Bullets, Code, CodeBlock, Document, TitledBlocks, paragraph, table
from bts_tune.report.context import ReportContext
from bts_tune.report.definitions import definition
from bts_tune.report.render.markdown import to_markdown
from bts_tune.report.sections.limits import limits
from bts_tune.report.sections.split import Split
from bts_tune.report.sections.strata import Strata, strata_blocks
from bts_tune.report.sections.test_split import clean_blocks
from bts_tune.report.wording import interval, mean_and_spread, metric
from bts_tune.results.ranking.configurations import Configuration, configurations
from bts_tune.results.ranking.settings import value
from bts_tune.results.statistics.comparison import compare_configurations
from bts_tune.results.warnings import warnings_of
from bts_tune.text import plural, quoted
from bts_tune.version import __version__

_METRICS = {
    "dice_loss": "Dice loss",
    "iou": "IoU",
    "dice_image": "Dice per image",
    "iou_image": "IoU per image",
    "empty_false_positive_rate": "empty false-positive rate",
}
_SPLITS = {"val": ("valid", "validation"), "test": ("test", "test")}

_EQUALIZED: Mapping[Equalization, str] = {
    "none": "image",
    "histogram": "cv2.equalizeHist(image)",
    "clahe": "cv2.createCLAHE(2.0, (8, 8)).apply(image)",
}


def model_card(context: ExportContext, *, smp: bool) -> str:
    """Return the card as Markdown, with the head that the Hugging Face Hub reads.

    Args:
        context: the run and its model.
        smp: whether SMP's `from_pretrained` loads the model.
    """
    report = ReportContext.of(
        context.folder, context.run, context.trials, compare_configurations(context.folder, context.trials)
    )
    warnings = [say() for say in warnings_of(context.run)]
    kinds = tuple(strata_blocks(report.comparison.strata, context.record.name)) if context.record else ()
    document = Document(
        title=f"{context.model_folder.name}: brain tumours in slices of MRI",
        banners=("Not for diagnosis: a research model, no medical device.", *filter(None, warnings)),
        tags=(),
        sections=(
            TitledBlocks("How to load it", tuple(_loading(context, smp))),
            TitledBlocks("What it is", tuple(_described(context))),
            TitledBlocks("Metrics", tuple(_metrics(context, report))),
            *([TitledBlocks(Strata.title, kinds)] if kinds else []),
            TitledBlocks("Data and split", tuple(_data(context, report))),
            TitledBlocks("Limits", (paragraph(limits(context.run, report.trials)),)),
        ),
    )
    return f"---\n{_head(context, smp)}\n---\n\n{to_markdown(document)}"


def loading_code(context: ExportContext, *, smp: bool) -> str:
    """Return six lines of Python, or fewer, that load the model and segment `scan.png`."""
    config = context.segmenter.config
    if not smp or config.channels > 1:
        loaded = [f"bt.load_plugin({name!r})" for name in _plugins(context)]
        return "\n".join(
            [
                "import bts_tune as bt",
                *loaded,
                'model = bt.load_model(".")',
                'probability = model.probability("scan.png")',
            ]
        )
    equalized = _EQUALIZED[config.equalization]
    size, mean, std = config.image_size, context.segmenter.mean, context.segmenter.std
    return "\n".join(
        [
            "import cv2, torch, segmentation_models_pytorch as smp",
            'model = smp.from_pretrained(".").eval().requires_grad_(False)',
            'image = cv2.imread("scan.png", cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)',
            # As `data.prepared.images.to_grey` has it; OpenCV would divide by 256.
            'if image.dtype != "uint8": image = ((image - image.min()) * (255.0 / max(image.max() - image.min(), 1)))'
            '.round().astype("uint8")',
            f"image = torch.from_numpy(cv2.resize({equalized}, ({size}, {size}), interpolation=cv2.INTER_AREA))",
            f"probability = torch.sigmoid(model((image[None, None].float() - {mean!r}) / {std!r}))",
        ]
    )


def _loading(context: ExportContext, smp: bool) -> Iterator[Block]:
    yield paragraph("In this folder; elsewhere its path stands in place of the dot.")
    yield CodeBlock(loading_code(context, smp=smp), "python")
    yield paragraph("A pixel is taken for tumour where its probability is above 0.5.")
    if smp and context.segmenter.config.channels == 1:
        yield paragraph(
            "These lines give the probabilities at the network's own image size. With bts-tune, ",
            Code('bts_tune.load_model(".").predict("scan.png")'),
            " gives the mask in the image's size, as ",
            Code("bts-tune predict"),
            " does.",
        )
        config = context.segmenter.config
        if config.decoder_dropout or config.head_dropout:
            yield paragraph(
                f"It was trained with dropout of {config.decoder_dropout:g} in the decoder and "
                f"{config.head_dropout:g} before the head. Where SMP has none of its own, bts-tune adds it without "
                "parameters, so that the weights are plain SMP's and predictions do not need it. Whoever trains on "
                "with SMP has to add it again; ",
                Code('bts_tune.load_model(".").network'),
                " has it.",
            )
    elif not smp:
        yield paragraph(
            f"The decoder {context.segmenter.config.decoder} is not one of SMP's, so the model is loaded by bts-tune"
            + (
                ", with the plugins that it was trained with: these files are not in this folder."
                if _plugins(context)
                else "."
            )
        )


def _described(context: ExportContext) -> Iterator[Block]:
    config, record = context.segmenter.config, context.record
    trained = ", ".join(f"{name} {value(content)}" for name, content in config.to_dict().items())
    given = "one grey channel" if config.channels == 1 else plural(config.channels, "channel")
    yield paragraph(
        f"A {config.decoder} on {config.encoder} that marks tumours in single slices: {given} in, one logit a "
        f"pixel out. Trial {context.model_folder.name} of the run {context.run_name}, trained with bts-tune, weights "
        f"of epoch {context.segmenter.epoch}."
    )
    if record is not None and record.baseline:
        changed = f", with {', '.join(record.changed)} changed" if record.changed else ""
        yield paragraph(f"It is the baseline {record.name}{changed}.")
    yield Bullets(
        (
            f"image: equalisation {config.equalization}, {config.image_size} x {config.image_size} pixels by averaging "
            f"over areas, then {_standardised(context)}",
            f"encoder weights at the start: {config.encoder_weights}",
            f"configuration: {trained}",
        )
    )


def _standardised(context: ExportContext) -> str:
    mean, std = context.segmenter.mean, context.segmenter.std
    if isinstance(mean, tuple) and isinstance(std, tuple):
        levels = ", ".join(f"({one:.6g}, {other:.6g})" for one, other in zip(mean, std, strict=True))
        return f"each channel less its mean, by its deviation: {levels}"
    return f"(grey - {mean:.6g}) / {std:.6g}"


def _metrics(context: ExportContext, report: ReportContext) -> Iterator[Block]:
    record = context.record
    if record is None or record.best_row is None:
        yield paragraph("No metrics of this model are on record.")
        return
    ranked = next((one for one in configurations(report.trials) if record in one.trials), None)
    rows = []
    for prefix, (split, title) in _SPLITS.items():
        own = record.best_row if prefix == "val" else record.test
        for key, name in _METRICS.items():
            column = f"{prefix}_{key}"
            if own.get(column) is None:
                continue
            cells = [mean_and_spread(ranked.values(column)), _interval(report, ranked, split, key)] if ranked else []
            rows.append([title, name, metric(own[column]), *cells])
    header = ["split", "metric", "this model"]
    if ranked:
        header += [f"its configuration, {plural(len(ranked.trials), 'training')}", "95 % interval of the configuration"]
    yield table(header, rows, right=range(2, len(header)))
    yield paragraph(
        "Its weights are those of the epoch that was best on the validation split, which makes the validation metrics "
        "optimistic; the test split chose nothing."
        + ("" if record.test else " The test split was not scored with this model.")
    )
    if ranked:
        yield from clean_blocks(report.comparison, [(configurations(report.trials).index(ranked), ranked)])
    if not record.full_budget:
        yield paragraph(f"The trial was not trained to its full budget: it is {record.status}.")
    shown = (f"val_{key}" for key in _METRICS if record.best_row.get(f"val_{key}") is not None)
    yield Bullets(tuple(f"{column}: {definition(column)}" for column in shown))


def _interval(report: ReportContext, one: Configuration, split: str, key: str) -> str:
    compared = report.comparison.splits.get(split)
    place = compared.place(one) if compared else None
    found = getattr(compared.resampled, key, None) if compared else None
    return interval(found[place]) if found is not None and place is not None else "–"


def _data(context: ExportContext, report: ReportContext) -> Iterator[Block]:
    dataset = context.run.get("dataset") or {}
    sizes = dataset.get("splits")
    counts = (
        f": {', '.join(f'{number} {split}' for split, number in sizes.items())} images"
        if isinstance(sizes, dict)
        else ""
    )
    yield paragraph(
        f"The dataset is {quoted(_dataset_name(context))}{counts}. Its licence, and that of the encoder's first "
        "weights, are not on record: look them up before you share this model, and write them into the head of this "
        "file."
    )
    yield from Split().blocks(report)


def _dataset_name(context: ExportContext) -> str:
    """Return the last part of the dataset's path: the rest says more about a computer than about the data."""
    path = (context.run.get("dataset") or {}).get("path")
    return Path(path).name if isinstance(path, str) and Path(path).name else "unknown"


def _plugins(context: ExportContext) -> list[str]:
    found: Any = context.run.get("plugins") or []
    return [Path(str(one["name"])).name for one in found if one.get("kind") != "class"]


def _head(context: ExportContext, smp: bool) -> str:
    record = context.record
    name = _dataset_name(context)
    results = [
        EvalResult(
            task_type="image-segmentation",
            dataset_type=re.sub(r"[^\w.-]+", "-", name).lower(),
            dataset_name=name,
            dataset_split=split,
            metric_type=key,
            metric_name=f"{title}, {words} split",
            metric_value=round(float(own[f"{prefix}_{key}"]), 6),
        )
        for prefix, (split, words) in _SPLITS.items()
        for own in ([(record.best_row or {}) if prefix == "val" else record.test] if record else [])
        for key, title in _METRICS.items()
        if own.get(f"{prefix}_{key}") is not None
    ]
    head = ModelCardData(
        model_name=f"{context.run_name}-{context.model_folder.name}" if results else None,
        library_name="segmentation-models-pytorch" if smp else "bts-tune",
        pipeline_tag="image-segmentation",
        tags=["medical-imaging", "mri", "brain-tumor", "semantic-segmentation", "bts-tune", "pytorch"],
        eval_results=results or None,
        bts_tune_version=__version__,
    )
    return str(head.to_yaml()).strip()
