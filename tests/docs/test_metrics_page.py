"""The page on metrics says what the metrics and losses declare."""

from __future__ import annotations

from scripts.document_metrics import PAGE, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python scripts/document_metrics.py"
