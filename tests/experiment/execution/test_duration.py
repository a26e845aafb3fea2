"""How long a run takes here: told of this machine alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from bts_tune.experiment.execution.duration import duration_here, this_machine
from bts_tune.experiment.execution.nodes.resources import allocate, this_node
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.space import load_space
from bts_tune.training.speed import Speed, keep_speed

SPLITS = [(100, 20)]


def options(tmp_path: Path, **given: object) -> RunOptions:
    return RunOptions.parse({"space": "baseline", "cache": str(tmp_path), **given})


def test_nothing_is_known_where_nothing_was_timed(tmp_path: Path) -> None:
    space = load_space("baseline").resolve()
    assert duration_here(space, SPLITS, options(tmp_path), Console(quiet=True), timed=False) is None


@pytest.mark.parametrize("asked", [{}, {"memory_per_trial": 0.5}])
def test_memory_of_a_trial_leaves_the_time_known(tmp_path: Path, asked: dict[str, float]) -> None:
    space = load_space("baseline").resolve()
    given = options(tmp_path, cpus_per_trial=1, **asked)
    machine = this_machine(allocate(given, nodes=[this_node()], trials=1))
    for trial in space.named:
        keep_speed(trial.config, machine, Speed(0.1, 0.1), tmp_path)
    found = duration_here(space, SPLITS, given, Console(quiet=True), timed=False)
    assert found is not None
    assert found.seconds > 0


def test_of_resources_that_this_machine_lacks_nothing_is_told(tmp_path: Path) -> None:
    """A dry run may be for another machine."""
    space = load_space("baseline").resolve()
    asked = options(tmp_path, cpus_per_trial=4096)
    assert duration_here(space, SPLITS, asked, Console(quiet=True), timed=True) is None
