"""How long a run takes here: told of this machine alone."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bts_tune.experiment.execution.duration import duration_here
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.space import load_space

SPLITS = [(100, 20)]


def options(tmp_path: Path, **given: object) -> RunOptions:
    return RunOptions.parse({"space": "baseline", "cache": str(tmp_path), **given})


def test_nothing_is_known_where_nothing_was_timed(tmp_path: Path) -> None:
    space = load_space("baseline").resolve()
    assert duration_here(space, SPLITS, options(tmp_path), Console(quiet=True), timed=False) is None


def test_of_resources_that_this_machine_lacks_nothing_is_told(tmp_path: Path) -> None:
    """A dry run may be for another machine."""
    space = load_space("baseline").resolve()
    asked = options(tmp_path, cpus_per_trial=4096)
    assert duration_here(space, SPLITS, asked, Console(quiet=True), timed=True) is None
