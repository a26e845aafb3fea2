"""How far the validation and test splits are from being independent of the training split. Two figures for each:

- *Near-duplicates*: images of which the training split holds a slice whose correlation with theirs exceeds 0.9,
  or 0.98 where one is mirrored or rotated (see `similarity`). Among many heads some do by chance.
- *Related* images: those of which the training split holds a slice of the same group, hence of the same patient as far
  as one can tell (see `groups`). A split with any of them leaks: a score on it says little of patients that the model
  has never seen.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bts_tune.data.checks.scan import Scan
from bts_tune.data.checks.similarity import NEAR_DUPLICATE, ORIENTATIONS, REORIENTED, Indices
from bts_tune.data.prepared.images import read_slice
from bts_tune.data.records import SPLITS, Dataset, SliceRecord

WORST = 24
"""Pairs that are kept."""

_TILE, _LINE, _COLUMNS = 224, 18, 4


@dataclass(frozen=True)
class SplitLeak:
    """Leakage from the training split into another one.

    Attributes:
        images: number of slices in the split.
        near_duplicates: how many of them have a near-duplicate in the training split.
        related: how many have a slice of their group there.
    """

    images: int
    near_duplicates: int
    related: int

    @property
    def near_duplicate_share(self) -> float:
        """`near_duplicates` as a share of the images; 0 of an empty split."""
        return self.near_duplicates / self.images if self.images else 0.0

    @property
    def related_share(self) -> float:
        """`related` as a share of the images; 0 of an empty split."""
        return self.related / self.images if self.images else 0.0


@dataclass(frozen=True)
class LeakPair:
    """A slice outside the training split and the training slice that resembles it most."""

    file: str
    split: str
    train_file: str
    correlation: float
    orientation: str


@dataclass(frozen=True)
class Leak:
    """Leakage of a split of a dataset.

    Attributes:
        splits: for `valid` and `test`.
        worst: the pairs of highest correlation, at most one a slice and `WORST` in all.
    """

    splits: dict[str, SplitLeak] = field(default_factory=dict)
    worst: tuple[LeakPair, ...] = ()

    @property
    def leaks(self) -> bool:
        """Whether any image is related to the training split."""
        return any(one.related for one in self.splits.values())

    def to_dict(self) -> dict[str, Any]:
        """Return it in plain JSON types, under the keys that run folders have."""
        return {
            "threshold": NEAR_DUPLICATE,
            "threshold_turned": REORIENTED,
            "leaks": self.leaks,
            "splits": {
                name: {
                    "images": one.images,
                    "look_alikes": one.near_duplicates,
                    "related": one.related,
                    "look_alike_share": one.near_duplicate_share,
                    "related_share": one.related_share,
                }
                for name, one in self.splits.items()
            },
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
    pairs = scan.pairs
    # Every pair both ways round: the slice outside, the slice in train.
    outside = np.concatenate([pairs.first, pairs.second])
    inside = np.concatenate([pairs.second, pairs.first])
    crossing = np.flatnonzero((splits[outside] > 0) & (splits[inside] == code["train"]))
    correlation = np.tile(pairs.correlation, 2)[crossing]
    # The inverse of a rotation by 90° is the other one; every other orientation is its own inverse.
    back = np.array([0, 1, 2, 3, 4, 6, 5, 7])[pairs.orientation]
    orientation = np.concatenate([pairs.orientation, back])[crossing]
    outside, inside = outside[crossing], inside[crossing]
    order = np.lexsort((inside, outside, -correlation))
    _, first_of_each = np.unique(outside[order], return_index=True)
    best = order[np.sort(first_of_each)]

    in_train = np.isin(groups, groups[splits == code["train"]])
    return Leak(
        splits={
            split: SplitLeak(
                images=len(dataset.records[split]),
                near_duplicates=int((splits[outside[best]] == code[split]).sum()),
                related=int((in_train & (splits == code[split])).sum()),
            )
            for split in SPLITS[1:]
        },
        worst=tuple(
            LeakPair(
                file=scan.names[outside[place]],
                split=SPLITS[splits[outside[place]]],
                train_file=scan.names[inside[place]],
                correlation=round(float(correlation[place]), 4),
                orientation=ORIENTATIONS[orientation[place]],
            )
            for place in best[:WORST]
        ),
    )


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
    image = read_slice(record)
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
