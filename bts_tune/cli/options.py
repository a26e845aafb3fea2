"""Options of the command line, made from the declarations of `RunOptions`, and the types of their values."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from bts_tune.errors import ConfigError
from bts_tune.experiment.planning.options import declarations, flag
from bts_tune.paths import user_path

_LONGEST_TIME = 1e9  # of any unit; far beyond it clocks overflow


def add_run_options(group: argparse._ArgumentGroup, names: Iterable[str]) -> None:
    """Add options of a run, by their fields' names; one that is not given has the value None."""
    for name in names:
        declared = declarations()[name]
        how: dict[str, Any] = {"dest": name, "help": declared.help, "default": None}
        if declared.kind in ("switch", "off-switch"):
            how |= {"action": "store_const", "const": declared.kind == "switch"}
        else:
            how |= {"metavar": declared.metavar, "type": _TYPES.get(declared.kind, str)}
        if declared.kind in ("texts", "settings"):
            how |= {"action": "append"} if declared.flag else {"action": "extend", "nargs": "+"}
        group.add_argument(flag(name), **how)


def names_of(group: Literal["what", "how"]) -> list[str]:
    """Return the fields of one group of options: `what` a run is, or `how` it is carried out."""
    return [name for name, declared in declarations().items() if declared.group == group]


def names_for_resume() -> list[str]:
    """Return the fields of the options that a run that goes on may be given anew."""
    return [name for name, declared in declarations().items() if declared.anew or declared.group == "how"]


def given_options(parsed: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Return those of the options that were given, by field."""
    return {name: getattr(parsed, name) for name in names if getattr(parsed, name, None) is not None}


def add_results(group: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    """Add the option that says where runs are."""
    group.add_argument(
        "--results", metavar="DIR", type=as_path, default="results", help="where run folders are (results)"
    )


def add_plugin(group: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    """Add the option that loads a plugin, to a command that is no run."""
    declared = declarations()["plugins"]
    group.add_argument("--plugin", dest="plugins", action="append", metavar=declared.metavar, help=declared.help)


def load_given_plugins(parsed: argparse.Namespace) -> None:
    """Load the plugins of installed packages, then those that `--plugin` names."""
    from bts_tune.plugins import load_installed, load_plugins

    load_installed()
    load_plugins(parsed.plugins or ())


def add_allow_changed(group: argparse._ArgumentGroup) -> None:
    """Add the option that lets a run go on where something has changed."""
    group.add_argument(
        "--allow-changed", action="store_true", help="go on though data, code, versions or device have changed"
    )


def add_retry_failed(group: argparse._ArgumentGroup) -> None:
    """Add the option that runs failed trials again."""
    group.add_argument(
        "--retry-failed", action="store_true", help="with --resume: run trials that failed again, from their beginning"
    )


def as_path(text: str) -> Path:
    """Return the path that a user means: the type of an option or argument."""
    try:
        return user_path(text, recorded=False)  # of a run, its options refuse what it cannot record
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None


def duration(text: str) -> float:
    """Return the seconds of a time such as 90m, 8h or 1.5d: the type of an option."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match is None or not 0 < float(match.group(1)) < _LONGEST_TIME:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 30s, 90m, 8h or 1.5d")
    return float(match.group(1)) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match.group(2)]


def _share(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number, nor auto") from None


_TYPES: dict[str, Any] = {"integer": int, "number": float, "time": duration, "share": _share}
