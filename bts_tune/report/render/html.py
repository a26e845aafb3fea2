"""`report.html`: the document as one page that needs no network and no other file."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from bts_tune.report.blocks import Cell, Code, Document

_TEMPLATES = Path(__file__).parent / "templates"


def to_html(document: Document) -> str:
    """Return the document as a page; the same document gives the same text.

    Everything that the document says is escaped. A policy in the page forbids any request and any script but its own.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["slug"] = lambda title: title.lower().replace(" ", "-")
    environment.filters["is_code"] = lambda span: isinstance(span, Code)
    environment.filters["sort_key"] = _sort_key
    environment.filters["embedded"] = lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return environment.get_template("report.html.j2").render(document=document)


def _sort_key(cell: Any) -> float | str | None:
    """Return what a cell sorts by where its text does not say it; an empty string for a number that is not there."""
    if not isinstance(cell, Cell):
        return None
    return "" if cell.key is None else cell.key
