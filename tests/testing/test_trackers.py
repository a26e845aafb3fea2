"""A tracker that breaks the contract is found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bts_tune.experiment.callbacks.trackers.base import TRACKERS, Tracker
from bts_tune.testing.trackers import TrackerContract


class FragileContract(TrackerContract):
    name = "fragile"


@pytest.fixture
def fragile() -> Iterator[TrackerContract]:
    @TRACKERS.register("fragile")
    class Fragile(Tracker):
        """Cannot log a metric that is None."""

        def log_epoch(self, trial: str, row: Mapping[str, Any]) -> None:
            for value in row.values():
                if not isinstance(value, str):
                    float(value)

    yield FragileContract()
    del TRACKERS._entries["fragile"]


def test_what_is_wrong_is_found(fragile: TrackerContract, tmp_path: Path) -> None:
    fragile.test_it_is_declared()
    with pytest.raises(AssertionError):
        fragile.test_a_whole_run_is_logged_without_a_warning(tmp_path)
