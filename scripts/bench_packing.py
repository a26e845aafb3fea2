#!/usr/bin/env python
"""Measures what is gained by several trials at a time: images a second of all of them together.

    python scripts/bench_packing.py --data DIR               # 1, 2, 4 and 8 trials at a time, at most one a core
    python scripts/bench_packing.py --models unet-b0 --trials 1 2

Each trial is a process of its own that trains as a run does, with augmentation `medium`. On a GPU all share it; the
cores are split evenly among them. All numbers of trials alternate, so that a drift of the machine's speed meets them
alike; the first round warms up and is not counted. A number whose trials do not fit into memory is told, and left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bts_tune.data.parallel import available_cpus
from bts_tune.errors import BtsTuneError
from bts_tune.experiment.planning.environment import hardware
from scripts.training_bench import Process, add_options, base_job, chosen_device, opened_data
from scripts.training_rounds import Job


@dataclass(frozen=True)
class Line:
    """One line of the result: a model, and several trials of it at a time."""

    model: str
    trials: int
    threads_each: int
    images_per_second: float
    to_one: float | None
    peak_mib: float


def measure(base: Job, model: str, counts: Sequence[int], cores: int, rounds: int) -> list[Line]:
    """Measure every number of trials at a time, round by round."""
    packs: dict[int, list[Process]] = {}
    speeds: dict[int, list[float]] = {count: [] for count in counts}
    peaks = dict.fromkeys(counts, 0.0)
    try:
        for count in counts:
            job = replace(base, threads=max(1, cores // count))
            packs[count] = [Process(replace(job, config=job.config.replaced({"seed": n}))) for n in range(count)]
        for number in range(rounds + 1):
            for count, pack in list(packs.items()):
                try:
                    for process in pack:
                        process.ask()
                    answers = [process.answer() for process in pack]
                except BtsTuneError as error:
                    print(f"{model}, {count} trials at a time: {error}", file=sys.stderr)
                    for process in packs.pop(count):
                        process.close()
                    continue
                if number:
                    speeds[count].append(sum(one.images_per_second for one in answers))
                    peaks[count] = max(peaks[count], sum(one.peak_mib for one in answers))
    finally:
        for pack in packs.values():
            for process in pack:
                process.close()
    measured = {count: statistics.median(speeds[count]) for count in packs}
    return [
        Line(model, n, max(1, cores // n), speed, speed / measured[1] if 1 in measured else None, peaks[n])
        for n, speed in measured.items()
    ]


def render(lines: Sequence[Line]) -> str:
    """Return the result as a table in Markdown."""
    table = [
        "| model | trials at a time | threads each | images/s, all | / one at a time | peak MiB, all |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in lines:
        ratio = "–" if one.to_one is None else f"{one.to_one:.2f}"
        table.append(
            f"| {one.model} | {one.trials} | {one.threads_each} | {one.images_per_second:.2f} | {ratio} | "
            f"{one.peak_mib:.0f} |"
        )
    return "\n".join(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, ["unet-b0", "unetplusplus-b5"])
    parser.add_argument("--trials", nargs="+", type=int, help="trials at a time (1, 2, 4 and 8; at most one a core)")
    parser.add_argument("--steps", type=int, default=8, help="steps of a round (8)")
    parsed = parser.parse_args(arguments)
    cores = available_cpus()
    counts = sorted(set(parsed.trials or [count for count in (1, 2, 4, 8) if count <= cores]))
    if min(*counts, parsed.steps, parsed.rounds, 10**9) < 1:
        parser.error("--trials, --steps and --rounds must be at least 1.")
    device = chosen_device(parsed)
    lines: list[Line] = []
    try:
        with opened_data(parsed.data) as (data, cache):
            for model in parsed.models:
                job = base_job(parsed, model, data, cache, device)
                config = job.config.replaced({"augmentation": "medium", "epochs": parsed.rounds + 1})
                job = replace(job, kind="medium", config=config, steps=parsed.steps)
                lines += measure(job, model, counts, cores, parsed.rounds)
    except BtsTuneError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    if parsed.json:
        print(json.dumps({"hardware": hardware(), "lines": [asdict(one) for one in lines]}, indent=2))
    else:
        print(render(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
