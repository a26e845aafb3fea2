#!/usr/bin/env python
"""Measures what it costs that the nodes of a cluster share no disk: the driver's memory, and seconds of each epoch.

    python scripts/bench_storage.py
    python scripts/bench_storage.py --trials 100 --weights 60 --state 180 --at-a-time 4
    python scripts/bench_storage.py --trials 4 --epochs 8 --weights 25 --state 75 --at-a-time 1 --epoch 143
    python scripts/bench_storage.py --trials 0 --prepared ~/.cache/bts-tune/prepared/ENTRY

Processes of a local Ray stand for trials on nodes that share no disk with the driver: each epoch of each brings back a
checkpoint and the best weights, as `node_files.TrialFiles` does, and waits until they are on the driver's disk. A trial
that has ended leaves its weights, and every second one is beaten and removed, as in a search. Memory is what the
processes hold at most beside files and shared memory (`RssAnon`). With `--prepared`, processes with caches of their own
stand for nodes that lack the data: it is timed until they have opened it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import ray

from bts_tune.data.prepared.prepare import load_prepared
from bts_tune.experiment.execution.cluster.connection import connected
from bts_tune.experiment.execution.files import node_files
from bts_tune.experiment.execution.files.node_files import Shipping, TrialFiles
from bts_tune.experiment.execution.files.shipping import start_storage
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.experiment.planning.trial_inputs import TrialInputs
from bts_tune.training.checkpoint import CARD, LAST, WEIGHTS


def anonymous(pid: int) -> float:
    """Return the MiB of its own that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


@ray.remote(num_cpus=1)
def trial(folder: str, shipping: Shipping, epochs: int, weights: int, state: int) -> list[float]:
    """Bring back what the epochs of a trial leave; return the seconds of each."""
    files = TrialFiles(folder, shipping)
    seconds = []
    for _ in range(epochs):
        for name, size in ((WEIGHTS, weights), (CARD, 0), (LAST, state)):
            (files.folder / name).unlink(missing_ok=True)
            (files.folder / name).write_bytes(os.urandom(1024) * (size * 1024) + b"{}")
        began = time.perf_counter()
        files.bring_back()
        seconds.append(time.perf_counter() - began)
    files.close()
    return seconds


@ray.remote(num_cpus=1)
def first_trial(folder: str, shipping: Shipping, cache: str) -> float:
    """Bring prepared data to a cache that lacks it; return the seconds until it is open."""
    node_files._writable_cache = lambda first: Path(cache)
    Path(cache).mkdir()
    began = time.perf_counter()
    load_prepared(shipping._fetch_folder(Path(folder)))
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=1, help="of each trial")
    parser.add_argument("--weights", type=int, default=60, help="MiB of a model")
    parser.add_argument("--state", type=int, default=180, help="MiB of a checkpoint")
    parser.add_argument("--at-a-time", type=int, default=2)
    parser.add_argument("--epoch", type=float, help="seconds that an epoch trains; the share of its files is told")
    parser.add_argument("--prepared", type=Path, help="an entry of the cache's folder 'prepared'")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-storage-"))
    try:
        with connected(RunOptions(space="baseline", device="cpu", dashboard=False), resume=str):
            data = asked.prepared and str(asked.prepared.expanduser().absolute())
            handed_out: dict[Any, str] = {"data": data} if data else {}
            storage, shipping = start_storage(TrialInputs(handed_out, {}, {}))
            if data:
                starts = [ray.get(first_trial.remote(data, shipping, str(folder / f"node-{n}"))) for n in range(4)]
                size = sum(file.stat().st_size for file in Path(data).iterdir()) / 2**20
                print(f"{size:.0f} MiB of prepared data: {starts[0]:.2f} s on the first node,", end=" ")
                print(f"{', '.join(f'{one:.2f}' for one in starts[1:])} s on the next ones")
            keeper = ray.get(storage.__ray_call__.remote(lambda self: os.getpid()))
            before, seconds, pending = (anonymous(os.getpid()), anonymous(keeper)), [], {}
            most = before
            for number in range(asked.trials):
                home = folder / "models" / f"trial-{number}"
                pending[trial.remote(str(home), shipping, asked.epochs, asked.weights, asked.state)] = home
                while len(pending) >= asked.at_a_time or (pending and number == asked.trials - 1):
                    done, _ = ray.wait(list(pending), timeout=0.05)
                    now = anonymous(os.getpid()), anonymous(keeper)
                    most = max(most[0], now[0]), max(most[1], now[1])
                    for one in done:
                        ended = pending.pop(one)
                        seconds += ray.get(one)
                        (ended / LAST).unlink()
                        if int(ended.name.partition("-")[2]) % 2:
                            shutil.rmtree(ended)
            after = anonymous(os.getpid()), anonymous(keeper)
        if not seconds:
            return
        sizes = f"{asked.weights} MiB, checkpoints of {asked.state} MiB"
        print(f"{asked.trials} trials of {sizes}, {asked.at_a_time} at a time")
        for name, one, top, last in zip(("driver", "storage"), before, most, after, strict=True):
            print(f"{name}: {one:.0f} MiB before, {top:.0f} at most, {last:.0f} after")
        median = statistics.median(seconds)
        print(f"an epoch's files are back in {median:.2f} s (median), {max(seconds):.2f} at most")
        if asked.epoch is not None:
            print(f"{median / (asked.epoch + median):.2%} of an epoch that trains for {asked.epoch:g} s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
