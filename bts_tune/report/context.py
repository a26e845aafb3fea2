"""What the sections of a report share: the run that they are about, and cells that several of their tables have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bts_tune.report.blocks import Block, Cell, Code, Picture, paragraph
from bts_tune.report.failures import Failed, Failures
from bts_tune.report.wording import MISSING, duration
from bts_tune.results.comparison import Evidence
from bts_tune.results.leaderboard import total_seconds
from bts_tune.results.run_folder import TrialRecord
from bts_tune.results.settings import setting
from bts_tune.text import plural

MAX_ROWS = 50
"""Longest table; leaderboard.csv and configurations.csv have all rows."""


Drawn = str | Failed
"""A figure's path within the run folder, or what is said in its place."""


@dataclass(frozen=True)
class Overlay:
    """Predictions of one trial: the figure's path within the run folder, or a sentence on why it is missing."""

    trial: TrialRecord
    file: Drawn | None
    missing: str = ""


@dataclass(frozen=True)
class Figures:
    """The figures of a report; None where there is nothing to draw."""

    curves: Drawn | None = None
    history: Drawn | None = None
    kinds: Drawn | None = None
    marginals: Drawn | None = None
    coordinates: Drawn | None = None
    overlays: Sequence[Overlay] | Failed = field(default_factory=tuple)


@dataclass(frozen=True)
class Page:
    """What every section is written from.

    Attributes:
        run: the content of `run.json`.
        trials: in the order of `leaderboard.ordered`.
        figures: those that were drawn.
        evidence: what the scores of single images say.
        called: what a reader calls each trial, by its identifier.
        varied: the fields of the configuration that differ between trials.
        failures: what failed so far.
    """

    run: Mapping[str, Any]
    trials: Sequence[TrialRecord]
    figures: Figures
    evidence: Evidence
    called: Mapping[str, str]
    varied: Sequence[str]
    failures: Failures


def picture(description: str, drawn: Drawn, photo: bool = False) -> Block:
    """Return a figure, or the sentence in its place."""
    return paragraph(drawn.sentence) if isinstance(drawn, Failed) else Picture(description, drawn, photo)


def rest(listed: Sequence[object], noun: str = "trial", file: str = "leaderboard.csv") -> list[Block]:
    """Return a paragraph on what a table of at most `MAX_ROWS` rows leaves out; nothing where it has all."""
    more = len(listed) - MAX_ROWS
    return [paragraph(f"{plural(more, f'more {noun}')} in ", Code(file), ".")] if more > 0 else []


def time_cell(record: TrialRecord) -> Cell:
    """Return how long the trial took."""
    seconds = total_seconds(record)
    return Cell(duration(seconds), seconds)


def epoch_cell(record: TrialRecord) -> str:
    """Return the best epoch and the budget, `12 of 35`; a dash without rows."""
    return f"{record.best_row['epoch']} of {setting(record, 'epochs')}" if record.best_row else MISSING


def run_epochs_cell(record: TrialRecord) -> str:
    """Return how many epochs were trained and the budget, `35 of 35`."""
    return f"{len(record.rows)} of {setting(record, 'epochs')}"
