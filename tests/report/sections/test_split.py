"""The section on the split."""

from __future__ import annotations

from typing import Any

import pytest

from bts_tune.report.blocks import Document, TitledBlocks
from bts_tune.report.render.text import to_text
from bts_tune.report.sections.split import Split
from bts_tune.testing.runs import make_run, make_split
from bts_tune.testing.sections import SectionContract, context_of


class TestSplit(SectionContract):
    name = "split"


def shown(run: dict[str, Any]) -> str:
    return to_text(
        Document("", (), (), (TitledBlocks("Split", tuple(Split().blocks(context_of(run=run)))),)), width=2000
    )


def test_method_hash_sizes_groups_and_leak_are_told() -> None:
    text = shown(make_run())
    for part in ("Split provided (as the dataset came)", "5ca1ab1e" * 8, "389 groups", "largest of 69", "1502", "72"):
        assert part in text
    assert "No patients were given" in text
    assert text.count("86") == 2


def test_a_grouped_split_tells_its_seed_and_patients() -> None:
    run = make_run()
    run["dataset"]["split"] = {**make_split("grouped"), "seed": 7, "group_by": "^(p[0-9]+)_"}
    text = shown(run)
    assert "kept together, seed 7" in text
    assert "Patients were given by ^(p[0-9]+)_" in text


def test_a_run_of_an_earlier_version_says_so() -> None:
    run = make_run()
    del run["dataset"]["split"]
    assert "earlier version" in shown(run)
    assert list(Split().blocks(context_of(run={}))) == []


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ([450], "Where train_share is 0.3, an epoch trains on 450 images of the 1502 below: whole groups"),
        ([440, 460], "an epoch trains on 440 to 460 images of those of each fold"),
    ],
)
def test_how_many_images_a_share_is(images: list[int], told: str) -> None:
    run = make_run()
    assert "train_share" not in shown(run)
    run["dataset"]["train_shares"] = [{"share": 0.3, "images": images}]
    assert told in shown(run)


def test_whatever_is_missing_is_left_out() -> None:
    run = make_run()
    run["dataset"]["split"] = {"method": "other", "splits": {"train": {}}}
    assert "a method that this version does not know" in shown(run)


def test_the_classes_and_what_unknown_patients_leave_open_are_told() -> None:
    run = make_run()
    for one in run["dataset"]["split"]["leak"]["splits"].values():
        one.update(images=429, identical=11, same_scan=202, similar=93)
    text = shown(run)
    for part in ("identical", "202", "93", "31 % of the pairs at 0.90 to 0.92", "leaks.csv", "Patients are not known"):
        assert part in text
    assert "near-duplicate" not in text
    assert "detail" not in text
    assert "57 %" in text
    run["dataset"]["split"]["leak"]["threshold_detail"] = 0.54
    text = shown(run)
    assert "above 0.54 in the detail at 64 x 64 pixels" in text
    assert "57 %" not in text
    run["dataset"]["split"]["group_by"] = "the dataset"
    assert "Patients are not known" not in shown(run)
