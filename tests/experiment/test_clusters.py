"""Runs on Ray clusters as they are: nodes of several sizes, without a shared disk, broken, protected, coming, going."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from bts_tune.errors import EXIT_PROBLEM, EXIT_USAGE
from bts_tune.models.encoders import build_encoder
from bts_tune.results.find import is_whole
from bts_tune.results.record.run_folder import RunFolder
from tests.experiment import faulty
from tests.experiment.clusters import RayCluster, require_mount_namespaces
from tests.experiment.conftest import Command
from tests.experiment.test_faults import wait_for
from tests.experiment.test_run import wait_for_rows

ENCODER = "tu-test_efficientnet"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def figures(folder: RunFolder) -> dict[str, list[dict[str, Any]]]:
    """What was measured of each trial, without what depends on the clock."""
    timing = {"seconds", "train_seconds", "images_per_second", "time"}
    return {
        record.trial: [{name: value for name, value in row.items() if name not in timing} for row in record.rows]
        for record in folder.trials()
    }


def events(folder: RunFolder, kind: str) -> list[dict[str, Any]]:
    """The events of a kind, as they are on disk."""
    lines = [json.loads(line) for line in folder.trials_file.read_text().splitlines()]
    return [line for line in lines if line["event"] == kind]


def test_nodes_that_share_nothing_give_the_figures_of_one(command: Command, tmp_path: Path) -> None:
    require_mount_namespaces()
    weights, home = tmp_path / "weights", tmp_path / "home"
    command.cache = tmp_path / "cache"
    results = command.folder / "results"
    for folder in (weights, home, command.cache, results):
        folder.mkdir()
    tensors = build_encoder(ENCODER).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, weights / f"{ENCODER}.safetensors")
    # Slow enough that one process is not through with them before the other nodes' have started.
    command.environment, _ = faulty.environment(tmp_path)
    space = faulty.space(tmp_path, "slow-a", "slow-b", "slow-c", "slow-d")
    more = ["--weights-dir", str(weights), "--set", "encoder_weights=imagenet"]
    code, _, errors = command(*command.run_arguments(space, "own", "--cpus-per-trial", "1", *more))
    assert (code, errors) == (0, "")
    with RayCluster(1, environment=command.environment) as cluster:
        hidden = [command.cache, results, weights, home, command.data]
        for _ in range(2):
            cluster.add(1, hide=hidden, environment={"HOME": str(home)})
        arguments = command.run_arguments(space, "cluster", "--address", cluster.address, *more)
        code, output, errors = command(*arguments)
    assert (code, errors) == (0, ""), output
    assert output.count("results come back through Ray") == 2
    own, there = command.record("own"), command.record("cluster")
    assert there.read_run()["status"] == "complete"
    assert len({event["node"] for event in events(there, "opened")}) > 1
    assert figures(there) == figures(own)
    models = sorted(path.name for path in (own.path / "models").iterdir())
    assert models == sorted(path.name for path in (there.path / "models").iterdir())
    for model in models:
        assert is_whole(there.model_folder(model))
        one, other = (run.model_folder(model) / "model.safetensors" for run in (own, there))
        assert one.read_bytes() == other.read_bytes()


def test_a_trial_has_the_same_threads_on_nodes_of_every_size(command: Command, tmp_path: Path) -> None:
    space = faulty.space(tmp_path, "a", "b", "c", "d", epochs=1)
    with RayCluster(2) as cluster:
        cluster.add(1)
        cluster.add(4, "--num-gpus=2")  # beside the cores; they are not asked for
        arguments = command.run_arguments(space, "sizes", "--address", cluster.address, "--device", "cpu")
        code, output, errors = command(*arguments)
        assert (code, errors) == (0, ""), output
        refused = command(*command.run_arguments(space, "large", "--address", cluster.address, "--cpus-per-trial", "5"))
    assert "3 at a time, each on 2 CPU cores" in output
    folder = command.record("sizes")
    assert folder.read_run()["resources"]["cpus"] == 2
    opened = events(folder, "opened")
    assert {event["torch_threads"] for event in opened} == {2}
    assert len(opened) == 4
    code, _, errors = refused
    assert code == EXIT_USAGE
    assert "fits no node" in errors
    assert errors.count("core") >= 3  # what each node has
    assert not (command.folder / "results" / "large").exists()


def test_a_node_that_cannot_train_is_left_out_and_its_trial_goes_elsewhere(command: Command, tmp_path: Path) -> None:
    require_mount_namespaces()
    command.cache = tmp_path / "cache"
    command.cache.mkdir()
    command.environment, _ = faulty.environment(tmp_path)
    space = faulty.space(tmp_path, "slow-a", "slow-b", "slow-c", epochs=5)
    with RayCluster(0, environment=command.environment) as cluster:
        cluster.add(1)
        cluster.add(1, hide=[command.cache], room="16k")
        arguments = command.run_arguments(space, "broken", "--address", cluster.address, "--max-failures", "0")
        code, output, errors = command(*arguments)
    assert (code, errors) == (0, ""), output
    assert "is left out for the rest of the run: what a trial needs cannot be kept there" in output
    folder = command.record("broken")
    assert {record.status for record in folder.trials()} == {"complete"}
    (retried,) = events(folder, "retried")
    assert retried["node"] not in {event["node"] for event in events(folder, "opened")}
    assert "No space left" in retried["reason"]


# Loaded by every Python process of a node that trains well and then cannot measure: its disk is full by then.
_CANNOT_MEASURE = """
import errno, importlib.abc, importlib.util, sys


def full(*arguments, **more):
    raise OSError(errno.ENOSPC, "No space left on device")


class AfterImport(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "bts_tune.training.evaluation":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            module.evaluate_model = full

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, AfterImport())
"""


def test_a_model_that_a_node_cannot_measure_is_measured_elsewhere(command: Command, tmp_path: Path) -> None:
    site = tmp_path / "full"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_CANNOT_MEASURE)
    space = faulty.space(tmp_path, "a", "b", "c", epochs=1)
    with RayCluster(0) as cluster:
        good = cluster.add(1)
        cluster.add(1, environment={"PYTHONPATH": f"{site}{os.pathsep}{Path(__file__).parents[2]}"})
        code, output, errors = command(*command.run_arguments(space, "full", "--address", cluster.address))
        assert (code, errors) == (0, ""), output
        (said,) = [line for line in output.splitlines() if "is left out for the rest of the run" in line]
        assert "No space left on device" in said
        folder = command.record("full")
        assert len({event["node"] for event in events(folder, "opened")}) == 2
        for record in folder.trials():
            assert record.status == "complete"
            assert record.test
            assert folder.scores_file(record.trial).is_file()
        # Where there is no other node, the run ends and can go on.
        cluster.stop(good)
        code, _, errors = command(*command.run_arguments(space, "none", "--address", cluster.address))
    assert code == EXIT_PROBLEM
    assert "the run was stopped: no node of the cluster can train this run" in errors
    assert "go on with: bts-tune --resume" in errors


def test_a_run_for_which_no_node_is_left_is_one_sentence(command: Command, tmp_path: Path) -> None:
    space = faulty.space(tmp_path, "a")
    with RayCluster(1) as cluster:
        cluster.add(1, "--num-gpus=1")  # without CUDA
        code, _, errors = command(*command.run_arguments(space, "none", "--address", cluster.address))
    assert code == EXIT_USAGE
    (sentence,) = errors.splitlines()
    assert "no node of the cluster can train this run" in sentence
    assert "it has no CUDA" in sentence
    assert not (command.folder / "results" / "none").exists()


def test_a_run_that_waits_says_for_what_and_does_not_end_well_without_an_epoch(
    command: Command, tmp_path: Path
) -> None:
    space = faulty.space(tmp_path, "a")
    hold = (
        "import ray, sys, time; ray.init(address=sys.argv[1], log_to_driver=False); "
        "task = ray.remote(num_cpus=1)(lambda: time.sleep(600)); waiting = task.remote(); print('held', flush=True); "
        "ray.get(waiting)"
    )
    with RayCluster(1) as cluster:
        other = subprocess.Popen(
            [sys.executable, "-c", hold, cluster.address],
            env={**os.environ, "RAY_AUTH_MODE": "disabled"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            time.sleep(2)  # until the task has its core
            arguments = command.run_arguments(space, "waits", "--address", cluster.address, "--time-budget", "40s")
            code, output, errors = command(*arguments)
        finally:
            other.kill()
            other.wait()
    assert code == EXIT_PROBLEM
    assert "No trial is running for 3" in output
    assert "the next one waits for 1 CPU core on one node; free now: " in output
    assert "nothing was trained" in errors
    assert command.record("waits").read_run()["status"] == "out-of-time"


def test_a_node_that_joins_adds_a_trial_and_one_that_is_killed_loses_none(command: Command, tmp_path: Path) -> None:
    command.environment, _ = faulty.environment(tmp_path)
    space = faulty.space(tmp_path, "slow", "slow-b", "slow-c", epochs=20)
    with RayCluster(0, environment=command.environment) as cluster:
        first = cluster.add(1)
        process = command.start(*command.run_arguments(space, "moving", "--address", cluster.address))
        wait_for_rows(command.folder / "results" / "moving", 2, process)
        second = cluster.add(1)
        folder = command.record("moving")
        wait_for(lambda: len(events(folder, "opened")) == 2, process)
        assert folder.trials()[0].status == "running"
        cluster.stop(first)
        wait_for(lambda: events(folder, "retried"), process)
        cluster.add(1)
        output, errors = process.communicate(timeout=600)
        assert second.poll() is None
    assert (process.returncode, errors) == (0, ""), output
    assert "Joined the cluster" in output
    assert "has left the cluster" in output
    for record in folder.trials():
        assert record.status == "complete"
        assert [row["epoch"] for row in record.rows] == list(range(1, 21))
        assert is_whole(folder.model_folder(record.trial))


def test_a_node_that_is_taken_back_with_notice_costs_no_epoch(command: Command, tmp_path: Path) -> None:
    command.environment, _ = faulty.environment(tmp_path)
    space = faulty.space(tmp_path, "slow", epochs=8)
    with RayCluster(0, environment=command.environment) as cluster:
        head = cluster.nodes()
        first = cluster.add(1)
        (node,) = [one for one in cluster.nodes() if one not in head]
        arguments = command.run_arguments(space, "spot", "--address", cluster.address, "--max-failures", "0")
        process = command.start(*arguments)
        folder = wait_for_record(command, "spot", 2, process)
        cluster.add(1)
        cluster.take_back(node, 120)
        wait_for(lambda: events(folder, "retried"), process)
        cluster.stop(first)
        output, errors = process.communicate(timeout=400)
    assert (process.returncode, errors) == (0, ""), output
    assert "is taken back soon: its trials go on elsewhere after their epoch" in output
    (retried,) = events(folder, "retried")
    assert (retried["reason"], node.startswith(retried["node"].split("/")[-1])) == ("its node was taken back", True)
    opened = events(folder, "opened")
    assert len({event["node"] for event in opened}) == 2
    epochs = [json.loads(line)["epoch"] for line in folder.rows_file.read_text().splitlines()]
    assert epochs == list(range(1, 9))
    assert opened[1]["kept_epochs"] in epochs  # it went on from its last epoch
    before = [
        line for line in folder.rows_file.read_text().splitlines() if json.loads(line)["time"] < opened[1]["time"]
    ]
    assert len(before) == opened[1]["kept_epochs"]


def test_two_runs_share_a_cluster(command: Command, tmp_path: Path) -> None:
    command.environment, _ = faulty.environment(tmp_path)
    names = [f"slow-{letter}" for letter in "abcd"]
    space = faulty.space(tmp_path, *names, epochs=3)
    with RayCluster(0, environment=command.environment) as cluster:
        for _ in range(2):
            cluster.add(1)
        # Long enough that the second begins before its end, however busy the machine is.
        longer = ["--set", "epochs=20"]
        first = command.start(*command.run_arguments(space, "first", "--address", cluster.address, *longer))
        wait_for_record(command, "first", 1, first)
        second = command.start(*command.run_arguments(space, "second", "--address", cluster.address))
        said = [process.communicate(timeout=400) for process in (first, second)]
    for process, (output, errors) in zip((first, second), said, strict=True):
        assert (process.returncode, errors) == (0, ""), output
        assert "2 runs use the cluster: this one takes at most 1 trial at a time" in output
    runs = [command.record(name) for name in ("first", "second")]
    for folder in runs:
        assert {record.status for record in folder.trials()} == {"complete"}
    began = events(runs[1], "started")[0]["time"]
    # The second did not wait for the end of the first, and the first went on beside it.
    assert events(runs[0], "ended")[-1]["time"] > began
    assert any(event["time"] > began for event in events(runs[0], "started"))


def wait_for_record(command: Command, name: str, rows: int, process: subprocess.Popen[str]) -> RunFolder:
    """Wait until a run has so many rows on record, and return it."""
    wait_for_rows(command.folder / "results" / name, rows, process, timeout=300)
    return command.record(name)


def test_a_protected_cluster_gets_the_token_that_is_at_hand(command: Command, tmp_path: Path) -> None:
    space = faulty.space(tmp_path, "a", epochs=1)
    token = "0" * 64
    home = tmp_path / "home"
    (home / ".ray").mkdir(parents=True)
    command.environment = {"HOME": str(home)}
    with RayCluster(1, environment={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}) as cluster:
        arguments = command.run_arguments(space, "protected", "--address", cluster.address)
        code, _, errors = command(*arguments)
        assert code == EXIT_USAGE
        (sentence,) = errors.splitlines()
        assert "the Ray cluster is protected; set RAY_AUTH_MODE=token" in sentence
        (home / ".ray" / "auth_token").write_text("1" * 64)
        code, _, errors = command(*arguments)
        assert code == EXIT_USAGE
        assert "does not take the token that is at hand" in errors
        (home / ".ray" / "auth_token").write_text(token)
        code, output, errors = command(*arguments)
        assert (code, errors) == (0, ""), output


def test_auto_finds_a_cluster_and_a_token_that_is_not_asked_for_does_no_harm(command: Command, tmp_path: Path) -> None:
    space = faulty.space(tmp_path, "a", epochs=1)
    with RayCluster(1) as cluster:
        command.environment = {"RAY_TMPDIR": str(cluster.temporary), "RAY_AUTH_TOKEN": "0" * 64}
        code, output, errors = command(*command.run_arguments(space, "found", "--address", "auto"))
        assert (code, errors) == (0, ""), output
        assert f"Ray cluster at {cluster.address}: " in output


def submitted(work: Path, *arguments: str, options: Sequence[str] = ()) -> list[str | Path]:
    """Return what `ray job` submits: the command, with `work` as the job's working folder."""
    return ["submit", "--working-dir", work, *options, "--", sys.executable, "-m", "bts_tune", *arguments]


def test_a_submitted_job_keeps_its_results_and_fails_where_it_is_refused(command: Command, tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "job"
    home.mkdir()
    work.mkdir()
    faulty.space(work, "a", epochs=1)
    run = ["--space", "faulty.yaml", "--data", str(command.data), "--name", "job"]
    environment = {"HOME": str(home), "BTS_TUNE_CACHE": str(command.cache)}
    with RayCluster(1, environment=environment, dashboard=True) as cluster:
        cluster.wait_for_jobs()
        said = cluster.job(*submitted(work, *run))
        assert "succeeded" in said, said
        lasting = home / "bts-tune" / "results" / "job"
        assert str(lasting.parent) in said
        assert "Ray cluster at " in said
        folder = RunFolder.open(lasting)
        assert folder.read_run()["status"] == "complete"
        assert is_whole(folder.model_folder("a"))
        said = cluster.job(*submitted(work, *run))
        assert "failed" in said, said
        assert "exists already" in said


def test_a_submitted_job_outlives_its_terminal_and_goes_on_after_it_was_stopped(
    command: Command, tmp_path: Path
) -> None:
    home, work = tmp_path / "home", tmp_path / "job"
    home.mkdir()
    work.mkdir()
    environment, _ = faulty.environment(tmp_path)
    faulty.space(work, "slow", epochs=12)
    run = ["--space", "faulty.yaml", "--data", str(command.data), "--name", "job"]
    path = home / "bts-tune" / "results" / "job"
    environment |= {"HOME": str(home), "BTS_TUNE_CACHE": str(command.cache)}
    with RayCluster(1, environment=environment, dashboard=True) as cluster:
        cluster.wait_for_jobs()
        client = cluster.start_job(*submitted(work, *run, options=["--submission-id", "first"]))
        wait_for_rows(path, 1, client)
        client.send_signal(signal.SIGHUP)
        assert client.wait(60) == -signal.SIGHUP
        folder = RunFolder.open(path)
        wait_for_rows(path, len(folder.trials()[0].rows) + 2, cluster.head)
        # What Ray gives by itself are 3 seconds, which may be too few to report.
        cluster.job("stop", "first")
        assert folder.read_run()["status"] in ("interrupted", "running")
        kept = folder.trials()[0].rows
        assert [row["epoch"] for row in kept] == list(range(1, len(kept) + 1))
        more_time = json.dumps({"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "120"}})
        options = ["--submission-id", "second", "--runtime-env-json", more_time]
        client = cluster.start_job(*submitted(work, "--resume", "job", options=options))
        wait_for_rows(path, len(kept) + 1, client)
        cluster.job("stop", "second")
        said, _ = client.communicate(timeout=60)
        assert folder.read_run()["status"] == "interrupted", said
        assert "PARTIAL" in (path / "report.md").read_text()
        said = cluster.job(*submitted(work, "--resume", "job"))
        assert "succeeded" in said, said
    rows = folder.trials()[0].rows
    assert rows[: len(kept)] == kept
    assert [row["epoch"] for row in rows] == list(range(1, 13))
    assert folder.read_run()["status"] == "complete"
    assert is_whole(folder.model_folder("slow"))


def test_a_head_that_is_killed_is_not_named_to_go_on_with(command: Command, tmp_path: Path) -> None:
    command.environment, _ = faulty.environment(tmp_path)
    space = faulty.space(tmp_path, "slow", epochs=4)
    with RayCluster(1, environment=command.environment) as cluster:
        process = command.start(*command.run_arguments(space, "lost", "--address", cluster.address))
        wait_for_rows(command.folder / "results" / "lost", 1, process)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == EXIT_PROBLEM
    assert errors.splitlines()[-1].endswith(
        "Go on with: bts-tune --resume results/lost --address local (or HOST:PORT of another cluster)"
    )
    code, _, errors = command("--resume", "lost", "--no-dashboard")
    assert code == EXIT_USAGE
    assert "no Ray cluster answers there" in errors
    code, output, errors = command("--resume", "lost", "--no-dashboard", "--address", "local")
    assert (code, errors) == (0, ""), output
    assert command.record("lost").read_run()["status"] == "complete"


def test_a_search_survives_nodes_that_are_killed_and_replaced_and_then_its_head(
    command: Command, tmp_path: Path, space_file: Callable[..., Path]
) -> None:
    space = tmp_path / "many.yaml"
    text = space_file(epochs=2, search=True).read_text()
    space.write_text(text.replace("num_trials: 4", "num_trials: 30"))
    with RayCluster(0) as cluster:
        nodes = [cluster.add(1) for _ in range(2)]
        arguments = command.run_arguments(space, "storm", "--address", cluster.address, "--max-failures", "20")
        process = command.start(*arguments)
        for rows in (4, 14, 24):
            folder = wait_for_record(command, "storm", rows, process)
            cluster.stop(nodes.pop(0))
            nodes.append(cluster.add(1))
        wait_for_record(command, "storm", 32, process)
    process.communicate(timeout=120)
    assert process.returncode == EXIT_PROBLEM
    code, output, errors = command("--resume", "storm", "--address", "local", "--no-dashboard", timeout=400)
    assert (code, errors) == (0, ""), output
    trials = folder.trials()
    assert len(trials) == 32
    assert {record.status for record in trials} <= {"complete", "stopped"}
    ended = [event["trial"] for event in events(folder, "ended") if event["status"] != "interrupted"]
    assert sorted(ended) == sorted(record.trial for record in trials)
    for record in trials:
        assert [row["epoch"] for row in record.rows] == list(range(1, len(record.rows) + 1))
