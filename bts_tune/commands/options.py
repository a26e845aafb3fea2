"""Options that several commands have, and the types of their values."""

from __future__ import annotations

import argparse
import re
from typing import Any

_LONGEST_TIME = 1e9  # of any unit; far beyond it clocks overflow


def add_allow_changed(group: argparse._ArgumentGroup) -> None:
    """Add the option that lets a run go on where something has changed."""
    group.add_argument(
        "--allow-changed", action="store_true", help="go on though data, code, versions or device have changed"
    )


def add_final_numbers(group: argparse._ArgumentGroup) -> None:
    """Add the options that say how large a final stage is."""
    group.add_argument(
        "--final-top", metavar="N", type=int, help="best configurations that are trained again; 0: no final stage"
    )
    group.add_argument("--final-seeds", metavar="N", type=int, help="fresh seeds of each of them and each baseline")


def add_execution_options(group: argparse._ArgumentGroup) -> None:
    """Add the options that say how a run is carried out, and where."""
    group.add_argument("--results", metavar="DIR", default="results", help="where run folders are (results)")
    group.add_argument("--device", metavar="NAME", help="auto, cpu or cuda (auto)")
    group.add_argument(
        "--gpus-per-trial", metavar="X", type=_share, help="GPUs, or the fraction of one, of a trial; or auto (1)"
    )
    group.add_argument(
        "--concurrent", metavar="N", type=int, help="trials at a time (as many as the GPUs or cores take)"
    )
    group.add_argument("--address", metavar="HOST:PORT", help="Ray cluster to run on ('auto' finds one)")
    group.add_argument(
        "--polite", action="store_const", const=True, help="run trials at low priority, so that other programs go first"
    )
    group.add_argument("--max-failures", metavar="N", type=int, help="attempts after a trial's process has died (2)")
    group.add_argument(
        "--trial-timeout", metavar="TIME", type=duration, help="end a trial without a new epoch for this long"
    )
    group.add_argument("--cache", metavar="DIR", help="folder of prepared data")
    group.add_argument("--no-dashboard", dest="dashboard", action="store_const", const=False, help="no Ray dashboard")
    group.add_argument("--verbose", action="store_const", const=True, help="show Ray's own messages")


def execution_options(parsed: argparse.Namespace, *more: str) -> dict[str, Any]:
    """Return the options that say how a run is carried out, where they are given."""
    names = ["device", "gpus_per_trial", "concurrent", "address", "max_failures", "trial_timeout", "cache", "dashboard"]
    names += ["polite", "verbose", *more]
    return {name: getattr(parsed, name) for name in names if getattr(parsed, name) is not None}


def duration(text: str) -> float:
    """Return the seconds of a time such as 90m, 8h or 1.5d: the type of an option."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if match is None or not 0 < float(match.group(1)) < _LONGEST_TIME:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 30s, 90m, 8h or 1.5d")
    return float(match.group(1)) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match.group(2)]


def _share(text: str) -> float | str:
    return text if text == "auto" else float(text)
