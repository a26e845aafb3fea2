"""A small dataset, a small space and runs of the real command, for the tests of experiments."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from bts_tune.data.synthetic.phantom import write_phantom
from bts_tune.results.run_folder import RunFolder
from tests.processes import Forked, Started

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


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom dataset of 40 slices at 48 px."""
    root = tmp_path_factory.mktemp("data") / "phantom"
    write_phantom(root, count=40, image_size=48, slices_per_patient=2, seed=3, workers=1)
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of prepared data for the whole session."""
    return tmp_path_factory.mktemp("cache")


def write_space(folder: Path, *, epochs: int = 2, search: bool = False, extra: str = "") -> Path:
    """Write a small space; `search` adds a search to it, `extra` any text."""
    path = folder / "small.yaml"
    path.write_text(SPACE.format(epochs=epochs) + (SEARCH if search else "") + extra)
    return path


@pytest.fixture
def space_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small space, as `write_space` does."""
    return partial(write_space, tmp_path)


class Command:
    """Runs `bts-tune` as a process of its own, far from the checkout.

    Attributes:
        environment: variables beside those of this process. Where there are some, the process starts from scratch.
        program: what starts it, where it starts from scratch; by default it is forked from one that has imported all.
    """

    def __init__(self, folder: Path, data: Path, cache: Path) -> None:
        self.folder, self.data, self.cache = folder, data, cache
        self.environment: dict[str, str] = {}
        self.program: list[str] = []
        self.running: list[Started] = []

    def start(self, *arguments: str | Path) -> Started:
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
        process: Started
        if not self.program and not self.environment:
            process = Forked([*map(str, arguments)], self.folder, environment)
        else:
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

    def __call__(self, *arguments: str | Path, timeout: float = 240) -> tuple[int, str, str]:
        """Run the command to its end; return its exit code, its output and its errors."""
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=timeout)
        return process.returncode, output, errors

    def run_arguments(self, space: Path, name: str, *more: str) -> Sequence[str]:
        """Return the arguments of a run on the small dataset."""
        return ["--space", str(space), "--data", str(self.data), "--name", name, "--no-dashboard", *more]

    def record(self, name: str) -> RunFolder:
        """Return a run's folder."""
        return RunFolder.open(self.folder / "results" / name)


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
