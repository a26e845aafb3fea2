"""Tables as spreadsheets and scripts write them.

Columns are separated by commas, semicolons or tabs; the text is UTF-8, UTF-16 or Windows-1252.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

from bts_tune.data.files import read_file
from bts_tune.errors import DataError

_SEPARATOR = re.compile(r'"?sep=([^\w\s"]|\t)"?', re.IGNORECASE)
_NOTHING = ("", "nan", "none", "null", "na", "n/a", "<na>")


def is_nothing(cell: str) -> bool:
    """Return whether a cell is empty, or holds what programs write for an empty one."""
    return cell.strip().casefold() in _NOTHING


def patient_in(cell: str) -> str:
    """Return the patient that a cell names, its accents put together in one way; empty where it names none."""
    return "" if is_nothing(cell) else unicodedata.normalize("NFC", cell.strip())


class Table(NamedTuple):
    """A table as it is written.

    Attributes:
        titles: of its columns.
        rows: those below the titles.
        delimiter: what separates the columns.
        first_line: in which line of the file the first row stands, from 1.
    """

    titles: list[str]
    rows: list[list[str]]
    delimiter: str
    first_line: int = 2


def read_table(path: Path) -> Table:
    """Return a table. Before the titles may be blank lines, and Excel's `sep=;`, which says what separates columns.

    Raises:
        DataError: the file cannot be read, or is no such table.
    """
    text, given, skipped = _decoded(path), "", 0
    while text:
        line, _, below = text.partition("\n")
        said = _SEPARATOR.fullmatch(line.rstrip("\r"))
        if said is None and line.strip(" \t\r,;"):
            break
        given = given if said is None else said[1]
        text, skipped = below, skipped + 1
    delimiter = given or _delimiter(text)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"{path}: is no CSV file: {error}.") from None
    return Table([title.strip() for title in rows[0]] if rows else [], rows[1:], delimiter, skipped + 2)


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
