"""How many trials to put on one GPU: `--gpus-per-trial auto`.

As many as its memory takes, at most; fewer where more of them at a time train no more images a second together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from bts_tune.config import PreprocessingPart, TrialConfig
from bts_tune.errors import ConfigError, RunError
from bts_tune.experiment.execution.files.node_files import Shipping
from bts_tune.experiment.planning.options import AUTO, RunOptions
from bts_tune.plugins import plugins_to_restore
from bts_tune.space import ResolvedSpace
from bts_tune.text import first_line

Say = Callable[[str], None]

# More trials than this at a time keep early stopping and the searcher waiting for what is still in training, and a GPU
# has little left to gain by then.
MOST = 8

# Of a GPU's memory, what trials may take: its allocator needs blocks in one piece, and steps differ a little.
USABLE = 0.9

# What a process takes beside its tensors: the CUDA context and the libraries' code.
CONTEXT = 600 * 2**20

# More trials at a time have to train this much more together: each of them learns its results later.
GAIN = 1.05

_SECONDS = 5.0  # of a measurement of speed

# The same architecture and image takes most memory with all of it trained; none of the other fields changes its size.
_WHOLE = {
    "freeze": "none",
    "freeze_stages": 0,
    "freeze_epochs": 0,
    "encoder_weights": "none",
    "augmentation": "none",
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "schedule": "constant",
    "equalization": "histogram",
    "seed": 0,
}


def trials_per_gpu(peak: int, total: int) -> int:
    """Return how many trials of this peak, in bytes, a GPU of this memory takes; at least 1, at most `MOST`."""
    return max(1, min(MOST, math.floor(USABLE * total / (peak + CONTEXT))))


def largest_configurations(space: ResolvedSpace) -> list[TrialConfig]:
    """Return a configuration of each architecture of the space, all of it trained, which takes most memory."""
    configs = [named.in_full for named in space.named]
    if space.search is not None:
        search = space.search.in_full
        base = configs[0] if configs else TrialConfig()
        configs += [base.replaced({**search.fields, **_WHOLE, **one}) for one in search.all_sizes()]
    return list(dict.fromkeys(config.replaced(_WHOLE) for config in configs))


def folder_of_size(config: TrialConfig, prepared: Mapping[PreprocessingPart, str]) -> str:
    """Return a dataset whose images have the size of a configuration's; how they are equalised changes no size."""
    wanted = config.part(PreprocessingPart)
    alike = {"equalization": wanted.equalization}
    return next(folder for part, folder in prepared.items() if part.model_copy(update=alike) == wanted)


def measure_throughput(
    config: TrialConfig,
    folder: str,
    most: int,
    *,
    device: str,
    threads: int,
    seconds: float = _SECONDS,
    shipping: Shipping | None = None,
) -> dict[int, float]:
    """Return the images a second of 1, 2, 4, … up to `most` trials at a time, all together.

    It goes on to more at a time for as long as they fit and gain `GAIN` at least.

    Args:
        config: what each trains.
        folder: of the prepared dataset.
        most: trials on a GPU.
        device: 'cuda'; on 'cpu' they run on a core instead of a GPU.
        threads: CPU threads of each.
        seconds: length of each measurement.
        shipping: how files reach the nodes of a cluster that is not the run's own.

    Raises:
        RunError: not even one can be trained.
    """
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    from bts_tune.experiment.execution.trials.probe import ThroughputWorker, architecture

    resource = "GPU" if device == "cuda" else "CPU"
    group = placement_group([{resource: 1}])
    fraction = {"num_cpus": 0, "num_gpus": 1 / most} if device == "cuda" else {"num_cpus": 1 / most}
    worker = ray.remote(ThroughputWorker).options(
        scheduling_strategy=PlacementGroupSchedulingStrategy(group, 0), **fraction
    )
    plugins = plugins_to_restore()
    workers: list[Any] = []
    found: dict[int, float] = {}
    try:
        for count in [*(2**power for power in range(most.bit_length()) if 2**power < most), most]:
            try:
                workers += [
                    worker.remote(config, folder, plugins, device, threads, shipping)
                    for _ in range(count - len(workers))
                ]
                ray.get([one.train.remote(0.0) for one in workers])
                found[count] = sum(ray.get([one.train.remote(seconds) for one in workers]))
            except ray.exceptions.RayError as error:
                if found:
                    break
                cause = first_line(getattr(error, "cause", None) or error).rstrip(".")
                raise RunError(f"--gpus-per-trial {AUTO}: cannot train {architecture(config)}: {cause}.") from None
            if best_count(found) < count:
                break
    finally:
        for one in workers:
            ray.kill(one)
        remove_placement_group(group)
    return found


def best_count(found: Mapping[int, float]) -> int:
    """Return how many at a time to train, of images a second by number of trials.

    It is the last of those that each gained `GAIN` over the one before.
    """
    chosen, *others = sorted(found)
    for count in others:
        if found[count] < GAIN * found[chosen]:
            break
        chosen = count
    return chosen


def with_measured_gpus_per_trial(
    options: RunOptions,
    space: ResolvedSpace,
    prepared: Mapping[PreprocessingPart, str],
    *,
    cpus: int,
    gpus: float,
    say: Say,
    shipping: Shipping | None = None,
) -> RunOptions:
    """Return the options with `--gpus-per-trial auto` replaced by what a probe on a GPU of the cluster finds.

    Args:
        options: what was asked for; returned as they are without 'auto'.
        space: whose largest configuration has to fit.
        prepared: the folder of the prepared dataset for each preprocessing.
        cpus, gpus: of the cluster.
        say: is told in sentences what was found.
        shipping: how files reach the nodes of a cluster that is not the run's own.

    Raises:
        ConfigError: there is no GPU to share, or the largest configuration does not fit on one.
        RunError: it cannot be trained for another reason.
    """
    if options.gpus_per_trial != AUTO:
        return options
    if options.device == "cpu" or not gpus:
        raise ConfigError(f"--gpus-per-trial {AUTO}: there is no GPU to share; leave the option out.")
    import ray

    from bts_tune.experiment.execution.trials.probe import architecture, measure_peak_memory

    configs = largest_configurations(space)
    folders = [folder_of_size(config, prepared) for config in configs]
    # Ray takes `max_calls` here alone, not in `.options()`.
    probe: Any = ray.remote(num_gpus=1, max_calls=1)(measure_peak_memory)
    found = ray.get(probe.options(name="probe").remote(configs, folders, plugins_to_restore(), shipping))
    most = trials_per_gpu(found.peak, found.total)
    say(
        f"{architecture(found.config)} takes most, {found.peak / 2**30:.1f} of {found.total / 2**30:.0f} GiB: "
        f"at most {_trials(most)} on a GPU"
    )
    if most == 1:
        return options.replaced(gpus_per_trial=1.0)
    folder = folder_of_size(found.config, prepared)
    threads = max(1, int(cpus / gpus) // most)
    by_count = measure_throughput(found.config, folder, most, device="cuda", threads=threads, shipping=shipping)
    count = best_count(by_count)
    measured = ", ".join(f"{speed:.0f} with {_trials(number)}" for number, speed in by_count.items())
    say(f"Images a second together: {measured}: {_trials(count)} on a GPU")
    return options.replaced(gpus_per_trial=1 / count)


def _trials(count: int) -> str:
    return f"{count} trial{'s' if count > 1 else ''}"
