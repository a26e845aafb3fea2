"""A document in Markdown."""

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
from bts_tune.report.render.markdown import to_markdown


def test_every_block_has_its_form() -> None:
    blocks = (
        paragraph("see ", Code("a.csv"), " *there*"),
        paragraph("the answer", strong=True),
        Subheading("sub"),
        Bullets(("one", "# two")),
        table(["name", "n"], [["a|b", 1]], right=[1], notes=["a *note*"]),
        Tiles((Tile("loss", "0.2", ("low", "high")),)),
        Details("more", (paragraph("inside"),)),
        CodeBlock("x: 1", "yaml"),
        Picture("A figure", "figures/a.png", b"png"),
    )
    text = to_markdown(Document("title", ("banner",), ("tag",), (TitledBlocks("One", blocks),)))
    assert text.split("\n\n") == [
        *("# title", "> **banner**", "## One", "see `a.csv` \\*there\\*", "**the answer**", "### sub"),
        *("- one\n- \\# two", "| name | n |\n| --- | ---: |\n| a\\|b | 1 |", "a \\*note\\*"),
        *(
            "|  | value | in detail |\n| --- | --- | --- |\n| loss | 0.2 | low; high |",
            "### more",
            "inside",
            "```yaml\nx: 1\n```",
        ),
        "![A figure](figures/a.png)\n",
    ]
