"""What the values of a dataset's mask files mean, decided from all of them; what cannot be a mask is an issue."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bts_tune.data.mask_rule import (
    EVEN,
    FEW,
    FLAT_LABELS,
    FULL_SCALES,
    IGNORED,
    MOST_LABELS,
    SHOWN_VALUES,
    SMALL_LABEL,
    MaskRule,
    MaskValues,
    is_one_of,
    listed,
)
from bts_tune.data.records import Issue, Level
from bts_tune.text import plural

_MOST_BETWEEN = 2.0
"""Most pixels in the middle half of the range, as a multiple of those above half: blurred blobs have 1.6."""
_LOSSY_ZERO = 2
"""Up to which value lossy compression fills whole blocks of an empty mask."""
_LINED = 0.95
# Of the pixels of a rim all are in a line; of a value on the border of a smooth ellipse 0.6 at most, and none of the
# corners of a rectangle.
_ENDS, _LEAST_REGION, _MOST_OF_REGION = 0.1, 0.01, 0.7
# Of all that is drawn in ellipses as JPEG (95, 75, 40) and WebP (90, 75, 40), 0.011 or more lay in even regions of a
# label between; of ellipses of 0 and 255 nothing did, and of wide smooth borders 0.002 at most.


@dataclass(frozen=True)
class JudgedMasks:
    """What the masks of a dataset hold, and what that means.

    Attributes:
        rule: which values are tumour.
        number: of masks.
        values: the commonest values with their share of all pixels and the number of masks that hold them.
        different: number of different values.
        issues: what is odd about them.
    """

    rule: MaskRule = field(default_factory=MaskRule)
    number: int = 0
    values: tuple[tuple[float, float, int], ...] = ()
    different: int = 0
    issues: tuple[Issue, ...] = ()

    def sentence(self) -> str:
        """Return which values the masks hold and which are tumour."""
        held = ", ".join(f"{value:g} ({share:.2%})" for value, share, _ in self.values)
        more = self.different - len(self.values)
        also = f" and {more} more" if more else ""
        return f"{plural(self.number, 'mask')} of the values {held}{also}. {self.rule.sentence()}"

    def to_dict(self) -> dict[str, Any]:
        """Return all but the issues in plain JSON types."""
        listed = [{"value": value, "share": share, "masks": masks} for value, share, masks in self.values]
        return {**self.rule.to_dict(), "masks": self.number, "different_values": self.different, "values": listed}


def judge_masks(
    masks: Mapping[str, MaskValues], labels: Sequence[float] | None = None, ignored: Sequence[float] = ()
) -> JudgedMasks:
    """Decide which values are tumour.

    Args:
        masks: what the masks hold, by name of the slice.
        labels: the values that the user chose as tumour; None for all that the rule takes.
        ignored: values that the dataset says are to be ignored.
    """
    return _Judge(masks, None if labels is None else tuple(labels), tuple(ignored)).judged()


@dataclass
class _Judge:
    masks: Mapping[str, MaskValues]
    labels: tuple[float, ...] | None
    told: tuple[float, ...] = ()
    issues: list[Issue] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pixels: Counter[float] = Counter()
        self.holders: Counter[float] = Counter()
        for one in self.masks.values():
            for value, count in _listable(one):
                self.pixels[value] += count
                self.holders[value] += 1

    def judged(self) -> JudgedMasks:
        if not self.masks:
            return JudgedMasks()
        rule = self._found() if self.labels is None else self._chosen(self.labels)
        if all(issue.level != "error" for issue in self.issues):
            self._areas(rule)
        self._kinds()
        total = sum(self.pixels.values())
        common = [(value, count / total, self.holders[value]) for value, count in self.pixels.most_common(SHOWN_VALUES)]
        return JudgedMasks(rule, len(self.masks), tuple(sorted(common)), len(self.pixels), tuple(self.issues))

    def _find(self, level: Level, code: str, name: str, message: str) -> None:
        self.issues.append(Issue(level, code, name, None, message))

    def _chosen(self, labels: tuple[float, ...]) -> MaskRule:
        for label in labels:
            if not any(one.exact and is_one_of(one.values, (label,)).any() for one in self.masks.values()):
                known = listed(value for value, _ in self.pixels.most_common(SHOWN_VALUES))
                self._find(
                    "error", "unknown-label", "masks", f"--tumor-labels {label:g}: no mask holds it; they hold {known}."
                )
        grey = self._grey()
        if grey:
            name, one = next(iter(grey.items()))
            self._find(
                "warning",
                "labels-in-grey",
                name,
                f"{len(grey)} of {plural(len(self.masks), 'mask')}, such as {one.file}, hold values between, of which "
                "--tumor-labels takes none; leave it out to cut such masks at half.",
            )
        return MaskRule("labels", labels=labels)

    def _found(self) -> MaskRule:
        """Return the rule for masks of which the user said nothing."""
        grey = self._grey()
        if grey and (regions := self._regions_between()):
            name, one = next(iter(grey.items()))
            self._find(
                "error",
                "lossy-labels",
                name,
                f"{len(grey)} of {plural(len(self.masks), 'mask')}, such as {one.file}, hold values between labels (0, "
                f"{listed(regions)}), as lossy compression and smooth resizing leave them, so which pixels are of "
                "which label is unclear; save masks of labels as PNG, from their source.",
            )
            return MaskRule()
        if grey:
            cut = _half(grey.values(), self.masks.values())
            # A map of low probabilities, or the noise of an empty mask, holds no tumour; a drawn one would lose it.
            erased = {
                name: one
                for name, one in self.masks.items()
                if one.values[-1] <= cut and (_is_drawn(one) if name not in grey else _fills_a_scale(one))
            }
            if len(erased) <= len(grey):
                return self._cut(grey, erased, cut)
            for name, one in grey.items():
                self._find(
                    "error",
                    "odd-mask",
                    name,
                    f"the mask {one.file} holds {len(one.values)} values from {one.values[0]:g} to "
                    f"{one.values[-1]:g}, while the other masks hold few; save it like those.",
                )
            return MaskRule()
        if 0 not in self.pixels:
            name, one = next(iter(self.masks.items()))
            tumour = max(self.pixels)
            self._find(
                "error",
                "no-background",
                name,
                f"no mask holds a 0, so which value is background is unknown: {one.file} and the others hold "
                f"{listed(self.pixels)}; --tumor-labels {tumour:g}, for example, names what is tumour.",
            )
            return MaskRule()
        self._labels_in_jpeg()
        ignored = tuple(value for value in IGNORED if self._judged_ignored(value))
        return MaskRule(ignored=tuple(sorted({*ignored, *(value for value in self.told if value in self.pixels)})))

    def _grey(self) -> dict[str, MaskValues]:
        """Return the masks that hold values between, but for those whose values are labels.

        Labels are regions in other masks, or thin lines in all of them. A small core or a rim of a label has no pixel
        with four equal neighbours, and looks like the border of a smooth mask.
        """
        grey = {name: one for name, one in self.masks.items() if one.between}
        if grey and self._are_lines(grey.values()):
            return {}
        exact = [one for name, one in self.masks.items() if name not in grey and one.exact and not one.lossy]
        labels = {value for one in exact if len(one.values) <= FEW for value in one.values.tolist()} if grey else set()
        return {
            name: one
            for name, one in grey.items()
            if one.lossy or not (one.exact and labels.issuperset(one.values[1:-1]))
        }

    def _are_lines(self, grey: Iterable[MaskValues]) -> bool:
        """Return whether all values between are few, and drawn in lines, as rims of labels are.

        The border of a smooth mask changes its value from pixel to pixel, at the corners of a rectangle at least.
        """
        if any(one.lossy or not one.exact for one in grey) or len(self.pixels) > MOST_LABELS:
            return False
        lined, counts = Counter[float](), Counter[float]()
        for one in grey:
            for value, line, count in zip(one.values[1:-1].tolist(), one.lined[1:-1], one.counts[1:-1], strict=True):
                lined[value] += int(line)
                counts[value] += int(count)
        return all(lined[value] >= _LINED * counts[value] for value in counts)

    def _labels_in_jpeg(self) -> None:
        """Warn of labels that compression has changed."""
        lossy = {
            name: one
            for name, one in self.masks.items()
            if one.lossy and 0 < one.values[-1] <= SMALL_LABEL and one.drawn
        }
        if lossy:
            name, one = next(iter(lossy.items()))
            self._find(
                "warning",
                "labels-in-jpeg",
                name,
                f"{len(lossy)} of {plural(len(self.masks), 'mask')}, such as {one.file}, are of a lossy format and "
                f"hold the labels {listed(one.values)}, which compression changes at the tumour's border; save them as "
                "PNG.",
            )

    def _judged_ignored(self, value: float) -> bool:
        """Return whether a value stands beside small labels in half or more of the mask files that hold it; say so.

        A dataset of which some masks are 0 and 1 and others 0 and 255 has no file with both. Speckles, and what lossy
        compression leaves, are no labels. Of a volume the file counts: its slices are chosen by what is ignored.
        """
        if value not in self.pixels:
            return False
        exact = [one for one in self.masks.values() if not one.lossy]
        small = [one for one in exact if _small_labels(one).any()]
        flat = sum(int(one.flat[_small_labels(one)].sum()) for one in small)
        pixels = sum(int(one.counts[_small_labels(one)].sum()) for one in small)
        holding = {one.file for one in self.masks.values() if value in one.values}
        beside = [one for one in small if one.file in holding]
        if not beside or flat < FLAT_LABELS * pixels:
            return False
        labels = sorted({float(label) for one in beside for label in one.values[_small_labels(one)]})
        some = f"the {'label' if len(labels) == 1 else 'labels'} {listed(labels)}"
        name = next(name for name, one in self.masks.items() if one is beside[0])
        count = len({one.file for one in beside})
        if 2 * count < len(holding):
            self._find(
                "warning",
                "mixed-labels",
                name,
                f"{value:g} stands beside {some} in {count} of the {plural(len(holding), 'mask')} that "
                f"hold it, such as {beside[0].file}; all of them are taken for tumour. --tumor-labels chooses.",
            )
            return False
        files = {one.file for one in self.masks.values()}
        self._find(
            "warning",
            "ignore-label",
            name,
            f"{value:g} stands beside {some} in {count} of {plural(len(files), 'mask')}, such as "
            f"{beside[0].file}, as 'ignore' values do: it is not taken for tumour; --tumor-labels "
            f"{' '.join(f'{v:g}' for v in (*labels, value))} takes it too.",
        )
        return True

    def _regions_between(self) -> tuple[float, ...]:
        """Return the labels of 8-bit masks where they hold regions of values between 0 and the largest, else nothing.

        Neighbours in a region are alike; on the border of a smooth mask they are not, and no value is common there.
        """
        even, counts = np.zeros(256), np.zeros(256)
        for one in self.masks.values():
            if one.exact and one.values[0] >= 0 and SMALL_LABEL < one.values[-1] <= 255 and _is_whole(one):
                even += np.bincount(one.values.astype(int), one.even, minlength=256)
                counts += np.bincount(one.values.astype(int), one.counts, minlength=256)
        top = int(np.flatnonzero(counts)[-1]) if counts.any() else 0
        inner = range(math.ceil(_ENDS * top), math.floor((1 - _ENDS) * top) + 1)
        drawn = counts[math.ceil(_ENDS / 2 * top) :].sum()
        near, around = (np.convolve(even, np.ones(2 * width + 1), "same") for width in (EVEN, 3 * EVEN))
        found: list[float] = []
        for value in sorted(inner, key=lambda value: -near[value]):
            is_region = near[value] > _LEAST_REGION * drawn and near[value] > _MOST_OF_REGION * around[value]
            if is_region and all(abs(value - other) > 3 * EVEN for other in found):
                found.append(float(value))
        return (*sorted(found), float(top)) if found else ()

    def _cut(self, grey: Mapping[str, MaskValues], erased: Mapping[str, MaskValues], cut: float) -> MaskRule:
        """Return the cut at half, and say what it changes."""
        rule, plain = MaskRule("half", cut=cut), MaskRule()
        between = above = 0
        for one in (one for one in grey.values() if one.values[-1] > cut):
            middle = (one.values > cut / 2) & (one.values <= 1.5 * cut)
            between += int(one.counts[middle].sum())
            above += int(one.counts[one.values > cut].sum())
        name, first = next(iter(grey.items()))
        if between > _MOST_BETWEEN * above:
            self._find(
                "error",
                "grey-masks",
                name,
                f"the masks hold grey values all over their range, {first.file} {len(first.values)} different ones "
                f"from {first.values[0]:g} to {first.values[-1]:g}: are they images? A mask holds 0 and one value "
                "more, or labels.",
            )
            return rule
        for name, one in erased.items():
            self._find(
                "error",
                "odd-mask",
                name,
                f"the mask {one.file} holds no value above {one.values[-1]:g}, while the others are cut at {cut:g}, so "
                "that its tumour would be lost; save it like those.",
            )
        name = next(iter(grey))
        before = [plain.share(one) for one in grey.values()]
        after = [rule.share(one) for one in grey.values()]
        example = grey[name]
        inner = example.values[1:-1]
        shown = [f"{value:g}" for value in (inner if len(inner) < 4 else (inner[0], inner[1], inner[-1]))]
        self._find(
            "warning",
            "lossy-masks",
            name,
            f"{len(grey)} of {plural(len(self.masks), 'mask')} hold values between, such as {', '.join(shown)} in "
            f"{example.file}, as JPEG compression, smooth resizing and probabilities leave them: masks are cut at "
            f"half, {cut:g}. The median tumour area of these is {np.median(after):.2%} of the image; with all but 0 it "
            f"would be {np.median(before):.2%}.",
        )
        return rule

    def _areas(self, rule: MaskRule) -> None:
        """Look for tumours that are too large to be one."""
        shares = {name: rule.share(one) for name, one in self.masks.items()}
        some = {name: share for name, share in shares.items() if share > 0}
        large = {name: share for name, share in some.items() if share > 0.5}
        if not large:
            return
        name = next(iter(large))
        if 2 * len(large) > len(some):
            other = " ".join(f"{value:g}" for value in sorted(self.pixels) if not rule.is_tumor(np.array(value)))
            same = " ".join(f"{value:g}" for value in sorted(self.pixels) if rule.is_tumor(np.array(value)))
            cure = (
                f"where they are inverted, take --tumor-labels {other or '0'}, and where this is right, "
                f"--tumor-labels {same}"
                if len(self.pixels) <= SHOWN_VALUES
                else "invert them"
            )
            self._find(
                "warning" if self.labels is not None else "error",
                "inverted-masks",
                name,
                f"tumour is more than half of the image in {len(large)} of {plural(len(some), 'mask')} that hold one "
                f"({self.masks[name].file}: {large[name]:.0%}); {cure}.",
            )
            return
        for name, share in large.items():
            if share < 1:
                message = (
                    f"{share:.0%} of the mask {self.masks[name].file} is tumour, of the others "
                    f"{np.median(list(some.values())):.1%} in the median; is it inverted?"
                )
                self._find("warning", "large-mask", name, message)

    def _kinds(self) -> None:
        """Look for what is not grey: colours and transparency."""
        colours: dict[str, list[str]] = {}
        for name, one in self.masks.items():
            if one.colour:
                colours.setdefault(one.colour, []).append(name)
        if len(colours) > 1:
            counted = ", ".join(f"{colour} in {len(names)}" for colour, names in colours.items())
            name = next(iter(colours.values()))[0]
            self._find(
                "error",
                "coloured-masks",
                name,
                f"the masks hold several colours ({counted}), so which of them are tumour is unknown; save labels as "
                "grey numbers.",
            )
        clear = [name for name, one in self.masks.items() if one.alpha]
        if clear:
            self._find(
                "warning",
                "alpha-masks",
                clear[0],
                f"{len(clear)} of {plural(len(self.masks), 'mask')}, such as {self.masks[clear[0]].file}, hold their "
                "tumour in the alpha channel alone: what is not transparent is tumour.",
            )


def _listable(one: MaskValues) -> Iterator[tuple[float, int]]:
    """Yield values and their number of pixels; many fractions in two digits, so that all masks together hold few."""
    if one.exact and _is_whole(one):
        yield from zip(one.values.tolist(), one.counts.tolist(), strict=True)
        return
    digits = 6 if one.exact and len(one.values) <= FEW else 2
    counted: Counter[float] = Counter()
    for value, count in zip(one.values.tolist(), one.counts.tolist(), strict=True):
        counted[float(f"{value:.{digits}g}")] += count
    yield from counted.items()


def _is_drawn(one: MaskValues) -> bool:
    return one.drawn and not (one.lossy and one.values[-1] <= _LOSSY_ZERO)


def _small_labels(one: MaskValues) -> np.ndarray:
    return np.asarray((one.values > 0) & (one.values <= SMALL_LABEL))


def _is_whole(one: MaskValues) -> bool:
    return bool((one.values == np.rint(one.values)).all())


def _fills_a_scale(one: MaskValues) -> bool:
    return any(0.9 * scale <= one.values[-1] <= scale for scale in FULL_SCALES)


def _half(grey: Iterable[MaskValues], masks: Iterable[MaskValues]) -> float:
    """Return the middle of the range of masks some of which hold values between.

    The largest values decide, as most masks may be empty and hold next to nothing; a few of another depth do not.
    """
    lowest, highest = np.median([(one.values[0], one.values[-1]) for one in grey], axis=0).tolist()
    largest = [one.values[-1] for one in masks if one.values[-1] > 0]
    highest = max(highest, float(np.quantile(largest, 0.98, method="lower")) if largest else highest)
    # Lossy masks and probabilities stop a little below the end of their scale.
    for scale in FULL_SCALES:
        if (0.6 if scale == 1 else 0.9) * scale <= highest <= scale:
            return scale / 2
    return float(min(lowest, 0) + highest) / 2
