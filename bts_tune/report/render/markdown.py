"""`report.md`: the document in Markdown."""

from __future__ import annotations

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
from bts_tune.report.render import markdown_syntax as syntax


def to_markdown(document: Document) -> str:
    """Return the document as Markdown; the same document gives the same text."""
    blocks = [f"# {syntax.escape(document.title)}", *(syntax.warning(text) for text in document.banners)]
    for section in document.sections:
        blocks.append(f"## {syntax.escape(section.title)}")
        blocks += [_block(block) for block in section.blocks]
    return "\n\n".join(blocks) + "\n"


def _block(block: Block) -> str:
    match block:
        case Paragraph(spans, strong):
            text = "".join(f"`{span.text}`" if isinstance(span, Code) else _words(span) for span in spans)
            return f"**{text}**" if strong else text
        case Subheading(text):
            return f"### {syntax.escape(text)}"
        case Bullets(items):
            return "\n".join(f"- {syntax.escape(item)}" for item in items)
        case Table(header, rows, right, notes):
            return "\n\n".join([syntax.table(header, rows, sorted(right)), *map(syntax.escape, notes)])
        case Tiles(items):
            tiles = [(one.label, one.value, "; ".join(one.details)) for one in items]
            return syntax.table(("", "value", "in detail"), tiles)
        case Details(title, blocks):
            return "\n\n".join([f"### {syntax.escape(title)}", *map(_block, blocks)])
        case CodeBlock(text, language):
            return syntax.block(text, language)
        case Picture(description, path):
            return syntax.image(description, path)


def _words(text: str) -> str:
    """Escape a span and keep the blanks at its ends, which part it from the next."""
    before = " " if text[:1].isspace() else ""
    after = " " if text[-1:].isspace() else ""
    return f"{before}{syntax.escape(text)}{after}"
