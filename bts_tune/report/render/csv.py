"""Tables as CSV that a spreadsheet can open safely."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from bts_tune.results.run_folder import TrialRecord
from bts_tune.results.settings import setting
from bts_tune.results.tables import _FORMULA_STARTS, _LINE_BREAKS, INTEGERS, epoch_columns, in_order


def to_csv(frame: pd.DataFrame, run: Mapping[str, Any]) -> str:
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
    return marked.to_csv(index=False, lineterminator="\n")


def epochs_csv(trials: Sequence[TrialRecord], run: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield what `to_csv` makes of `epochs_table`, trial by trial: of a long run, the table as a whole is large."""
    planned = in_order(trials)
    columns = epoch_columns(planned)
    whole = [name in INTEGERS for name in columns]
    profile = _harmless(run.get("profile", ""))
    yield _line(["name", "trial", "profile", "seed", "baseline", "changed", *columns]).encode() + b"\n"
    for record in planned:
        texts = [_harmless(record.name), _harmless(record.trial), profile, setting(record, "seed")]
        start = _line([*texts, record.baseline, _harmless(";".join(record.changed))])
        lines = []
        for row in record.rows:
            cells = [
                "" if value is None else str(int(value)) if integer else repr(float(value))
                for value, integer in zip(map(row.get, columns), whole, strict=True)
            ]
            lines.append(f"{start},{','.join(cells)}\n")
        yield "".join(lines).encode()


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
