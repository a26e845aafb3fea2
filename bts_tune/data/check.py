"""The data check: opens every image of a dataset and lists what is wrong with it, before GPU hours are spent.

Errors are what would make training wrong or stop it; warnings deserve a look.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bts_tune.data.drawing import drawn_area
from bts_tune.data.images import decode, read_bytes, read_mask, to_grey
from bts_tune.data.parallel import Progress, parallel_map
from bts_tune.data.records import SPLITS, Annotation, Dataset, Finding, Level, SliceRecord
from bts_tune.errors import DataError, printable

TINY_AREA = 32
"""Annotations that cover fewer pixels are reported: a slip of the mouse rather than a tumour."""

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

SHOWN_PER_CODE = 5


@dataclass
class SplitSummary:
    """What one split holds.

    Attributes:
        images: number of slices.
        annotations: number of annotations in the file by category id, chosen as tumour or not.
        without_tumor: number of slices whose mask is empty.
        several_annotations: number of slices with more than one annotation.
        sizes: number of images by `width x height`.
        kinds: number of images by channels and bit depth.
        tumor_share: quantiles (`QUANTILES`) of the tumour's share of the image's area, over slices with a tumour.
    """

    images: int = 0
    annotations: dict[int, int] = field(default_factory=dict)
    without_tumor: int = 0
    several_annotations: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    tumor_share: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class CheckReport:
    """The outcome of a check.

    Attributes:
        root: the dataset's folder.
        layout: `coco` or `folders`.
        categories: every category by id.
        tumor_categories: ids of those that count as tumour.
        splits: summary by split.
        findings: errors first, then by code, file and annotation.
    """

    root: Path
    layout: str
    categories: dict[int, str]
    tumor_categories: tuple[int, ...]
    splits: dict[str, SplitSummary]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What would make training wrong or stop it."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What deserves a look."""
        return tuple(finding for finding in self.findings if finding.level == "warning")

    def to_dict(self) -> dict[str, Any]:
        """Return the summaries and the number of findings by level and code, in plain JSON types."""
        counted: dict[str, Counter[str]] = {"error": Counter(), "warning": Counter()}
        for finding in self.findings:
            counted[finding.level][finding.code] += 1
        splits = {}
        for split, summary in self.splits.items():
            fields = asdict(summary)
            fields["annotations"] = {str(number): count for number, count in summary.annotations.items()}
            fields["tumor_share"] = {
                f"{quantile:g}": share for quantile, share in zip(QUANTILES, summary.tumor_share, strict=False)
            }
            splits[split] = fields
        return {
            "layout": self.layout,
            "categories": {str(number): name for number, name in self.categories.items()},
            "tumor_categories": list(self.tumor_categories),
            "splits": splits,
            "errors": dict(counted["error"]),
            "warnings": dict(counted["warning"]),
        }


@dataclass(frozen=True)
class _Slice:
    """What opening one slice showed."""

    findings: tuple[Finding, ...]
    digest: str | None = None
    size: str | None = None
    kind: str | None = None
    tumor_share: float | None = None


def check_dataset(dataset: Dataset, *, progress: Progress | None = None) -> CheckReport:
    """Open every image and mask of a dataset and report on them.

    Args:
        dataset: as `open_dataset` read it; its findings become part of the report.
        progress: called after each slice.
    """
    records = list(dataset)
    slices = parallel_map(_check_slice, records, progress=progress)
    findings = list(dataset.findings)
    splits: dict[str, SplitSummary] = {}
    for split in SPLITS:
        members = [(record, one) for record, one in zip(records, slices, strict=True) if record.split == split]
        shares = [one.tumor_share for _, one in members if one.tumor_share is not None]
        splits[split] = _summary(dataset, split, members, [share for share in shares if share > 0])
        findings += [finding for _, one in members for finding in one.findings]
        findings += _split_findings(split, len(members), shares)
    findings += _duplicates([(record, one.digest) for record, one in zip(records, slices, strict=True)])
    findings.sort(key=lambda one: (one.level, one.code, one.file, str(one.annotation)))
    return CheckReport(
        root=dataset.root,
        layout=dataset.layout,
        categories=dataset.categories,
        tumor_categories=dataset.tumor_categories,
        splits=splits,
        findings=tuple(findings),
    )


def _check_slice(record: SliceRecord) -> _Slice:
    findings: list[Finding] = []

    def find(level: Level, code: str, message: str) -> None:
        findings.append(Finding(level, code, record.name, None, message))

    if not _is_file(record.image):
        find("error", "missing-image", "the file does not exist.")
        return _Slice(tuple(findings))
    try:
        data = read_bytes(record.image)
        pixels = decode(data, record.name)
        grey = to_grey(pixels, record.name)
    except DataError as error:
        find("error", "unreadable-image", str(error).removeprefix(f"{record.name}: "))
        return _Slice(tuple(findings))
    height, width = grey.shape
    if grey.min() == grey.max():
        find("warning", "blank-image", "all pixels have the same value.")
    if record.width is not None and (record.width, record.height) != (width, height):
        find(
            "error",
            "wrong-size",
            f"the image has {width} x {height} pixels, its entry declares {record.width} x {record.height}.",
        )
    share = None
    try:
        mask = read_mask(record)
    except DataError as error:
        find("error", "unreadable-mask", str(error))
    else:
        share = float(mask.mean())
        if record.mask is not None:
            findings += _mask_findings(record, record.mask, mask, (height, width))
    if record.mask is None:
        findings += _annotation_findings(record)
    if share == 0:
        find("warning", "no-tumor", "nothing is annotated as tumour; the slice counts as tumour-free.")
    return _Slice(tuple(findings), hashlib.sha256(data).hexdigest(), f"{width} x {height}", _kind(pixels), share)


def _mask_findings(record: SliceRecord, path: Path, mask: np.ndarray, size: tuple[int, int]) -> Iterator[Finding]:
    if mask.shape != size:
        message = f"the mask has {mask.shape[1]} x {mask.shape[0]} pixels, its image {size[1]} x {size[0]}."
        yield Finding("error", "wrong-mask-size", record.name, None, message)
    if path.suffix.lower() in (".jpg", ".jpeg"):
        message = f"the mask {path.name} is a JPEG, whose compression leaves non-zero pixels around a tumour; use PNG."
        yield Finding("warning", "lossy-mask", record.name, None, message)
    if mask.all():
        yield Finding("warning", "full-mask", record.name, None, "every pixel of the mask is tumour.")


def _annotation_findings(record: SliceRecord) -> Iterator[Finding]:
    if record.width is None or record.height is None:
        return
    if len(record.annotations) > 1:
        ids = ", ".join(str(one.annotation_id) for one in record.annotations)
        message = f"{len(record.annotations)} annotations ({_cut(ids, 80)}); the mask is their union."
        yield Finding("warning", "several-annotations", record.name, None, message)
    for one in record.annotations:
        for code, message in _annotation_problems(one, record.width, record.height):
            yield Finding("warning", code, record.name, one.annotation_id, message)


def _annotation_problems(annotation: Annotation, width: int, height: int) -> Iterator[tuple[str, str]]:
    """Yield code and message of what is odd about an annotation that can be drawn."""
    if isinstance(annotation.segmentation, list):
        polygons = annotation.segmentation
        short = sum(len(polygon) < 6 for polygon in polygons)
        if short:
            yield "degenerate-annotation", f"{short} of its {len(polygons)} polygon(s) have fewer than 3 points."
        x = np.concatenate([polygon[::2] for polygon in polygons])
        y = np.concatenate([polygon[1::2] for polygon in polygons])
        if min(x.min(), y.min()) < -1 or x.max() > width + 1 or y.max() > height + 1:
            yield "partly-outside", f"it reaches beyond the image of {width} x {height} pixels and is cut off there."
    area = drawn_area(annotation, height, width)
    if area == 0:
        yield "degenerate-annotation", "it covers no pixel."
    elif area < TINY_AREA:
        yield "tiny-annotation", f"it covers {area} of the image's {width * height} pixels."


def _summary(
    dataset: Dataset, split: str, members: Sequence[tuple[SliceRecord, _Slice]], shares: Sequence[float]
) -> SplitSummary:
    counts = dataset.annotation_counts.get(split, {})
    return SplitSummary(
        images=len(members),
        annotations={number: counts.get(number, 0) for number in dataset.categories},
        without_tumor=sum(one.tumor_share == 0 for _, one in members),
        several_annotations=sum(len(record.annotations) > 1 for record, _ in members),
        sizes=dict(Counter(one.size for _, one in members if one.size is not None).most_common()),
        kinds=dict(Counter(one.kind for _, one in members if one.kind is not None).most_common()),
        tumor_share=[float(share) for share in np.quantile(shares, QUANTILES)] if shares else [],
    )


def _split_findings(split: str, images: int, shares: Sequence[float]) -> Iterator[Finding]:
    level: Level = "warning" if split == "test" else "error"
    if images == 0:
        yield Finding(level, "empty-split", split, None, "the split holds no usable image.")
    elif shares and not any(shares):
        yield Finding(level, "no-tumor-in-split", split, None, "no image of the split holds a tumour.")


def _duplicates(digests: Sequence[tuple[SliceRecord, str | None]]) -> Iterator[Finding]:
    """Yield a finding for each file whose bytes are those of an earlier one."""
    groups: dict[str, list[SliceRecord]] = defaultdict(list)
    for record, digest in digests:
        if digest is not None:
            groups[digest].append(record)
    for first, *others in groups.values():
        for other in others:
            if other.split == first.split:
                yield Finding("warning", "duplicate-file", other.name, None, f"the same file as {first.name}.")
            else:
                message = f"the same file as {first.name}: the {other.split} split is not independent of {first.split}."
                yield Finding("warning", "duplicate-across-splits", other.name, None, message)


def _kind(pixels: np.ndarray) -> str:
    """Name channels and depth of decoded pixels, such as `colour 8-bit, equal channels`."""
    depth = f"{8 * pixels.dtype.itemsize}-bit" + (" float" if pixels.dtype.kind == "f" else "")
    if pixels.ndim == 2:
        return f"grey {depth}"
    colour = pixels[..., :3]
    equal = np.array_equal(colour[..., 0], colour[..., 1]) and np.array_equal(colour[..., 0], colour[..., 2])
    alpha = " with alpha" if pixels.shape[2] == 4 else ""
    return f"colour {depth}{alpha}" + (", equal channels" if equal else "")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def render(report: CheckReport, *, verbose: bool = False) -> str:
    """Return the report as plain text.

    Args:
        report: what to show.
        verbose: list every finding; by default at most `SHOWN_PER_CODE` of a kind.
    """
    layout = "COCO export" if report.layout == "coco" else "image/mask folders"
    parts = [[f"{report.root}: {layout}"], _split_table(report)]
    if report.categories:
        parts.append(_category_table(report))
    for title, name in (("Image sizes", "sizes"), ("Pixels", "kinds")):
        total: Counter[str] = Counter()
        for summary in report.splits.values():
            total.update(getattr(summary, name))
        shown = [f"{what} ({count})" for what, count in total.most_common(None if verbose else SHOWN_PER_CODE)]
        more = len(total) - len(shown)
        parts.append([f"{title}: {', '.join(shown) or 'none'}{f', and {more} more' if more else ''}"])
    parts.append(_share_table(report))
    for title, findings in (("Errors", report.errors), ("Warnings", report.warnings)):
        parts.append(_finding_lines(title, findings, verbose))
    return "\n\n".join("\n".join(printable(line) for line in lines) for lines in parts) + "\n"


def _split_table(report: CheckReport) -> list[str]:
    head = ["split", "images", "without tumour"]
    rows = [[split, str(one.images), str(one.without_tumor)] for split, one in report.splits.items()]
    if report.layout == "coco":
        head += ["annotations", "several annotations"]
        for row, one in zip(rows, report.splits.values(), strict=True):
            row += [str(sum(one.annotations.values())), str(one.several_annotations)]
    return _table([head, *rows])


def _category_table(report: CheckReport) -> list[str]:
    rows = [["id", "category", "tumour", *report.splits]]
    for number, name in report.categories.items():
        counts = [str(summary.annotations.get(number, 0)) for summary in report.splits.values()]
        rows.append([str(number), name, "yes" if number in report.tumor_categories else "no", *counts])
    return ["Annotations by category", *_table(rows, left=2)]


def _share_table(report: CheckReport) -> list[str]:
    names = {0.0: "least", 0.5: "median", 1.0: "most"}
    rows = [["split", *(names.get(quantile, f"{quantile:.0%}") for quantile in QUANTILES)]]
    for split, summary in report.splits.items():
        if summary.tumor_share:
            rows.append([split, *(f"{100 * share:.2f}" for share in summary.tumor_share)])
    title = "Tumour area in % of the image: quantiles over the images with a tumour"
    return [title, *_table(rows)] if len(rows) > 1 else [f"{title}: none"]


def _finding_lines(title: str, findings: Sequence[Finding], verbose: bool) -> list[str]:
    if not findings:
        return [f"{title}: none"]
    lines = [f"{title}: {len(findings)}"]
    groups: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.code].append(finding)
    for code, members in groups.items():
        lines.append(f"  {code} ({len(members)})")
        shown = members if verbose else members[:SHOWN_PER_CODE]
        for one in shown:
            annotation = "" if one.annotation is None else f", annotation {one.annotation}"
            lines.append(f"    {one.file}{annotation}: {one.message}")
        if len(members) > len(shown):
            lines.append(f"    … and {len(members) - len(shown)} more")
    return lines


def _table(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Align rows of cells: the first `left` columns to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 2]} …"
