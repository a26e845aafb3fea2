"""What a section is."""

from __future__ import annotations

import pytest

from bts_tune.errors import ConfigError
from bts_tune.report.sections.base import SECTIONS, Section


def test_a_section_must_say_something() -> None:
    class Silent(Section):
        title = "Silent"
        after = None

    with pytest.raises(TypeError, match="abstract"):
        Silent()  # type: ignore[abstract]


def test_only_sections_are_registered() -> None:
    with pytest.raises(ConfigError, match=r"must be a subclass of bts_tune\.report\.sections\.base\.Section"):
        SECTIONS.register("mine")(int)


def test_every_file_is_a_section() -> None:
    titles = [section.title for section in SECTIONS.all().values()]
    assert len(set(titles)) == len(titles) == 26
