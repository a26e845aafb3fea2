"""Which values of mask files are tumour: one rule for a whole dataset, decided from the values that all its masks hold.

- All values but 0 are tumour where masks hold two values, or a few labels. `--tumor-labels` chooses among labels; a 255
  that stands beside regions of small labels, in half of the files that hold it or more, marks what is to be ignored,
  and is not tumour by default.
- Where masks hold values in between, which lossy compression, smooth resizing and probabilities leave, they are cut at
  half of their range; unless there are regions of values in between too, which are labels.

It is one rule for all masks, so that an empty mask, or one of two values, is read like those beside it. `judge_masks`
(in `prepared`) decides it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SHOWN_VALUES = 8
"""Values that are listed, the commonest first."""

IGNORED = (255.0, 65535.0, -1.0)
FULL_SCALES = (1.0, 255.0, 65535.0)
SMALL_LABEL = 31
_SIX_DIGITS = 5e-6
_DRAWN = 0.3
# Labels are regions, however thin; of what lossy compression leaves one pixel in a hundred has four equal neighbours at
# most. Only a map of many values has plateaus.
_FLAT_FEW, _FLAT_MANY = 0.1, 0.5
FLAT_LABELS = 0.1
"""Least share of a label's pixels that have four equal neighbours; speckles have none."""
FEW = 32
"""Values that a drawing of labels holds at most."""
MOST_LABELS = 8
"""Values of labels that may be drawn as lines, the background's included."""
# WebP leaves flat regions too, of values that crowd at the two ends of the scale; labels leave gaps there.
_END, _IN_AN_END, _BETWEEN_ENDS = 0.05, 3, 0.2
# Strong compression fills even the background with a few small values, and leaves labels flat inside.
_SPECKLED, _MOST_OF_THEM = 8, 0.7
EVEN = 4
"""By how much neighbours within a label of an 8-bit mask differ at most, after lossy compression."""


@dataclass(frozen=True, eq=False)
class MaskValues:
    """The values of one mask file.

    Attributes:
        file: its path relative to the dataset's folder.
        values: float32 [K], ascending; where there are more than 256, the middles of equal bins.
        counts: uint32 [K], the number of pixels of each.
        flat: uint32 [K], the number of those whose four neighbours have the same value.
        even: uint32 [K], of an 8-bit mask the number of those whose four neighbours differ by `EVEN` at most, as they
            do within a label that lossy compression has changed; of others the same as `flat`.
        lined: uint32 [K], the number of those of whose eight neighbours two or more have the same value, as in a line;
            0 where there are more than `MOST_LABELS` values.
        exact: whether `values` are the values themselves, rather than those of bins.
        colour: the one colour of its tumour, such as `#ff0000`, where its channels differ.
        alpha: whether the tumour is in the alpha channel alone.
        lossy: whether its file is of a lossy format.
    """

    file: str
    values: NDArray[np.float32]
    counts: NDArray[np.uint32]
    flat: NDArray[np.uint32]
    even: NDArray[np.uint32]
    lined: NDArray[np.uint32]
    exact: bool = True
    colour: str = ""
    alpha: bool = False
    lossy: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MaskValues) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    @property
    def between(self) -> bool:
        """Whether the mask is no drawing of flat regions: it holds grey values between its smallest and its largest."""
        inner = slice(1, -1)
        values, pixels = self.values[inner], int(self.counts[inner].sum())
        if not pixels or (self.values[-1] <= SMALL_LABEL and self.exact and (values == np.rint(values)).all()):
            return False
        if self.lossy:
            return True
        is_rough = self._flat_share(inner) < (_FLAT_FEW if len(self.values) <= FEW else _FLAT_MANY)
        return is_rough or self._crowds_at_two_ends() or self._is_speckled()

    def _is_speckled(self) -> bool:
        """Return whether most of many values fill no region: they are what compression made of a few labels."""
        if not self.exact or len(self.values) < _SPECKLED:
            return False
        return bool(np.mean(self.flat < _FLAT_FEW * self.counts) > _MOST_OF_THEM)

    def _crowds_at_two_ends(self) -> bool:
        """Return whether values lie close together at both ends of a scale, with few pixels between."""
        scale = next((one for one in FULL_SCALES[1:] if 0.9 * one <= self.values[-1] <= one), None)
        if scale is None or not self.exact:
            return False
        ends = self.values <= _END * scale, self.values >= self.values[-1] - _END * scale
        between, above = int(self.counts[~(ends[0] | ends[1])].sum()), int(self.counts[ends[1]].sum())
        return bool(min(map(np.count_nonzero, ends)) >= _IN_AN_END and between <= _BETWEEN_ENDS * above)

    @property
    def drawn(self) -> bool:
        """Whether what is not 0 lies in flat regions, rather than being the noise of an empty mask."""
        return self._flat_share(self.values != 0) > _DRAWN

    def _flat_share(self, where: slice | NDArray[np.bool_]) -> float:
        return float(self.flat[where].sum() / max(1, self.counts[where].sum()))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields in plain JSON types."""
        return {
            "file": self.file,
            "values": self.values.tolist(),
            "counts": self.counts.tolist(),
            "flat": self.flat.tolist(),
            "even": self.even.tolist(),
            "lined": self.lined.tolist(),
            "exact": self.exact,
            "colour": self.colour,
            "alpha": self.alpha,
            "lossy": self.lossy,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> MaskValues:
        """Return what `to_dict` made."""
        numbers = dict.fromkeys(("counts", "flat", "even", "lined"), np.uint32)
        arrays = {name: np.array(content[name], dtype=dtype) for name, dtype in numbers.items()}
        return cls(**{**content, **arrays, "values": np.array(content["values"], dtype=np.float32)})


@dataclass(frozen=True)
class MaskRule:
    """Which values are tumour.

    Attributes:
        kind: `nonzero`: all but 0 and `ignored`; `half`: those above `cut`; `labels`: those in `labels`.
        cut: half of the range.
        labels: the values that the user chose.
        ignored: values that are not 0 and not tumour either.
    """

    kind: Literal["nonzero", "half", "labels"] = "nonzero"
    cut: float | None = None
    labels: tuple[float, ...] = ()
    ignored: tuple[float, ...] = ()

    def is_tumor(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which of the values are tumour."""
        if self.kind == "half":
            return values > self.cut
        if self.kind == "labels":
            return is_one_of(values, self.labels)
        found = values != 0
        return found & ~np.isin(values, self.ignored) if self.ignored else found

    def apply(self, plane: NDArray[Any]) -> NDArray[np.uint8]:
        """Return a mask's values, [height, width], as uint8 0 and 1."""
        return self.is_tumor(plane).astype(np.uint8)

    def share(self, mask: MaskValues) -> float:
        """Return the tumour's share of a mask's pixels, as well as its values are known."""
        return float(mask.counts[self.is_tumor(mask.values)].sum() / mask.counts.sum())

    def sentence(self) -> str:
        """Return what is tumour, as a sentence."""
        if self.kind == "half":
            return f"Values above {self.cut:g}, half of the masks' range, are tumour."
        if self.kind == "labels":
            return f"{listed(self.labels)} {'is' if len(self.labels) == 1 else 'are'} tumour, as chosen."
        but = listed((0.0, *self.ignored))
        return f"All values but {but} are tumour."

    def to_dict(self) -> dict[str, Any]:
        """Return the rule in plain JSON types, with what it says."""
        return {
            "rule": self.kind,
            "cut": self.cut,
            "labels": list(self.labels),
            "ignored": list(self.ignored),
            "says": self.sentence(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> MaskRule:
        """Return what `to_dict` made; what is missing is as in `MaskRule()`."""
        kind = content.get("rule", "nonzero")
        return cls(kind, content.get("cut"), tuple(content.get("labels", ())), tuple(content.get("ignored", ())))


def is_one_of(values: NDArray[Any], labels: Sequence[float]) -> NDArray[np.bool_]:
    """Return which of the values are one of the labels; fractions are compared in the six digits that are shown."""
    if values.dtype.kind != "f":
        return np.isin(values, labels)
    found = np.zeros(values.shape, dtype=bool)
    for label in map(float, labels):
        found |= values == label if label.is_integer() else np.abs(values - label) <= _SIX_DIGITS * abs(label)
    return found


def listed(values: Any) -> str:
    """Return the smallest values, such as `0, 1 and 4`."""
    shown = [f"{value:g}" for value in sorted(values)]
    if len(shown) > SHOWN_VALUES:
        shown = [*shown[: SHOWN_VALUES - 1], f"{len(shown) - SHOWN_VALUES + 1} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
