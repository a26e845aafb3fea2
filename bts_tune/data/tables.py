"""Tables as spreadsheets and scripts write them.

Columns are separated by commas, semicolons or tabs; the text is UTF-8, UTF-16 or Windows-1252.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from bts_tune.data.files import read_file
from bts_tune.errors import DataError

_NOTHING = ("", "nan", "none", "null", "na", "n/a", "<na>")


def is_nothing(cell: str) -> bool:
    """Return whether a cell is empty, or holds what programs write for an empty one."""
    return cell.strip().casefold() in _NOTHING


def read_table(path: Path) -> tuple[list[str], list[list[str]], str]:
    """Return the titles, the rows below them, and what separates the columns.

    Raises:
        DataError: the file cannot be read, or is no such table.
    """
    text = _decoded(path)
    delimiter = _delimiter(text)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"{path}: is no CSV file: {error}.") from None
    return [title.strip() for title in rows[0]] if rows else [], rows[1:], delimiter


def _decoded(path: Path) -> str:
    data = read_file(path)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        codes: tuple[str, ...] = ("utf-16",)
    else:
        codes = ("utf-8-sig", "cp1252")
    for code in codes:
        try:
            text = data.decode(code)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise DataError(f"{path}: is no CSV file: it is no text in UTF-8, UTF-16 or Windows-1252.")


def _delimiter(text: str) -> str:
    """Return what separates the columns, judged by the titles."""
    titles = text.lstrip().partition("\n")[0]
    return max(",;\t", key=titles.count)
