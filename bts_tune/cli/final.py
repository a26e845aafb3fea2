"""`bts-tune final`: train a run's best configurations and its baselines again."""

from __future__ import annotations

import argparse
from pathlib import Path

from bts_tune.cli.options import add_allow_changed, add_execution_options, add_final_numbers, execution_options
from bts_tune.cli.outcome import conclude
from bts_tune.cli.output import make_console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bts-tune final`."""
    parser.description = (
        "Train a run's best configurations and all its baselines again, to the full budget and with fresh seeds, and "
        "add what an earlier call left out. A search that is not finished is closed."
    )
    parser.add_argument("run", help="a run's folder or name")
    add_final_numbers(parser.add_argument_group("what to train again"))
    how = parser.add_argument_group("how to run it")
    add_allow_changed(how)
    add_execution_options(how)
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
        execution_options(parsed),
        console=console,
        allow_changed=parsed.allow_changed,
    )
    return conclude(finished, console)
