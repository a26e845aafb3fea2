"""What every tracker must do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bts_tune.config import TrialConfig
from bts_tune.experiment.callbacks.trackers.base import TRACKERS, Tracker
from bts_tune.experiment.callbacks.tracking import Tracking
from bts_tune.experiment.planning.plan import PlannedTrial
from bts_tune.testing.runs import make_run, write_run

RUN = {
    "run": "fabricated",
    "command": ["bts-tune", "--space", "small"],
    "status": "running",
    "profile": "data",
    "dataset": {"path": "slices", "fingerprint": "f"},
    "space": {"name": "small"},
    "options": {"space": "small"},
}
"""As much of a `run.json` as a tracker may count on."""


def planned(trial: str, *, recorded: int = 0) -> PlannedTrial:
    """Return a planned trial of which so many epochs are on record."""
    return PlannedTrial(trial, trial, 0, False, TrialConfig.parse({"epochs": 9}), recorded=recorded)


def row(trial: str, epoch: int) -> dict[str, Any]:
    """Return the row of an epoch; a metric that is not defined on the data is None."""
    return {
        "trial": trial,
        "epoch": epoch,
        "train_loss": 1.0 / epoch,
        "val_dice_loss": 0.9 / epoch,
        "val_iou": 0.5,
        "val_empty_false_positive_rate": None,
        "best_val_dice_loss": 0.9 / epoch,
        "best_epoch": epoch,
        "learning_rate": 1e-3,
        "seconds": 1.5,
    }


class TrackerContract:
    """Inherit it, and name the tracker: `name = "my-tracker"`.

    Override `logged` where a test can read what the tracker has written, `prepare` where it needs something to be
    there first, and `break_back_end` where its back end can be made to fail.
    """

    name: ClassVar[str]

    def prepare(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make what the tracker needs, such as an address that leads to a folder of the test."""

    def logged(self, folder: Path, trial: str) -> list[tuple[int, float]] | None:
        """Return (epoch, val_dice_loss) of all that was logged of a trial, in order; None where nobody can tell."""
        return None

    def break_back_end(self, tracker: Tracker, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make the next epoch's logging fail."""

        def fail(trial: str, row: Mapping[str, Any]) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(tracker, "log_epoch", fail)

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The folder of a run."""
        folder = tmp_path / "run"
        write_run(folder, [], make_run(run=folder.name))
        self.prepare(folder, monkeypatch)
        return folder

    def tracking(self, tracker: Tracker, warnings: list[str]) -> Tracking:
        """Return what a run tells its trackers by."""
        return Tracking([tracker], warnings.append)

    def make(self) -> Tracker:
        """Return a new instance, as each invocation of a run makes one."""
        tracker: Tracker = TRACKERS.get(self.name)()
        return tracker

    def play(
        self, tracker: Tracker, folder: Path, *, trials: Iterable[str] = ("a", "b"), first: int = 1, last: int = 3
    ) -> list[str]:
        """Tell a tracker of a whole run, its trials side by side, and return the warnings."""
        warnings: list[str] = []
        tracking = self.tracking(tracker, warnings)
        tracking.start_run(folder, RUN)
        for trial in trials:
            tracking.planned(planned(trial, recorded=first - 1))
            tracking.started(trial)
        for epoch in range(first, last + 1):
            for trial in trials:
                tracking.row(trial, row(trial, epoch))
        for trial in trials:
            tracking.ended(trial, "complete", "")
        tracking.end_run("complete")
        tracking.report_written(folder)
        return warnings

    def test_it_is_declared(self) -> None:
        """By the name that a run chooses it with."""
        tracker = self.make()
        assert isinstance(tracker, Tracker)
        assert tracker.name == self.name

    def test_a_whole_run_is_logged_without_a_warning(self, folder: Path) -> None:
        """Its trials side by side; metrics may be None."""
        assert self.play(self.make(), folder) == []
        for trial in ("a", "b"):
            found = self.logged(folder, trial)
            if found is not None:
                assert [epoch for epoch, _ in found] == [1, 2, 3]
                assert [value for _, value in found] == pytest.approx([0.9, 0.45, 0.3])

    def test_every_event_comes_once_and_in_order(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A second attempt at a trial is no second start, and what still runs is ended before the run."""
        tracker, seen = self.make(), []
        for event in ("start_run", "start_trial", "log_epoch", "end_trial", "end_run", "report_written"):
            method = getattr(tracker, event)

            def spy(*given: Any, event: str = event, method: Any = method) -> None:
                seen.append((event, *given))
                method(*given)

            monkeypatch.setattr(tracker, event, spy)
        warnings: list[str] = []
        tracking = self.tracking(tracker, warnings)
        tracking.start_run(folder, RUN)
        trial = planned("a")
        tracking.planned(trial)
        tracking.started("a")
        tracking.row("a", row("a", 1))
        tracking.retried("a", "its process was killed")
        tracking.started("a")
        tracking.lost("a", 1, 1, "its checkpoint is missing")
        tracking.row("a", row("a", 1))
        tracking.planned(planned("b", recorded=4))
        tracking.started("b")
        tracking.ended("a", "stopped", "behind the other trials")
        tracking.end_run("interrupted")
        tracking.report_written(folder)
        assert seen == [
            ("start_run", folder, RUN),
            ("start_trial", "a", trial.config.to_dict(), 0),
            ("log_epoch", "a", row("a", 1)),
            ("log_epoch", "a", row("a", 1)),
            ("start_trial", "b", trial.config.to_dict(), 4),
            ("end_trial", "a", "stopped", "behind the other trials"),
            ("end_trial", "b", "interrupted", "the run ended before the trial did"),
            ("end_run", "interrupted"),
            ("report_written", folder),
        ]
        assert warnings == []

    def test_a_back_end_that_fails_is_one_warning_and_stops_nothing(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The tracker is left out for the rest of the run."""
        tracker = self.make()
        self.break_back_end(tracker, folder, monkeypatch)
        (warning,) = self.play(tracker, folder)
        assert repr(self.name) in warning
        assert "\n" not in warning

    def test_a_run_that_goes_on_adds_to_what_is_logged(self, folder: Path) -> None:
        """By another instance, in another process; a trial that is new to it begins at its first epoch."""
        assert self.play(self.make(), folder, trials=["a"], last=2) == []
        assert self.play(self.make(), folder, trials=["a"], first=3, last=4) == []
        found = self.logged(folder, "a")
        if found is not None:
            assert [epoch for epoch, _ in found] == [1, 2, 3, 4]

    def test_a_trial_that_ends_without_an_epoch(self, folder: Path) -> None:
        """As one does whose model does not fit into memory."""
        assert self.play(self.make(), folder, trials=["a"], last=0) == []
        assert not self.logged(folder, "a")
