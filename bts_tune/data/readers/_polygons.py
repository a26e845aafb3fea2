"""The shape of polygons, before they are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MAX_POINTS = 1000
"""Longer polygons are not looked at: comparing all edges takes the square of their number."""


def crosses_itself(polygon: Sequence[float]) -> bool:
    """Return whether two edges of a polygon cross at a point inside of both.

    Edges that merely touch, lie on each other or have no length do not cross.

    Args:
        polygon: `[x0, y0, x1, y1, …]`; the last point is joined to the first.
    """
    points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    if not 4 <= len(points) <= MAX_POINTS:
        return False
    start, end = points, np.roll(points, -1, axis=0)
    edge = end - start
    # side[i, j]: on which side of edge i the start of edge j lies; its end is the start of the next edge.
    offset = start[np.newaxis] - start[:, np.newaxis]
    side = np.sign(edge[:, np.newaxis, 0] * offset[..., 1] - edge[:, np.newaxis, 1] * offset[..., 0])
    parted = side * np.roll(side, -1, axis=1) < 0
    return bool((parted & parted.T).any())
