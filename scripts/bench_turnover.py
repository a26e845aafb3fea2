#!/usr/bin/env python
"""Measures turnover: seconds from the end of a trial's last epoch to the first step of the next trial.

    python scripts/bench_turnover.py
    python scripts/bench_turnover.py --trials 6 --set encoder=efficientnet-b5 --set image_size=224

A real run on phantoms, one trial at a time. The record says when each epoch was reported and how long it took, so the
first step of a trial began at the time of its first row less that row's seconds. What lies between that and the row
before is turnover: Ray's hand-over, building the model, opening the data. The first trial is not counted, because its
process had to be started; its own figure, from the start of the trial, is shown for comparison.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bts_tune.data.synthetic.phantom import write_phantom
from bts_tune.experiment.planning.environment import hardware
from bts_tune.results.record.run_folder import RunFolder


def run(trials: int, settings: Sequence[str], folder: Path) -> RunFolder:
    """Run this many small trials of different learning rates and return their run."""
    data = folder / "phantoms"
    write_phantom(data, count=40, image_size=64, slices_per_patient=2, seed=0)
    space = {
        "name": "turnover",
        "description": "Small trials one after the other.",
        "defaults": {"image_size": 64, "epochs": 2, "batch_size": 8, "encoder": "resnet18", "encoder_weights": "none"},
        "trials": {
            f"trial-{number}": {"description": "One of them.", "config": {"learning_rate": 1e-3 / (number + 1)}}
            for number in range(trials)
        },
    }
    file = folder / "turnover.yaml"
    file.write_text(yaml.safe_dump(space))
    command = [sys.executable, "-m", "bts_tune", "--space", str(file), "--data", str(data), "--name", "run"]
    command += ["--results", str(folder), "--cache", str(folder / "cache"), "--concurrent", "1", "--no-dashboard"]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the run ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return RunFolder.open(folder / "run")


def turnovers(folder: RunFolder) -> dict[str, Any]:
    """Return the seconds before each trial's first step, and how many processes there were."""
    records = sorted(folder.trials(), key=lambda record: record.rows[0]["time"])
    firsts = [record.rows[0]["time"] - record.rows[0]["seconds"] for record in records]
    lasts = [record.rows[-1]["time"] for record in records]
    between = [first - last for first, last in zip(firsts[1:], lasts[:-1], strict=True)]
    return {
        "trials": len(records),
        "processes": len({record.started["pid"] for record in records}),
        "first_trial_seconds": firsts[0] - records[0].started["started"],
        "turnover_seconds": between,
        "median_seconds": statistics.median(between),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8, help="trials of the run (8)")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="a field of every trial")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parsed = parser.parse_args(arguments)
    if parsed.trials < 2:
        parser.error(f"--trials {parsed.trials}: must be at least 2.")
    with tempfile.TemporaryDirectory() as folder:
        result = turnovers(run(parsed.trials, parsed.set, Path(folder)))
    if parsed.json:
        print(json.dumps({"hardware": hardware(), **result}, indent=2))
        return 0
    print(f"{result['trials']} trials in {result['processes']} process(es)")
    print(f"start of the first trial to its first step: {result['first_trial_seconds']:.2f} s")
    each = ", ".join(f"{seconds:.2f}" for seconds in result["turnover_seconds"])
    print(f"turnover: median {result['median_seconds']:.2f} s ({each})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
