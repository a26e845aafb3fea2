"""The section on the best configuration."""

from __future__ import annotations

from bts_tune.testing.sections import SectionContract


class TestBestConfiguration(SectionContract):
    name = "best-configuration"
