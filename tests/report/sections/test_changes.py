"""The section on changes during the run."""

from __future__ import annotations

from bts_tune.testing.sections import SectionContract


class TestChanges(SectionContract):
    name = "changes"
