"""Markdown pieces: text made harmless, tables, quotes and code blocks, as GitHub and CommonMark read them."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SPECIAL = re.compile(r"([\\`*\[\]|~$#])")
_EDGE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")


def escape(text: object) -> str:
    """Return `text` on one line, shown by Markdown as it stands: no HTML, link, emphasis, maths or table break.

    Underscores within a word are left alone, as they mean nothing there, so that field names stay readable.
    """
    flat = " ".join(str(text).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _EDGE_UNDERSCORE.sub(r"\\_", _SPECIAL.sub(r"\\\1", flat))


def table(header: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[int] = ()) -> str:
    """Return a table of plain-text cells, escaped here; the columns of `right` are aligned to the right."""
    rule = ["---:" if column in right else "---" for column in range(len(header))]
    lines = [[escape(cell) for cell in header], rule, *([escape(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def block(text: str, language: str = "") -> str:
    """Return `text` as a fenced code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def warning(text: str) -> str:
    """Return plain text as a bold quotation."""
    return f"> **{escape(text)}**"


def image(description: str, path: str) -> str:
    """Return an image of the run folder, by its path within it."""
    return f"![{escape(description)}]({path})"
