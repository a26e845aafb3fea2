"""A run's report as a document: every registered section, ours and those of plugins, in its place."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from bts_tune.errors import ConfigError
from bts_tune.registry import SECTIONS
from bts_tune.report.blocks import Block, Details, Document, Picture, TitledBlocks, paragraph
from bts_tune.report.context import ReportContext
from bts_tune.report.failures import INCOMPLETE_TAG, Failed, Failures
from bts_tune.report.figures.explored import explored
from bts_tune.report.sections.base import Section
from bts_tune.results.warnings import short_warnings, warnings_of
from bts_tune.text import nearest, quoted


def document(
    context: ReportContext, save: Callable[[Picture], object] = lambda picture: None, *, live: str = ""
) -> Document:
    """Return the whole report; the same run gives the same document.

    Args:
        context: the run. What failed before, and sections and banners that fail now, are told in the first banner, and
            each in its place.
        save: is called with each picture; one that it raises for is left out, and its error stands in its place.
        live: see `Document`.
    """
    failures = context.failures
    contents = [_contents(section, context, save) for section in sections_in_order(failures)]
    told = [failures.attempt("A banner", say) for say in warnings_of(context.run, context.folder.resume_command)]
    trials = failures.attempt("What the plots show", functools.partial(explored, context))
    short = failures.attempt("The short banners", functools.partial(short_warnings, context.run))
    return Document(
        title=f"bts-tune: {context.run.get('run', 'run')}",
        banners=tuple(text for text in (failures.sentence, *told) if isinstance(text, str)),
        tags=(*((INCOMPLETE_TAG,) if failures.found else ()), *(() if isinstance(short, Failed) else short)),
        sections=tuple(one for one in contents if one.blocks),
        trials=None if isinstance(trials, Failed) else trials,
        live=live,
    )


def sections_in_order(failures: Failures) -> list[type[Section]]:
    """Return every registered section, each behind the one that it follows.

    One whose place cannot be told, as its `after` is no section or sections follow each other in a circle, stands at
    the end, and joins the failures.
    """
    names = SECTIONS.names()
    followers: dict[str | None, list[type[Section]]] = {}
    lost: list[type[Section]] = []
    # Plugins first: one that follows a section of our own comes between that and our next one.
    for name in sorted(names, key=lambda name: not SECTIONS.is_plugin(name)):
        section: type[Section] = SECTIONS.get(name)
        after = failures.attempt(f"The place of the section {name}", functools.partial(_after, section))
        if isinstance(after, Failed):
            lost.append(section)
        else:
            followers.setdefault(after, []).append(section)

    def behind(name: str | None) -> Iterator[type[Section]]:
        for section in followers.get(name, []):
            yield section
            yield from behind(section.name)

    placed = [*behind(None), *(one for section in lost for one in (section, *behind(section.name)))]
    in_circle = [SECTIONS.get(name) for name in names if SECTIONS.get(name) not in placed]
    if in_circle:
        listed = ", ".join(section.name for section in in_circle)
        failures.attempt("The order of the sections", functools.partial(_refuse_circle, listed))
    return [*placed, *in_circle]


def _after(section: type[Section]) -> str | None:
    after = section.after
    if after is not None and after not in SECTIONS:
        raise ConfigError(
            f"after: there is no section {after!r}.{nearest(after, SECTIONS.names())} {SECTIONS.allowed()}"
        )
    return after


def _refuse_circle(listed: str) -> None:
    raise ConfigError(f"after: these sections follow each other in a circle: {listed}.")


def _contents(section: type[Section], context: ReportContext, save: Callable[[Picture], object]) -> TitledBlocks:
    """Return what a section says; where it fails, what it had said until then and a sentence."""
    title = getattr(section, "title", section.name)
    blocks: list[Block] = []

    def kept(block: Block) -> Block:
        if not isinstance(block, Block):
            raise TypeError(f"{quoted(block)} is no block")
        if isinstance(block, Details):
            return dataclasses.replace(block, blocks=tuple(map(kept, block.blocks)))
        if isinstance(block, Picture):
            name = PurePosixPath(block.path).stem
            saved = context.failures.attempt(f"The figure {name}", functools.partial(save, block))
            return paragraph(saved.sentence) if isinstance(saved, Failed) else block
        return block

    def fill() -> None:
        for block in section().blocks(context):
            blocks.append(kept(block))

    failed = context.failures.attempt(f"The section {title}", fill)
    return TitledBlocks(title, (*blocks, paragraph(failed.sentence)) if failed else tuple(blocks))
