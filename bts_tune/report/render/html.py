"""`report.html`: the document as one page that needs no network and no other file."""

from __future__ import annotations

import base64
import functools
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bts_tune.report.blocks import Cell, Code, Document, Table
from bts_tune.report.wording import CHANGED

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"
_VENDOR = Path(__file__).parent / "vendor"
_UNBROKEN = 12
"""Letters of a word in the head of a table that is printed whole: on paper a longer one may be broken."""


def to_html(document: Document) -> str:
    """Return the document as a page; the same document gives the same text.

    Everything that the document says is escaped. A policy in the page forbids any request and any script but its own.
    """
    from markupsafe import Markup

    # What has no short form of its own is called by its first word.
    tags = document.tags or tuple(banner.partition(":")[0] for banner in document.banners)
    plots = {picture.plot.kind for picture in document.pictures if picture.plot}
    drawn = document.trials is not None and bool(plots - {"gallery"})
    page = _template().render(
        document=document,
        shown_tags=[[part.strip() for part in tag.partition(":")[::2]] for tag in tags],
        style=Markup(_asset("page.css")),
        trials=document.trials if plots else None,
        library=Markup(_asset("echarts.min.js", _VENDOR / "echarts")) if drawn else None,
        script=Markup(_asset("page.js")),
    )
    return page.lstrip()


@functools.cache
def _template() -> Template:
    """Return the page's template; compiling it takes longer than filling it in."""
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
    environment.filters["unbroken"] = _unbroken
    environment.filters["columns"] = _columns
    environment.filters["is_wide"] = _is_wide
    environment.filters["short_words"] = lambda text: all(len(word) <= _UNBROKEN for word in re.split(r"[\s-]", text))
    environment.filters["marked"] = lambda text: text.replace(f" {CHANGED}", f"\u00a0{CHANGED}")
    environment.filters["json"] = _json
    environment.filters["embedded"] = lambda png: f"data:image/png;base64,{base64.b64encode(_lighter(png)).decode()}"
    return environment.get_template("report.html.j2")


def _asset(name: str, folder: Path = _TEMPLATES) -> str:
    """Return a file of the package that stands in the page as it is."""
    return (folder / name).read_text(encoding="utf-8").strip()


def _lighter(png: bytes) -> bytes:
    """Return a picture in the 256 colours that suit it best, a third of the size; the figure's file keeps all."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(png)) as image:
            few = image.convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    except (UnidentifiedImageError, OSError):
        return png  # a plugin's picture is its own affair
    data = io.BytesIO()
    few.save(data, format="PNG")
    return min(png, data.getvalue(), key=len)


def _json(content: Any) -> Markup:
    """Return content as JSON that ends no script, whatever it says."""
    from markupsafe import Markup

    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _columns(table: Table) -> list[int]:
    """Return the places of the columns that say anything: that of the roles is empty in many tables."""
    every = range(len(table.header))
    return [place for place in every if not table.rows or any(str(row[place]) for row in table.rows)]


def _is_wide(table: Table) -> bool:
    """Whether a table fits no telephone: each of its rows becomes a card there."""
    columns = len(table.header)
    return columns > 4 or (columns > 2 and any(len(str(cell)) > 60 for row in table.rows for cell in row))


def _sort_key(cell: Any) -> float | str | None:
    """Return what a cell sorts by where its text does not say it; an empty string for a number that is not there."""
    if not isinstance(cell, Cell):
        return None
    return "" if cell.key is None else cell.key


def _unbroken(text: str) -> str:
    """Keep a number together with its sign or unit, and brackets whole, where a narrow column breaks the line."""
    head, bracket, rest = text.partition(" (")
    for word in ("±", "to", "of"):
        head = head.replace(f" {word} ", f" {word}\u00a0")
    return head + bracket + rest.replace(" ", "\u00a0")
