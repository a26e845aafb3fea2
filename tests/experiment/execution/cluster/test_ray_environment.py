from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bts_tune.errors import RunError
from bts_tune.experiment.execution.cluster.ray_environment import NO_CODE, environment_variables, isolated_start
from bts_tune.experiment.planning.options import RunOptions

OWN = RunOptions(space="baseline")

MEMORY_MONITOR, NICENESS = "RAY_memory_monitor_refresh_ms", "RAY_worker_niceness"
IN_ADVANCE = "RAY_prestart_worker_first_driver"


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


def test_a_ray_of_the_run_s_own_starts_no_process_before_there_is_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(IN_ADVANCE, raising=False)
    with environment_variables(OWN):
        assert os.environ[IN_ADVANCE] == "0"
    with environment_variables(OWN, "10.0.0.1:6379"):
        assert IN_ADVANCE not in os.environ
    monkeypatch.setenv(IN_ADVANCE, "1")
    with environment_variables(OWN):
        assert os.environ[IN_ADVANCE] == "1"


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


_TELL_TOKEN = """
import sys
from pathlib import Path
from bts_tune.experiment.execution.cluster.ray_environment import environment_variables
from bts_tune.experiment.planning.options import RunOptions

options = RunOptions(space="baseline")
print("ready", flush=True)
sys.stdin.readline()
with environment_variables(options):
    print((Path.home() / ".ray" / "auth_token").read_text())
"""


def test_runs_that_begin_at_once_have_one_token(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    environment["HOME"] = str(tmp_path)
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", _TELL_TOKEN],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("\n")
        run.stdin.flush()
    tokens = {run.communicate(timeout=60)[0].strip() for run in runs}
    file = tmp_path / ".ray" / "auth_token"
    assert tokens == {file.read_text()}
    assert len(file.read_text()) == 64
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(file.parent) == ["auth_token"]
