"""`bts-tune compare`: set runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from bts_tune.cli.options import add_results
from bts_tune.cli.output import make_console, say
from bts_tune.errors import EXIT_OK, EXIT_PROBLEM


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bts-tune compare`."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folders or names of at least two runs")
    parser.add_argument("--out", metavar="DIR", type=Path, help="write compare.html and compare.md into this folder")
    add_results(parser)
    parser.set_defaults(action=_compare)


def _compare(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.report.compare import compare, comparison_document, write_comparison
    from bts_tune.report.render.text import to_text
    from bts_tune.results.find import find_run

    console = make_console()
    results = Path(parsed.results)
    comparison = compare([find_run(name, results) for name in parsed.runs])
    say(console, to_text(comparison_document(comparison)))
    if parsed.out is not None:
        console.print()
        for path in write_comparison(comparison, parsed.out):
            say(console, str(path))
    return EXIT_OK if comparison.ranked else EXIT_PROBLEM
