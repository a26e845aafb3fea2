"""Tables as CSV that a spreadsheet can open safely."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from bts_tune.results.tables import _FORMULA_STARTS, _LINE_BREAKS


def to_csv(frame: pd.DataFrame, run: Mapping[str, Any], *, header: bool = True) -> str:
    """Return a table as CSV, with the run's profile (`demo` or `data`) as a column after the trial's.

    Text that a spreadsheet would take for a formula is led by an apostrophe, and line breaks in text become spaces;
    numbers are never touched.
    """
    # Numbers need no look, and are most of what a long run holds; its texts are the same few, again and again.
    harmless = functools.cache(_harmless)
    texts = {name: column.map(harmless) for name, column in frame.items() if column.dtype.kind not in "fiub"}
    marked = frame.assign(**{str(name): column for name, column in texts.items()})
    marked.insert(
        int(marked.columns.get_indexer(pd.Index(["trial"]))[0]) + 1, "profile", _harmless(run.get("profile", ""))
    )
    return marked.to_csv(index=False, header=header, lineterminator="\n")


def in_parts(frames: Iterable[pd.DataFrame], run: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the CSV of a table that comes in parts with the same columns."""
    for number, frame in enumerate(frames):
        yield to_csv(frame, run, header=number == 0).encode()


def _harmless(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    # Before Python 3.13 the csv module leaves a lone carriage return unquoted, which breaks the row in two.
    text = _LINE_BREAKS.sub(" ", cell)
    return f"'{text}" if text.startswith("\t") or text.lstrip().startswith(_FORMULA_STARTS) else text
