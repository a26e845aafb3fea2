"""Writing a run's report into its folder, from the record alone: CSV, Markdown, HTML and figures."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bts_tune.errors import RunError
from bts_tune.report.blocks import PICTURE_PATH, Picture
from bts_tune.report.context import ReportContext
from bts_tune.report.document import document
from bts_tune.report.failures import Failed, Failures
from bts_tune.report.live import GOES_ON
from bts_tune.report.render.csv import epochs_csv, to_csv
from bts_tune.report.render.html import to_html
from bts_tune.report.render.markdown import to_markdown
from bts_tune.results.listing import run_state
from bts_tune.results.ranking.memo import FrozenTrials
from bts_tune.results.record.files import write_atomically, write_parts_atomically
from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.results.statistics.comparison import Comparison, compare_configurations
from bts_tune.results.tables import configurations_table, leaderboard

_SHOWN_PICTURE = re.compile(rf"^!\[.*\]\(({PICTURE_PATH.pattern})\)$", re.MULTILINE)


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
        return write_parts(name, lambda: [make().encode()])

    def write_parts(name: str, make: Callable[[], Iterable[bytes]]) -> Path:
        path = folder.path / name
        found = failures.attempt(f"The file {name}", lambda: _try_to_write(path, make()))
        try:
            if isinstance(found, OSError):
                raise found
            if isinstance(found, Failed):
                # One of an earlier report would be taken for this one's.
                path.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror}.") from None
        return path

    earlier = failures.attempt("The list of earlier figures", lambda: _shown_pictures(folder.path / "report.md"))
    of_trials = write("leaderboard.csv", lambda: to_csv(leaderboard(trials), run))
    of_epochs = write_parts("epochs.csv", lambda: epochs_csv(trials, run))
    found = failures.attempt("The comparison image by image", lambda: compare_configurations(folder, trials))
    comparison = Comparison(failed=found.sentence) if isinstance(found, Failed) else found
    of_configurations = write("configurations.csv", lambda: to_csv(configurations_table(trials, comparison), run))
    figures: dict[str, bytes] = {}

    def save(picture: Picture) -> None:
        if figures.get(picture.path, picture.png) != picture.png:
            raise ValueError(f"another figure is {picture.path}")
        write_atomically(folder.path / picture.path, picture.png)
        figures[picture.path] = picture.png

    context = ReportContext.of(folder, run, trials, comparison, failures)
    content = functools.cache(lambda: document(context, save, live=_live(folder, run)))
    text = write("report.md", lambda: to_markdown(content()))
    page = write("report.html", lambda: to_html(content()))
    # At the end: where the new pages cannot be written, the old ones still show the old figures.
    if not isinstance(earlier, Failed):
        for path in sorted(earlier - figures.keys()):
            removal = functools.partial((folder.path / path).unlink, missing_ok=True)
            failures.attempt("The removal of an earlier figure", removal)
    return ReportFiles(
        leaderboard=of_trials,
        configurations=of_configurations,
        epochs=of_epochs,
        report=text,
        page=page,
        figures=tuple(folder.path / path for path in figures),
        failed=failures.sentence,
    )


def _try_to_write(path: Path, parts: Iterable[bytes]) -> OSError | None:
    """Write a file; return why it cannot be written, which is no failure of what makes its parts."""
    try:
        write_parts_atomically(path, parts)
    except OSError as error:
        return error
    return None


def write_page(folder: RunFolder) -> Path:
    """Write `report.html` alone, which leaves all other files of the report as they are, and return its path.

    Raises:
        RunError: the record cannot be read, or the page cannot be written.
    """
    run, trials, failures = folder.read_run(), FrozenTrials(folder.trials()), Failures()
    found = failures.attempt("The comparison image by image", lambda: compare_configurations(folder, trials))
    comparison = Comparison(failed=found.sentence) if isinstance(found, Failed) else found
    context = ReportContext.of(folder, run, trials, comparison, failures)
    path = folder.path / "report.html"
    try:
        write_atomically(path, to_html(document(context, live=_live(folder, run))))
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}.") from None
    return path


def _live(folder: RunFolder, run: Mapping[str, Any]) -> str:
    """Return what the page of a run says that goes on; nothing for one that has ended, in whatever way."""
    # Runs of an earlier version do not tell whose process they are.
    goes_on = run_state(folder, run) == "running" and (folder.path / "owner.json").is_file()
    return f"{GOES_ON} Written at {datetime.now():%H:%M}." if goes_on else ""


def _shown_pictures(report: Path) -> set[str]:
    """Return the paths of the figures that an earlier report shows; none where there is no report."""
    try:
        return set(_SHOWN_PICTURE.findall(report.read_text(encoding="utf-8", errors="replace")))
    except FileNotFoundError:
        return set()
