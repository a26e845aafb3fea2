"""The section on the data check."""

from __future__ import annotations

from typing import Any

from bts_tune.report.blocks import Paragraph, Table
from bts_tune.report.sections.data_check import DataCheck
from bts_tune.testing.runs import make_run
from bts_tune.testing.sections import SectionContract, context_of


class TestDataCheck(SectionContract):
    name = "data-check"


def test_the_data_check_in_short() -> None:
    check = {
        "errors": {},
        "warnings": {"no-tumor": 3, "tiny": 1},
        "splits": {"train": {"images": 10, "without_tumor": 3, "tumor_share": {"0": 0.01, "0.5": 0.1, "1": 0.2}}},
    }
    first, rows = DataCheck().blocks(context_of(run={"dataset": {"check": check}}))
    assert isinstance(first, Paragraph)
    assert first.spans == ("No errors; 4 warnings (no-tumor 3, tiny 1).",)
    assert isinstance(rows, Table)
    assert rows.rows[0][:7] == ("train", 10, 3, "–", "1.00%", "10.00%", "20.00%")
    first, rows = DataCheck().blocks(context_of(run=make_run()))
    assert isinstance(first, Paragraph)
    assert first.spans == ("No errors; 3 warnings (no-tumor 3).",)
    assert isinstance(rows, Table)
    assert rows.rows[0] == ("train", 1502, 3, 7, "0.04%", "3.10%", "12.00%", "640x640")
    assert list(DataCheck().blocks(context_of(run={}))) == []


def test_of_many_sizes_the_commonest_are_named() -> None:
    sizes = {"9 x 9": 1, "512 x 512": 90, "256 x 256": 8, "225 x 225": 4, "7 x 7": 2, "8 x 8": 1}
    check = {"errors": {}, "warnings": {}, "splits": {"train": {"images": 106, "sizes": sizes}}}
    _, rows = DataCheck().blocks(context_of(run={"dataset": {"check": check}}))
    assert isinstance(rows, Table)
    assert rows.rows[0][-1] == "512 x 512, 256 x 256, 225 x 225, 7 x 7, 2 more"


def test_how_masks_were_read() -> None:
    says = "Values above 127.5, half of the masks' range, are tumour."
    check = {"errors": {}, "warnings": {}, "splits": {}, "masks": {"rule": "half", "cut": 127.5, "says": says}}
    _, masks = DataCheck().blocks(context_of(run={"dataset": {"check": check}}))
    assert isinstance(masks, Paragraph)
    assert masks.spans == (f"Masks: {says}",)


def test_how_far_the_masks_of_identical_images_agree() -> None:
    found = {"pairs": 76, "different": 70, "median": 0.962}
    check: dict[str, Any] = {"errors": {}, "warnings": {}, "splits": {}, "leak": {"masks_of_identical": found}}
    _, agreement = DataCheck().blocks(context_of(run={"dataset": {"check": check}}))
    assert isinstance(agreement, Paragraph)
    assert "Of 76 pairs" in str(agreement.spans[0])
    assert "a median Dice of 0.962" in str(agreement.spans[0])
    check["leak"] = {"masks_of_identical": {"pairs": 0, "different": 0, "median": None}}
    assert len(list(DataCheck().blocks(context_of(run={"dataset": {"check": check}})))) == 1
