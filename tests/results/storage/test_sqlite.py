from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from bts_tune.results.storage.sqlite import file_of, sqlite_url


@pytest.mark.parametrize("name", ["plain", "what?", "a#b", "50%", "a%20b", "a b@c:d", "ä&=+"])
def test_the_url_of_a_file_leads_to_it_whatever_its_name(tmp_path: Path, name: str) -> None:
    file = tmp_path / name / "some.db"
    file.parent.mkdir()
    url = sqlite_url(file)
    assert "#" not in url
    assert file_of(url) == file
    with create_engine(url).begin() as connection:
        connection.execute(text("create table t (x)"))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with sqlite3.connect(file) as opened:
        assert opened.execute("select name from sqlite_master").fetchall() == [("t",)]


@pytest.mark.parametrize(
    "url", ["postgresql://host/db", "sqlite://", "sqlite:///:memory:", "sqlite:///a?mode=ro", "x", "://"]
)
def test_what_is_no_file_of_sqlite(url: str) -> None:
    assert file_of(url) is None


def test_an_ordinary_path_stands_as_it_is() -> None:
    assert sqlite_url(Path("a b/x.db")) == "sqlite:///a b/x.db"
    assert file_of("sqlite:///study.db") == Path("study.db")
