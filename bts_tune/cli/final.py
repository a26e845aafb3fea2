"""`bts-tune final`: train a run's best configurations and its baselines again."""

from __future__ import annotations

import argparse
from pathlib import Path

from bts_tune.cli.options import (
    add_allow_changed,
    add_results,
    add_run_options,
    given_options,
    names_for_resume,
    names_of,
)
from bts_tune.cli.outcome import conclude
from bts_tune.cli.output import make_console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bts-tune final`."""
    parser.description = (
        "Train a run's best configurations and all its baselines again, to the full budget and with fresh seeds, and "
        "add what an earlier call left out. A search that is not finished is closed."
    )
    parser.add_argument("run", help="a run's folder or name")
    what = parser.add_argument_group("what to train again")
    add_run_options(what, ["final_top", "final_seeds"])
    how = parser.add_argument_group("how to run it")
    add_allow_changed(how)
    add_results(how)
    add_run_options(how, ["plugins", *(name for name in names_of("how") if name != "time_budget")])
    parser.set_defaults(action=_final)


def _final(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.experiment import run as experiment
    from bts_tune.results.find import find_run

    console = make_console()
    folder = find_run(parsed.run, Path(parsed.results))
    finished = experiment.add_final(
        folder,
        parsed.final_top,
        parsed.final_seeds,
        given_options(parsed, names_for_resume()),
        console=console,
        allow_changed=parsed.allow_changed,
    )
    return conclude(finished, console)
