from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.data.tables import read_table
from bts_tune.errors import DataError


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_tables_of_spreadsheets(tmp_path: Path, delimiter: str, encoding: str) -> None:
    text = f'file {delimiter}Größe\r\n"a{delimiter}b"{delimiter}ß\r\n'
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    assert read_table(tmp_path / "t.csv") == (["file", "Größe"], [[f"a{delimiter}b", "ß"]], delimiter, 2)


@pytest.mark.parametrize(("before", "line"), [("sep=;\r\n", 3), ('"sep=;"\n\n', 4), ("\n", 3), (";;\r\n \n", 4)])
def test_lines_before_the_titles_are_skipped(tmp_path: Path, before: str, line: int) -> None:
    (tmp_path / "t.csv").write_bytes(f"{before}file;a,b;c\nx;1;2\n".encode())
    assert read_table(tmp_path / "t.csv") == (["file", "a,b", "c"], [["x", "1", "2"]], ";", line)


def test_an_empty_table_has_no_titles(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"")
    assert read_table(tmp_path / "t.csv")[:2] == ([], [])


def test_what_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\0\x81")
    with pytest.raises(DataError, match="is no CSV file"):
        read_table(tmp_path / "t.csv")
