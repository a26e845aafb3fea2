"""The blocks of a report."""

from __future__ import annotations

import pytest

from bts_tune.report.blocks import Block, Cell, Details, Document, Picture, TitledBlocks, paragraph, table


def test_a_cell_is_written_as_its_text() -> None:
    assert str(Cell("1m05s", 65.0)) == "1m05s"


def test_a_table_is_a_value() -> None:
    one = table(["a", "b"], [[1, "x"]], right=range(1))
    assert one == table(("a", "b"), ((1, "x"),), right=[0])
    assert isinstance(one, Block)
    assert not isinstance("text", Block)


def test_the_pictures_of_a_document_are_in_order_those_folded_away_included() -> None:
    first, folded, second = (Picture(name, f"figures/{name}.png", b"png") for name in "abc")
    details = Details("more", (paragraph("y"), folded))
    sections = (TitledBlocks("One", (paragraph("x"), first, details)), TitledBlocks("Two", (second,)))
    assert Document("", (), (), sections).pictures == [first, folded, second]


@pytest.mark.parametrize("path", ["a.png", "figures/../a.png", "/figures/a.png", "figures/.a.png", "figures/a.txt", ""])
def test_a_picture_lies_in_the_folder_of_figures(path: str) -> None:
    with pytest.raises(ValueError, match=r"must be figures/<name>\.png"):
        Picture("a", path, b"")
