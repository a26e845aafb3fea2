"""What the values of a dataset's mask files mean, decided from all of them; what cannot be a mask is an issue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bts_tune.data.mask_rule import FEW, FULL_SCALES, IGNORED, SHOWN_VALUES, SMALL_LABEL, MaskRule, MaskValues, listed
from bts_tune.data.records import Issue, Level
from bts_tune.text import plural

_MOST_BETWEEN = 2.0
"""Most pixels in the middle half of the range, as a multiple of those above half: blurred blobs have 1.6."""


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
            if label not in self.pixels:
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
        if grey:
            cut = _half(grey.values(), self.masks.values())
            # A map of low probabilities, or the noise of an empty mask, holds no tumour; a drawn one would lose it.
            erased = {
                name: one
                for name, one in self.masks.items()
                if one.values[-1] <= cut and (one.drawn if name not in grey else _fills_a_scale(one))
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
        ignored = tuple(value for value in IGNORED if self._is_ignored(value))
        for value in ignored:
            name, one = next((name, one) for name, one in self.masks.items() if value in one.values)
            small = [label for label in self.pixels if 0 < label <= SMALL_LABEL]
            self._find(
                "warning",
                "ignore-label",
                name,
                f"{value:g} stands beside the {'label' if len(small) == 1 else 'labels'} {listed(small)} in "
                f"{self.holders[value]} of {plural(len(self.masks), 'mask')}, such as {one.file}, as 'ignore' values "
                f"do: it is not taken for tumour; --tumor-labels {' '.join(f'{v:g}' for v in (*sorted(small), value))} "
                "takes it too.",
            )
        return MaskRule(ignored=tuple(sorted({*ignored, *(value for value in self.told if value in self.pixels)})))

    def _grey(self) -> dict[str, MaskValues]:
        """Return the masks that hold values between, but for those whose values are regions of labels in other masks.

        A small core of a label has no pixel with four equal neighbours, and looks like the border of a smooth mask.
        """
        grey = {name: one for name, one in self.masks.items() if one.between}
        drawn = (one for name, one in self.masks.items() if name not in grey and one.exact and len(one.values) <= FEW)
        labels = {value for one in drawn for value in one.values.tolist()} if grey else set()
        return {name: one for name, one in grey.items() if not (one.exact and labels.issuperset(one.values[1:-1]))}

    def _labels_in_jpeg(self) -> None:
        """Warn of labels that compression has changed."""
        lossy = {
            name: one
            for name, one in self.masks.items()
            if one.file.lower().endswith((".jpg", ".jpeg")) and 0 < one.values[-1] <= SMALL_LABEL and one.drawn
        }
        if lossy:
            name, one = next(iter(lossy.items()))
            self._find(
                "warning",
                "labels-in-jpeg",
                name,
                f"{len(lossy)} of {plural(len(self.masks), 'mask')}, such as {one.file}, are JPEG files of the labels "
                f"{listed(one.values)}, which compression changes at the tumour's border; save them as PNG.",
            )

    def _is_ignored(self, value: float) -> bool:
        """Return whether a value stands beside small labels in most of the masks that hold these, or that hold it.

        A dataset of which some masks are 0 and 1 and others 0 and 255 has no mask with both.
        """
        if value not in self.pixels:
            return False
        small = [one for one in self.masks.values() if ((one.values > 0) & (one.values <= SMALL_LABEL)).any()]
        beside = sum(value in one.values for one in small)
        return beside > 0 and 2 * beside >= min(len(small), self.holders[value])

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
    """Yield values and their number of pixels; fractions in two digits, so that all masks together hold few."""
    if one.exact and (one.values == np.rint(one.values)).all():
        yield from zip(one.values.tolist(), one.counts.tolist(), strict=True)
        return
    counted: Counter[float] = Counter()
    for value, count in zip(one.values.tolist(), one.counts.tolist(), strict=True):
        counted[float(f"{value:.2g}")] += count
    yield from counted.items()


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
