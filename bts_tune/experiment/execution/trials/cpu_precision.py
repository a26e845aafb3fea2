"""Decides before the first trial of a run on CPUs what `precision: auto` is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bts_tune.config import TrialConfig
from bts_tune.experiment.planning.cpu_precision import CpuPrecision, decided
from bts_tune.plugins import plugins_to_restore
from bts_tune.training.bfloat16 import keep_gain, known_gain
from bts_tune.training.speed import Machine


def measure_cpu_precision(
    configs: Sequence[TrialConfig], machine: Machine, cache: Path, say: Callable[[str], None]
) -> CpuPrecision:
    """Return what 'auto' is for some kinds of trials; what the cache does not know is measured.

    It is measured in a process that Ray starts as it starts those of trials: with their threads, at their priority.

    Args:
        configs: one of each kind.
        machine: this one, with the threads of a trial.
        cache: folder of the cache.
        say: is told what is being done.
    """
    gains = {config.config_id: known_gain(config, machine, cache) for config in configs}
    unknown = [config for config in configs if gains[config.config_id] is None]
    if unknown:
        import ray

        say("Precision: a few training steps are timed in float32 and in bfloat16")
        task: Any = ray.remote(num_cpus=machine.threads, max_calls=1, max_retries=0)(_gains)
        try:
            found = ray.get(task.options(name="precision").remote(unknown, machine.threads, plugins_to_restore()))
        except ray.exceptions.RayError:  # its process died, of memory perhaps; a trial that does is told of as such
            found = []
        for config, gain in zip(unknown, found, strict=False):
            if gain is not None:
                gains[config.config_id] = gain
                keep_gain(config, machine, gain, cache)
    known = [(config, gains[config.config_id]) for config in configs]
    return CpuPrecision([decided(config, gain, machine.threads) for config, gain in known if gain is not None])


def _gains(configs: Sequence[TrialConfig], threads: int, plugins: Sequence[Mapping[str, str]]) -> list[float | None]:
    """Return the gain of each; None where its step cannot be computed."""
    from bts_tune.plugins import restore
    from bts_tune.training.bfloat16 import measured_gain

    restore(plugins)
    found: list[float | None] = []
    for config in configs:
        try:
            found.append(measured_gain(config, threads))
        except Exception:  # a trial of this kind will fail, and say why
            found.append(None)
    return found
