"""What the sections of a report are written from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bts_tune.report.blocks import Block, Picture, Plot, paragraph
from bts_tune.report.failures import Failed, Failures
from bts_tune.results.ranking.leaderboard import ordered
from bts_tune.results.ranking.memo import FrozenTrials
from bts_tune.results.ranking.naming import names
from bts_tune.results.ranking.settings import varied_fields
from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.results.statistics.comparison import Comparison
from bts_tune.results.warnings import tags


@dataclass(frozen=True)
class ReportContext:
    """What every section is written from; make one with `of`.

    Attributes:
        folder: the run folder, for files that the record does not have, such as samples.
        run: the content of `run.json`.
        trials: in the order of `leaderboard.ordered`.
        comparison: of the configurations, by the scores of single images.
        names: what a reader calls each trial, by its identifier.
        varied: the fields of `TrialConfig` that differ between trials.
        tags: short warnings, such as that the run is a demo, which stand above every figure.
        failures: the parts of the report that failed so far.
    """

    folder: RunFolder
    run: Mapping[str, Any]
    trials: Sequence[TrialRecord]
    comparison: Comparison
    names: Mapping[str, str]
    varied: Sequence[str]
    tags: Sequence[str]
    failures: Failures = field(default_factory=Failures, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        folder: RunFolder,
        run: Mapping[str, Any],
        trials: Sequence[TrialRecord],
        comparison: Comparison | None = None,
        failures: Failures | None = None,
    ) -> ReportContext:
        """Return the context of a run.

        Args:
            folder: the run.
            run: the content of `run.json`.
            trials: its trials, in any order.
            comparison: of its configurations; without one there are no intervals.
            failures: what failed before.
        """
        listed = FrozenTrials(ordered(trials))
        return cls(
            folder=folder,
            run=run,
            trials=listed,
            comparison=comparison or Comparison(),
            names=names(listed),
            varied=varied_fields(listed),
            tags=tags(run),
            failures=Failures() if failures is None else failures,
        )

    def picture(
        self,
        description: str,
        name: str,
        draw: Callable[[], bytes | None],
        *,
        photo: bool = False,
        plot: Callable[[], Plot | None] = lambda: None,
    ) -> Iterator[Block]:
        """Yield a figure; nothing where there is nothing to draw. One that fails costs itself alone.

        Args:
            description: what it shows, for readers who do not see it.
            name: of its file, `figures/<name>.png`.
            draw: returns it as PNG, or None where there is nothing to draw.
            photo: whether it shows slices; see `Picture`.
            plot: returns what stands in its place where it can be explored, if anything does.
        """
        drawn = self.failures.attempt(f"The figure {name}", draw)
        if isinstance(drawn, Failed):
            yield paragraph(drawn.sentence)
        elif drawn is not None:
            explored = self.failures.attempt(f"The plot {name}", plot)
            if isinstance(explored, Failed):
                yield paragraph(explored.sentence)
                explored = None
            yield Picture(description, f"figures/{name}.png", drawn, photo, explored)
