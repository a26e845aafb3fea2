#!/usr/bin/env python
"""Measures how many images a second a real trial trains on, beside a plain script and beside the hardware's limit.

    python scripts/bench_throughput.py --data DIR
    python scripts/bench_throughput.py --models unet-b0 --seconds 3 --rounds 1        # a quick look, on phantoms
    python scripts/bench_throughput.py --models unet-resnet18 --image-size 96 --batch-size 16 --run --busy 2

    peer        what SMP's examples teach: a Dataset that reads, equalises, resizes and augments (policy medium) an
                image on every access, a DataLoader with a worker a core, Adam, default memory layout, float32
    peer-amp    on CUDA, or with `--precision bfloat16`: the same in mixed precision, bfloat16
    limit       the same model, optimiser and loss on one batch that is on the device already: no data at all, in the
                layout and precision of a trial
    none, …     a trial as a run trains it, by `training.loop`, with this augmentation policy
    run         with `--run`: the whole product, policy medium: the command starts Ray, and Ray the trial's process.
                Images and seconds are those of the record, the first epoch left out. A round is a run of its own

With `--busy N`, N processes that never rest are beside everything that is measured.

Each is a process of its own, so that its peak memory is its own. Peer and limit of a model alternate with one policy
after another, a few steps each, so that a drift of the machine's speed meets them alike, and no more than three or four
models are in memory; ratios are taken within a round, and the median over the rounds is shown. The first round of a
process warms up and is not counted. Encoders have random weights: the arithmetic is the same.

Columns: images a second in training steps; the ratio to the peer (mixed precision where it is faster) and to the limit;
the share of a step spent waiting for data; seconds of an epoch outside training steps and validation (the checkpoint
above all); peak memory, which is the process's resident set and its workers' on a CPU, and CUDA's on a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bts_tune.config import Precision
from bts_tune.data.parallel import available_cpus
from bts_tune.errors import BtsTuneError
from bts_tune.experiment.planning.environment import hardware
from scripts.real_run import RealRun, busy_processes
from scripts.training_bench import MODELS, Process, add_options, base_job, chosen_device, opened_data
from scripts.training_rounds import Job, Measurement

POLICIES = ("none", "light", "medium", "strong")


@dataclass(frozen=True)
class Line:
    """One line of the result: a model and one way to train it."""

    model: str
    kind: str
    images_per_second: float
    to_peer: float | None
    to_limit: float | None
    waiting_share: float | None
    outside_seconds: float | None
    peak_mib: float
    steps: int
    rounds: int


def measure(base: Job, model: str, kinds: Sequence[str], seconds: float, rounds: int) -> list[Line]:
    """Measure every kind of training of one model, round by round."""
    with Process(replace(base, kind="limit", steps=2)) as probe:
        probe.measure()
        step = probe.measure().step_seconds / 2
    base = replace(base, steps=max(2, round(seconds / step)))
    references = [kind for kind in kinds if kind not in POLICIES]
    measured: dict[str, list[Measurement]] = {kind: [] for kind in references}
    lines = []
    with contextlib.ExitStack() as stack:
        alive = [_warm(stack, replace(base, kind=kind)) for kind in references]
        for policy in [kind for kind in kinds if kind in POLICIES]:
            config = base.config.replaced({"augmentation": policy, "epochs": rounds + 1})
            beside: dict[str, list[Measurement]] = {kind: [] for kind in [*references, policy]}
            with contextlib.ExitStack() as own:
                trial = _warm(own, replace(base, kind=policy, config=config))
                for _ in range(rounds):
                    for process in (*alive, trial):
                        beside[process.job.kind].append(process.measure())
            lines.append(_line(model, policy, beside, base.steps))
            for kind in references:
                measured[kind] += beside[kind]
    return [*(_line(model, kind, measured, base.steps) for kind in references), *lines]


def _warm(stack: contextlib.ExitStack, job: Job) -> Process | RealRun:
    if job.kind == "run":
        config = job.config.replaced({"augmentation": "medium"})
        return stack.enter_context(RealRun(replace(job, config=config)))
    process = stack.enter_context(Process(job))
    process.measure()
    return process


def _line(model: str, kind: str, measured: dict[str, list[Measurement]], steps: int) -> Line:
    own = measured[kind]
    peers = [measured[name] for name in ("peer", "peer-amp") if measured.get(name)]
    peer = max(peers, key=_speed, default=None)
    limit = measured.get("limit")

    def ratio(other: list[Measurement] | None) -> float | None:
        if other is None:
            return None
        return statistics.median(
            one.images_per_second / two.images_per_second for one, two in zip(own, other, strict=True)
        )

    outside = [one.outside_seconds for one in own if one.outside_seconds is not None]
    waiting = [one.waiting_seconds / one.step_seconds for one in own if one.waiting_seconds is not None]
    return Line(
        model=model,
        kind=kind,
        images_per_second=_speed(own),
        to_peer=ratio(peer),
        to_limit=ratio(limit),
        waiting_share=statistics.median(waiting) if waiting else None,
        outside_seconds=statistics.median(outside) if outside else None,
        peak_mib=max(one.peak_mib for one in own),
        steps=steps,
        rounds=len(own),
    )


def _speed(measured: Sequence[Measurement]) -> float:
    return statistics.median(one.images_per_second for one in measured)


HEADER = """\
| model | training | images/s | / peer | / limit | waiting for data | outside steps, s | peak MiB |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"""


def render(one: Line) -> str:
    """Return a line as one of a table in Markdown."""

    def figure(value: float | None, digits: int = 2) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    waiting = "–" if one.waiting_share is None else f"{one.waiting_share:.1%}"
    return (
        f"| {one.model} | {one.kind} | {figure(one.images_per_second)} | {figure(one.to_peer)} | "
        f"{figure(one.to_limit)} | {waiting} | {figure(one.outside_seconds)} | {one.peak_mib:.0f} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, MODELS)
    parser.add_argument("--augmentation", nargs="+", choices=POLICIES, default=["none", "medium", "strong"])
    parser.add_argument("--precision", choices=get_args(Precision), default="auto", help="of limit and trials (auto)")
    parser.add_argument("--seconds", type=float, default=10, help="length of a round, about (10)")
    parser.add_argument("--run", action="store_true", help="measure a real run through Ray, too")
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="processes beside all of it (0)")
    parser.add_argument("--threads", type=int, default=available_cpus(), help="CPU threads (all cores)")
    parsed = parser.parse_args(arguments)
    for name in ("seconds", "rounds", "threads", "batch_size"):
        if getattr(parsed, name) <= 0:
            parser.error(f"--{name.replace('_', '-')} {getattr(parsed, name)}: must be above 0.")
    if parsed.busy < 0:
        parser.error(f"--busy {parsed.busy}: must be at least 0.")
    device = chosen_device(parsed)
    mixed = ["peer-amp"] if device == "cuda" or parsed.precision == "bfloat16" else []
    kinds = ["peer", *mixed, "limit", *(["run"] if parsed.run else []), *parsed.augmentation]
    lines: list[Line] = []
    if not parsed.json:
        print(HEADER)
    try:
        with opened_data(parsed.data) as (data, cache), busy_processes(parsed.busy):
            for model in parsed.models:
                job = base_job(parsed, model, data, cache, device)
                config = job.config.replaced({"precision": parsed.precision})
                job = replace(job, config=config, threads=parsed.threads)
                measured = measure(job, model, kinds, parsed.seconds, parsed.rounds)
                lines += measured
                if not parsed.json:
                    print(*map(render, measured), sep="\n", flush=True)
    except BtsTuneError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    if parsed.json:
        options = {name: str(value) if isinstance(value, Path) else value for name, value in vars(parsed).items()}
        print(
            json.dumps({"hardware": hardware(), "options": options, "lines": [asdict(one) for one in lines]}, indent=2)
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
