"""How far the validation and test splits are from being independent of the training split. Two figures for each:

- *Near-duplicates*: images of which the training split holds a slice whose correlation with theirs exceeds 0.9,
  or 0.98 where one is mirrored or rotated, or whose detail tells one scan (see `similarity`). By the closest of those
  they are *identical*, of the *same scan* or no more than *similar*; what each means stands in
  `results/record/leaks.py`. Among many heads some are similar by chance.
- *Related* images: those of which the training split holds a slice of the same group, hence of the same patient as far
  as one can tell (see `groups`). A split with any of them leaks: a score on it says little of patients that the model
  has never seen.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bts_tune.data.mask_rule import MaskRule
from bts_tune.data.parallel import parallel_map
from bts_tune.data.prepared.images import read_mask, view_slice
from bts_tune.data.records import SPLITS, Dataset, SliceRecord
from bts_tune.data.scan.scan import Scan
from bts_tune.data.scan.similarity import (
    NEAR_DUPLICATE,
    ORIENTATIONS,
    REORIENTED,
    Floats,
    Indices,
    Pairs,
    fine,
    fine_correlation,
    reorient,
)
from bts_tune.errors import DataError
from bts_tune.results.record.leaks import DETAIL_ABOVE, IDENTICAL_ABOVE, LeakPair, Relation

__all__ = ["Agreement", "Leak", "LeakPair", "SplitLeak", "compare_masks", "draw_pairs", "measure_leak"]

WORST = 24
"""Pairs that are drawn and listed in JSON."""

MAY_BE_IDENTICAL = 0.98
"""Correlation at 32 pixels above which fine versions are compared. Averaging over areas keeps what two images share: a
correlation of 0.995 at 256 pixels is above 0.98 at 32 unless less than a quarter of the contrast is coarse."""
LOOKED_AT = 8
"""Training slices that a slice is compared with in fine versions, the closest."""
_SLICES_AT_ONCE = 128
"""Slices outside the training split whose fine versions, and those of what they are compared with, are held together:
at most 75 MB."""
MASKS_COMPARED = 2000
"""Most pairs of identical images whose masks are compared."""
_COMMON_SIDE = 256

_TILE, _LINE, _COLUMNS = 224, 18, 4


@dataclass(frozen=True)
class SplitLeak:
    """Leakage from the training split into another one.

    Attributes:
        images: number of slices in the split.
        near_duplicates: how many of them have a near-duplicate in the training split.
        related: how many have a slice of their group there.
        identical: of the near-duplicates, how many have an identical slice there.
        identical_turned: of these, how many have it there only mirrored or rotated.
        identical_in_valid: of a test split, how many others have an identical slice in the validation split, which
            chooses epochs and configurations.
        same_scan: how many have one of the same scan at closest.
    """

    images: int
    near_duplicates: int
    related: int
    identical: int = 0
    identical_turned: int = 0
    identical_in_valid: int = 0
    same_scan: int = 0

    @property
    def similar(self) -> int:
        """How many have no more than a similar slice there."""
        return self.near_duplicates - self.identical - self.same_scan

    @property
    def near_duplicate_share(self) -> float:
        """`near_duplicates` as a share of the images; 0 of an empty split."""
        return self.near_duplicates / self.images if self.images else 0.0

    @property
    def related_share(self) -> float:
        """`related` as a share of the images; 0 of an empty split."""
        return self.related / self.images if self.images else 0.0


@dataclass(frozen=True)
class Agreement:
    """How far the masks of identical images agree, of those that are identical as they are.

    Attributes:
        pairs: pairs of identical images whose masks were compared, of which at least one is not empty.
        different: how many of them have different masks.
        median: the median Dice of those; None where there are none.
    """

    pairs: int
    different: int
    median: float | None


@dataclass(frozen=True)
class Leak:
    """Leakage of a split of a dataset.

    Attributes:
        splits: for `valid` and `test`.
        pairs: each slice outside the training split that has a near-duplicate there, with the closest; identical ones
            first, then those of one scan, then by correlation.
    """

    splits: dict[str, SplitLeak] = field(default_factory=dict)
    pairs: tuple[LeakPair, ...] = ()

    @property
    def worst(self) -> tuple[LeakPair, ...]:
        """The first `WORST` pairs."""
        return self.pairs[:WORST]

    @property
    def identical(self) -> tuple[LeakPair, ...]:
        """The pairs of identical slices."""
        return tuple(pair for pair in self.pairs if pair.relation == "identical")

    @property
    def agreement(self) -> Agreement:
        """How far the masks of identical images agree, as far as `compare_masks` compared them.

        Mirrored ones are left aside: they may lie a pixel off.
        """
        as_it_is = (pair for pair in self.identical if pair.orientation == ORIENTATIONS[0])
        dice = [pair.mask_dice for pair in as_it_is if pair.mask_dice is not None]
        different = [one for one in dice if one < 1]
        return Agreement(len(dice), len(different), float(np.median(different)) if different else None)

    @property
    def leaks(self) -> bool:
        """Whether any image is related to the training split."""
        return any(one.related for one in self.splits.values())

    def to_dict(self) -> dict[str, Any]:
        """Return it in plain JSON types, under the keys that run folders have."""
        return {
            "threshold": NEAR_DUPLICATE,
            "threshold_turned": REORIENTED,
            "threshold_detail": DETAIL_ABOVE,
            "leaks": self.leaks,
            "splits": {
                name: {
                    "images": one.images,
                    "look_alikes": one.near_duplicates,
                    "related": one.related,
                    "identical": one.identical,
                    "identical_turned": one.identical_turned,
                    "identical_in_valid": one.identical_in_valid,
                    "same_scan": one.same_scan,
                    "similar": one.similar,
                    "look_alike_share": one.near_duplicate_share,
                    "related_share": one.related_share,
                }
                for name, one in self.splits.items()
            },
            "masks_of_identical": asdict(self.agreement),
            "worst": [asdict(pair) for pair in self.worst],
        }


def measure_leak(dataset: Dataset, scan: Scan, groups: Indices) -> Leak:
    """Return the leakage of a dataset's split.

    Args:
        dataset: its slices, in their splits.
        scan: of the same slices, whatever splits they were in.
        groups: the group of each slice, int64 [N], in the order of `scan.names`.
    """
    code = {split: number for number, split in enumerate(SPLITS)}
    split_of = {record.name: code[record.split] for record in dataset}
    splits = np.array([split_of.get(name, -1) for name in scan.names], dtype=np.int64)
    outside, inside, correlation, orientation, _ = _between(scan.pairs, splits, {code["test"]}, code["valid"])
    known = len(scan.fine)
    finely = _fine_correlations(dataset, scan, outside, inside, correlation, orientation)
    in_valid = outside[finely > IDENTICAL_ABOVE]
    others = {code["valid"], code["test"]}
    outside, inside, correlation, orientation, same_scan = _between(scan.pairs, splits, others, code["train"])
    finely = _fine_correlations(dataset, scan, outside, inside, correlation, orientation)
    if len(scan.fine) > known:
        scan.keep_compared()
    identical = finely > IDENTICAL_ABOVE  # NaN where nobody looked
    same_scan = same_scan & ~identical
    turned = identical & (orientation != 0)
    # An identical one first, as it is before turned; then one of the same scan.
    order = np.lexsort((inside, outside, -correlation, turned, ~same_scan, ~identical))
    _, first_of_each = np.unique(outside[order], return_index=True)
    best = order[np.sort(first_of_each)]

    in_train = np.isin(groups, groups[splits == code["train"]])
    return Leak(
        splits={
            split: SplitLeak(
                images=len(dataset.records[split]),
                near_duplicates=int((splits[outside[best]] == code[split]).sum()),
                related=int((in_train & (splits == code[split])).sum()),
                identical=int((identical[best] & (splits[outside[best]] == code[split])).sum()),
                identical_turned=int((turned[best] & (splits[outside[best]] == code[split])).sum()),
                identical_in_valid=len(np.setdiff1d(in_valid, outside[identical])) if split == "test" else 0,
                same_scan=int((same_scan[best] & (splits[outside[best]] == code[split])).sum()),
            )
            for split in SPLITS[1:]
        },
        pairs=tuple(
            LeakPair(
                file=scan.names[outside[place]],
                split=SPLITS[splits[outside[place]]],
                train_file=scan.names[inside[place]],
                correlation=round(float(correlation[place]), 4),
                orientation=ORIENTATIONS[orientation[place]],
                relation=_relation(identical[place], same_scan[place]),
                correlation_256=None if np.isnan(finely[place]) else round(float(finely[place]), 5),
            )
            for place in best
        ),
    )


def _between(
    pairs: Pairs, splits: Indices, outside: Collection[int], inside: int
) -> tuple[Indices, Indices, Floats, Indices, NDArray[np.bool_]]:
    """Return the pairs of which one slice lies in some splits and the other in another one, the latter second.

    With them come their correlation, how the second one is turned, and whether they are of one scan.
    """
    first, second = splits[pairs.first], splits[pairs.second]
    ahead = np.flatnonzero(np.isin(first, list(outside)) & (second == inside))
    behind = np.flatnonzero(np.isin(second, list(outside)) & (first == inside))
    both = np.concatenate([ahead, behind])
    # The inverse of a rotation by 90° is the other one; every other orientation is its own inverse.
    back = np.array([0, 1, 2, 3, 4, 6, 5, 7])[pairs.orientation[behind]]
    return (
        np.concatenate([pairs.first[ahead], pairs.second[behind]]),
        np.concatenate([pairs.second[ahead], pairs.first[behind]]),
        pairs.correlation[both],
        np.concatenate([pairs.orientation[ahead], back]),
        pairs.same_scan[both],
    )


def _relation(identical: bool, same_scan: bool) -> Relation:
    if identical:
        return "identical"
    return "same scan" if same_scan else "similar"


def _fine_correlations(
    dataset: Dataset, scan: Scan, outside: Indices, inside: Indices, correlation: Floats, orientation: Indices
) -> Floats:
    """Return the correlation of the fine versions of pairs, float32 [P]; NaN of pairs that are not worth a look.

    A slice is decoded once a block of slices outside the training split, and those are in the order of what they are
    closest to.
    """
    order = np.lexsort((-correlation, outside))
    starts = np.flatnonzero(np.diff(outside[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    places = order[(rank < LOOKED_AT) & (correlation[order] > MAY_BE_IDENTICAL)]
    records = {record.name: record for record in dataset}
    digests = [one.digest for one in scan.slices.values()]
    found = np.full(len(outside), np.nan, dtype=np.float32)
    todo: dict[int, list[int]] = {}
    for place in places.tolist():
        key = int(outside[place]), int(inside[place]), int(orientation[place])
        if key[2] == 0 and digests[key[0]] is not None and digests[key[0]] == digests[key[1]]:
            found[place] = 1
        elif key in scan.fine:
            found[place] = scan.fine[key]
        else:
            todo.setdefault(key[0], []).append(place)
    queue = sorted(todo, key=lambda one: int(inside[todo[one][0]]))
    for start in range(0, len(queue), _SLICES_AT_ONCE):
        block = [place for one in queue[start : start + _SLICES_AT_ONCE] for place in todo[one]]
        needed = sorted({int(ends[place]) for place in block for ends in (outside, inside)})
        versions = parallel_map(lambda one: _fine(records[scan.names[one]]), needed)
        by_place = dict(zip(needed, versions, strict=True))
        for place in block:
            key = int(outside[place]), int(inside[place]), int(orientation[place])
            first, second = by_place[key[0]], by_place[key[1]]
            if first is not None and second is not None:
                found[place] = scan.fine[key] = fine_correlation(first, second, key[2])
    return found


def _fine(record: SliceRecord) -> np.ndarray | None:
    try:
        return fine(view_slice(record))
    except DataError:  # gone since the dataset was scanned; preparing it will say so
        return None


def compare_masks(dataset: Dataset, leak: Leak, rule: MaskRule) -> Leak:
    """Return the leak with the Dice of the masks of identical images, of the first `MASKS_COMPARED` pairs.

    Args:
        dataset: that the leak is of.
        leak: as `measure_leak` found it.
        rule: which values of mask files are tumour.
    """
    records = {record.name: record for record in dataset}

    def compared(pair: LeakPair) -> LeakPair:
        return replace(pair, mask_dice=_mask_dice(records[pair.file], records[pair.train_file], pair, rule))

    number = min(len(leak.identical), MASKS_COMPARED)  # they come first
    return replace(leak, pairs=(*parallel_map(compared, leak.pairs[:number]), *leak.pairs[number:]))


def _mask_dice(one: SliceRecord, other: SliceRecord, pair: LeakPair, rule: MaskRule) -> float | None:
    try:
        first, second = read_mask(one, rule), read_mask(other, rule)
    except DataError:  # the scan has said so
        return None
    second = reorient(second, ORIENTATIONS.index(pair.orientation))
    if first.shape != second.shape:
        size = (_COMMON_SIDE, _COMMON_SIDE)
        first, second = (
            cv2.resize(np.ascontiguousarray(mask), size, interpolation=cv2.INTER_NEAREST) for mask in (first, second)
        )
    whole = int(first.sum(dtype=np.int64)) + int(second.sum(dtype=np.int64))
    return round(2 * int((first & second).sum(dtype=np.int64)) / whole, 6) if whole else None


def draw_pairs(dataset: Dataset, leak: Leak) -> bytes:
    """Return the worst pairs as a PNG: the slice outside the training split, beside it the training slice as it is.

    Raises:
        DataError: an image cannot be read any more.
    """
    records = {record.name: record for record in dataset}
    tiles = [
        np.vstack(
            [
                np.hstack(
                    [_tile(records[pair.file]), np.full((_TILE, 2), 255, np.uint8), _tile(records[pair.train_file])]
                ),
                *(
                    _caption(text, 2 * _TILE + 2)
                    for text in (
                        f"{pair.correlation:.3f}  the right one {pair.orientation}".replace("°", " deg"),
                        f"{pair.split}: {Path(pair.file).name}",
                        f"train: {Path(pair.train_file).name}",
                    )
                ),
            ]
        )
        for pair in leak.worst
    ]
    if not tiles:
        tiles = [_caption("no slice outside the training split has a near-duplicate in it", 2 * _TILE + 2)]
    while len(tiles) % _COLUMNS:
        tiles.append(np.zeros_like(tiles[0]))
    framed = [np.pad(tile, 6) for tile in tiles]
    rows = [np.hstack(framed[start : start + _COLUMNS]) for start in range(0, len(framed), _COLUMNS)]
    _, encoded = cv2.imencode(".png", np.vstack(rows))
    return encoded.tobytes()


def _tile(record: SliceRecord) -> np.ndarray:
    image = view_slice(record)
    scale = _TILE / max(image.shape)
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.pad(resized, ((0, _TILE - size[1]), (0, _TILE - size[0])))


def _caption(text: str, width: int) -> np.ndarray:
    """Return one line of text, white on black, cut off where it does not fit."""
    line = np.zeros((_LINE, width), dtype=np.uint8)
    printable = text.encode("ascii", "replace").decode()
    cv2.putText(line, printable, (2, _LINE - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, 255, 1, cv2.LINE_AA)
    return line
