"""What a reader must know of a run before any of its metrics: a demo, a partial run, a split that leaks."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


DEMO_TAG = "DEMO: generated phantoms, not a result"


PARTIAL_TAG = "PARTIAL: the run is not complete"


_WHY_PARTIAL: Mapping[str, str] = {
    "running": "was still running, or had been killed, when this report was written",
    "interrupted": "was interrupted",
    "out-of-time": "ran out of its time budget",
    "failed": "failed",
}


def is_demo(run: Mapping[str, Any]) -> bool:
    """Whether the run trained on generated phantoms."""
    return run.get("profile") == "demo"


def is_partial(run: Mapping[str, Any]) -> bool:
    """Whether the run has not done everything that it was asked to do."""
    return run.get("status") != "complete"


def resume_command(run: Mapping[str, Any]) -> str:
    """Return the command that goes on with the run."""
    return f"bts-tune --resume {shlex.quote(str(run.get('run', 'RUN')))}"


def demo_sentence(run: Mapping[str, Any]) -> str | None:
    """Return the warning that a demo run's report and terminal output begin with; None for a run on real data."""
    if not is_demo(run):
        return None
    return (
        "DEMO: this run trained on generated phantoms, with small images, few epochs and no pretrained weights. "
        "Its metrics show that the tool works; they are not a result."
    )


def partial_sentence(run: Mapping[str, Any]) -> str | None:
    """Return the warning that the report of an unfinished run begins with; None for a complete run."""
    if not is_partial(run):
        return None
    why = _WHY_PARTIAL.get(str(run.get("status")), "is not complete")
    return f"PARTIAL: the run {why}. Everything below covers what is recorded so far. Go on with: {resume_command(run)}"


def leak_sentence(run: Mapping[str, Any]) -> str | None:
    """Return the warning of a run whose validation images have relatives in training; None where they have none."""
    split = run.get("dataset", {}).get("split", {})
    leak = split.get("leak", {})
    valid = leak.get("splits", {}).get("valid")
    if not leak.get("leaks") or valid is None or None in (valid.get("related_share"), valid.get("look_alike_share")):
        return None
    return (
        f"LEAK: in the {split.get('method')} split, {valid['related_share']:.0%} of the validation images have a "
        f"slice of their own group in the training split, and {valid['look_alike_share']:.0%} a near-duplicate, so "
        "that every metric is too good for new patients. --split grouped keeps relatives together."
    )


def tags(run: Mapping[str, Any]) -> list[str]:
    """Return the short warnings that stand at the top of every section and figure."""
    return ([DEMO_TAG] if is_demo(run) else []) + ([PARTIAL_TAG] if is_partial(run) else [])
