"""Which trackers a run has, and that none of them can stop it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bts_tune.errors import ConfigError
from bts_tune.experiment.callbacks.trackers.base import TRACKERS, Tracker
from bts_tune.experiment.callbacks.tracking import Tracking, choose_trackers
from bts_tune.testing.trackers import RUN, planned, row


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    TRACKERS.all()  # what is imported later would be forgotten with it
    monkeypatch.setattr(TRACKERS, "_entries", dict(TRACKERS._entries))


@pytest.fixture
def memory() -> type[Tracker]:
    @TRACKERS.register("memory")
    class Memory(Tracker):
        def __init__(self) -> None:
            self.epochs: list[int] = []

        def log_epoch(self, trial: str, row: Mapping[str, Any]) -> None:
            self.epochs.append(row["epoch"])

    return Memory


def names(option: list[str] | None, space: list[str] | None) -> list[str]:
    return [tracker.name for tracker in choose_trackers(option, space, "mine.yaml")]


def test_the_option_comes_before_the_space_and_the_space_before_the_default(memory: type[Tracker]) -> None:
    assert names(None, None) == ["tensorboard"]
    assert names(None, ["memory"]) == ["memory"]
    assert names(["tensorboard", "memory", "tensorboard"], ["memory"]) == ["tensorboard", "memory"]
    assert names(["none"], ["memory"]) == names(None, []) == names(None, ["none"]) == names([], ["memory"]) == []


@pytest.mark.parametrize(
    ("option", "space", "sentence"),
    [
        (["neptune"], None, r"^--tracker: unknown tracker 'neptune'\. Allowed: .*tensorboard, .*, none\.$"),
        (None, ["aim"], r"^mine\.yaml: trackers: unknown tracker 'aim'\. Allowed: .*tensorboard, .*, none\.$"),
        (["none", "tensorboard"], None, r"^--tracker: 'none' cannot go with other trackers, got none, tensorboard\.$"),
    ],
)
def test_what_cannot_be_chosen(option: list[str] | None, space: list[str] | None, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        names(option, space)


def test_a_tracker_that_cannot_be_made_refuses_the_run() -> None:
    @TRACKERS.register("homesick")
    class Homesick(Tracker):
        def __init__(self) -> None:
            raise ModuleNotFoundError("No module named 'homesick_client'")

        def log_epoch(self, trial: str, row: Mapping[str, Any]) -> None: ...

    with pytest.raises(ConfigError, match=r"^tracker 'homesick': cannot be used: .*'homesick_client'\.$"):
        names(["homesick"], None)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SystemExit(3), ZeroDivisionError()])
@pytest.mark.parametrize("event", ["start_run", "location", "start_trial", "log_epoch", "end_trial", "end_run"])
def test_one_tracker_that_fails_leaves_the_others_alone(
    memory: type[Tracker], event: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, healthy = memory(), memory()

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(broken, event, fail)
    warnings: list[str] = []
    tracking = Tracking([broken, healthy], warnings.append)
    tracking.start_run(tmp_path, RUN)
    tracking.planned(planned("a"))
    tracking.started("a")
    for epoch in (1, 2):
        tracking.row("a", row("a", epoch))
    tracking.ended("a", "complete", "")
    tracking.end_run("complete")
    assert healthy.epochs == [1, 2]  # type: ignore[attr-defined]
    (warning,) = warnings
    assert warning.startswith("tracker 'memory' failed and is left out for the rest of the run: ")
    assert type(error).__name__ in warning


def test_a_second_ctrl_c_gets_through(memory: type[Tracker], monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = memory()
    monkeypatch.setattr(tracker, "log_epoch", lambda trial, row: (_ for _ in ()).throw(KeyboardInterrupt))
    tracking = Tracking([tracker], print)
    with pytest.raises(KeyboardInterrupt):
        tracking.row("a", row("a", 1))


def test_a_run_that_never_began_has_no_end(memory: type[Tracker], monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = memory()
    ended: list[str] = []
    monkeypatch.setattr(tracker, "end_run", ended.append)
    Tracking([tracker], print).end_run("failed")
    assert ended == []


def test_where_people_find_the_logs_is_told(memory: type[Tracker], tmp_path: Path) -> None:
    tracking = Tracking([memory(), *choose_trackers(None, None)], print)
    assert tracking.start_run(tmp_path, RUN) == [f"TensorBoard logs: {tmp_path / 'tensorboard'}"]
