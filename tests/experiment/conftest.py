"""A small dataset, a small space and runs of the real command, for the tests of experiments."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from bts_tune.cli.main import main
from bts_tune.data.synthetic.phantom import write_phantom
from bts_tune.results.record.run_folder import RunFolder
from tests.experiment import faulty
from tests.forgetting import forget_plugins

FROM_SCRATCH = [sys.executable, "-m", "bts_tune"]

SPACE = """
name: small
description: Two named trials that train in seconds.
defaults:
  image_size: 32
  epochs: {epochs}
  batch_size: 8
  encoder: tu-test_efficientnet
  encoder_weights: none
seeds: [0]
demo: {{}}
trials:
  plain:
    description: A U-Net.
    baseline: true
    config: {{decoder: unet}}
  frozen:
    description: The same, frozen.
    baseline: true
    config: {{decoder: unet, freeze: all, decoder_dropout: 0.5, head_dropout: 0.5}}
"""

SEARCH = """
search:
  num_trials: 4
  parameters:
    learning_rate: {float: [1.0e-5, 1.0e-2], log: true}
    freeze: {choices: [none, all]}
    augmentation: {choices: [none, light]}
  searcher: {startup_trials: 3, seed: 0}
  scheduler: {grace_period: 1, reduction_factor: 2}
  final: {top: 0}
"""


BAD_TRIALS = """
  wild:
    description: It diverges.
    config: {decoder: unet, optimizer: sgd, learning_rate: 10.0, bce_weight: 1.0e+38}
  raises:
    description: It raises what nobody foresaw, in its second epoch.
    config: {decoder: linknet}
  killed-once:
    description: Its process is killed in the second epoch of its first attempt.
    config: {decoder: linknet, learning_rate: 2.0e-4}
  last:
    description: It begins in a process of its own.
    config: {decoder: linknet, learning_rate: 3.0e-4}
"""

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "plugins"

FAILING_TRACKER = """
from bts_tune.experiment.callbacks.trackers.base import TRACKERS, Tracker


@TRACKERS.register("failing")
class Failing(Tracker):
    def log_epoch(self, trial, row):
        raise OSError(28, "No space left on device")
"""

PATIENT = r"(p\d+)_"
"""The part of a file name of the small dataset that is its patient."""


@pytest.fixture(scope="session")
def small_data(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A phantom dataset of 40 slices at 48 px."""
    return made_once(
        "phantom", partial(write_phantom, count=40, image_size=48, slices_per_patient=2, seed=3, workers=1)
    )


@pytest.fixture(scope="session")
def cache(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A cache of prepared data for the whole session."""
    return made_once("cache", Path.mkdir)


def write_space(folder: Path, *, epochs: int = 2, search: bool = False, extra: str = "") -> Path:
    """Write a small space; `search` adds a search to it, `extra` any text."""
    path = folder / "small.yaml"
    path.write_text(SPACE.format(epochs=epochs) + (SEARCH if search else "") + extra)
    return path


def with_final_stage(space: Path, *, trials: int, final: str) -> Path:
    """Give a small space with a search another number of trials, and a final stage."""
    space.write_text(
        space.read_text().replace("final: {top: 0}", final).replace("num_trials: 4", f"num_trials: {trials}")
    )
    return space


def lower_space(folder: Path, *, trials: int = 2, epochs: int = 2, seeds: int = 2, extra: str = "") -> Path:
    """Write a space of 64 px whose search is trained at 32 px on half of the training images."""
    final = f"fidelity: {{image_size: 32, train_share: 0.5}}\n  final: {{top: 1, seeds: {seeds}}}"
    space = with_final_stage(write_space(folder, epochs=epochs, search=True, extra=extra), trials=trials, final=final)
    space.write_text(space.read_text().replace("image_size: 32\n", "image_size: 64\n").replace("size: 8", "size: 4"))
    return space


@pytest.fixture
def space_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small space, as `write_space` does."""
    return partial(write_space, tmp_path)


class Command:
    """Runs `bts-tune` as a process of its own, far from the checkout.

    Attributes:
        environment: variables beside those of this process.
        program: what starts it; by default this Python.
    """

    def __init__(self, folder: Path, data: Path, cache: Path) -> None:
        self.folder, self.data, self.cache = folder, data, cache
        self.environment: dict[str, str] = {}
        self.program: list[str] = []
        self.running: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start the command with a dataset-independent environment; its output is text."""
        root = str(Path(__file__).parents[2])
        inherited = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        environment = {
            **inherited,
            **self.environment,
            "BTS_TUNE_CACHE": str(self.cache),
            "PYTHONPATH": os.pathsep.join(
                [self.environment.get("PYTHONPATH", ""), root, os.environ.get("PYTHONPATH", "")]
            ).strip(os.pathsep),
        }
        process = subprocess.Popen(
            [*(self.program or FROM_SCRATCH), *map(str, arguments)],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        return process

    def __call__(self, *arguments: str | Path, timeout: float = 540) -> tuple[int, str, str]:
        """Run the command to its end; return its exit code, its output and its errors."""
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=timeout)
        return process.returncode, output, errors

    def here(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Run the command in this process, which has imported what it needs; return the same.

        For what does not depend on its process: a report, a prediction, a refusal. Plugins are forgotten after it.
        """
        output, errors = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as streams:
            streams.enter_context(contextlib.redirect_stdout(output))
            streams.enter_context(contextlib.redirect_stderr(errors))
            forget_plugins(patch)
            patch.chdir(self.folder)
            for name, value in {**self.environment, "BTS_TUNE_CACHE": str(self.cache)}.items():
                patch.setenv(name, value)
            try:
                code = main([str(argument) for argument in arguments])
            except SystemExit as ended:
                code = int(ended.code or 0)
        return code, output.getvalue(), errors.getvalue()

    def run_arguments(self, space: Path, name: str, *more: str) -> Sequence[str]:
        """Return the arguments of a run on the small dataset."""
        return ["--space", str(space), "--data", str(self.data), "--name", name, "--no-dashboard", *more]

    def record(self, name: str) -> RunFolder:
        """Return a run's folder."""
        return RunFolder.open(self.folder / "results" / name)

    def copy_of(self, run: RunFolder) -> RunFolder:
        """Copy a run into the results, to change or go on with it."""
        return RunFolder.open(shutil.copytree(run.path, self.folder / "results" / run.path.name))


@dataclass(frozen=True)
class Finished:
    """A run that came to its end. It stays as it is; see `Command.copy_of`."""

    folder: RunFolder
    output: str
    errors: str


@pytest.fixture(scope="session")
def with_options(made_once: Callable[[str, Callable[[Path], None]], Path], small_data: Path, cache: Path) -> Finished:
    """A run with what can be asked for beside trials: an objective, seeds, a split, trackers, ways to predict."""

    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / "failing.py").write_text(FAILING_TRACKER)
        plugins = ", ".join(str(path) for path in (EXAMPLES / "csv_tracker.py", folder / "failing.py"))
        space = write_space(folder, epochs=2, extra=f"plugins: [{plugins}]\ntrackers: [failing, csv]\nobjective: iou\n")
        # A named trial that is no baseline: of those, every seed is measured anyway.
        space.write_text(
            space.read_text().replace(
                "    baseline: true\n    config: {decoder: unet}\n", "    config: {decoder: unet}\n"
            )
        )
        command = Command(folder, small_data, cache)
        options = ("--only", "plain", "--seeds", "2", "--concurrent", "1", "--tta", "--ensemble", "--postprocess")
        split = ("--split", "grouped", "--group-by", PATIENT, "--split-seed", "7")
        code, output, errors = command.here(*command.run_arguments(space, "options", *options, *split))
        assert code == 0, errors
        (folder / "output").write_text(output)
        (folder / "errors").write_text(errors)

    folder = made_once("with-options", make)
    run = RunFolder.open(folder / "results" / "options")
    return Finished(run, (folder / "output").read_text(), (folder / "errors").read_text())


@pytest.fixture(scope="session")
def with_final(made_once: Callable[[str, Callable[[Path], None]], Path], small_data: Path, cache: Path) -> Finished:
    """A search at a lower fidelity whose final stage is two seeds in full; of plugins, the split and the metric."""

    def make(folder: Path) -> None:
        folder.mkdir()
        plugins = ", ".join(str(EXAMPLES / name) for name in ("area_error.py", "by_hash.py"))
        space = lower_space(folder, epochs=1, seeds=1, extra=f"objective: area-error\nplugins: [{plugins}]\n")
        command = Command(folder, small_data, cache)
        options = ("--concurrent", "1", "--final-seeds", "2", "--split", "by-hash", "--ensemble", "--ensemble-top", "2")
        code, output, errors = command.here(*command.run_arguments(space, "final", *options))
        assert code == 0, errors
        (folder / "output").write_text(output)
        (folder / "errors").write_text(errors)

    folder = made_once("with-final", make)
    run = RunFolder.open(folder / "results" / "final")
    return Finished(run, (folder / "output").read_text(), (folder / "errors").read_text())


@dataclass(frozen=True)
class Watched(Finished):
    """A run that came to its end, with the titles that the processes of its trials were seen to have."""

    code: int
    titles: frozenset[str]


def _title_of_the_latest(folder: Path) -> str:
    """The title of the process that opened the latest trial of a run; empty where there is none."""
    events = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines(keepends=True)[:-1]]
    pids = [event["pid"] for event in events if event["event"] == "opened"]
    return Path(f"/proc/{pids[-1]}/cmdline").read_text(errors="replace").strip(" \0") if pids else ""


@pytest.fixture(scope="session")
def with_bad_trials(made_once: Callable[[str, Callable[[Path], None]], Path], small_data: Path, cache: Path) -> Watched:
    """A run of trials of which one diverges, one cannot be trained, and one is killed and tried again."""

    def make(folder: Path) -> None:
        folder.mkdir()
        command = Command(folder, small_data, cache)
        command.environment, _ = faulty.environment(folder)
        space = write_space(folder, epochs=3, extra=BAD_TRIALS)
        process = command.start(*command.run_arguments(space, "bad", "--concurrent", "1"))
        titles: set[str] = set()
        while process.poll() is None:
            with contextlib.suppress(OSError):  # no run yet, or no longer that process
                titles.add(_title_of_the_latest(folder / "results" / "bad"))
            time.sleep(0.05)
        output, errors = process.communicate()
        (folder / "output").write_text(output)
        (folder / "errors").write_text(errors)
        (folder / "seen.json").write_text(json.dumps({"code": process.returncode, "titles": sorted(titles)}))

    folder = made_once("with-bad-trials", make)
    run = RunFolder.open(folder / "results" / "bad")
    seen = json.loads((folder / "seen.json").read_text())
    output, errors = (folder / "output").read_text(), (folder / "errors").read_text()
    return Watched(run, output, errors, seen["code"], frozenset(seen["titles"]))


@pytest.fixture
def command(tmp_path: Path, small_data: Path, cache: Path) -> Iterator[Command]:
    """The command in an empty folder; what it started is ended with the test."""
    folder = tmp_path / "work"
    folder.mkdir()
    command = Command(folder, small_data, cache)
    yield command
    for process in command.running:
        if process.poll() is None:
            process.kill()
            process.wait()
