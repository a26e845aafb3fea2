"""`bts-tune list`: the runs of a results folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bts_tune.cli.help import add_examples
from bts_tune.cli.json_output import add_json, print_json
from bts_tune.cli.options import add_results
from bts_tune.console import make_console, say
from bts_tune.errors import EXIT_OK

if TYPE_CHECKING:
    from bts_tune.results.listing import ListedRun

_HEADER = ("run", "space", "dataset", "state", "trials", "best", "Dice loss", "IoU", "begun")
_NUMBERS = (4, 6, 7)
_LONGEST = 28


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bts-tune list`."""
    add_examples(
        parser,
        {
            "bts-tune list": "the runs in results/, the latest first",
            "bts-tune list --results DIR --json | jq '.runs[] | select(.state == \"killed\") | .next'": (
                "how to go on with each run that was killed"
            ),
        },
    )
    add_results(parser)
    add_json(parser)
    parser.set_defaults(action=_list)


def _list(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.results.listing import list_runs

    runs = list_runs(parsed.results)
    if parsed.json:
        print_json("list", {"results": parsed.results, "runs": [asdict(run) for run in runs]})
        return EXIT_OK
    console = make_console()
    if not runs:
        say(console, f"{parsed.results}: holds no runs.")
    for line in table(runs):
        say(console, line)
    return EXIT_OK


def table(runs: Sequence[ListedRun]) -> list[str]:
    """Return the runs as lines: a table, then below it how to go on with each, or what is wrong with it."""
    readable = [run for run in runs if not run.problem]
    rows = [list(_HEADER), *(_cells(run) for run in readable)] if readable else []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for place, row in enumerate(rows):
        cells = (
            cell.rjust(width) if column in _NUMBERS else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
        if place:
            lines.append(f"    {readable[place - 1].next}")
    if any(run.best and not run.ranked for run in readable):
        lines.append("~ the best trial so far; nothing is ranked yet")
    return lines + [run.problem for run in runs if run.problem]


def _cells(run: ListedRun) -> list[str]:
    from bts_tune.report.wording import MISSING, metric
    from bts_tune.text import shortened

    dataset = "demo" if run.demo else Path(run.dataset).name
    return [
        shortened(run.run, _LONGEST),
        shortened(run.space, _LONGEST) or MISSING,
        shortened(dataset, _LONGEST) or MISSING,
        run.state,
        f"{run.ended_trials}/{'≤' if run.trials_at_most else ''}{run.trials}",
        (shortened(run.best, _LONGEST) + ("" if run.ranked else " ~")) if run.best else MISSING,
        metric(run.val_dice_loss),
        metric(run.val_iou),
        run.created[:16].replace("T", " ") or MISSING,
    ]
