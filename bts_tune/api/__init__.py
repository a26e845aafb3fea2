"""The Python API: what `import bts_tune` offers, which the command line is a thin layer on.

What a function cannot use raises a `BtsTuneError`, whose message is one sentence: what is wrong, where and what is
allowed.
"""

from bts_tune.api.datasets import check_dataset, open_dataset
from bts_tune.api.run import Run, load_model, open_run
from bts_tune.api.spaces import build_space, load_plugin, load_space
from bts_tune.api.training import train
from bts_tune.api.tuning import benchmark, extend, resume, train_final, tune
from bts_tune.config import TrialConfig
from bts_tune.space import Space

__all__ = [
    "Run",
    "Space",
    "TrialConfig",
    "benchmark",
    "build_space",
    "check_dataset",
    "extend",
    "load_model",
    "load_plugin",
    "load_space",
    "open_dataset",
    "open_run",
    "resume",
    "train",
    "train_final",
    "tune",
]
