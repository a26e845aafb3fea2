"""Outlines of masks along the sides of their pixels, as the path of an SVG."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def outline(mask: NDArray[np.bool_]) -> str:
    """Return the outline of a mask [H, W] in pixels from its upper left corner: `M4 2h3M4 5h3…`; empty without one."""
    padded = np.pad(mask, 1)
    across = padded[1:, 1:-1] != padded[:-1, 1:-1]
    down = padded[1:-1, 1:] != padded[1:-1, :-1]
    return "".join(
        [f"M{x} {y}h{length}" for y, x, length in _runs(across)]
        + [f"M{x} {y}v{length}" for x, y, length in _runs(down.T)]
    )


def _runs(sides: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Return row, start and length of every run of sides that are set."""
    edges = np.diff(np.pad(sides, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    return [(int(row), int(start), int(end - start)) for row, start, end in zip(rows, starts, ends, strict=True)]
