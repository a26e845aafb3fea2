"""What benchmarks of training measure beside single processes: a real run through Ray, and a machine that is shared."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bts_tune.data.synthetic.phantom import write_phantom
from bts_tune.errors import BtsTuneError
from scripts.processes import descendants, environment, interrupt
from scripts.training_rounds import Job, Measurement

EPOCHS = 2
"""Epochs of a round that count; one before them is left out."""

_TRAINING = 0.9
_LONGEST = 900.0

# Ends by itself where the script that started it is gone.
_SPIN = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep so many processes beside whatever is measured, each of which wants a core at normal priority."""
    # In sessions of their own, as another user's: Linux divides the cores between sessions first.
    processes = [subprocess.Popen([sys.executable, "-c", _SPIN], start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


class RealRun:
    """`bts-tune` on phantoms, with one trial: a run for each round. Use as a context manager."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._folder = tempfile.TemporaryDirectory()
        self._rounds = 0

    def __enter__(self) -> RealRun:
        folder, config = Path(self._folder.name), self.job.config
        count = math.ceil(self.job.steps * config.batch_size / _TRAINING)
        # Images are prepared before a trial begins: their size in the files makes no difference to it.
        size = min(2048, max(32, config.image_size))
        splits = (_TRAINING, 1 - _TRAINING, 0.0)
        write_phantom(folder / "phantoms", count=max(20, count), image_size=size, slices_per_patient=1, splits=splits)
        fields = {name: value for name, value in config.to_dict().items() if name not in ("seed", "objective")}
        trial = {"description": "The trial.", "config": {**fields, "epochs": EPOCHS + 1}}
        space = {"name": "throughput", "description": "One trial.", "seeds": [config.seed], "trials": {"trial": trial}}
        (folder / "space.yaml").write_text(json.dumps(space))
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def measure(self) -> Measurement:
        """Measure a round: train `EPOCHS` epochs after a first one.

        Raises:
            BtsTuneError: the run failed.
        """
        self._rounds += 1
        folder, name = Path(self._folder.name), f"round-{self._rounds}"
        command = [sys.executable, "-m", "bts_tune", "--space", str(folder / "space.yaml")]
        command += ["--data", str(folder / "phantoms"), "--cache", str(folder / "cache"), "--results", str(folder)]
        command += ["--name", name, "--device", self.job.device, "--concurrent", "1"]
        command += ["--cpus-per-trial", str(self.job.threads)]
        variables = environment("BTS_BENCH_RUN", name)
        with (folder / f"{name}.log").open("w+") as log:
            run = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=variables, cwd=folder)
            processes = []
            try:
                deadline = time.monotonic() + _LONGEST
                while len(rows := _records(folder / name / "rows.jsonl")) <= EPOCHS and run.poll() is None:
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.05)
                processes = descendants(run.pid)
                events = _records(folder / name / "trials.jsonl")
                peak = max((_peak_mib(event["pid"]) for event in events if event.get("pid")), default=0.0)
            finally:
                interrupt(run, processes)
            if len(rows) <= EPOCHS:
                log.seek(0)
                raise BtsTuneError(f"{' '.join(command)}: ended with {run.returncode}:\n{log.read()[-2000:]}")
        seconds = sum(row["train_seconds"] for row in rows[1:])
        images = sum(row["images_per_second"] * row["train_seconds"] for row in rows[1:])
        return Measurement(round(images), seconds, waiting_seconds=None, peak_mib=peak)


def _records(file: Path) -> Sequence[dict[str, Any]]:
    try:
        return [json.loads(line) for line in file.read_text().splitlines()]
    except (OSError, ValueError):  # not there, or a line that is just being written
        return []


def _peak_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)
