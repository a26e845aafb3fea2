"""What a report says, apart from how it is written: one document, which `markdown.py` and `html.py` both render.

Text is plain everywhere: it may come from a file name or a space file, and each renderer escapes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Code:
    """A word of a command, a file or a field, within a paragraph."""

    text: str


Span = str | Code


@dataclass(frozen=True)
class Cell:
    """A table's cell whose text does not sort as it reads, such as a duration; `key` is what it sorts by."""

    text: str
    key: float | None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Paragraph:
    """Words and code in a line; `strong` is for the answer."""

    kind: ClassVar[str] = "paragraph"
    spans: tuple[Span, ...]
    strong: bool = False


@dataclass(frozen=True)
class Subheading:
    """A heading within a section."""

    kind: ClassVar[str] = "subheading"
    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of short items."""

    kind: ClassVar[str] = "bullets"
    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of cells, written by `str`; the columns of `right` hold numbers."""

    kind: ClassVar[str] = "table"
    header: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    right: frozenset[int] = frozenset()


@dataclass(frozen=True)
class CodeBlock:
    """Text to be copied as it stands."""

    kind: ClassVar[str] = "code"
    text: str
    language: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure by its path within the run folder; `photo` tells slices from drawings, whose colours may be adapted."""

    kind: ClassVar[str] = "picture"
    description: str
    path: str
    photo: bool = False


Block = Paragraph | Subheading | Bullets | Table | CodeBlock | Picture


@dataclass(frozen=True)
class Section:
    """One section of the document."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        title: what it is about.
        banners: sentences that nobody must miss, above everything else.
        tag: the banners in short, repeated at the top of every section; empty where there are none.
        sections: in order.
    """

    title: str
    banners: tuple[str, ...]
    tag: str
    sections: tuple[Section, ...]


def paragraph(*spans: Span, strong: bool = False) -> Paragraph:
    """Return a paragraph of these spans."""
    return Paragraph(spans, strong)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[int] = ()) -> Table:
    """Return a table; see `Table`."""
    return Table(tuple(header), tuple(tuple(row) for row in rows), frozenset(right))
