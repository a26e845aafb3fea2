#!/usr/bin/env python
"""Measures how many images a second a trial's own loader delivers, by augmentation policy and number of threads.

    python scripts/bench_loading.py --data DIR
    python scripts/bench_loading.py --seconds 0.5 --threads 1        # a quick look, on phantoms

A training step waits for nothing but the loader: where this exceeds the limit of a model that `bench_throughput.py`
gives, the data costs no time. Both ways of augmenting are measured, on the CPU and on a GPU: image by image, in the
loader's threads, as trials on CPUs do it, and batch by batch on the device, as trials on GPUs do it. The last column
says what more threads are worth: those that augment image by image share one interpreter, which is what they wait for
where Python rather than OpenCV takes the time. On a CPU, batches are augmented by as many threads of torch.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bts_tune.config import TrialConfig
from bts_tune.data.parallel import available_cpus
from bts_tune.data.prepared.prepare import PreparedData, load_prepared
from bts_tune.errors import BtsTuneError
from bts_tune.experiment.planning.environment import hardware
from scripts.training_bench import base_job, chosen_device, opened_data

POLICIES = ("none", "light", "medium", "strong")
WAYS = {"image": False, "batch": True}
HEADER = "| augmentation | by | threads | images/s | / one thread |\n| --- | --- | ---: | ---: | ---: |"


@dataclass(frozen=True)
class Line:
    """One line of the result."""

    augmentation: str
    by: str
    threads: int
    images_per_second: float
    to_one_thread: float


def delivered(data: PreparedData, config: TrialConfig, device: str, way: str, threads: int, seconds: float) -> float:
    """Return the images a second that a loader delivers over `seconds`, its first batches left out."""
    import torch

    from bts_tune.training.loader import BatchLoader

    torch.set_num_threads(threads if WAYS[way] else 1)
    loader = BatchLoader(data, config, torch.device(device), workers=threads, augment_batches=WAYS[way])
    batches = itertools.chain.from_iterable(loader.training(epoch) for epoch in itertools.count(1))
    try:
        for _ in range(threads + 1):
            next(batches)
        images, started = 0, time.perf_counter()
        while (passed := time.perf_counter() - started) < seconds:
            images += len(next(batches)[0])
            if device == "cuda":
                torch.cuda.synchronize()
        return images / passed
    finally:
        loader.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    cores = available_cpus()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="dataset (phantoms of 640 px)")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="(cuda where there is a GPU)")
    parser.add_argument("--augmentation", nargs="+", choices=POLICIES, default=list(POLICIES))
    doubled = sorted({min(2**power, cores) for power in range(cores.bit_length() + 1)})
    parser.add_argument("--threads", nargs="+", type=int, default=doubled, help="(1, 2, 4, … up to all cores)")
    parser.add_argument("--seconds", type=float, default=4, help="length of each measurement (4)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parsed = parser.parse_args(arguments)
    for name in ("seconds", "batch_size", "threads"):
        if min(values := getattr(parsed, name) if name == "threads" else [getattr(parsed, name)]) <= 0:
            parser.error(f"--{name.replace('_', '-')} {min(values)}: must be above 0.")
    device = chosen_device(parsed)
    lines: list[Line] = []
    if not parsed.json:
        print(HEADER)
    try:
        with opened_data(parsed.data) as (folder, cache):
            job = base_job(parsed, "unet-b0", folder, cache, device)
            data = load_prepared(job.prepared)
            for policy, way in itertools.product(parsed.augmentation, WAYS):
                config = job.config.replaced({"augmentation": policy})
                alone = delivered(data, config, device, way, 1, parsed.seconds)
                for threads in parsed.threads:
                    speed = alone
                    if threads > 1:
                        speed = delivered(data, config, device, way, threads, parsed.seconds)
                    lines.append(Line(policy, way, threads, speed, speed / alone))
                    if not parsed.json:
                        print(f"| {policy} | {way} | {threads} | {speed:.0f} | {speed / alone:.2f} |", flush=True)
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
