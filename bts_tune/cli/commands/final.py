"""`bts-tune final`: train a run's best configurations and its baselines again."""

from __future__ import annotations

import argparse

from bts_tune.cli.help import add_examples
from bts_tune.cli.options import (
    add_allow_changed,
    add_results,
    add_run_options,
    given_options,
    names_for_resume,
)
from bts_tune.cli.outcome import conclude
from bts_tune.console import make_console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bts-tune final`."""
    parser.description = (
        "Train a run's best configurations and all its baselines again, to the full budget and with fresh seeds, and "
        "add what an earlier call left out. A search that is not finished is closed."
    )
    add_examples(
        parser,
        {
            "bts-tune final RUN": "as the run's space says",
            "bts-tune final RUN --final-top 3 --final-seeds 5": "more configurations, more seeds",
        },
    )
    parser.add_argument("run", help="a run's folder or name")
    what = parser.add_argument_group("what to train again")
    add_run_options(what, ["final_top", "final_seeds"])
    how = parser.add_argument_group("how to run it")
    add_allow_changed(how)
    add_results(how)
    add_run_options(how, [name for name in names_for_resume() if name != "time_budget"])
    parser.set_defaults(action=_final)


def _final(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune import api

    console = make_console()
    run = api.train_final(
        api.open_run(parsed.run, parsed.results),
        top=parsed.final_top,
        seeds=parsed.final_seeds,
        progress=console,
        allow_changed=parsed.allow_changed,
        **given_options(parsed, names_for_resume()),
    )
    return conclude(run, console)
