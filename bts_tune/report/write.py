"""Writing a run's report into its folder, from the record alone: CSV, Markdown, HTML and figures."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bts_tune.errors import RunError
from bts_tune.report.context import Figures, Overlay
from bts_tune.report.document import document
from bts_tune.report.failures import Failed, Failures
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
    """The files that `write_report` wrote, but for those that failed: a sentence names all that did."""

    leaderboard: Path
    configurations: Path
    epochs: Path
    report: Path
    page: Path
    figures: tuple[Path, ...]
    failed: str | None


def write_report(folder: RunFolder, trials: Sequence[TrialRecord] | None = None) -> ReportFiles:
    """Write `leaderboard.csv`, `configurations.csv`, `epochs.csv`, `figures/*.png`, `report.md` and `report.html` anew.

    Each is written whole or not at all. The same record gives the same bytes of CSV, Markdown and HTML, wherever the
    folder lies. Figures of an earlier report that this one does not show are removed. A file, figure or section that
    fails costs no other: the report names it.

    Args:
        folder: the run.
        trials: its trials, where they have been read already.

    Raises:
        RunError: the record cannot be read, or a table or page cannot be written.
    """
    run = folder.read_run()
    trials = FrozenTrials(folder.trials() if trials is None else trials)
    failures = Failures()

    def write(name: str, make: Callable[[], str]) -> Path:
        path = folder.path / name
        made = failures.attempt(f"The file {name}", lambda: make().encode())
        try:
            if isinstance(made, Failed):
                # One of an earlier report would be taken for this one's.
                path.unlink(missing_ok=True)
            else:
                write_atomically(path, made)
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror}.") from None
        return path

    of_trials = write("leaderboard.csv", lambda: to_csv(leaderboard(trials), run))
    of_epochs = write("epochs.csv", lambda: to_csv(epochs_table(trials), run))
    found = failures.attempt("The comparison image by image", lambda: gather(folder, trials))
    evidence = Evidence(failed=found.sentence) if isinstance(found, Failed) else found
    of_configurations = write("configurations.csv", lambda: to_csv(configurations_table(trials, evidence), run))
    shown, pictures = _draw(folder, run, trials, evidence, failures)
    drawn = tuple(folder.path / path for path in pictures)
    content = functools.cache(lambda: document(run, trials, shown, evidence, failures))
    text = write("report.md", lambda: to_markdown(content()))
    page = write("report.html", lambda: to_html(content(), pictures))
    # At the end: where the new pages cannot be written, the old ones still show the old figures.
    failures.attempt("The removal of earlier figures", lambda: _remove_stale(folder.path / "figures", drawn))
    return ReportFiles(
        leaderboard=of_trials,
        configurations=of_configurations,
        epochs=of_epochs,
        report=text,
        page=page,
        figures=drawn,
        failed=failures.sentence,
    )


def _draw(
    folder: RunFolder, run: Mapping[str, Any], trials: Sequence[TrialRecord], evidence: Evidence, failures: Failures
) -> tuple[Figures, dict[str, bytes]]:
    """Draw and write the figures of the report; return them, and the PNG of each by its path within the run folder."""
    warnings = tags(run)
    pictures: dict[str, bytes] = {}

    def draw(name: str, make: Callable[[], bytes | None]) -> str | Failed | None:
        path = f"figures/{name}.png"

        def write() -> str | None:
            png = make()
            if png is None:
                return None
            write_atomically(folder.path / path, png)
            pictures[path] = png
            return path

        return failures.attempt(f"The figure {name}", write)

    def predictions() -> list[Overlay]:
        called = names(trials)
        overlays = []
        for record in _shown(trials):
            try:
                samples = read_samples(folder.samples_file(record.trial))
            except RunError as error:
                overlays.append(Overlay(record, None, str(error)))
                continue
            title = f"Predictions of {with_role(called[record.trial], record)}"
            file = draw(f"predictions-{record.trial}", functools.partial(overlay, samples, title, warnings))
            overlays.append(Overlay(record, file))
        return overlays

    shown = Figures(
        curves=draw("learning_curves", lambda: learning_curves(trials, warnings)),
        history=draw("search_history", lambda: search_history(trials, warnings, gpus_per_trial(run))),
        kinds=draw("kinds_of_images", lambda: kinds_figure(trials, evidence, warnings)),
        marginals=draw("marginals", lambda: marginal_plots(trials, run, warnings)),
        coordinates=draw("parallel_coordinates", lambda: parallel_coordinates(trials, run, warnings)),
        overlays=failures.attempt("The figures of predictions", predictions),
    )
    return shown, pictures


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
