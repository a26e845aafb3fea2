"""The section on what was published of the baselines."""

from __future__ import annotations

import pytest

from bts_tune.testing.runs import PUBLISHED, make_baselines, make_search
from bts_tune.testing.sections import SectionContract
from tests.report.pages import page, section


class TestPublishedResults(SectionContract):
    name = "published-results"


CHANGED = ["epochs", "image_size"]


def test_published_results_stand_beside_the_unchanged_baseline_only() -> None:
    text = section(page(make_search()), "Published results")
    assert "| unetplusplus-b5 | Dice loss | 0.2236 | 0.3057 |" in text
    assert "| unetplusplus-b5 | IoU | 0.6288 | 0.5426 |" in text
    assert "published by its authors" in text
    assert "not known" in text
    assert "| unet-b0 |" not in text


@pytest.mark.parametrize("changed", [["epochs"], CHANGED])
def test_published_results_are_nowhere_on_the_page_of_a_changed_baseline(changed: list[str]) -> None:
    space = {"name": "s", "trials": {"unetplusplus-b5": {"published": PUBLISHED, "config": {}}}}
    text = page(make_search(changed=changed), space=space)
    for figure in PUBLISHED.values():
        assert str(figure) not in text
    assert f"ran changed ({', '.join(changed)})" in section(text, "Published results")


def test_published_results_are_nowhere_in_a_demo_or_beside_an_unfinished_baseline() -> None:
    assert "0.3057" not in page(make_search(), profile="demo")
    unfinished = make_baselines()
    unfinished[2].status = "interrupted"
    text = page(unfinished)
    assert "0.3057" not in text
    assert "nothing to compare" in section(text, "Published results")


def test_the_source_of_published_results_is_told() -> None:
    trials = make_baselines()
    trials[2].published = {**PUBLISHED, "source": "the project's documentation"}
    text = section(page(trials), "Published results")
    assert "Source: the project's documentation" in text
    assert text.count("0.3057") == 1
