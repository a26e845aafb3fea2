"""A document as plain lines, for a terminal or a pipe."""

from __future__ import annotations

import textwrap

from bts_tune.report.blocks import (
    Block,
    Bullets,
    Code,
    CodeBlock,
    Details,
    Document,
    Paragraph,
    Picture,
    Subheading,
    Table,
    Tiles,
)
from bts_tune.text import printable

_GAP = "  "


def to_text(document: Document, *, width: int = 100) -> str:
    """Return the document as lines; paragraphs are wrapped, tables are as wide as their cells need."""
    lines = [*document.banners, *([""] if document.banners else [])]
    for section in document.sections:
        lines += [section.title, "-" * len(section.title)]
        for block in section.blocks:
            lines += [*_block(block, width), ""]
    return "\n".join(printable(line).rstrip() for line in lines).rstrip()


def _block(block: Block, width: int) -> list[str]:
    match block:
        case Paragraph(spans):
            return textwrap.wrap("".join(span.text if isinstance(span, Code) else span for span in spans), width)
        case Subheading(text):
            return [text]
        case Bullets(items):
            return [
                line
                for item in items
                for line in textwrap.wrap(item, width, initial_indent="- ", subsequent_indent="  ")
            ]
        case Table():
            return [*_table(block), *(line for note in block.notes for line in textwrap.wrap(note, width))]
        case Tiles(items):
            return [f"{one.label}: {one.value} ({'; '.join(one.details)})" for one in items]
        case Details(title, blocks):
            return [title, *(line for inner in blocks for line in _block(inner, width))]
        case CodeBlock(text):
            return text.splitlines()
        case Picture(description, path):
            return [f"{description}: {path}"]


def _table(block: Table) -> list[str]:
    rows = [[" ".join(str(cell).split()) for cell in row] for row in (block.header, *block.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        _GAP.join(
            cell.rjust(size) if number in block.right else cell.ljust(size)
            for number, (cell, size) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
