"""The planes that a volume can be cut in."""

from __future__ import annotations

from typing import Literal, get_args

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[str, ...] = get_args(Plane)
