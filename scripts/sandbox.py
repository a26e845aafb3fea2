"""A folder with a tiny dataset and a tiny search, and runs of the real command on them: for scripts that break runs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bts_tune.data.synthetic.phantom import write_phantom
from bts_tune.results.record.run_folder import RunFolder
from scripts.processes import environment

MARK = "BTS_TUNE_KILL_LOOP"

SPACE = """
name: tiny
description: Trials that train in a fraction of a second.
defaults:
  image_size: 32
  epochs: {epochs}
  batch_size: 4
  decoder: linknet
  encoder: tu-test_efficientnet
  encoder_weights: none
seeds: [0]
demo: {{}}
trials:
  plain:
    description: The baseline.
    baseline: true
    config: {{learning_rate: 0.01}}
  frozen:
    description: The baseline, frozen.
    baseline: true
    config: {{learning_rate: 0.01, freeze: all, decoder_dropout: 0.5}}
search:
  num_trials: {trials}
  parameters:
    learning_rate: {{float: [1.0e-4, 3.0e-2], log: true}}
    freeze: {{choices: [none, all]}}
    decoder_dropout: {{float: [0.0, 0.5]}}
    augmentation: {{choices: [none, medium]}}
  searcher: {{startup_trials: 3, seed: 0}}
  scheduler: {{grace_period: 2, reduction_factor: 2}}
  final: {{top: 1, seeds: 1}}
"""


@dataclass
class Sandbox:
    """A folder with a dataset, a space and runs on them; `mark` is in the environment of every process of it."""

    folder: Path
    mark: str

    def set_up(self, *, epochs: int, trials: int) -> None:
        """Write the dataset and the space."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "space.yaml").write_text(SPACE.format(epochs=epochs, trials=trials))
        if not (self.folder / "data").exists():
            write_phantom(self.folder / "data", count=16, image_size=40, slices_per_patient=2, seed=3, workers=1)

    def start(self, name: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a run, or resume it if it has begun."""
        if (self.record(name).path / "run.json").exists():
            arguments = ["--resume", name]
        else:
            arguments = ["--space", "space.yaml", "--data", "data", "--name", name, "--concurrent", "1"]
        with log.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "bts_tune", *arguments, "--no-dashboard"],
                cwd=self.folder,
                env=environment(MARK, self.mark, BTS_TUNE_CACHE=str(self.folder / "cache")),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def record(self, name: str) -> RunFolder:
        """Return a run's folder, which need not be there yet."""
        return RunFolder(self.folder / "results" / name)

    def recorded_epochs(self, name: str) -> int:
        """Return how many rows are recorded."""
        file = self.record(name).rows_file
        return file.read_bytes().count(b"\n") if file.exists() else 0
