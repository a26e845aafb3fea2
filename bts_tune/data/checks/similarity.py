"""Finds near-duplicate slices: also brightened, re-compressed, mirrored and rotated by quarter turns.

Two slices are compared by the correlation of their small versions: 32 x 32 pixels by averaging over areas, zero mean,
unit norm. It ignores brightness and contrast, and loses what JPEG compression changes. A *signature* is the
orthonormal discrete cosine transform of such a version. Its dot products are the correlations; its low frequencies
(12 x 12) hold most of an image, as perceptual hashes exploit; and to mirror or to transpose an image only changes
signs or transposes its coefficients.

Comparing all pairs is quadratic in the number of slices, and eightfold for the orientations. Above `EXACT_BELOW`
slices an inverted file index (Sivic & Zisserman 2003; Jégou et al. 2011) is searched instead: k-means on the low
frequencies with about 2 sqrt(N) cells, a slice being compared with those of the cells that are nearest to it. In both
cases a pair's low frequencies and the norms of the rest bound its correlation (Cauchy-Schwarz), so that few pairs need
all coefficients.

Coarse versions tell heads apart by their outline first of all, which many share. Neighbouring slices of one scan share
*detail*: what is left at 64 x 64 pixels when the surroundings' mean is taken away and their contrast is evened out, as
sulci, vessels and the edges of the skull. Its correlation is searched for in the same cells, block by block.

Whether two slices are one picture is told by their *fine* versions, 256 x 256 pixels, of few pairs alone. What the
classes of pairs mean, and how often they are of one patient, stands in `results/record/leaks.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from bts_tune.results.record.leaks import DETAIL_ABOVE, SAME_SCAN_ABOVE, SIMILAR_ABOVE, TURNED_ABOVE

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

SIDE = 32
DETAIL_SIDE = 64
FINE_SIDE = 256
NEAR_DUPLICATE = SIMILAR_ABOVE
"""Two slices whose correlation is above this, as they are, count as near-duplicates."""
REORIENTED = TURNED_ABOVE
"""The same where one of the two is mirrored or rotated; heads are so symmetric that mirror images of different ones
reach 0.96."""

EXACT_BELOW = 10_000
PROBES = 24
PROBES_REORIENTED = 6
"""Enough where only pairs above `REORIENTED` are searched for: they lie in the same cell or in adjacent ones."""
MOST_PER_CELL = 32
"""Partners of a slice that are kept of one cell, the closest; it bounds memory where all slices resemble each other."""
MOST_BEFORE = 64
"""The same of all cells, of the partners that stand before a slice."""

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

_LOW = 12
_BLOCK = 1024
_SAMPLE = 40_000
_FEW = 40
"""To multiply the coefficients of one pair that stands alone takes as long as those of this many in a block."""
_ROUNDING = 1e-4
"""Far more than sums of 1024 products differ by with their order."""


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


def signature(grey: NDArray[np.uint8]) -> Floats:
    """Return the signature of an image (uint8 [height, width]) as float32 [1024]; zeros where it is blank."""
    return signatures(small(grey)[None])[0]


def small(grey: NDArray[np.uint8]) -> Floats:
    """Return an image's small version, float32 [32, 32] in the image's own units."""
    resized = cv2.resize(grey.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.float32)


def signatures(small_versions: Floats) -> Floats:
    """Return the signatures float32 [N, 1024] of small versions float32 [N, 32, 32]."""
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


def find_similar(
    vectors: Floats,
    details: Sequence[NDArray[np.int8]] | None = None,
    *,
    threshold: float = NEAR_DUPLICATE,
    reoriented: float = REORIENTED,
) -> Pairs:
    """Return the pairs of near-duplicates.

    Args:
        vectors: signatures, float32 [N, 1024].
        details: of the same slices, each int8 [64, 64]; pairs whose details correlate above `DETAIL_ABOVE` are found
            too, whatever their correlation.
        threshold: a pair's correlation as it is must be above this.
        reoriented: and this where one of the two is mirrored or rotated.

    Up to `EXACT_BELOW` slices every such pair is found; above, nearly every one (as `test_similarity.py` shows).
    """
    coefficients = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    is_low = np.zeros((SIDE, SIDE), dtype=bool)
    is_low[:_LOW, :_LOW] = True
    low = _Part(vectors, coefficients[is_low])
    high = _Part(vectors, coefficients[~is_low])
    rest = np.linalg.norm(high.values, axis=1)
    cells = _Cells(low.values)
    found: list[Pairs] = []
    for orientation in range(len(ORIENTATIONS)):
        limit = reoriented if orientation else threshold
        queries = low.reoriented(orientation)
        probes = PROBES_REORIENTED if orientation else PROBES

        def rest_of(query: Indices, member: Indices, orientation: int = orientation) -> Floats:
            found: Floats = high.reoriented(orientation, query) @ high.values[member].T
            return found

        for query, member in cells.candidates(queries, rest, limit, probes, rest_of):
            exact = np.empty(len(query), dtype=np.float32)
            for start in range(0, len(query), _BLOCK):
                part = slice(start, start + _BLOCK)
                above = high.reoriented(orientation, query[part])
                exact[part] = np.einsum("pd,pd->p", queries[query[part]], low.values[member[part]])
                exact[part] += np.einsum("pd,pd->p", above, high.values[member[part]])
            kept = np.flatnonzero(exact > limit)
            if cells.many:
                kept = kept[_closest(query[kept], exact[kept], MOST_PER_CELL)]
            names = np.full(len(kept), orientation, dtype=np.uint8)
            correlation = np.minimum(exact[kept], 1)
            found.append(Pairs(member[kept], query[kept], correlation, names, correlation > SAME_SCAN_ABOVE))
            if cells.many and sum(map(len, found)) > 1.5 * MOST_BEFORE * len(vectors):
                found = [_fewer(_together(found))]
    pairs = _fewer(_together(found)) if cells.many else _together(found)
    return pairs if details is None else _with_details(pairs, vectors, details, cells)


def _together(parts: list[Pairs]) -> Pairs:
    return Pairs(
        np.concatenate([one.first for one in parts] or [np.empty(0, np.int64)]),
        np.concatenate([one.second for one in parts] or [np.empty(0, np.int64)]),
        np.concatenate([one.correlation for one in parts] or [np.empty(0, np.float32)]),
        np.concatenate([one.orientation for one in parts] or [np.empty(0, np.uint8)]),
        np.concatenate([one.same_scan for one in parts] or [np.empty(0, np.bool_)]),
    )


def _with_details(pairs: Pairs, vectors: Floats, details: Sequence[NDArray[np.int8]], cells: _Cells) -> Pairs:
    """Return the pairs with those that details tell to be of one scan, in the orientation that they have."""
    shown = np.array([one.any() for one in details], dtype=bool)

    def values(rows: Indices) -> Floats:
        return np.stack([details[row].ravel() for row in rows.tolist()]).astype(np.float32)

    norms = np.ones(len(shown), dtype=np.float32)
    for start in range(0, len(shown), _BLOCK):
        rows = start + np.flatnonzero(shown[start : start + _BLOCK])
        if len(rows):
            norms[rows] = np.linalg.norm(values(rows), axis=1)

    def units(rows: Indices) -> Floats:
        normed = values(rows)
        normed /= norms[rows, np.newaxis]
        return normed

    first, second = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for query, member in cells.blocks(PROBES):
        query, member = query[shown[query]], member[shown[member]]
        if not len(query) or not len(member) or member[0] >= query[-1]:
            continue
        found = units(query) @ units(member).T
        rows, columns = _earlier(query, member, *np.nonzero(found > DETAIL_ABOVE))
        kept = _closest(query[rows], found[rows, columns], MOST_PER_CELL) if cells.many else slice(None)
        first.append(member[columns[kept]])
        second.append(query[rows[kept]])
    places = np.unique(np.concatenate(first) * len(vectors) + np.concatenate(second))
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


def _earlier(query: Indices, member: Indices, rows: Indices, columns: Indices) -> tuple[Indices, Indices]:
    """Return those of the pairs of places whose member comes before the query."""
    kept = member[columns] < query[rows]
    return rows[kept], columns[kept]


def _closest(query: Indices, correlation: Floats, most: int) -> Indices:
    """Return the places of the highest correlations of each query, at most so many."""
    order = np.lexsort((-correlation, query))
    starts = np.flatnonzero(np.diff(query[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return order[rank < most]


def _fewer(pairs: Pairs) -> Pairs:
    """Return the pairs of each slice with those before it that are closest to it."""
    kept = _closest(pairs.second, pairs.correlation, MOST_BEFORE)
    return Pairs(*(getattr(pairs, one.name)[kept] for one in fields(pairs)))


class _Part:
    """Some coefficients of every signature, a set that transposing maps onto itself."""

    def __init__(self, vectors: Floats, chosen: Indices) -> None:
        self.values = np.ascontiguousarray(vectors[:, chosen])
        row, column = np.divmod(chosen, SIDE)
        place = np.empty(SIDE * SIDE, dtype=np.int64)
        place[chosen] = np.arange(len(chosen))
        self._transposed = place[column * SIDE + row]
        self._signs = (1 - 2 * (column % 2)).astype(np.float32), (1 - 2 * (row % 2)).astype(np.float32)

    def reoriented(self, orientation: int, rows: Indices | slice = slice(None)) -> Floats:
        """Return these coefficients of the reoriented images, for some slices."""
        values = self.values[rows]
        if orientation & 4:
            values = values[:, self._transposed]
        if orientation & 1:
            values = values * self._signs[0]
        if orientation & 2:
            values = values * self._signs[1]
        return values


class _Cells:
    """The inverted file: which slices lie in which cell. There is one cell where all pairs are compared."""

    def __init__(self, low: Floats) -> None:
        self._low = low
        self._centres: Floats | None = None
        labels = np.zeros(len(low), dtype=np.int64)
        if len(low) > EXACT_BELOW:
            from sklearn.cluster import MiniBatchKMeans

            means = MiniBatchKMeans(round(2 * len(low) ** 0.5), batch_size=4096, n_init=1, max_iter=5, random_state=0)
            sample = np.random.default_rng(0).choice(len(low), min(len(low), _SAMPLE), replace=False)
            self._centres = means.fit(low[sample]).cluster_centers_
            labels = self._nearest(low, 1)[:, 0]
        order = np.argsort(labels, kind="stable")
        split = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
        self._members = [members for members in split if len(members)]
        self._labels = [int(labels[members[0]]) for members in self._members]

    @property
    def many(self) -> bool:
        """Whether there is more than one cell."""
        return self._centres is not None

    def candidates(
        self,
        queries: Floats,
        rest: Floats,
        limit: float,
        probes: int,
        rest_of: Callable[[Indices, Indices], Floats],
    ) -> Iterator[tuple[Indices, Indices]]:
        """Yield positions of queries and of slices before them whose correlation may be above `limit`.

        Args:
            queries: the low frequencies of all slices, reoriented.
            rest: the norms of their other frequencies.
            limit: see above.
            probes: cells that a query is searched for in.
            rest_of: what the other frequencies of queries and slices add to their correlations.
        """
        probing = self._probing(queries, probes)
        for label, members in zip(self._labels, self._members, strict=True):
            most = rest[members].max()
            for start in range(0, len(probing[label]), _BLOCK):
                query = probing[label][start : start + _BLOCK]
                others = members[: np.searchsorted(members, query[-1])]
                near = queries[query] @ self._low[others].T
                # One comparison a pair, then the tighter bound for the few that pass.
                possible = near > (limit - rest[query] * most)[:, None]
                if np.count_nonzero(possible) * _FEW > possible.size:
                    # Where many pass, all coefficients of all pairs cost less than those of each pair that passed.
                    near += rest_of(query, others)
                    rows, columns = np.nonzero(near > limit - _ROUNDING)
                else:
                    rows, columns = np.nonzero(possible)
                    bound = near[rows, columns] + rest[query[rows]] * rest[others[columns]]
                    rows, columns = rows[bound > limit], columns[bound > limit]
                rows, columns = _earlier(query, others, rows, columns)
                yield query[rows], others[columns]

    def blocks(self, probes: int) -> Iterator[tuple[Indices, Indices]]:
        """Yield positions of slices, and of those of a cell near to them, a bounded number of each."""
        probing = self._probing(self._low, probes)
        for label, members in zip(self._labels, self._members, strict=True):
            for start in range(0, len(probing[label]), _BLOCK):
                query = probing[label][start : start + _BLOCK]
                for other in range(0, len(members), _BLOCK):
                    yield query, members[other : other + _BLOCK]

    def _probing(self, queries: Floats, probes: int) -> list[Indices]:
        """Return for each cell the queries that are compared with its slices."""
        if self._centres is None:
            return [np.arange(len(queries))]
        cells = self._nearest(queries, probes).ravel()
        order = np.argsort(cells, kind="stable")
        return np.split(order // probes, np.searchsorted(cells[order], np.arange(1, len(self._centres))))

    def _nearest(self, queries: Floats, probes: int) -> Indices:
        """Return the cells whose centres are nearest to each query, int64 [N, probes]."""
        assert self._centres is not None
        half_norms = (self._centres**2).sum(axis=1) / 2
        nearest = np.empty((len(queries), probes), dtype=np.int64)
        for start in range(0, len(queries), _BLOCK):
            closeness = queries[start : start + _BLOCK] @ self._centres.T - half_norms
            nearest[start : start + _BLOCK] = np.argpartition(closeness, -probes, axis=1)[:, -probes:]
        return nearest
