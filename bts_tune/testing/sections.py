"""What every section of a report must do."""

from __future__ import annotations

import dataclasses
import functools
import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image

from bts_tune.registry import SECTIONS
from bts_tune.report.blocks import Block, Document, Picture, TitledBlocks
from bts_tune.report.context import ReportContext
from bts_tune.report.failures import Failed, Failures
from bts_tune.report.render.html import to_html
from bts_tune.report.render.markdown import to_markdown
from bts_tune.report.render.text import to_text
from bts_tune.report.sections.base import Section
from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.results.record.scores import SPLITS
from bts_tune.results.statistics.comparison import compare_configurations
from bts_tune.testing.runs import (
    make_curve,
    make_final,
    make_run,
    make_search,
    make_trial,
    write_run,
    write_samples,
    write_scores,
    write_variant,
)

RUNS = (
    "complete",
    "partial",
    "demo",
    "final stage",
    "folds",
    "long",
    "failed",
    "just begun",
    "empty",
    "earlier version",
)
"""The kinds of runs that every section must cope with."""

_TUMOURS = ("glioma", "pituitary")


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="bts-tune-sections-")


@functools.cache
def _written(kind: str) -> ReportContext:
    trials, run = _run(kind)
    folder = write_run(Path(_folder().name) / kind, trials, run)
    last = "final" if any(record.stage == "final" for record in trials) else "search"
    if kind not in ("folds", "earlier version"):
        for record in [record for record in trials if record.stage == last and record.best_row][:15]:
            write_scores(folder, record, images=30, test=20)
            if kind == "final stage":
                write_variant(folder, record, "tta", 0.9, images=30, test=20)
        for record in trials[:4]:
            write_samples(folder, record.trial, slices=2, size=32)
    if kind == "complete":
        folder.sheet_file.write_bytes(_picture())
        told = (f"{split}/{number:03}.png,{split},,{_TUMOURS[number % 2]}" for split in SPLITS for number in range(20))
        folder.split_file.write_text("\n".join(("file,split,group,tumour", *told)))
    run, trials = folder.read_run(), folder.trials()
    return ReportContext.of(folder, run, trials, compare_configurations(folder, trials))


def _picture() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (40, 30)).save(content, "PNG")
    return content.getvalue()


def _run(kind: str) -> tuple[list[TrialRecord], dict[str, Any]]:
    search = make_search(epochs=4)
    match kind:
        case "partial":
            search[4].status = "interrupted"
            changes = [{"time": "2024-05-01T12:00:00+00:00", "changed": ["torch 2.5.0, now 2.6.0"]}]
            return search, make_run(status="interrupted", reason="Ctrl-C", changes=changes)
        case "demo":
            return search, make_run(profile="demo")
        case "final stage":
            return search + make_final(search), make_run()
        case "folds":
            return search + make_final(search, top=1, seeds=2, folds=2), make_run()
        case "long":
            return make_search(epochs=3, searched=90), make_run()
        case "failed":
            return [make_trial("a", status="failed", reason="no memory")], make_run(status="failed")
        case "just begun":
            begun = make_trial("a", status="running", rows=make_curve("a", 2, 0.4))
            return [begun, make_trial("b", index=1, status="waiting")], make_run(status="running")
        case "empty":
            return [], make_run(status="running")
        case "earlier version":
            return search, {"format": 1, "status": "complete"}
    return search, make_run()


@functools.cache
def _as_written(kind: str) -> str:
    return repr(_written(kind))


def example_context(kind: str) -> ReportContext:
    """Return an invented run of one of the kinds `RUNS`, with files beside it."""
    _as_written(kind)  # before a section could change it
    return dataclasses.replace(_written(kind), failures=Failures())


def context_of(
    trials: Sequence[TrialRecord] = (),
    run: Mapping[str, Any] | None = None,
    folder: RunFolder | None = None,
    **more: Any,
) -> ReportContext:
    """Return the context of an invented run without a folder, or of one in a folder; `more` is as for its `of`."""
    return ReportContext.of(
        folder or RunFolder(Path("no such run")), make_run() if run is None else run, trials, **more
    )


@functools.cache
def _said(section: type[Section], kind: str) -> tuple[tuple[Block, ...], tuple[Failed, ...]]:
    """Return what a section says of a kind of run, and what failed; drawing takes its time, so once."""
    context = example_context(kind)
    return tuple(section().blocks(context)), tuple(context.failures.found)


class SectionContract:
    """Inherit it, and name the section: `name = "my-section"`."""

    name: ClassVar[str]

    @pytest.fixture
    def section(self) -> type[Section]:
        """The section."""
        return SECTIONS.get(self.name)

    @pytest.fixture(params=RUNS)
    def kind(self, request: pytest.FixtureRequest) -> str:
        """Each kind of run."""
        return request.param

    def test_it_is_declared(self, section: type[Section]) -> None:
        """A report gives it a heading and a place."""
        assert section.name == self.name
        assert section.title.strip()
        assert section.after is None or (section.after in SECTIONS and section.after != self.name)

    def test_it_says_something_of_some_run(self, section: type[Section]) -> None:
        """It is there for some reader."""
        assert any(_said(section, kind)[0] for kind in RUNS)

    def test_it_is_blocks_and_nothing_fails(self, section: type[Section], kind: str) -> None:
        """Of every run."""
        blocks, failed = _said(section, kind)
        assert [block for block in blocks if not isinstance(block, Block)] == []
        assert failed == ()

    def test_the_same_run_gives_the_same_blocks(self, section: type[Section], kind: str) -> None:
        """Pictures to the last byte; and nothing of the run, which others read too, is changed."""
        context = example_context(kind)
        assert tuple(section().blocks(context)) == _said(section, kind)[0]
        assert repr(context) == _as_written(kind)

    def test_its_pictures_are_png(self, section: type[Section], kind: str) -> None:
        """They decode, and each has a path of its own."""
        pictures = [block for block in _said(section, kind)[0] if isinstance(block, Picture)]
        assert len({picture.path for picture in pictures}) == len(pictures)
        for picture in pictures:
            assert picture.description.strip()
            with Image.open(io.BytesIO(picture.png)) as image:
                image.load()
                assert image.format == "PNG"

    def test_it_is_written_as_html_markdown_and_text(self, section: type[Section], kind: str) -> None:
        """With its heading."""
        content = TitledBlocks(section.title, _said(section, kind)[0])
        document = Document("A run", (), (), (content,))
        for text in (to_html(document), to_markdown(document), to_text(document)):
            assert section.title in text
