"""Packages that only some formats need: imported where they are used, and named where they are missing."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from bts_tune.errors import DataError


def import_extra(module: str, extra: str, root: Path) -> ModuleType:
    """Return a module of an extra.

    Raises:
        DataError: it is not installed; the sentence says what installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise DataError(
            f"{root}: is read with {module}, which is not installed: pip install 'bts-tune[{extra}]'."
        ) from None
