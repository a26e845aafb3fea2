"""The section on the methods."""

from __future__ import annotations

from bts_tune.testing.runs import make_search
from bts_tune.testing.sections import SectionContract
from tests.report.pages import page, page_of, section


class TestMethods(SectionContract):
    name = "methods"


def test_methods_tell_how_the_metrics_were_made() -> None:
    text = section(page(make_search()), "Methods")
    assert "TP / (TP + FP + FN)" in text
    assert "| fingerprint | 9f2c51aa0b7d |" in text
    assert "| splits.train | 1502 |" in text
    assert "| check.splits.train.without_tumor | 3 |" in text
    assert "log_uniform" in text
    assert "| versions.torch | 2.6.0 |" in text
    assert "| hardware.gpus | none |" in text
    assert "bts-tune --space extended --data 'scans/brain tumours'" in text
    warm = {"run": "results/first", "trials": [{}, {}]}
    methods = section(page(make_search(), warm_start=warm), "Methods")
    assert "| trials that the search knew from the start | 2 of results/first |" in methods


def test_many_counts_stand_in_one_row() -> None:
    sizes = {f"{side} x {side}": 1 + (side == 214) for side in range(200, 300)}
    dataset = {"check": {"splits": {"train": {"images": 101, "sizes": sizes}}}}
    text = section(page(make_search(), dataset=dataset), "Methods")
    assert "| check.splits.train.sizes | 214 x 214: 2, 200 x 200: 1, " in text
    assert "… (100 in all) |" in text
    assert "sizes.250 x 250" not in text


def test_a_run_file_with_nothing_optional_is_enough() -> None:
    text = page_of({"format": 1, "status": "complete"}, make_search())
    assert "Not recorded." in section(text, "Methods")
