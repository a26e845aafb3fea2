"""A run from its connected cluster to its end, beside what the tests of whole commands show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.experiment.conftest import Command


def test_a_run_that_is_refused_once_the_cluster_is_known_leaves_no_folder(
    command: Command, space_file: Callable[..., Path]
) -> None:
    arguments = command.run_arguments(space_file(), "refused", "--concurrent", "99")
    code, _, errors = command.here(*arguments)
    assert code == 2
    assert errors.startswith("bts-tune: error: --concurrent 99: ")
    assert not (command.folder / "results" / "refused").exists()
