"""Tables as CSV that a spreadsheet can open safely."""

from __future__ import annotations

import csv
import functools
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from pydantic_core import to_json

from bts_tune.results.ranking.settings import setting
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.tables import INTEGERS, epoch_columns, in_order, with_profile

_FORMULA_STARTS = ("=", "+", "-", "@")
_LINE_BREAKS = re.compile(r"[\r\n]+")


def to_csv(frame: pd.DataFrame, run: Mapping[str, Any]) -> str:
    """Return a table as CSV, with the run's profile (`demo` or `data`) as a column after the trial's.

    Text that a spreadsheet would take for a formula is led by an apostrophe, and line breaks in text become spaces;
    numbers are never touched.
    """
    # Numbers need no look, and are most of what a long run holds; its texts are the same few, again and again.
    harmless = functools.cache(_harmless)
    marked = with_profile(frame, run)
    texts = {name: column.map(harmless) for name, column in marked.items() if column.dtype.kind not in "fiub"}
    safe = marked.assign(**{str(name): column for name, column in texts.items()})
    return safe.to_csv(index=False, lineterminator="\n")


def epochs_csv(trials: Sequence[TrialRecord], run: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield what `to_csv` makes of `epochs_table`, trial by trial: of a long run, the table as a whole is large."""
    planned = in_order(trials)
    columns = epoch_columns(planned)
    whole = tuple(name in INTEGERS for name in columns)
    profile = _harmless(run.get("profile", ""))
    yield _line(["name", "trial", "profile", "seed", "baseline", "changed", *columns]).encode() + b"\n"
    for record in planned:
        texts = [_harmless(record.name), _harmless(record.trial), profile, setting(record, "seed")]
        start = _line([*texts, record.baseline, _harmless(";".join(record.changed))])
        yield _rows(start.encode(), [list(map(row.get, columns)) for row in record.rows], whole)


def _rows(start: bytes, rows: Sequence[Sequence[Any]], whole: tuple[bool, ...]) -> bytes:
    """Return the lines of a trial's epochs; a cell that is missing is empty."""
    if not rows:
        return b""
    if not all(_as_declared(tuple(map(type, cells)), whole) for cells in rows):
        rows = [
            [
                None if cell is None else int(cell) if integer else float(cell)
                for cell, integer in zip(cells, whole, strict=True)
            ]
            for cells in rows
        ]
    # A number as JSON is the same text as Python's, but for a few, and made in a seventh of the time, which is most of
    # what this table takes.
    numbers = to_json(rows, inf_nan_mode="constants")[2:-2]
    if any(mark in numbers for mark in _MARKS_OF_OTHERS):
        numbers = _OTHERS.sub(lambda found: repr(float(found[0])).encode(), numbers)
    lines = numbers.replace(b"null", b"").replace(b"],[", b"\n" + start + b",")
    return start + b"," + lines + b"\n"


# Below 0.0001 Python writes an exponent, and it writes exponents, infinity and NaN otherwise.
_MARKS_OF_OTHERS = (b"0.0000", b"e", b"I", b"N")
_OTHERS = re.compile(rb"-?(?:\b0\.0000\d*|\d[\d.]*e[-+]?\d+|Infinity|NaN)")


@functools.cache
def _as_declared(types: tuple[type, ...], whole: tuple[bool, ...]) -> bool:
    """Whether each cell is of its column's type, or missing."""
    return all(
        kind is type(None) or kind is (int if integer else float) for kind, integer in zip(types, whole, strict=True)
    )


def _line(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def _harmless(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    # Before Python 3.13 the csv module leaves a lone carriage return unquoted, which breaks the row in two.
    text = _LINE_BREAKS.sub(" ", cell)
    return f"'{text}" if text.startswith("\t") or text.lstrip().startswith(_FORMULA_STARTS) else text
