"""Hyperparameter search and benchmark for 2-D brain-tumour MRI segmentation.

    import bts_tune as bt

    run = bt.tune("baseline", "slices")            # train, rank and report
    print(run.leaderboard)
    mask = run.best_model().predict("scan.png")    # a torch.nn.Module with its preprocessing

The registries (`LOSSES`, `METRICS`, `DECODERS`, …) take implementations of your own; see docs/examples/plugins.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bts_tune.version import __version__ as __version__

if TYPE_CHECKING:
    from bts_tune.api import (
        Run,
        Space,
        TrialConfig,
        benchmark,
        build_space,
        check_dataset,
        extend,
        load_model,
        load_plugin,
        load_space,
        open_dataset,
        open_run,
        resume,
        train,
        train_final,
        tune,
    )
    from bts_tune.errors import BtsTuneError
    from bts_tune.registry import (
        AUGMENTATION_STEPS,
        DECODERS,
        EXPORTS,
        LOSSES,
        METRICS,
        READERS,
        SECTIONS,
        SPLIT_METHODS,
        TRACKERS,
    )

__all__ = [
    "AUGMENTATION_STEPS",
    "DECODERS",
    "EXPORTS",
    "LOSSES",
    "METRICS",
    "READERS",
    "SECTIONS",
    "SPLIT_METHODS",
    "TRACKERS",
    "BtsTuneError",
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


if not TYPE_CHECKING:  # a type checker would take any name for one that is there

    def __getattr__(name: str) -> Any:
        """Import what a name stands for when it is first used: `import bts_tune` itself loads nothing heavy."""
        if name not in __all__:
            raise AttributeError(f"module 'bts_tune' has no attribute {name!r}")
        module = "registry" if name.isupper() else "errors" if name == "BtsTuneError" else "api"
        return getattr(importlib.import_module(f"bts_tune.{module}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return [*__all__, "__version__"]
