"""Markdown pieces: whatever a person called things, the page shows the words and nothing else happens."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bts_tune.report.render.markdown_syntax import block, escape, table

RENDER = MarkdownIt("commonmark").enable("table")


def shown(html: str) -> str:
    """The text of rendered HTML, entities resolved by the browser's rules for the five that are used."""
    text = re.sub(r"<[^>]*>", "", html)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#39;", "'"), ("&amp;", "&")):
        text = text.replace(entity, character)
    return text


words = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=30)


@given(words)
@example("<script>alert(1)</script>")
@example("a | b")
@example("**bold** _it_ __b__ `code` ~~gone~~ [x](javascript:1) ![i](u) &amp; \\| $x$")
@example("val_dice_loss")
def test_a_cell_shows_its_text_and_stays_one_cell(text: str) -> None:
    html = RENDER.render(table(["name", "value"], [[text, 1]]))
    cells = re.findall(r"<td>(.*?)</td>", html, flags=re.DOTALL)
    assert len(cells) == 2
    assert "<" not in cells[0]
    assert shown(cells[0]) == " ".join(text.split())


def test_field_names_stay_readable_in_the_source() -> None:
    assert escape("val_dice_loss") == "val_dice_loss"


def test_newlines_cannot_start_a_block() -> None:
    assert "\n" not in escape("a\n# heading\n- item")


@given(st.text(alphabet="`a\n", max_size=20))
def test_a_code_block_cannot_be_closed_from_within(text: str) -> None:
    html = RENDER.render(block(text) + "\n\nafter")
    assert html.count("<pre>") == 1
    assert html.rstrip().endswith("<p>after</p>")
