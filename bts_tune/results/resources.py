"""What a trial of a run was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


def gpus_per_trial(run: Mapping[str, Any]) -> float:
    """Return the GPUs, or the fraction of one, that a trial on a GPU takes."""
    options = run.get("options")
    found = options.get("gpus_per_trial") if isinstance(options, Mapping) else None
    if found == "auto":
        found = run.get("gpus_per_trial")  # what a probe chose
    return float(found) if isinstance(found, int | float) and found > 0 else 1.0
