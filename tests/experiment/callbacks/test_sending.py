"""Sending a run that is there already to a tracker that was not there: names that cannot be sent to.

What is sent, and again, is tested beside the trackers: tests/experiment/callbacks/trackers.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.errors import ConfigError
from bts_tune.experiment.callbacks.sending import send_run
from tests.experiment.callbacks.trackers.services import small_run


def test_a_tracker_that_is_no_service_cannot_be_sent_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--to tensorboard: .* Allowed: mlflow, trackio, wandb\.$"):
        send_run(small_run(tmp_path / "mine"), "tensorboard")


def test_an_unknown_tracker_is_refused_and_the_known_ones_are_named(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "mine")
    with pytest.raises(ConfigError, match=r"^--to: unknown tracker 'mlfow'\. Allowed: .*mlflow"):
        send_run(folder, "mlfow")
    assert not (folder.path / "trackers").exists()
