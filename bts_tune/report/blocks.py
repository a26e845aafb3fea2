"""The content of a report, apart from how it is written: a document of blocks, which `render/` writes.

Text is plain everywhere: it may come from a file name or a space file, and each renderer escapes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
    """Rows of cells, written by `str`; the columns of `right` hold numbers, and `notes` stand in small below."""

    kind: ClassVar[str] = "table"
    header: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    right: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tile:
    """One number that matters: what it is, the number itself, and what it needs to be understood."""

    label: str
    value: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tiles:
    """A few numbers beside each other."""

    kind: ClassVar[str] = "tiles"
    items: tuple[Tile, ...]


@dataclass(frozen=True)
class CodeBlock:
    """Text to be copied as it stands."""

    kind: ClassVar[str] = "code"
    text: str
    language: str = ""


@dataclass(frozen=True)
class Plot:
    """A plot that a reader can explore, in place of a picture, in a page whose scripts run.

    Attributes:
        kind: which of the page's plots it is: `curves`, `history`, `marginals`, `parallel` or `gallery`.
        data: what that needs beside the trials of the document; ready for JSON.
    """

    kind: str
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Picture:
    """A figure. Writing the report writes it to `path`, and embeds it in the HTML.

    Attributes:
        description: what it shows, for readers who do not see it.
        path: where it is written, within the run folder: `figures/<name>.png`.
        png: its content.
        photo: whether it shows slices, whose colours must stay as they are, in a dark page too.
        plot: what stands in its place where it can be explored.
    """

    kind: ClassVar[str] = "picture"
    description: str
    path: str
    png: bytes = field(repr=False)
    photo: bool = False
    plot: Plot | None = None

    def __post_init__(self) -> None:
        if not PICTURE_PATH.fullmatch(self.path):
            raise ValueError(f"a picture's path must be figures/<name>.png, got {self.path!r}")


PICTURE_PATH = re.compile(r"figures/[A-Za-z0-9][A-Za-z0-9._-]*\.png")


@dataclass(frozen=True)
class Details:
    """Blocks that most readers do not need: folded away in a page, under a heading of their own elsewhere."""

    kind: ClassVar[str] = "details"
    title: str
    blocks: tuple[Block, ...]


Block = Paragraph | Subheading | Bullets | Table | Tiles | Details | CodeBlock | Picture


@dataclass(frozen=True)
class TitledBlocks:
    """One section of the document."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        title: what it is about.
        banners: sentences that nobody must miss, above everything else.
        tags: the banners in a few words each, which stay in sight.
        sections: in order.
        trials: what the plots show of the trials, as `figures.explored` gives it; None without any.
        live: of a run that goes on, so that its page reloads by itself: what it says of that.
    """

    title: str
    banners: tuple[str, ...]
    tags: tuple[str, ...]
    sections: tuple[TitledBlocks, ...]
    trials: Mapping[str, Any] | None = field(default=None, repr=False)
    live: str = ""

    @property
    def pictures(self) -> list[Picture]:
        """Every picture, in order."""
        return [block for section in self.sections for block in unfolded(section.blocks) if isinstance(block, Picture)]


def paragraph(*spans: Span, strong: bool = False) -> Paragraph:
    """Return a paragraph of these spans."""
    return Paragraph(spans, strong)


def table(
    header: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[int] = (), notes: Sequence[str] = ()
) -> Table:
    """Return a table; see `Table`."""
    return Table(tuple(header), tuple(tuple(row) for row in rows), frozenset(right), tuple(notes))


def unfolded(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield the blocks, those that are folded away included, in order."""
    for block in blocks:
        yield block
        if isinstance(block, Details):
            yield from unfolded(block.blocks)
