"""The section on the search."""

from __future__ import annotations

from bts_tune.testing.sections import SectionContract


class TestSearchLog(SectionContract):
    name = "search-log"
