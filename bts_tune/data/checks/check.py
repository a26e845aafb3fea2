"""The data check: opens every image of a dataset and lists what is wrong with it, before GPU hours are spent.

Errors are what would make training wrong or stop it; warnings deserve a look.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bts_tune.data.parallel import Progress
from bts_tune.data.prepared.decoding import misfit
from bts_tune.data.prepared.images import fits
from bts_tune.data.prepared.judge_masks import JudgedMasks
from bts_tune.data.records import SPLITS, Dataset, Issue, Level, SliceRecord
from bts_tune.data.scan.scan import Scan, SliceScan, scan_dataset
from bts_tune.data.scan.similarity import ORIENTATIONS, Indices
from bts_tune.data.splits.groups import group_slices
from bts_tune.data.splits.leakage import WORST, Leak, compare_masks, measure_leak
from bts_tune.registry import READERS
from bts_tune.results.record.leaks import MEANINGS, MEASURED_ON, RELATIONS, LeakPair, agreement_sentence
from bts_tune.text import percent, plural, printable, without_values

_FEW = 3
"""Errors of one cause that are told one by one."""

_FEWEST_INVERTED = 2
"""Masks of a split that tell that it is inverted."""

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

SHOWN_PER_CODE = 5

SHOWN_STRATA = 12
"""Values of a stratum that are counted, the commonest; `--verbose` counts all."""

SHOWN_IDENTICAL = 20
"""Identical images that are named; `--leaks` names all."""

CHANNEL_CODES = ("converted-to-grey", "grey-in-channels")
"""Codes of warnings on channels that are lost or repeated; a run's first lines have them too."""

_RELATED = "same patient, copy or neighbouring slice"


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
        strata: number of slices by stratum and value, such as the kind of tumour, where names or files tell any.
    """

    images: int = 0
    annotations: dict[int, int] = field(default_factory=dict)
    without_tumor: int = 0
    several_annotations: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    tumor_share: list[float] = field(default_factory=list)
    strata: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckReport:
    """The outcome of a check.

    Attributes:
        root: the dataset's folder.
        layout: name of the reader that read it.
        categories: every category by id.
        tumor_categories: ids of those that count as tumour.
        splits: summary by split.
        issues: errors first, then by code, file and annotation.
        leak: how the validation and test splits are related to the training split.
        masks: which values of the mask files are tumour.
    """

    root: Path
    layout: str
    categories: dict[int, str]
    tumor_categories: tuple[int, ...]
    splits: dict[str, SplitSummary]
    issues: tuple[Issue, ...]
    leak: Leak = field(default_factory=Leak)
    masks: JudgedMasks = field(default_factory=JudgedMasks)

    @property
    def errors(self) -> tuple[Issue, ...]:
        """What would make training wrong or stop it."""
        return tuple(issue for issue in self.issues if issue.level == "error")

    @property
    def warnings(self) -> tuple[Issue, ...]:
        """What deserves a look."""
        return tuple(issue for issue in self.issues if issue.level == "warning")

    def to_json(self) -> dict[str, Any]:
        """Return all that the check found, each issue included, in plain JSON types; names are escaped as in texts."""
        found = self.to_dict()
        found["root"] = printable(str(self.root))
        found["issues"] = [_plain(issue) for issue in self.issues]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the summaries and the number of issues by level and code, in plain JSON types."""
        counted: dict[str, Counter[str]] = {"error": Counter(), "warning": Counter()}
        for issue in self.issues:
            counted[issue.level][issue.code] += 1
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
            "leak": self.leak.to_dict(),
            "masks": self.masks.to_dict() if self.masks.number else None,
            "errors": dict(counted["error"]),
            "warnings": dict(counted["warning"]),
        }


def _plain(issue: Issue) -> dict[str, Any]:
    return {**asdict(issue), "file": printable(issue.file), "message": printable(issue.message)}


def check_dataset(
    dataset: Dataset,
    *,
    scan: Scan | None = None,
    groups: Indices | None = None,
    progress: Progress | None = None,
    channels: Collection[int] = (1,),
) -> CheckReport:
    """Open every image and mask of a dataset and report on them.

    Args:
        dataset: as `open_dataset` read it; its issues become part of the report.
        scan: of the same slices, whatever splits they were in; by default they are opened now.
        groups: the group of each slice, int64 [N], in the order of `scan.names`; by default as `group_slices` finds
            them without knowing patients.
        progress: called after each slice that is opened.
        channels: those that images are read with, as in `PreprocessingPart.channels`.
    """
    scan = scan_dataset(dataset, progress=progress) if scan is None else scan
    records = list(dataset)
    slices = [scan.slices[record.name] for record in records]
    issues = [*dataset.issues, *scan.masks.issues, *_channel_issues(scan, channels)]
    found: list[tuple[SliceRecord, Issue]] = []
    splits: dict[str, SplitSummary] = {}
    for split in SPLITS:
        members = [(record, one) for record, one in zip(records, slices, strict=True) if record.split == split]
        shares = [one.tumor_share for _, one in members if one.tumor_share is not None]
        splits[split] = _summary(dataset, split, members, [share for share in shares if share > 0])
        found += [(record, issue) for record, one in members for issue in one.issues]
        issues += _split_issues(split, len(members), shares)
    issues += _inverted_splits(dataset, scan)
    issues += _of_one_cause(found, scan)
    # The outermost slices of volumes are blank, and all alike, which says nothing of the others.
    shown = [(record, one) for record, one in zip(records, slices, strict=True) if not _is_blank(one)]
    issues += _duplicates([(record, one.digest) for record, one in shown])
    leak = measure_leak(dataset, scan, group_slices(scan) if groups is None else groups)
    leak = compare_masks(dataset, leak, scan.masks.rule)
    issues += _leak_issues(leak)
    issues.sort(key=lambda one: (one.level, one.code, one.file, str(one.annotation)))
    return CheckReport(
        root=dataset.root,
        layout=dataset.layout,
        categories=dataset.categories,
        tumor_categories=dataset.tumor_categories,
        splits=splits,
        issues=tuple(issues),
        leak=leak,
        masks=scan.masks,
    )


def _summary(
    dataset: Dataset, split: str, members: Sequence[tuple[SliceRecord, SliceScan]], shares: Sequence[float]
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
        strata=_strata([record for record, _ in members]),
    )


def _strata(records: Sequence[SliceRecord]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        for stratum, value in record.strata:
            counts[stratum][value] += 1
    return {stratum: dict(sorted(counts[stratum].items())) for stratum in sorted(counts)}


def _channel_issues(scan: Scan, channels: Collection[int]) -> Iterator[Issue]:
    """Yield an error where images cannot have the channels that are asked for, and a warning where theirs are lost."""
    held = {name: one.channels for name, one in scan.slices.items() if one.channels is not None}
    for wanted in sorted(set(channels)):
        for number in sorted(set(held.values())):
            names = [name for name, one in held.items() if one == number]
            if not fits(number, wanted):
                message = misfit(number, wanted)
                if len(names) > 1:
                    message = f"{message.removesuffix('.')}; so {len(names)} of {len(held)} images."
                yield Issue("error", "channels", names[0], None, message)
            elif wanted == 1 and number > 1:
                yield Issue("warning", "converted-to-grey", names[0], None, _lost(len(names), len(held), number))
    if held and set(held.values()) == {1} and min(channels) > 1:
        message = f"all images are grey; with channels: {min(channels)} each channel holds the same."
        yield Issue("warning", "grey-in-channels", next(iter(held)), None, message)


def _lost(number: int, of: int, channels: int) -> str:
    return (
        f"the channels of {number} of {of} images differ, as those of several MRI sequences in one file do; they are "
        f"converted to grey, and channels: {channels} keeps them apart."
    )


def _split_issues(split: str, images: int, shares: Sequence[float]) -> Iterator[Issue]:
    level: Level = "warning" if split == "test" else "error"
    if images == 0:
        yield Issue(level, "empty-split", split, None, "the split holds no usable image.")
    elif split == "train" and images < 2:
        message = "the split holds one usable image; batch normalisation trains on at least 2."
        yield Issue("error", "too-few-images", split, None, message)
    elif shares and not any(shares):
        yield Issue(level, "no-tumor-in-split", split, None, "no image of the split holds a tumour.")


def _inverted_splits(dataset: Dataset, scan: Scan) -> Iterator[Issue]:
    """Yield an error for a split of which most mask files are inverted, while those of the others are not."""
    if any(issue.code == "inverted-masks" for issue in scan.masks.issues):
        return
    for split in SPLITS:
        names = [record.name for record in dataset.records[split] if record.mask is not None]
        shares = [share for name in names if (share := scan.slices[name].tumor_share)]
        large = sum(share > 0.5 for share in shares)
        if 2 * large > len(shares) and large >= _FEWEST_INVERTED:
            message = (
                f"tumour is more than half of the image in {large} of {plural(len(shares), 'mask')} of this split that "
                "hold one, unlike in the others: are they inverted? Save them like those; --tumor-labels tells that "
                "all are right."
            )
            level: Level = "error" if dataset.tumor_labels is None else "warning"
            yield Issue(level, "inverted-split", split, None, message)


def _of_one_cause(found: Sequence[tuple[SliceRecord, Issue]], scan: Scan) -> Iterator[Issue]:
    """Yield what is wrong with slices; errors of one cause are one error, with the number of slices."""
    causes: dict[tuple[str, str], list[tuple[SliceRecord, Issue]]] = defaultdict(list)
    for record, issue in found:
        if issue.level == "error":
            message = issue.message.replace(record.name, "")
            if record.mask is not None:  # the check calls it by its path in the dataset
                message = re.sub(rf"\S*{re.escape(record.mask.name)}", "", message)
            causes[issue.code, without_values(message)].append((record, issue))
        else:
            yield issue
    for (code, _), members in causes.items():
        if len(members) <= _FEW:
            yield from (issue for _, issue in members)
            continue
        first = members[0][1]
        many = f"{first.message} This is so of {len(members)} of {len(scan.names)} slices."
        if code == "wrong-size":
            many += _why_other_sizes([record for record, _ in members], scan)
        yield replace(first, message=many)


def _why_other_sizes(records: Sequence[SliceRecord], scan: Scan) -> str:
    """Return why images have other sizes than their entries declare, with a space before it; empty if unknown."""
    sizes = {(record.width, record.height, scan.slices[record.name].size) for record in records}
    if all(size == f"{height} x {width}" for width, height, size in sizes):
        return " Width and height are swapped in the annotation file, or the images were turned after it was made."
    if len(sizes) == 1:
        return " Were they resized after they were annotated? Take the annotated ones, or scale the annotations too."
    return ""


def _is_blank(one: SliceScan) -> bool:
    return one.signature is not None and not one.signature.any()


def _duplicates(digests: Sequence[tuple[SliceRecord, str | None]]) -> Iterator[Issue]:
    """Yield an issue for each file whose bytes are those of an earlier one."""
    groups: dict[str, list[SliceRecord]] = defaultdict(list)
    for record, digest in digests:
        if digest is not None:
            groups[digest].append(record)
    for first, *others in groups.values():
        for other in others:
            if other.split == first.split:
                yield Issue("warning", "duplicate-file", other.name, None, f"the same file as {first.name}.")
            else:
                message = f"the same file as {first.name}: the {other.split} split is not independent of {first.split}."
                yield Issue("warning", "duplicate-across-splits", other.name, None, message)


def _leak_issues(leak: Leak) -> Iterator[Issue]:
    for split, one in leak.splits.items():
        if one.identical:
            message = (
                f"{one.identical} of its {one.images} images stand identically in train, {one.identical_turned} of "
                f"them mirrored or rotated ({MEANINGS['identical']}); a report gives each metric of the test split "
                "also without such images."
            )
            yield Issue("warning", "identical-across-splits", split, None, message)
        if one.identical_in_valid:
            message = (
                f"{one.identical_in_valid} of its other images stand identically in valid, which chooses epochs and "
                "configurations."
            )
            yield Issue("warning", "identical-across-splits", split, None, message)
        if one.related:
            message = (
                f"{percent(one.related_share, 1)} of its images ({one.related} of {one.images}) are related to one in "
                f"train ({_RELATED}); the closest there is identical for {one.identical}, of the same scan for "
                f"{one.same_scan} and no more than similar for {one.similar}. Scores on it are optimistic for patients "
                "that the model has never seen."
            )
            yield Issue("warning", "leak", split, None, message)


def render(report: CheckReport, *, verbose: bool = False) -> str:
    """Return the report as plain text.

    Args:
        report: what to show.
        verbose: list every issue; by default at most `SHOWN_PER_CODE` of a kind.
    """
    parts = [[f"{report.root}: {READERS.get(report.layout).title}"], _split_table(report)]
    if report.categories:
        parts.append(_category_table(report))
    for title, name in (("Image sizes", "sizes"), ("Pixels", "kinds")):
        total: Counter[str] = Counter()
        for summary in report.splits.values():
            total.update(getattr(summary, name))
        shown = [f"{what} ({count})" for what, count in total.most_common(None if verbose else SHOWN_PER_CODE)]
        more = len(total) - len(shown)
        parts.append([f"{title}: {', '.join(shown) or 'none'}{f', and {more} more' if more else ''}"])
    if report.masks.number:
        parts.append(_mask_table(report.masks))
    parts.append(_share_table(report))
    if any(summary.strata for summary in report.splits.values()):
        parts.append(_strata_table(report, verbose))
    parts.append(_leak_table(report.leak, verbose))
    for title, issues in (("Errors", report.errors), ("Warnings", report.warnings)):
        parts.append(_issue_lines(title, issues, verbose))
    return "\n\n".join("\n".join(printable(line) for line in lines) for lines in parts) + "\n"


def _split_table(report: CheckReport) -> list[str]:
    head = ["split", "images", "without tumour"]
    rows = [[split, str(one.images), str(one.without_tumor)] for split, one in report.splits.items()]
    if READERS.get(report.layout).has_categories:
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


def _mask_table(masks: JudgedMasks) -> list[str]:
    rows = [["value", "% of pixels", "masks", "tumour"]]
    for value, share, number in masks.values:
        tumour = bool(masks.rule.is_tumor(np.array(value)))
        rows.append([f"{value:g}", f"{100 * share:.2f}", str(number), "yes" if tumour else "no"])
    more = masks.different - len(masks.values)
    title = f"Values of {plural(masks.number, 'mask')}" + (f", the commonest of {masks.different}" if more else "")
    return [title, *_table(rows), masks.rule.sentence()]


def _share_table(report: CheckReport) -> list[str]:
    names = {0.0: "least", 0.5: "median", 1.0: "most"}
    rows = [["split", *(names.get(quantile, f"{quantile:.0%}") for quantile in QUANTILES)]]
    for split, summary in report.splits.items():
        if summary.tumor_share:
            rows.append([split, *(f"{100 * share:.2f}" for share in summary.tumor_share)])
    title = "Tumour area in % of the image: quantiles over the images with a tumour"
    return [title, *_table(rows)] if len(rows) > 1 else [f"{title}: none"]


def _strata_table(report: CheckReport, verbose: bool) -> list[str]:
    """Return the number of slices by what names or files tell of them; of many values the commonest."""
    total: dict[str, Counter[str]] = defaultdict(Counter)
    for summary in report.splits.values():
        for stratum, counts in summary.strata.items():
            total[stratum].update(counts)
    rows = [["", "", *report.splits]]
    for stratum, values in sorted(total.items()):
        shown = [value for value, _ in values.most_common(None if verbose else SHOWN_STRATA)]
        for place, value in enumerate(sorted(shown)):
            counted = [str(summary.strata.get(stratum, {}).get(value, 0)) for summary in report.splits.values()]
            rows.append([stratum if place == 0 else "", value, *counted])
        if len(values) > len(shown):
            rows.append(["", f"… and {len(values) - len(shown)} more", *("" for _ in report.splits)])
    return ["Images by what names or files tell", *_table(rows, left=2)]


def _leak_table(leak: Leak, verbose: bool) -> list[str]:
    rows = [["split", "images", *RELATIONS, "related", "%"]]
    for split, one in leak.splits.items():
        counts = [str(count) for count in (one.images, one.identical, one.same_scan, one.similar, one.related)]
        rows.append([split, *counts, f"{100 * one.related_share:.1f}"])
    lines = [
        f"Images by the closest one in train, and images related to one there ({_RELATED})",
        *_table(rows),
        *(f"  {relation}: {meaning}" for relation, meaning in MEANINGS.items()),
        f"  ({MEASURED_ON}, where nothing else is said)",
    ]
    identical = leak.identical
    if identical:
        shown = identical if verbose else identical[:SHOWN_IDENTICAL]
        turned = sum(pair.orientation != ORIENTATIONS[0] for pair in identical)
        lines.append(f"Identical to one in train: {len(identical)}, {turned} of them mirrored or rotated")
        lines += [f"  {_pair(pair)}" for pair in shown]
        if len(identical) > len(shown):
            lines.append(f"  … and {len(identical) - len(shown)} more; --leaks FILE.csv names all")
        lines += _agreement_lines(leak)
    others = leak.pairs[len(identical) :][:WORST]
    if others:
        lines.append("Closest of the others, with their correlation at 32 x 32 pixels")
        lines += [
            f"  {pair.correlation:.3f}  {pair.relation}  {_pair(pair)}"
            for pair in (others if verbose else others[:SHOWN_PER_CODE])
        ]
    return lines


def _pair(pair: LeakPair) -> str:
    how = "" if pair.orientation == ORIENTATIONS[0] else f" ({pair.orientation})"
    return f"{pair.file}  {pair.train_file}{how}"


def _agreement_lines(leak: Leak) -> list[str]:
    found = leak.agreement
    return [] if found.median is None else [agreement_sentence(found.pairs, found.different, found.median)]


def _issue_lines(title: str, issues: Sequence[Issue], verbose: bool) -> list[str]:
    if not issues:
        return [f"{title}: none"]
    lines = [f"{title}: {len(issues)}"]
    groups: dict[str, list[Issue]] = defaultdict(list)
    for issue in issues:
        groups[issue.code].append(issue)
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
