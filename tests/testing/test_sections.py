"""The contract of sections finds what breaks it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import pytest

from bts_tune.report.blocks import Picture, paragraph
from bts_tune.report.sections.base import Block, ReportContext, Section
from bts_tune.testing.sections import RUNS, SectionContract, example_context


class Sound(Section):
    name, title, after = "sound", "Sound", "answer"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        yield paragraph("a word")


class NoBlock(Sound):
    def blocks(self, context: ReportContext) -> Iterable[Any]:
        yield "a word"


class Fails(Sound):
    def blocks(self, context: ReportContext) -> Iterable[Block]:
        yield from context.picture("a", "b", lambda: b"png"[9])  # type: ignore[arg-type,return-value]


class Changing(Sound):
    said = 0

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        Changing.said += 1
        yield paragraph(str(Changing.said))


class NoPng(Sound):
    def blocks(self, context: ReportContext) -> Iterable[Block]:
        yield Picture("a", "figures/a.png", b"no picture")


class Silent(Sound):
    def blocks(self, context: ReportContext) -> Iterable[Block]:
        return []


def check(section: type[Section], test: str) -> None:
    contract: Any = type("Contract", (SectionContract,), {"name": "sound"})()
    method = getattr(contract, test)
    method(section, "complete") if "kind" in inspect.signature(method).parameters else method(section)


@pytest.mark.parametrize("test", [name for name in vars(SectionContract) if name.startswith("test_")])
def test_a_sound_section_passes(test: str) -> None:
    check(Sound, test)


@pytest.mark.parametrize(
    ("section", "test"),
    [
        (NoBlock, "test_it_is_blocks_and_nothing_fails"),
        (Fails, "test_it_is_blocks_and_nothing_fails"),
        (Changing, "test_the_same_run_gives_the_same_blocks"),
        (NoPng, "test_its_pictures_are_png"),
        (Silent, "test_it_says_something_of_some_run"),
    ],
)
def test_one_that_breaks_it_does_not(section: type[Section], test: str) -> None:
    with pytest.raises((AssertionError, OSError)):
        check(section, test)


@pytest.mark.parametrize("kind", RUNS)
def test_every_kind_of_run_can_be_read(kind: str) -> None:
    context = example_context(kind)
    assert context.failures.found == []
    assert context.comparison.missing == () or kind in ("folds", "earlier version")
