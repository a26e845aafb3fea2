"""What a Python program gives, as a run's record has it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Return a value as plain JSON has it: NumPy's numbers and arrays as Python's, tuples as lists, paths as text."""
    if isinstance(value, Mapping):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    # NumPy, torch and pandas all have it, and none of them has to be imported.
    if hasattr(value, "tolist") and not isinstance(value, type):
        return value.tolist()
    return value
