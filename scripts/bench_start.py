"""Measures how long `bts-tune` takes from the command to the first training step, phase by phase.

    python scripts/bench_start.py
    python scripts/bench_start.py --space extended --rounds 5
    python scripts/bench_start.py --beside OTHER_CHECKOUT

One run fills the cache and is not counted; the rounds after it are warm. With `--beside`, both checkouts run in turn,
and the last column is this one's share of the other's. A run ends as soon as its first epoch is on record. A phase's
seconds end with what it is named after:

    dataset       the line that tells of the dataset: options, imports, the check
    Ray           the line that tells of free disk space: weights, prepared images, Ray, the run's folder
    trial         the first trial is given a process: Ray Tune
    first step    its first training step begins: the process and its imports, the model

With `--bare`, a program of a few lines is measured too, which only starts Ray and has an actor import torch and SMP and
build the model: what no run can be quicker than.

The seconds of the processor are those of all processes of the run up to the first epoch on record. On a busy machine
they say more than the clock does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bts_tune.data.parallel import available_cpus
from bts_tune.data.synthetic.phantom import write_phantom
from bts_tune.experiment.planning.environment import hardware
from scripts.processes import Process, descendants, environment, find, interrupt

PHASES = ("dataset", "Ray", "trial", "first step")
_MARKS = {"dataset": "Dataset ", "Ray": "Disk: "}
_LONGEST = 300.0

_BARE = """
import sys, time
import ray
ray.init(address="local", num_cpus=int(sys.argv[1]), log_to_driver=False)
started = time.time()

@ray.remote(num_cpus=int(sys.argv[1]))
class Trial:
    def prepare(self):
        begun = time.time()
        import torch
        import segmentation_models_pytorch as smp
        model = smp.Unet("efficientnet-b0", encoder_weights=None, in_channels=1)
        torch.optim.Adam(model.parameters()).step()
        return begun, time.time()

begun, ready = ray.get(Trial.remote().prepare.remote())
print(started, begun, ready)
ray.shutdown()
"""


def measure(checkout: Path, arguments: Sequence[str], scratch: Path, name: str) -> dict[str, float]:
    """Start a run of a checkout, and end it after its first epoch.

    Returns:
        The seconds of each phase, `in all`, and `processor`.
    """
    folder = scratch / name
    command = [sys.executable, "-u", "-m", "bts_tune", *arguments, "--name", name]
    command += ["--results", str(scratch), "--cache", str(scratch / f"cache-{name.partition('-')[0]}")]
    variables = {**environment("BTS_BENCH_START", name), "PYTHONPATH": str(checkout)}
    seen: dict[str, float] = {}
    begun = time.time()
    run = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables, cwd=scratch
    )
    assert run.stdout is not None
    reader = threading.Thread(target=_read, args=(run.stdout, seen), daemon=True)
    reader.start()
    processes: list[Process] = []
    try:
        while time.time() - begun < _LONGEST and run.poll() is None and "first step" not in seen:
            time.sleep(0.05)
            seen |= _recorded(folder)
        processes = descendants(run.pid)
        processor = sum(_processor_seconds(pid) for pid in (run.pid, *(process.pid for process in processes)))
    finally:
        interrupt(run, processes)
    if not set(PHASES) <= seen.keys():
        raise SystemExit(f"{' '.join(command)}: ended with {run.returncode} after {', '.join(seen) or 'nothing'}.")
    ends = [begun, *(seen[phase] for phase in PHASES)]
    lengths = {phase: ends[place + 1] - ends[place] for place, phase in enumerate(PHASES)}
    return {**lengths, "in all": ends[-1] - begun, "processor": processor}


def measure_bare(scratch: Path, name: str) -> dict[str, float]:
    """Start Ray and an actor that imports and builds what a trial needs, and nothing else."""
    command = [sys.executable, "-c", _BARE, str(available_cpus())]
    variables = {**environment("BTS_BENCH_START", name), "RAY_USAGE_STATS_ENABLED": "0"}
    begun = time.time()
    done = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=scratch, check=True)
    ray, trial, ready = (float(word) for word in done.stdout.split()[-3:])
    return {"Ray": ray - begun, "trial": trial - ray, "first step": ready - trial, "in all": ready - begun}


def _read(output: IO[str], seen: dict[str, float]) -> None:
    for line in output:
        for phase, mark in _MARKS.items():
            if line.startswith(mark):
                seen.setdefault(phase, time.time())


def _recorded(folder: Path) -> dict[str, float]:
    """Return when what the record tells of happened; nothing while it does not."""
    try:
        rows = (folder / "rows.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
        row = json.loads(rows[0])
    except (OSError, ValueError, IndexError):
        return {}
    started = next(event for event in events if event["event"] == "started" and event["trial"] == row["trial"])
    return {"trial": started["time"], "first step": row["time"] - row["seconds"]}


def _processor_seconds(pid: int) -> float:
    if find(pid) is None:
        return 0.0
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(given: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="dataset (240 phantoms of 128 px)")
    parser.add_argument("--space", default="baseline", help="(baseline)")
    parser.add_argument("--rounds", type=int, default=3, help="warm runs of each checkout (3)")
    parser.add_argument("--bare", action="store_true", help="measure what no run can be quicker than, too")
    parser.add_argument("--beside", type=Path, metavar="DIR", help="another checkout to compare with")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parsed = parser.parse_args(given)
    checkouts = {"this": Path(__file__).resolve().parents[1]}
    if parsed.beside is not None:
        checkouts = {"other": parsed.beside.resolve(), **checkouts}
    found: dict[str, list[dict[str, float]]] = {which: [] for which in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        data = parsed.data
        if data is None:
            data = scratch / "phantoms"
            write_phantom(data, count=240, image_size=128, slices_per_patient=2, seed=1)
        arguments = ["--space", parsed.space, "--data", str(data.resolve()), "--set", "encoder_weights=none"]
        arguments += ["--image-size", "32", "--batch-size", "16"]
        for number in range(parsed.rounds + 1):
            for which, checkout in checkouts.items():
                measured = measure(checkout, arguments, scratch, f"{which}-{number}")
                print(f"{which}, run {number}: {measured['in all']:.1f} s", file=sys.stderr)
                if number:
                    found[which].append(measured)
            if parsed.bare:
                measured = measure_bare(scratch, f"bare-{number}")
                print(f"bare, run {number}: {measured['in all']:.1f} s", file=sys.stderr)
                if number:
                    found.setdefault("bare", []).append(measured)
    medians = {which: _medians(rounds) for which, rounds in found.items()}
    if parsed.json:
        print(json.dumps({"hardware": hardware(), "rounds": found, "medians": medians}, indent=2))
        return 0
    print(f"{'seconds, median':<16}" + "".join(f"{which:>9}" for which in medians))
    for phase in (*PHASES, "in all", "processor"):
        values = [of.get(phase) for of in medians.values()]
        own, other = medians["this"][phase], medians.get("other", {}).get(phase)
        ratio = f"{own / other:>9.2f}" if other else ""
        print(f"{phase:<16}" + "".join("        –" if value is None else f"{value:>9.2f}" for value in values) + ratio)
    return 0


def _medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {phase: statistics.median(one[phase] for one in rounds) for phase in rounds[0]}


if __name__ == "__main__":
    sys.exit(main())
