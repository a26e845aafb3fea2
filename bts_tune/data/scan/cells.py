"""Finds what is closest among many vectors without comparing all pairs, in time nearly linear in their number.

`Cells` is an inverted file index (Sivic & Zisserman 2003; Jégou et al. 2011): k-means makes about 2 sqrt(N) cells, and
a vector is compared with those of the cells whose centres are nearest to it. `Closest` keeps a bounded number of
partners of each vector. Both work on *places*: vectors are numbered in the order of their cells, so that those of a
cell lie together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

MOST_OF_A_CELL = 8192
"""Most vectors of one cell that one is compared with; it bounds the time where cells are very uneven, as with thousands
of copies of one image."""

_SAMPLE = 40_000
_BLOCK = 1024
_QUERIES, _MEMBERS = 512, 4096
"""Vectors compared at a time: their products take 8 MB."""


class Cells:
    """Vectors in cells.

    Args:
        vectors: float32 [N, D].

    Attributes:
        order: the vector at each place, int64 [N].
        vectors: float32 [N, D], by place.
    """

    def __init__(self, vectors: Floats) -> None:
        from sklearn.cluster import MiniBatchKMeans

        means = MiniBatchKMeans(round(2 * len(vectors) ** 0.5), batch_size=4096, n_init=1, max_iter=5, random_state=0)
        sample = np.random.default_rng(0).choice(len(vectors), min(len(vectors), _SAMPLE), replace=False)
        self._centres: Floats = means.fit(vectors[sample]).cluster_centers_
        self.vectors = vectors
        labels = self._nearest(lambda one: one, 1)[:, 0]
        self.order = np.argsort(labels, kind="stable")
        self.vectors = vectors[self.order]
        self._starts = np.searchsorted(labels[self.order], np.arange(len(self._centres) + 1))

    def blocks(self, turned: Callable[[Floats], Floats], probes: int) -> Iterator[tuple[Indices, Indices]]:
        """Yield places, and those of one cell that they are compared with: a bounded number of each.

        Args:
            turned: what is done to vectors before they are compared with others, such as mirroring.
            probes: cells that each is compared with.
        """
        cells = self._nearest(turned, probes).ravel()
        order = np.argsort(cells, kind="stable")
        starts = np.searchsorted(cells[order], np.arange(len(self._centres) + 1))
        places = (order // min(probes, len(self._centres))).astype(np.int32)
        del cells, order
        for cell, (first, last) in enumerate(zip(self._starts[:-1], self._starts[1:], strict=True)):
            probing = places[starts[cell] : starts[cell + 1]].astype(np.int64)
            for start in range(0, len(probing), _QUERIES):
                queries = probing[start : start + _QUERIES]
                # Of too many, those around the queries where they lie in the cell themselves.
                middle = int(np.clip(queries[len(queries) // 2], first, last)) if len(queries) else first
                begin = max(first, min(middle - MOST_OF_A_CELL // 2, last - MOST_OF_A_CELL))
                for member in range(begin, min(begin + MOST_OF_A_CELL, last), _MEMBERS):
                    yield queries, np.arange(member, min(member + _MEMBERS, begin + MOST_OF_A_CELL, last))

    def _nearest(self, turned: Callable[[Floats], Floats], probes: int) -> NDArray[np.int32]:
        """Return the cells whose centres are nearest to each vector, int32 [N, probes]."""
        half_norms = (self._centres**2).sum(axis=1) / 2
        probes = min(probes, len(self._centres))
        nearest = np.empty((len(self.vectors), probes), dtype=np.int32)
        for start in range(0, len(nearest), _BLOCK):
            nearness = turned(self.vectors[start : start + _BLOCK]) @ self._centres.T - half_norms
            nearest[start : start + _BLOCK] = np.argpartition(nearness, -probes, axis=1)[:, -probes:]
        return nearest


class Closest:
    """The partners of each place that correlate most with it, a bounded number.

    Args:
        count: number of places.
        most: partners that are kept of each.
    """

    def __init__(self, count: int, most: int) -> None:
        self._correlation = np.full((count, most), -1, dtype=np.float32)
        self._partner = np.zeros((count, most), dtype=np.int32)
        self._kind = np.zeros((count, most), dtype=np.uint8)

    def least(self, places: Indices, limit: float) -> Floats:
        """Return what a partner's correlation must be above to be kept, float32 [P]; at least `limit`."""
        least: Floats = np.maximum(self._correlation[places].min(axis=1), np.float32(limit))
        return least

    def add(self, places: Indices, partners: Indices, correlation: Floats, limit: float, kind: int = 0) -> None:
        """Keep the closest of some partners.

        Args:
            places: of which these may be partners, each once.
            partners: places of the partners, int64 [M].
            correlation: of each with each, float32 [P, M].
            limit: it must be above this.
            kind: what is kept beside the partners, such as an orientation.
        """
        rows = np.flatnonzero(correlation.max(axis=1, initial=-1) > self.least(places, limit))
        if not len(rows):
            return
        most = self._correlation.shape[1]
        values = correlation[rows]
        best = np.argpartition(values, -min(most, values.shape[1]), axis=1)[:, -most:]
        values = np.take_along_axis(values, best, axis=1)
        values[values <= limit] = -1
        rows = places[rows]
        together = np.concatenate([self._correlation[rows], values], axis=1)
        partner = np.concatenate([self._partner[rows], partners[best].astype(np.int32)], axis=1)
        kinds = np.concatenate([self._kind[rows], np.full(values.shape, kind, dtype=np.uint8)], axis=1)
        kept = np.argpartition(together, -most, axis=1)[:, -most:]
        self._correlation[rows] = np.take_along_axis(together, kept, axis=1)
        self._partner[rows] = np.take_along_axis(partner, kept, axis=1)
        self._kind[rows] = np.take_along_axis(kinds, kept, axis=1)

    def pairs(self) -> tuple[Indices, Indices, Floats, NDArray[np.uint8]]:
        """Return the pairs: partner, place, correlation and kind of each, [P]."""
        place, column = np.nonzero(self._correlation > -1)
        found = (self._partner[place, column].astype(np.int64), place, self._correlation[place, column])
        return *found, self._kind[place, column]
