"""The order of the sections of a run's report: the answer first, then what it rests on, then how it was made."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bts_tune.report.blocks import Block, Document, Section, paragraph
from bts_tune.report.context import Figures, Page
from bts_tune.report.failures import Failed, Failures
from bts_tune.report.sections.answer import answer, headline, trust
from bts_tune.report.sections.best_configuration import best_configuration
from bts_tune.report.sections.boundaries import boundaries_and_boxes
from bts_tune.report.sections.changes import changes
from bts_tune.report.sections.comparisons import comparisons
from bts_tune.report.sections.configuration_tables import on_test_split, over_seeds, ranked, search_optimism
from bts_tune.report.sections.data_check import data_check
from bts_tune.report.sections.gallery import curves, history, predictions
from bts_tune.report.sections.hyperparameters import importance_section
from bts_tune.report.sections.image_kinds import kinds_of_images
from bts_tune.report.sections.methods import limits, methods
from bts_tune.report.sections.published import published
from bts_tune.report.sections.split import split_section
from bts_tune.report.sections.trial_tables import failed, search_trials, stopped, unfinished
from bts_tune.results.comparison import Evidence
from bts_tune.results.leaderboard import ordered
from bts_tune.results.memo import FrozenTrials
from bts_tune.results.naming import names
from bts_tune.results.run_folder import TrialRecord
from bts_tune.results.settings import varied_fields
from bts_tune.results.warnings import demo_sentence, leak_sentence, partial_sentence, tags


def document(
    run: Mapping[str, Any],
    trials: Sequence[TrialRecord],
    figures: Figures,
    evidence: Evidence | None = None,
    failures: Failures | None = None,
) -> Document:
    """Return the whole report; the same arguments give the same document.

    Args:
        run: the content of `run.json`.
        trials: its trials, in any order.
        figures: the figures to show.
        evidence: what the scores of single images say; nothing by default.
        failures: what failed before; sections and banners that fail join it, and each is named in its place. The first
            banner names all.
    """
    failures = Failures() if failures is None else failures
    listed = FrozenTrials(ordered(trials))
    page = Page(run, listed, figures, evidence or Evidence(), names(listed), varied_fields(listed), failures)
    writers: list[tuple[str, Callable[[Page], Iterable[Block]]]] = [
        ("Answer", _answer),
        ("Ranking", ranked),
        ("Comparison", lambda page: comparisons(page.trials, page.evidence)),
        ("Over seeds", over_seeds),
        ("Test split", on_test_split),
        ("Optimism of the search", search_optimism),
        ("Search log", search_trials),
        ("Stopped early", stopped),
        ("Not finished", unfinished),
        ("Diverged or failed", failed),
        ("Published figures", published),
        ("Learning curves", curves),
        ("Search history", history),
        (
            "Hyperparameters",
            lambda page: importance_section(page.trials, page.run, page.figures.marginals, page.figures.coordinates),
        ),
        ("Predictions", predictions),
        ("Kinds of images", lambda page: kinds_of_images(page.trials, page.evidence, page.figures.kinds)),
        ("Boundaries and boxes", lambda page: boundaries_and_boxes(page.trials, page.evidence)),
        ("Best configuration", best_configuration),
        ("Split", lambda page: split_section(page.run)),
        ("Data check", lambda page: data_check(page.run)),
        ("Changes during the run", lambda page: changes(page.run, page.trials)),
        ("Methods", lambda page: methods(page.run, page.trials)),
        ("Limits", lambda page: [paragraph(limits(page.run, page.trials))]),
    ]
    sections = [Section(title, _blocks(title, write, page)) for title, write in writers]
    told = [
        failures.attempt("A banner", functools.partial(say, run))
        for say in (demo_sentence, partial_sentence, leak_sentence)
    ]
    return Document(
        title=f"bts-tune: {run.get('run', 'run')}",
        banners=tuple(text for text in (failures.sentence, *told) if isinstance(text, str)),
        tag=" · ".join(tags(run)),
        sections=tuple(section for section in sections if section.blocks),
    )


def _blocks(title: str, write: Callable[[Page], Iterable[Block]], page: Page) -> tuple[Block, ...]:
    """Return what a section says; where it fails, what it had said until then and a sentence."""
    blocks: list[Block] = []

    def fill() -> None:
        for block in write(page):
            blocks.append(block)

    failed = page.failures.attempt(f"The section {title}", fill)
    return (*blocks, paragraph(failed.sentence)) if failed else tuple(blocks)


def _answer(page: Page) -> Iterable[Block]:
    first = page.failures.attempt("The sentence on the best", lambda: headline(page.trials, page.evidence))
    if isinstance(first, Failed):
        yield paragraph(first.sentence)
    elif first:
        yield paragraph(first, strong=True)
    yield paragraph(answer(page.trials), strong=not isinstance(first, str))
    rests_on = trust(page.trials)
    if rests_on:
        yield paragraph(rests_on)
    reason = page.run.get("reason")
    if reason:
        yield paragraph(f"The run ended with: {reason}")
