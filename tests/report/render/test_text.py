"""A document as plain lines."""

from __future__ import annotations

from bts_tune.report.blocks import (
    Bullets,
    Code,
    CodeBlock,
    Details,
    Document,
    Picture,
    Subheading,
    Tile,
    Tiles,
    TitledBlocks,
    paragraph,
    table,
)
from bts_tune.report.render.text import to_text


def test_every_block_is_lines() -> None:
    blocks = (
        paragraph("see ", Code("a.csv"), " there"),
        Subheading("sub"),
        Bullets(("one", "two")),
        table(["name", "n"], [["a", 1], ["long name", 22]], right=[1], notes=["note"]),
        Tiles((Tile("loss", "0.2", ("low", "high")),)),
        Details("more", (paragraph("inside"),)),
        CodeBlock("x: 1\ny: 2", "yaml"),
        Picture("A figure", "figures/a.png", b"png"),
    )
    text = to_text(Document("title", ("banner",), ("tag",), (TitledBlocks("One", blocks),)))
    assert text.splitlines() == [
        *("banner", "", "One", "---", "see a.csv there", "", "sub", "", "- one", "- two", ""),
        *("name        n", "a           1", "long name  22", "note", "", "loss: 0.2 (low; high)", ""),
        *("more", "inside", "", "x: 1", "y: 2", "", "A figure: figures/a.png"),
    ]


def test_long_paragraphs_are_wrapped_and_commands_of_a_terminal_are_escaped() -> None:
    content = TitledBlocks("One", (paragraph("word " * 40), Bullets(("word " * 40,)), Subheading("\x1b[31mred")))
    lines = to_text(Document("", (), (), (content,)), width=60).splitlines()
    assert max(map(len, lines)) <= 60
    assert "\\x1b[31mred" in lines
