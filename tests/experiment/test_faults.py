"""Trials, nodes, clusters and disks that fail under a run: real processes, real signals, real file systems."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from tests.experiment import faulty
from tests.experiment.conftest import Command, Watched

LONG = 1800
"""Seconds that a run of the command may take on a busy machine."""


def epochs(record: TrialRecord) -> list[int]:
    return [row["epoch"] for row in record.rows]


def written_rows(folder: RunFolder) -> Counter[tuple[str, int]]:
    """How often the record's own file has each row, before anything is made of it."""
    lines = [json.loads(line) for line in folder.rows_file.read_text().splitlines()]
    return Counter((line["trial"], line["epoch"]) for line in lines)


def wait_for(what: Any, process: subprocess.Popen[str], seconds: float = 300) -> Any:
    """Wait until `what()` is true and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        if process.poll() is not None:
            pytest.fail(f"the run ended early: {process.communicate()}")
        time.sleep(0.1)
    pytest.fail(f"waited for {seconds} s in vain")


@pytest.mark.slow
@pytest.mark.timeout(LONG)
def test_each_fault_of_a_process_is_survived_once_and_reported_when_it_lasts(command: Command, tmp_path: Path) -> None:
    command.environment, marks = faulty.environment(tmp_path)
    names = ["plain", "killed-once", "oom-once", "device-once"]
    names += ["killed", "segfault", "exit", "sysexit", "raises", "oom", "memory"]
    space = faulty.space(tmp_path, *names)
    arguments = command.run_arguments(space, "faults", "--concurrent", "2", "--max-failures", "1")
    code, _, errors = command(*arguments, timeout=LONG)
    assert code == 1, errors
    folder = command.record("faults")
    trials = {record.trial: record for record in folder.trials()}

    for name in ("plain", "killed-once", "oom-once", "device-once"):
        assert trials[name].status == "complete", trials[name].reason
        assert epochs(trials[name]) == [1, 2, 3]
    assert trials["plain"].retries == []
    assert set(written_rows(folder).values()) == {1}, "an epoch was recorded twice"
    columns = ("val_dice_loss", "val_iou", "train_loss")
    for name in ("killed-once", "oom-once", "device-once"):
        same = [[row[column] for column in columns] for row in trials[name].rows]
        assert same == [[row[column] for column in columns] for row in trials["plain"].rows]

    def attempts(name: str) -> int:
        return len((marks / name).read_text().split())

    ended = {name: trials[name] for name in ("killed", "segfault", "exit", "sysexit")}
    for name, record in ended.items():
        assert (record.status, epochs(record), attempts(name)) == ("failed", [1], 2)
        assert len(record.retries) == 1
        assert "(2 attempts)" in record.reason
    assert "killed or crashed" in ended["killed"].reason
    assert "exit code 7" in ended["sysexit"].reason
    assert "memory access" in trials["device-once"].retries[0]
    assert (trials["raises"].status, attempts("raises")) == ("failed", 1), "it would only happen again"
    assert "a matrix that cannot be inverted" in trials["raises"].reason
    assert (trials["oom"].status, attempts("oom")) == ("oom", 2)
    assert "out of GPU memory with batch_size 8" in trials["oom"].reason
    assert (trials["memory"].status, attempts("memory")) == ("oom", 2)
    assert "out of memory with batch_size 8" in trials["memory"].reason
    report = (folder.path / "report.md").read_text()
    for name in (*ended, "oom", "raises"):
        assert trials[name].reason in report
    assert not list((folder.path / "models").rglob("last.pt"))


@pytest.mark.slow
@pytest.mark.timeout(LONG)
def test_a_trial_that_hangs_is_ended_and_tried_again(command: Command, tmp_path: Path) -> None:
    command.environment, marks = faulty.environment(tmp_path)
    space = faulty.space(tmp_path, "hung", "stopped-once", "plain")
    arguments = command.run_arguments(space, "hung", "--concurrent", "2", "--trial-timeout", "60s")
    code, _, errors = command(*arguments, "--max-failures", "1", timeout=LONG)
    assert code == 1, errors
    trials = {record.trial: record for record in command.record("hung").trials()}
    assert trials["plain"].status == trials["stopped-once"].status == "complete"
    assert trials["stopped-once"].retries == ["no epoch within 60 s"]
    assert epochs(trials["stopped-once"]) == [1, 2, 3]
    assert trials["hung"].status == "failed"
    assert trials["hung"].reason == "no epoch within 60 s (2 attempts)"
    for name in ("hung", "stopped-once"):
        for process in (marks / name).read_text().split():
            assert not Path(f"/proc/{process}").exists(), "the process is still there"


def test_a_killed_trial_goes_on_from_its_checkpoint(with_bad_trials: Watched) -> None:
    folder = with_bad_trials.folder
    (record,) = [one for one in folder.trials() if one.trial == "killed-once"]
    assert (record.status, epochs(record), len(record.retries)) == ("complete", [1, 2, 3], 1)
    assert set(written_rows(folder).values()) == {1}
    assert "killed-once: tried again: its process was killed or crashed" in with_bad_trials.output
    assert "its process was killed or crashed" in (folder.path / "report.md").read_text()


@pytest.mark.slow
@pytest.mark.timeout(LONG)
@pytest.mark.parametrize("server", ["gcs_server", "raylet"])
def test_a_cluster_that_is_gone_ends_the_run_in_a_sentence(command: Command, tmp_path: Path, server: str) -> None:
    command.environment, _ = faulty.environment(tmp_path)
    space = faulty.space(tmp_path, "slow", "slow-too", epochs=40)
    process = command.start(*command.run_arguments(space, "lost", "--concurrent", "2"))
    rows = command.folder / "results" / "lost" / "rows.jsonl"
    wait_for(lambda: rows.exists() and rows.read_bytes().count(b"\n") >= 2, process)
    (killed,) = faulty.processes(server, process.pid)
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert time.monotonic() - began < 90
    (sentence,) = [line for line in errors.splitlines() if line.startswith("bts-tune: error:")]
    assert "the Ray cluster is gone" in sentence
    assert sentence.endswith("bts-tune --resume results/lost")
    assert "Traceback" not in errors
    folder = command.record("lost")
    assert all(epochs(record) == list(range(1, len(record.rows) + 1)) for record in folder.trials())
    code, _, errors = command("--resume", "lost", "--no-dashboard", timeout=LONG)
    assert code == 0, errors
    assert [epochs(record) for record in folder.trials()] == [list(range(1, 41))] * 2
    assert set(written_rows(folder).values()) == {1}


@pytest.mark.slow
@pytest.mark.timeout(LONG)
def test_a_trial_whose_node_leaves_goes_on_elsewhere(command: Command, tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    command.environment, _ = faulty.environment(tmp_path)
    space = faulty.space(tmp_path, "slow", epochs=40)
    os.environ.update(PYTHONPATH=os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        first = cluster.add_node(num_cpus=1)
        arguments = command.run_arguments(space, "moved", "--concurrent", "1", "--address", cluster.address)
        process = command.start(*arguments)
        rows = command.folder / "results" / "moved" / "rows.jsonl"
        wait_for(lambda: rows.exists() and rows.read_bytes().count(b"\n") >= 2, process)
        cluster.add_node(num_cpus=1)
        cluster.remove_node(first, allow_graceful=False)
        _, errors = process.communicate(timeout=LONG)
        assert process.returncode == 0, errors
    finally:
        cluster.shutdown()
    folder = command.record("moved")
    (record,) = folder.trials()
    assert (record.status, epochs(record)) == ("complete", list(range(1, 41)))
    assert len(record.retries) == 1
    assert set(written_rows(folder).values()) == {1}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(mounted)], capture_output=True)
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.decode().strip()}")
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def fill(disk: Path) -> Path:
    """Fill a file system to the last byte."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
    return ballast


@pytest.mark.slow
@pytest.mark.timeout(LONG)
def test_a_disk_that_fills_up_stops_the_run_with_what_was_written_intact(
    command: Command, tmp_path: Path, small_disk: Path
) -> None:
    command.environment, _ = faulty.environment(tmp_path)
    space = faulty.space(tmp_path, "slow", "slow-too", epochs=40)
    results = ["--results", str(small_disk)]
    process = command.start(*command.run_arguments(space, "full", "--concurrent", "2", *results))
    path = small_disk / "full"
    rows = path / "rows.jsonl"
    wait_for(lambda: rows.exists() and rows.read_bytes().count(b"\n") >= 2, process)
    ballast = fill(small_disk)
    _, errors = process.communicate(timeout=LONG)
    assert process.returncode == 1, errors
    (sentence,) = [line for line in errors.splitlines() if line.startswith("bts-tune: error:")]
    assert "cannot write any more" in sentence
    assert "No space left on device" in sentence
    assert f"bts-tune --resume {path}" in sentence
    folder = RunFolder.open(path)
    before = {record.trial: epochs(record) for record in folder.trials()}
    assert all(found == list(range(1, len(found) + 1)) for found in before.values())

    ballast.unlink()
    code, _, errors = command("--resume", path, "--no-dashboard", timeout=LONG)
    assert code == 0, errors
    assert [epochs(record) for record in folder.trials()] == [list(range(1, 41))] * 2

    report = (path / "report.html").read_bytes(), (path / "report.md").read_bytes()
    ballast = fill(small_disk)
    code, _, errors = command("report", path)
    assert code == 2
    assert "cannot be written" in errors
    assert ((path / "report.html").read_bytes(), (path / "report.md").read_bytes()) == report


@pytest.mark.slow
@pytest.mark.timeout(LONG)
def test_a_run_that_finds_too_little_room_trains_nothing(command: Command, tmp_path: Path, small_disk: Path) -> None:
    space = faulty.space(tmp_path, "plain")
    arguments = command.run_arguments(space, "small", "--results", str(small_disk), "--set", "encoder=resnet34")
    code, _, errors = command(*arguments, timeout=LONG)
    assert code == 2, errors
    assert "results, checkpoints and models may take" in errors
    assert "MiB free" in errors
    assert not (small_disk / "small").exists(), "a run that ends before its first trial leaves no folder"


@pytest.mark.slow
@pytest.mark.timeout(LONG)
def test_a_model_that_cannot_be_built_is_refused_before_the_run(command: Command, tmp_path: Path) -> None:
    space = faulty.space(tmp_path, "plain")
    arguments = command.run_arguments(space, "unbuilt", "--set", "encoder=mit_b0")
    code, _, errors = command(*arguments, timeout=LONG)
    assert code == 2
    assert "decoder 'linknet' with encoder 'mit_b0' cannot be built" in errors
    assert errors.count("\n") == 1
    assert not (command.folder / "results" / "unbuilt").exists()
