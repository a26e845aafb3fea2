"""Writing a run's report into its folder, from the record alone: CSV, Markdown, HTML and figures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bts_tune.errors import RunError
from bts_tune.report.context import Figures, Overlay
from bts_tune.report.document import document
from bts_tune.report.figures.hyperparameters import marginal_plots, parallel_coordinates
from bts_tune.report.figures.learning_curves import learning_curves
from bts_tune.report.figures.predictions import overlay, read_samples
from bts_tune.report.figures.search_history import search_history
from bts_tune.report.render.csv import to_csv
from bts_tune.report.render.html import to_html
from bts_tune.report.render.markdown import to_markdown
from bts_tune.report.sections.image_kinds import kinds_figure
from bts_tune.results.comparison import Evidence, gather
from bts_tune.results.files import write_atomically
from bts_tune.results.leaderboard import best_baselines, ranking
from bts_tune.results.memo import FrozenTrials
from bts_tune.results.naming import names, with_role
from bts_tune.results.resources import gpus_per_trial
from bts_tune.results.run_folder import RunFolder, TrialRecord
from bts_tune.results.tables import configurations_table, epochs_table, leaderboard
from bts_tune.results.warnings import tags


@dataclass(frozen=True)
class ReportFiles:
    """The files that `write_report` wrote."""

    leaderboard: Path
    configurations: Path
    epochs: Path
    report: Path
    page: Path
    figures: tuple[Path, ...]


def write_report(folder: RunFolder, trials: Sequence[TrialRecord] | None = None) -> ReportFiles:
    """Write `leaderboard.csv`, `configurations.csv`, `epochs.csv`, `figures/*.png`, `report.md` and `report.html` anew.

    Each is written whole or not at all. The same record gives the same bytes of CSV, Markdown and HTML, wherever the
    folder lies. Figures of an earlier report that this one does not show are removed.

    Args:
        folder: the run.
        trials: its trials, where they have been read already.

    Raises:
        RunError: the record cannot be read, or a file cannot be written.
    """
    run = folder.read_run()
    trials = FrozenTrials(folder.trials() if trials is None else trials)
    target = folder.path / "leaderboard.csv"
    try:
        write_atomically(target, to_csv(leaderboard(trials), run))
        target = folder.path / "epochs.csv"
        write_atomically(target, to_csv(epochs_table(trials), run))
        evidence = gather(folder, trials)
        target = folder.path / "configurations.csv"
        write_atomically(target, to_csv(configurations_table(trials, evidence), run))
        target = folder.path / "figures"
        shown, pictures = _draw(folder, run, trials, evidence)
        for path, png in pictures.items():
            write_atomically(folder.path / path, png)
        _remove_stale(folder.path / "figures", [folder.path / path for path in pictures])
        content = document(run, trials, shown, evidence)
        target = folder.path / "report.md"
        write_atomically(target, to_markdown(content))
        target = folder.path / "report.html"
        write_atomically(target, to_html(content, pictures))
    except OSError as error:
        raise RunError(f"{target}: cannot be written: {error.strerror}.") from None
    return ReportFiles(
        leaderboard=folder.path / "leaderboard.csv",
        configurations=folder.path / "configurations.csv",
        epochs=folder.path / "epochs.csv",
        report=folder.path / "report.md",
        page=folder.path / "report.html",
        figures=tuple(folder.path / path for path in pictures),
    )


def _draw(
    folder: RunFolder, run: Mapping[str, Any], trials: Sequence[TrialRecord], evidence: Evidence
) -> tuple[Figures, dict[str, bytes]]:
    """Return the figures of the report, and the PNG of each by its path within the run folder."""
    warnings = tags(run)
    drawings = {
        "figures/learning_curves.png": learning_curves(trials, warnings),
        "figures/search_history.png": search_history(trials, warnings, gpus_per_trial(run)),
        "figures/kinds_of_images.png": kinds_figure(trials, evidence, warnings),
        "figures/marginals.png": marginal_plots(trials, run, warnings),
        "figures/parallel_coordinates.png": parallel_coordinates(trials, run, warnings),
    }
    curves, history, kinds, marginals, coordinates = (path if png else None for path, png in drawings.items())
    pictures = {path: png for path, png in drawings.items() if png}
    called = names(trials)
    overlays = []
    for record in _shown(trials):
        try:
            samples = read_samples(folder.samples_file(record.trial))
        except RunError as error:
            overlays.append(Overlay(record, None, str(error)))
            continue
        path = f"figures/predictions-{record.trial}.png"
        pictures[path] = overlay(samples, f"Predictions of {with_role(called[record.trial], record)}", warnings)
        overlays.append(Overlay(record, path))
    return Figures(curves, history, kinds, marginals, coordinates, overlays), pictures


def _shown(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The best trial, then the best seed of every baseline."""
    best = ranking(trials)[:1]
    return best + [record for record in best_baselines(trials) if record not in best]


def _remove_stale(figures: Path, drawn: Iterable[Path]) -> None:
    kept = set(drawn)
    fixed = ("learning_curves", "search_history", "kinds_of_images", "marginals", "parallel_coordinates")
    for pattern in (*(f"{name}.png" for name in fixed), "predictions-*.png"):
        for file in figures.glob(pattern):
            if file not in kept:
                with contextlib.suppress(FileNotFoundError):
                    file.unlink()
