"""What commands print for programs, with `--json`: one JSON object on standard output; docs/json.md describes each."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
"""Of all the objects together: it grows where a field is removed or changes its meaning, not where one is added."""


def add_json(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the option."""
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs (docs/json.md)")


def print_json(command: str, content: Mapping[str, Any]) -> None:
    """Print the object of a command."""
    print(json.dumps({"version": VERSION, "command": command, **_plain(content)}, indent=2, allow_nan=False))


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table as one object a row; what is missing is null."""
    names = [str(name) for name in frame.columns]
    return [dict(zip(names, row, strict=True)) for row in frame.astype(object).to_numpy().tolist()]


def _plain(content: Any) -> Any:
    """Return the same in JSON's own types: paths and times as text, what is missing or no number as null."""
    if isinstance(content, Mapping):
        return {str(name): _plain(inner) for name, inner in content.items()}
    if isinstance(content, list | tuple | set | frozenset):
        return [_plain(inner) for inner in content]
    if isinstance(content, Path | date):
        return str(content)
    if content is None or isinstance(content, str | bool | int):
        return content
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if hasattr(content, "item"):  # numpy's
        return _plain(content.item())
    return None  # pandas' NA
