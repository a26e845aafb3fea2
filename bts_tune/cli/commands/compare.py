"""`bts-tune compare`: set runs side by side."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from bts_tune.cli.help import add_examples
from bts_tune.cli.json_output import add_json, print_json, rows_of
from bts_tune.cli.options import add_results, as_path
from bts_tune.console import make_console, say
from bts_tune.errors import EXIT_OK, EXIT_PROBLEM

if TYPE_CHECKING:
    from bts_tune.report.compare import RunComparison


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bts-tune compare`."""
    add_examples(
        parser,
        {
            "bts-tune compare RUN OTHER": "on the terminal",
            "bts-tune compare RUN OTHER --out DIR": "and as pages, compare.html and compare.md",
        },
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folders or names of at least two runs")
    parser.add_argument("--out", metavar="DIR", type=as_path, help="write compare.html and compare.md into this folder")
    add_results(parser)
    add_json(parser)
    parser.set_defaults(action=_compare)


def _compare(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.report.compare import compare, comparison_document, write_comparison
    from bts_tune.report.render.text import to_text
    from bts_tune.results.find import find_run

    console = make_console()
    comparison = compare([find_run(name, parsed.results) for name in parsed.runs])
    if not parsed.json:
        say(console, to_text(comparison_document(comparison)))
    written = [] if parsed.out is None else write_comparison(comparison, parsed.out)
    if parsed.json:
        print_json("compare", {**_content(comparison), "files": written})
    elif written:
        console.print()
        for path in written:
            say(console, str(path))
    return EXIT_OK if comparison.ranked else EXIT_PROBLEM


def _content(comparison: RunComparison) -> dict[str, Any]:
    from bts_tune.report.compare import differences
    from bts_tune.results.tables import configurations_table, with_profile

    leaders = [group[0] for group in comparison.groups]
    return {
        "ranked": comparison.ranked,
        "groups": [[run.label for run in group] for group in comparison.groups],
        "reasons": [
            {"runs": [one.label, other.label], "differences": differences(one, other)}
            for place, one in enumerate(leaders)
            for other in leaders[place + 1 :]
        ],
        "runs": [
            {
                "run": run.label,
                "state": run.run.get("status"),
                "demo": run.run.get("profile") == "demo",
                "split": run.method,
                "dataset_fingerprint": run.fingerprint,
                "stage": run.stage,
                "folds": run.folds,
                "trials": len(run.trials),
                "configurations": rows_of(with_profile(configurations_table(run.trials), run.run)),
            }
            for run in comparison.runs
        ],
    }
