"""Finds near-duplicate slices: also brightened, re-compressed, mirrored and rotated by quarter turns.

Two slices are compared by the correlation of their small versions: 32 x 32 pixels by averaging over areas, zero mean,
unit norm. It ignores brightness and contrast, and loses what JPEG compression changes. A *signature* is the
orthonormal discrete cosine transform of such a version. Its dot products are the correlations; its low frequencies
(12 x 12) hold most of an image, as perceptual hashes exploit; and to mirror or to transpose an image only changes
signs or transposes its coefficients.

Comparing all pairs is quadratic in the number of slices, and eightfold for the orientations. Above `EXACT_BELOW`
slices an index is searched instead (see `cells`), in cells of the low frequencies, and of each slice the closest
partners are kept. In both cases a pair's low frequencies and the norms of the rest bound its correlation
(Cauchy-Schwarz), so that few pairs need all coefficients.

Coarse versions tell heads apart by their outline first of all, which many share. Neighbouring slices of one scan share
*detail*: what is left at 64 x 64 pixels when the surroundings' mean is taken away and their contrast is evened out, as
sulci, vessels and the edges of the skull. Its correlation is searched for in the same cells, block by block; of many
slices by its *sketch* first, sums over random pixels with random signs (Charikar et al. 2002), whose correlations are
those of the details but for a random error.

Whether two slices are one picture is told by their *fine* versions, 256 x 256 pixels, of few pairs alone. What the
classes of pairs mean, and how often they are of one patient, stands in `results/record/leaks.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from bts_tune.data.parallel import Progress
from bts_tune.data.scan.cells import Cells, Closest, Floats, Indices
from bts_tune.results.record.leaks import DETAIL_ABOVE, SAME_SCAN_ABOVE, SIMILAR_ABOVE, TURNED_ABOVE

SIDE = 32
DETAIL_SIDE = 64
FINE_SIDE = 256
NEAR_DUPLICATE = SIMILAR_ABOVE
"""Two slices whose correlation is above this, as they are, count as near-duplicates."""
REORIENTED = TURNED_ABOVE
"""The same where one of the two is mirrored or rotated; heads are so symmetric that mirror images of different ones
reach 0.96."""
LIMITS = (NEAR_DUPLICATE, REORIENTED, SAME_SCAN_ABOVE, DETAIL_ABOVE)
"""All correlations that decide on what a pair is."""

EXACT_BELOW = 10_000
PROBES = 24
PROBES_REORIENTED = 6
"""Enough where only pairs above `REORIENTED` are searched for: they lie in the same cell or in adjacent ones."""
MOST_KEPT = 64
"""Partners of a slice that are kept, the closest in whatever orientation; it bounds memory where all slices resemble
each other."""

ORIENTATIONS = (
    "as it is",
    "mirrored left to right",
    "mirrored top to bottom",
    "rotated by 180°",
    "transposed",
    "rotated by 90° clockwise",
    "rotated by 90° anticlockwise",
    "transposed and rotated by 180°",
)

_BACK = np.array([0, 1, 2, 3, 4, 6, 5, 7], dtype=np.uint8)
"""Each orientation's inverse: that of a rotation by 90° is the other one, every other one is its own."""

_LOW = 12
_BLOCK = 1024
_FEW = 40
"""To multiply the coefficients of one pair that stands alone takes as long as those of this many in a block."""
_ROUNDING = 1e-4
"""Far more than sums of 1024 products differ by with their order."""
_SKETCH = 256
_SKETCH_ERROR = 0.18
"""What the correlation of two sketches is at most taken to lie below that of the details; its deviation is 0.07."""
_SHORT = 2048
"""Up to so many slices are compared in a second, which needs no progress."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of similar slices, in no particular order; a pair may occur in several orientations.

    Attributes:
        first, second: int64 [P], positions of the slices; first < second.
        correlation: float32 [P].
        orientation: uint8 [P], index into `ORIENTATIONS`: how the second one is reoriented to look like the first.
        same_scan: bool [P], whether they are taken for slices of one scan.
    """

    first: Indices
    second: Indices
    correlation: Floats
    orientation: NDArray[np.uint8]
    same_scan: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.first)

    def renumbered(self, places: Indices) -> Pairs:
        """Return the pairs of the same slices in another order: `places`, int64 [N], is where each one is then."""
        first, second = places[self.first], places[self.second]
        swapped = first > second
        return replace(
            self,
            first=np.where(swapped, second, first),
            second=np.where(swapped, first, second),
            orientation=np.where(swapped, inverse(self.orientation), self.orientation),
        )


def signature(grey: NDArray[np.uint8]) -> Floats:
    """Return the signature of an image (uint8 [height, width]) as float32 [1024]; zeros where it is blank."""
    return signatures(small(grey)[None])[0]


def small(grey: NDArray[np.uint8]) -> Floats:
    """Return an image's small version, float32 [32, 32] in the image's own units."""
    resized = cv2.resize(grey.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.float32)


def signatures(small_versions: Floats) -> Floats:
    """Return the signatures float32 [N, 1024] of small versions float32 [N, 32, 32]."""
    from scipy.fft import dctn  # takes as long to import as all else here, and slices that are known need none

    found: Floats = dctn(small_versions, axes=(1, 2), norm="ortho")
    found[:, 0, 0] = 0.0
    flat = found.reshape(len(found), SIDE * SIDE)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    # What remains of a blank image is rounding: a thousandth of a grey value.
    blank = norms < SIDE * 1e-3
    units: Floats = np.zeros_like(flat)
    np.divide(flat, norms, out=units, where=~blank)
    return units


def correlations(vectors: Floats, first: Indices, second: Indices) -> Floats:
    """Return the correlation of pairs of slices as they are, float32 [P]."""
    found = [np.empty(0, dtype=np.float32)]
    for start in range(0, len(first), _BLOCK):
        part = slice(start, start + _BLOCK)
        found.append(np.einsum("pd,pd->p", vectors[first[part]], vectors[second[part]]))
    return np.concatenate(found)


def detail(grey: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Return an image's detail, int8 [64, 64] of mean 0 in units of its own; zeros where it is blank.

    A byte a pixel is enough for correlations, and 100,000 slices take 400 MB.
    """
    resized = cv2.resize(grey.astype(np.float32), (DETAIL_SIDE, DETAIL_SIDE), interpolation=cv2.INTER_AREA)
    edges = resized - cv2.GaussianBlur(resized, (0, 0), 1)
    contrast = np.sqrt(cv2.GaussianBlur(edges * edges, (0, 0), 2))
    # Half of the mean is added, so that the noise of the background stays small.
    evened = edges / (contrast + contrast.mean() / 2 + 1e-3)
    evened -= evened.mean()
    largest = np.abs(evened).max()
    if float(np.abs(edges).max()) < 1e-2:
        return np.zeros((DETAIL_SIDE, DETAIL_SIDE), dtype=np.int8)
    return np.rint(evened * (127 / largest)).astype(np.int8)


def fine(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image's fine version, uint8 [256, 256], for `fine_correlation`."""
    resized = cv2.resize(grey, (FINE_SIDE, FINE_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.uint8)


def fine_correlation(first: NDArray[np.uint8], second: NDArray[np.uint8], orientation: int) -> float:
    """Return the correlation of two fine versions, the second reoriented; 0 where one is blank."""
    one, other = (image.astype(np.float32) for image in (first, reorient(second, orientation)))
    one -= one.mean()
    other -= other.mean()
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return min(1.0, max(0.0, float(np.vdot(one, other)) / norms)) if norms else 0.0


def reorient(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return an image in another of the `ORIENTATIONS`."""
    if orientation & 4:
        image = image.T
    if orientation & 1:
        image = image[:, ::-1]
    if orientation & 2:
        image = image[::-1]
    return image


def inverse(orientation: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the orientations that lead back."""
    return _BACK[orientation]


def find_similar(
    vectors: Floats,
    details: NDArray[np.int8] | None = None,
    *,
    threshold: float = NEAR_DUPLICATE,
    reoriented: float = REORIENTED,
    progress: Progress | None = None,
) -> Pairs:
    """Return the pairs of near-duplicates.

    Args:
        vectors: signatures, float32 [N, 1024].
        details: of the same slices, int8 [N, 64, 64]; pairs whose details correlate above `DETAIL_ABOVE` are found too,
            whatever their correlation.
        threshold: a pair's correlation as it is must be above this.
        reoriented: and this where one of the two is mirrored or rotated.
        progress: called now and then with how many slices are done, as a share of the work; not with few.

    Up to `EXACT_BELOW` slices every such pair is found; above, nearly every one (as `test_similarity.py` shows) that is
    among the `MOST_KEPT` closest of one of its slices.
    """
    limits = [threshold, *[reoriented] * (len(ORIENTATIONS) - 1)]
    steps = _Steps(len(vectors), len(limits) + (details is not None), progress)
    search = _all_pairs if len(vectors) <= EXACT_BELOW else _pairs_in_cells
    pairs, first, second = search(vectors, details, limits, steps)
    steps.end()
    return pairs if details is None else _with_told(pairs, first, second, vectors)


class _Steps:
    """Tells how far a search is that goes over all slices several times."""

    def __init__(self, count: int, passes: int, progress: Progress | None) -> None:
        self._count, self._passes = count, passes
        self._progress = progress if count > _SHORT else None
        self._told = -1

    def at(self, done_passes: int, place: int) -> None:
        """Say that a place was reached, after some whole passes."""
        done = (done_passes * self._count + place) // self._passes
        if self._progress is not None and done > self._told:
            self._progress(done, self._count)
            self._told = done

    def end(self) -> None:
        """Say that all is done."""
        self.at(self._passes, 0)


class _Coefficients:
    """Some coefficients of signatures, a set that transposing maps onto itself."""

    def __init__(self, chosen: Indices) -> None:
        self.chosen = chosen
        row, column = np.divmod(chosen, SIDE)
        place = np.empty(SIDE * SIDE, dtype=np.int64)
        place[chosen] = np.arange(len(chosen))
        self._transposed = place[column * SIDE + row]
        self._signs = (1 - 2 * (column % 2)).astype(np.float32), (1 - 2 * (row % 2)).astype(np.float32)

    def turned(self, values: Floats, orientation: int) -> Floats:
        """Return these coefficients [N, chosen] as they are of the reoriented images."""
        if orientation & 4:
            values = values[:, self._transposed]
        if orientation & 1:
            values = values * self._signs[0]
        if orientation & 2:
            values = values * self._signs[1]
        return values


_IS_LOW = np.zeros((SIDE, SIDE), dtype=np.bool_)
_IS_LOW[:_LOW, :_LOW] = True
_PLACES = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
_ALL, _LOWER, _HIGHER = (_Coefficients(one) for one in (_PLACES.ravel(), _PLACES[_IS_LOW], _PLACES[~_IS_LOW]))

_Found = tuple[Pairs, Indices, Indices]
"""The pairs by their correlation, and the two slices of the pairs that details tell to be of one scan."""


def _all_pairs(vectors: Floats, details: NDArray[np.int8] | None, limits: list[float], steps: _Steps) -> _Found:
    """Compare all pairs."""
    low, high = (np.ascontiguousarray(vectors[:, part.chosen]) for part in (_LOWER, _HIGHER))
    rest = np.linalg.norm(high, axis=1)
    most = rest.max(initial=0)
    found: list[Pairs] = []
    for orientation, limit in enumerate(limits):
        queries = _LOWER.turned(low, orientation)
        for start in range(0, len(vectors), _BLOCK):
            query = np.arange(start, min(start + _BLOCK, len(vectors)))
            others = slice(0, int(query[-1]))
            near = queries[query] @ low[others].T
            # One comparison a pair, then the tighter bound for the few that pass.
            possible = near > (limit - rest[query] * most)[:, None]
            if np.count_nonzero(possible) * _FEW > possible.size:
                # Where many pass, all coefficients of all pairs cost less than those of each pair that passed.
                near += _HIGHER.turned(high[query], orientation) @ high[others].T
                rows, columns = np.nonzero(near > limit - _ROUNDING)
            else:
                rows, columns = np.nonzero(possible)
                bound = near[rows, columns] + rest[query[rows]] * rest[columns]
                rows, columns = rows[bound > limit], columns[bound > limit]
            earlier = columns < query[rows]
            second, first = query[rows[earlier]], columns[earlier]
            exact = np.empty(len(second), dtype=np.float32)
            for begin in range(0, len(second), _BLOCK):
                part = slice(begin, begin + _BLOCK)
                above = _HIGHER.turned(high[second[part]], orientation)
                exact[part] = np.einsum("pd,pd->p", queries[second[part]], low[first[part]])
                exact[part] += np.einsum("pd,pd->p", above, high[first[part]])
            kept = np.flatnonzero(exact > limit)
            names = np.full(len(kept), orientation, dtype=np.uint8)
            correlation = np.minimum(exact[kept], 1)
            found.append(Pairs(first[kept], second[kept], correlation, names, correlation > SAME_SCAN_ABOVE))
            steps.at(orientation, start)
    told_first, told_second = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for one, other in () if details is None else _told_of_all(_Details(details), steps, len(limits)):
        told_first.append(one)
        told_second.append(other)
    return _together(found), np.concatenate(told_first), np.concatenate(told_second)


def _told_of_all(details: _Details, steps: _Steps, passes: int) -> Iterator[tuple[Indices, Indices]]:
    """Yield the pairs of all slices whose details correlate enough."""
    count = len(details.shown)
    for start in range(0, count, _BLOCK):
        query = start + np.flatnonzero(details.shown[start : start + _BLOCK])
        of_query = details.units(query)
        for other in range(0, start + 1, _BLOCK):
            member = other + np.flatnonzero(details.shown[other : other + _BLOCK])
            if not len(query) or not len(member):
                continue
            found = of_query @ (of_query if other == start else details.units(member)).T
            rows, columns = np.nonzero(found > DETAIL_ABOVE)
            earlier = member[columns] < query[rows]
            yield member[columns[earlier]], query[rows[earlier]]
        steps.at(passes, start)


def _pairs_in_cells(vectors: Floats, details: NDArray[np.int8] | None, limits: list[float], steps: _Steps) -> _Found:
    """Compare what lies in the same cell or in one near to it."""
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(vectors), _BLOCK)]
    shown = np.flatnonzero(np.concatenate([vectors[one].any(axis=1) for one in blocks]))
    low = np.empty((len(shown), len(_LOWER.chosen)), dtype=np.float32)
    rest = np.empty(len(shown), dtype=np.float32)
    for start in range(0, len(shown), _BLOCK):
        part = slice(start, start + _BLOCK)
        block = vectors[shown[part]]
        low[part] = block[:, _LOWER.chosen]
        rest[part] = np.linalg.norm(block[:, _HIGHER.chosen], axis=1)
    cells = Cells(low)
    del low
    order, rest = shown[cells.order], rest[cells.order]
    closest = Closest(len(order), MOST_KEPT)
    for orientation, limit in enumerate(limits):
        turned = partial(_LOWER.turned, orientation=orientation)
        for query, members in cells.blocks(turned, PROBES_REORIENTED if orientation else PROBES):
            near = turned(cells.vectors[query]) @ cells.vectors[members].T
            itself = members == query[:, None]
            near[itself] = -1
            least = closest.least(query, limit)
            possible = near > (least - rest[query] * rest[members].max())[:, None]
            passing = np.count_nonzero(possible)
            if not passing:
                continue
            if passing * _FEW > possible.size:
                near = _ALL.turned(vectors[order[query]], orientation) @ vectors[order[members]].T
                near[itself] = -1
            else:
                rows, columns = np.nonzero(possible)
                bound = near[rows, columns] + rest[query[rows]] * rest[members[columns]]
                rows, columns = rows[bound > least[rows]], columns[bound > least[rows]]
                near.fill(-1)
                for begin in range(0, len(rows), _BLOCK):
                    part = slice(begin, begin + _BLOCK)
                    one = _ALL.turned(vectors[order[query[rows[part]]]], orientation)
                    other = vectors[order[members[columns[part]]]]
                    near[rows[part], columns[part]] = np.einsum("pd,pd->p", one, other)
            closest.add(query, members, near, limit, orientation)
            steps.at(orientation, int(members[-1]))
    pairs = _pairs_of(closest, order, len(vectors))
    del closest
    if details is None:
        return pairs, pairs.first[:0], pairs.second[:0]
    told = _told_in_cells(_Details(details), cells, order, steps, len(limits))
    return pairs, *_each_once(*told, np.zeros(len(told[0]), np.uint8), len(vectors))[:2]


def _pairs_of(closest: Closest, order: Indices, count: int) -> Pairs:
    one, other, correlation, turn = closest.pairs()
    first, second, once = _each_once(order[one], order[other], turn, count)
    correlation = np.minimum(correlation[once], np.float32(1))
    return Pairs(first, second, correlation, turn[once], correlation > SAME_SCAN_ABOVE)


def _each_once(
    first: Indices, second: Indices, orientation: NDArray[np.uint8], count: int
) -> tuple[Indices, Indices, Indices]:
    """Return pairs that may be there from both ends: first and second slice, and which of the given they are.

    The orientations, of the second slice, are turned in place where the two change places.
    """
    swapped = first > second
    orientation[swapped] = inverse(orientation[swapped])
    keys = np.minimum(first, second) * count + np.maximum(first, second)
    keys = keys * len(ORIENTATIONS) + orientation
    keys, once = np.unique(keys, return_index=True)
    return *np.divmod(keys // len(ORIENTATIONS), count), once


def _told_in_cells(
    details: _Details, cells: Cells, order: Indices, steps: _Steps, passes: int
) -> tuple[Indices, Indices]:
    """Return the pairs whose details correlate enough, of what lies in the same cell or in one near to it."""
    sketches = details.sketches(order)
    closest = Closest(len(order), MOST_KEPT)
    for query, members in cells.blocks(lambda one: one, PROBES):
        near = sketches[query] @ sketches[members].T
        itself = members == query[:, None]
        near[itself] = -1
        possible = near > (closest.least(query, DETAIL_ABOVE) - _SKETCH_ERROR)[:, None]
        passing = np.count_nonzero(possible)
        if not passing:
            continue
        if passing * _FEW > possible.size:
            near = details.units(order[query]) @ details.units(order[members]).T
            near[itself] = -1
        else:
            rows, columns = np.nonzero(possible)
            near.fill(-1)
            for begin in range(0, len(rows), _BLOCK):
                part = slice(begin, begin + _BLOCK)
                ends = query[rows[part]], members[columns[part]]
                near[rows[part], columns[part]] = np.einsum("pd,pd->p", *(details.units(order[one]) for one in ends))
        closest.add(query, members, near, DETAIL_ABOVE)
        steps.at(passes, int(members[-1]))
    one, other, *_ = closest.pairs()
    return order[one], order[other]


class _Details:
    """The details of slices, as vectors of unit norm."""

    def __init__(self, details: NDArray[np.int8]) -> None:
        self._details = details
        self.shown = np.zeros(len(details), dtype=np.bool_)
        self._norms = np.ones(len(details), dtype=np.float32)
        for start in range(0, len(details), _BLOCK):
            part = slice(start, start + _BLOCK)
            self.shown[part] = details[part].any(axis=(1, 2))
            rows = start + np.flatnonzero(self.shown[part])
            if len(rows):
                self._norms[rows] = np.linalg.norm(self._values(rows), axis=1)

    def units(self, rows: Indices) -> Floats:
        """Return some slices' details, float32 [rows, 4096]; zeros where a slice is blank."""
        normed = self._values(rows)
        normed /= self._norms[rows, np.newaxis]
        return normed

    def sketches(self, rows: Indices) -> Floats:
        """Return some slices' sketches, float32 [rows, `_SKETCH`]."""
        rng = np.random.default_rng(0)
        size = DETAIL_SIDE**2
        signs = rng.choice(np.array([-1, 1], dtype=np.float32), size)
        mixed = rng.permutation(size)
        found = np.empty((len(rows), _SKETCH), dtype=np.float32)
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            signed = (self.units(rows[part]) * signs)[:, mixed]
            found[part] = signed.reshape(len(signed), _SKETCH, -1).sum(axis=2)
        return found

    def _values(self, rows: Indices) -> Floats:
        values: Floats = self._details[rows].reshape(len(rows), DETAIL_SIDE**2).astype(np.float32)
        return values


def _together(parts: list[Pairs]) -> Pairs:
    return Pairs(
        np.concatenate([one.first for one in parts] or [np.empty(0, np.int64)]),
        np.concatenate([one.second for one in parts] or [np.empty(0, np.int64)]),
        np.concatenate([one.correlation for one in parts] or [np.empty(0, np.float32)]),
        np.concatenate([one.orientation for one in parts] or [np.empty(0, np.uint8)]),
        np.concatenate([one.same_scan for one in parts] or [np.empty(0, np.bool_)]),
    )


def _with_told(pairs: Pairs, first: Indices, second: Indices, vectors: Floats) -> Pairs:
    """Return the pairs with those that details tell to be of one scan, in the orientation that they have."""
    places = np.unique(first * len(vectors) + second)
    known = np.where(pairs.orientation == 0, pairs.first * len(vectors) + pairs.second, -1)
    # Few are told by details, and many are known: the many are looked up among the few.
    nearest = np.searchsorted(places, known)
    told = np.take(places, nearest, mode="clip") == known if len(places) else np.zeros(len(known), np.bool_)
    is_new = np.ones(len(places), np.bool_)
    is_new[nearest[told]] = False
    ends = np.divmod(places[is_new], max(len(vectors), 1))
    correlation = np.clip(correlations(vectors, *ends), 0, 1)
    count = len(correlation)
    added = Pairs(*ends, correlation, np.zeros(count, np.uint8), np.ones(count, np.bool_))
    return _together([replace(pairs, same_scan=pairs.same_scan | told), added])
