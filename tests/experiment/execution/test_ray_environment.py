from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from bts_tune.errors import RunError
from bts_tune.experiment.execution.ray_environment import NO_CODE, environment_variables, isolated_start
from bts_tune.experiment.planning.options import RunOptions

OWN = RunOptions(space="baseline")

MEMORY_MONITOR, NICENESS = "RAY_memory_monitor_refresh_ms", "RAY_worker_niceness"


def test_variables_are_set_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    before = dict(os.environ)
    with environment_variables(OWN):
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        assert os.environ["OMP_WAIT_POLICY"]
    assert dict(os.environ) == before


def test_what_the_user_has_set_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MEMORY_MONITOR, "250")
    with environment_variables(OWN):
        assert os.environ[MEMORY_MONITOR] == "250"


def test_a_cluster_that_is_named_elsewhere_is_not_joined_by_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with environment_variables(OWN):
        assert "RAY_ADDRESS" not in os.environ
    with environment_variables(OWN, "auto"):
        assert os.environ["RAY_ADDRESS"] == "10.0.0.1:6379"


@pytest.mark.parametrize(("polite", "niceness"), [(False, "0"), (True, "15")])
def test_trials_have_the_priority_of_the_user_unless_they_are_to_be_polite(
    polite: bool, niceness: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(NICENESS, raising=False)
    with environment_variables(OWN.replaced(polite=polite)):
        assert os.environ[NICENESS] == niceness


def test_a_folder_whose_name_is_too_long_for_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 60) / ("y" * 60)
    long.mkdir(parents=True)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(long))
    with environment_variables(OWN):
        assert len(os.environ["RAY_TMPDIR"]) < 40
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    with (
        pytest.raises(RunError, match=r"^RAY_TMPDIR=.*too long for the paths of Ray's sockets"),
        environment_variables(OWN),
    ):
        pytest.fail("it was used")


def test_processes_start_in_a_folder_without_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with isolated_start():
        assert Path.cwd() == NO_CODE
        assert not list(NO_CODE.glob("*.py"))
        assert signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert Path.cwd() == tmp_path
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
