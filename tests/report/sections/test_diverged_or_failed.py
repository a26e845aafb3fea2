"""The section on trials that failed."""

from __future__ import annotations

from bts_tune.testing.runs import make_search
from bts_tune.testing.sections import SectionContract
from tests.report.pages import page, section


class TestDivergedOrFailed(SectionContract):
    name = "diverged-or-failed"


def test_the_reason_and_the_settings_are_told() -> None:
    text = section(page(make_search()), "Diverged or failed")
    assert "out of memory: 512 MiB asked for with batch_size 64" in text
    assert "manet / timm-regnety_016, learning_rate 0.00398" in text
