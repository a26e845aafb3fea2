"""The section on the optimism of the search."""

from __future__ import annotations

from bts_tune.testing.sections import SectionContract


class TestSearchOptimism(SectionContract):
    name = "search-optimism"
