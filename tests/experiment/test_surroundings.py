"""Runs in surroundings that are not as usual: other clusters, priorities, folders, terminals, names that are taken."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.cache import ENVIRONMENT_VARIABLE, entries
from bts_tune.data.splits.split import read_split
from tests.accounts import another_user
from tests.experiment.conftest import FROM_SCRATCH, Command
from tests.experiment.test_run import priority_of_the_trial, wait_for_rows

LONG_RUN = 500  # epochs; those who start it end it


@pytest.mark.slow
def test_the_priority_and_the_threads_that_their_user_asks_for_stay(
    command: Command, space_file: Callable[..., Path]
) -> None:
    command.environment |= {"RAY_worker_niceness": "7", "OMP_WAIT_POLICY": "active"}
    process = command.start(
        *command.run_arguments(space_file(epochs=LONG_RUN), "run", "--only", "plain", "--concurrent", "1", "--polite")
    )
    wait_for_rows(command.folder / "results" / "run", 1, process)
    own = os.getpriority(os.PRIO_PROCESS, process.pid)
    assert priority_of_the_trial(command.record("run")) == (min(19, own + 7), False)
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 130


TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}


@contextmanager
def somebody_elses_cluster(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A cluster of one core that `ray start` began, and its address; Ray finds it by the temporary folder too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True)
    arguments = ["start", "--head", "--block", "--num-cpus=1", f"--port={port}", "--include-dashboard=false"]
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", "from ray.scripts.scripts import main; main()", *arguments, f"--temp-dir={folder}/ray"],
        env={**os.environ, **TOKEN, "RAY_TMPDIR": str(folder), "PYTHONPATH": root, "RAY_USAGE_STATS_ENABLED": "0"},
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 90
        while not (folder / "ray" / "ray_current_cluster").exists():
            assert process.poll() is None, "the cluster ended early"
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield process, (folder / "ray" / "ray_current_cluster").read_text()
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_run_leaves_other_clusters_alone_unless_it_is_given_one(
    command: Command, space_file: Callable[..., Path]
) -> None:
    short = Path(f"/tmp/t-{os.getpid()}")  # sockets are to have short paths
    with somebody_elses_cluster(short) as (other, address):
        command.environment |= {**TOKEN, "RAY_ADDRESS": address, "RAY_TMPDIR": str(short)}
        arguments = command.run_arguments(space_file(epochs=1), "own", "--only", "plain")
        code, output, errors = command(*arguments)
        assert (code, errors) == (0, "")
        assert "RAY_ADDRESS is ignored" in output
        assert "Priority" not in output
        assert other.poll() is None
        arguments = command.run_arguments(space_file(epochs=1), "theirs", "--only", "plain", "--address", address)
        code, output, errors = command(*arguments)
        assert (code, errors) == (0, "")
        assert "RAY_ADDRESS" not in output
        assert "Priority of the cluster's trials (nice): 15" in output


def test_a_run_that_never_began_leaves_no_folder(command: Command, space_file: Callable[..., Path]) -> None:
    arguments = command.run_arguments(space_file(epochs=1), "run", "--only", "plain")
    results = command.folder / "results"
    for more, sentence in (
        (["--address", "127.0.0.1:1"], "--address 127.0.0.1:1: no Ray cluster answers there"),
        (["--device", "cuda"], "there is no GPU"),
    ):
        code, _, errors = command.here(*arguments, *more)
        assert code == 2
        assert sentence in errors.splitlines()[-1]
        assert "Traceback" not in errors
        assert not results.exists() or not list(results.iterdir())


def test_of_two_starts_of_one_name_the_winner_keeps_its_split(
    command: Command, space_file: Callable[..., Path]
) -> None:
    space = space_file(epochs=1)
    processes = []
    for seed in (1, 2):
        options = ("--only", "plain", "--split", "grouped", "--concurrent", "1")
        arguments = command.run_arguments(space, "twin", *options)
        processes.append(command.start(*arguments, "--split-seed", str(seed)))
    ended = [(process.communicate(timeout=540), process.returncode) for process in processes]
    assert sorted(code for _, code in ended) == [0, 2], ended
    ((_, errors),) = [streams for streams, code in ended if code == 2]
    assert "exists already" in errors
    run = command.record("twin").read_run()
    assert run["status"] == "complete"
    # What holds the split has to be what the winner recorded of it; a resume is refused otherwise.
    splits = read_split(command.record("twin").split_file)
    assert open_dataset(command.data).with_splits(splits).fingerprint() == run["dataset"]["fingerprint"]
    assert [entry.name for entry in (command.folder / "results").iterdir()] == ["twin"]


@pytest.mark.slow
def test_a_long_temporary_folder_and_a_home_that_cannot_be_written(
    command: Command, space_file: Callable[..., Path], tmp_path: Path
) -> None:
    long = tmp_path / ("long" * 30)
    long.mkdir()
    (tmp_path / "file").write_text("")
    # Not even root can make a folder below a file.
    command.environment |= {"TMPDIR": str(long), "HOME": str(tmp_path / "file" / "home")}
    # With the dashboard, which has sockets of its own and needs a token.
    space = space_file(epochs=1)
    arguments = ["--space", str(space), "--data", str(command.data), "--only", "plain", "--name", "run"]
    code, output, errors = command(*arguments)
    assert code == 0, errors
    assert "Traceback" not in errors
    assert "RAY_AUTH_TOKEN_PATH=" in output
    assert command.record("run").read_run()["status"] == "complete"


def test_a_cache_that_cannot_be_written_is_one_sentence_with_the_way_out(
    command: Command, space_file: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    arguments = command.run_arguments(space_file(epochs=1), "run", "--cache", str(tmp_path / "file" / "cache"))
    code, _, errors = command.here(*arguments)
    assert code == 2
    assert "Traceback" not in errors
    assert "--cache DIR" in errors.splitlines()[-1]
    assert not (command.folder / "results").exists()


@pytest.mark.slow
def test_another_user_uses_what_a_cache_has_and_keeps_what_it_lacks(
    command: Command, space_file: Callable[..., Path]
) -> None:
    with another_user() as other:
        command.data = shutil.copytree(command.data, other.common / "data")
        command.cache = other.common / "cache"
        space = Path(shutil.copy(space_file(epochs=1), other.common))
        more = ("--only", "plain")
        code, _, errors = command(*command.run_arguments(space, "first", *more))
        assert code == 0, errors
        command.program, command.folder = [*other.program, *FROM_SCRATCH], other.home
        command.environment |= {"HOME": str(other.home), "XDG_CACHE_HOME": str(other.home / "cache")}
        own = other.home / "cache" / "bts-tune" / "prepared"
        code, output, errors = command(*command.run_arguments(space, "same", *more))
        assert (code, errors) == (0, ""), output
        assert "preparing" not in output
        assert entries(own) == []
        code, output, errors = command(*command.run_arguments(space, "other", *more, "--set", "image_size=64"))
        assert (code, errors) == (0, ""), output
        assert f"The cache {command.cache} cannot be written to; what it lacks is kept in {own}." in output
        assert [entry.preprocessing["image_size"] for entry in entries(own)] == [64]
        assert (other.home / "results" / "other").stat().st_uid == own.stat().st_uid


def test_a_path_that_is_too_long_for_ray_is_one_sentence(
    command: Command, space_file: Callable[..., Path], tmp_path: Path
) -> None:
    command.environment["RAY_TMPDIR"] = str(tmp_path / ("long" * 30))
    code, _, errors = command(*command.run_arguments(space_file(epochs=1), "run"))
    assert code == 2
    assert "too long for the paths of Ray's sockets" in errors.splitlines()[-1]
    assert not (command.folder / "results").exists()


def test_a_terminal_that_is_closed_interrupts_the_run_which_was_polite(
    command: Command, space_file: Callable[..., Path]
) -> None:
    options = ("--only", "plain", "--concurrent", "1", "--polite")
    arguments = command.run_arguments(space_file(epochs=LONG_RUN), "run", *options)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {ENVIRONMENT_VARIABLE: str(command.cache), "PYTHONPATH": str(Path(__file__).parents[2])}
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(command.folder)
        os.execve(sys.executable, [sys.executable, "-m", "bts_tune", *map(str, arguments)], environment)
    os.set_blocking(terminal, False)
    rows = command.folder / "results" / "run" / "rows.jsonl"
    deadline = time.monotonic() + 300
    while not rows.exists() or rows.read_bytes().count(b"\n") < 2:
        try:
            os.read(terminal, 65536)
        except BlockingIOError:
            time.sleep(0.05)
        assert time.monotonic() < deadline
    own = os.getpriority(os.PRIO_PROCESS, pid)
    assert priority_of_the_trial(command.record("run")) == (min(19, own + 15), True)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    folder = command.record("run")
    assert folder.read_run()["status"] == "interrupted"
    assert "PARTIAL" in (folder.path / "report.md").read_text()
    assert folder.trials()[0].status == "interrupted"


@pytest.mark.slow
def test_a_hangup_that_is_ignored_leaves_the_run_alone(command: Command, space_file: Callable[..., Path]) -> None:
    """Under nohup."""
    command.program = [
        sys.executable,
        "-c",
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])",
        *FROM_SCRATCH,
    ]
    process = command.start(
        *command.run_arguments(space_file(epochs=LONG_RUN), "run", "--only", "plain", "--concurrent", "1")
    )
    wait_for_rows(command.folder / "results" / "run", 1, process)
    process.send_signal(signal.SIGHUP)
    rows = (command.folder / "results" / "run" / "rows.jsonl").read_bytes().count(b"\n")
    wait_for_rows(command.folder / "results" / "run", rows + 3, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 130
    assert command.record("run").read_run()["status"] == "interrupted"


def test_an_encoding_without_the_characters_of_a_file_name(command: Command, small_data: Path) -> None:
    data = command.folder / "data"
    shutil.copytree(small_data, data)
    annotations = data / "train" / "_annotations.coco.json"
    content = json.loads(annotations.read_text())
    name = content["images"][0]["file_name"]
    (data / "train" / name).rename(data / "train" / f"Пациент-{name}")
    content["images"][0]["file_name"] = f"Пациент-{name}"
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] != content["images"][0]["id"]]
    annotations.write_text(json.dumps(content))
    command.environment["PYTHONIOENCODING"] = "latin-1"
    code, output, errors = command("data", "check", data, "--verbose")
    assert "Traceback" not in errors
    assert code in (0, 1)
    assert ascii("Пациент")[1:-1] in output
    # The name cannot even be given to the system here.
    command.environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, output, errors = command("data", "check", data)
    assert code == 2
    assert "Traceback" not in errors
    assert "PYTHONUTF8=1" in errors
