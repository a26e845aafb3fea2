"""The section on trials that were stopped early."""

from __future__ import annotations

from bts_tune.testing.sections import SectionContract


class TestStoppedEarly(SectionContract):
    name = "stopped-early"
