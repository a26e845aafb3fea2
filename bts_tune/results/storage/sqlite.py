"""The URL of a file of SQLite, as SQLAlchemy takes it apart; MLflow and Optuna name their databases by it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

_IN_MEMORY = ":memory:"


def sqlite_url(file: Path) -> str:
    """Return the URL of a file, which need not be there, whatever characters its path has."""
    plain = f"sqlite:///{file}"
    if not set("?#%") & set(plain):
        return plain
    from sqlalchemy.engine import make_url

    # SQLAlchemy decodes percent signs from version 2.1 on, and MLflow cuts a '#' off in any.
    for url in (f"sqlite:///{quote(str(file))}", plain):
        found = make_url(url)
        if found.database == str(file) and not found.query:
            return url
    return f"sqlite:///file:{quote(str(file))}?uri=true"


def file_of(url: str) -> Path | None:
    """Return the file that a URL names; None where it is no file of SQLite."""
    database = _database(url)
    return Path(database) if database and database != _IN_MEMORY else None


def is_in_memory(url: str) -> bool:
    """Whether a URL names a database of SQLite that ends with the process."""
    return _database(url) in ("", _IN_MEMORY)


def _database(url: str) -> str | None:
    """Return what a URL of SQLite without a query names; None of any other."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        return None
    return str(found.database or "") if found.get_backend_name() == "sqlite" and not found.query else None
