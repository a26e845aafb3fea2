"""`bts-tune report`: make a run's report anew."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bts_tune.cli.help import add_examples
from bts_tune.cli.json_output import add_json, print_json, rows_of
from bts_tune.cli.options import add_plugin, add_results, load_given_plugins
from bts_tune.cli.output import print_ranking, warn
from bts_tune.console import make_console, say
from bts_tune.errors import EXIT_OK, ConfigError

if TYPE_CHECKING:
    from bts_tune.api import Run
    from bts_tune.report.write import ReportFiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bts-tune report`."""
    add_examples(
        parser,
        {
            "bts-tune report RUN": "also while the run goes on, or after it was cut off",
            "bts-tune report RUN --json": "the tables, for programs",
        },
    )
    parser.add_argument("run", help="a run's folder or name")
    add_results(parser)
    parser.add_argument("--page-only", action="store_true", help="write report.html and nothing else")
    add_json(parser)
    add_plugin(parser)
    parser.set_defaults(action=_report)


def _report(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.api import open_run
    from bts_tune.report.write import write_report
    from bts_tune.results.ranking.memo import FrozenTrials
    from bts_tune.results.warnings import warnings_of

    if parsed.page_only and parsed.json:
        raise ConfigError("--page-only and --json are both given; give one of them.")
    console = make_console()
    opened = open_run(parsed.run, parsed.results)
    load_given_plugins(parsed)
    if parsed.page_only:
        from bts_tune.report.write import write_page

        say(console, str(write_page(opened.folder)))
        return EXIT_OK
    # Read once: of a long run that takes seconds, and hundreds of MiB. All of it stays to the end, so that nothing is
    # gained by searching it for garbage again and again.
    gc.disable()
    try:
        trials, run = FrozenTrials(opened.folder.trials()), opened.folder.read_run()
        gc.freeze()
    finally:
        gc.enable()
    files = write_report(opened.folder, trials)
    warnings = [sentence for say in warnings_of(run, opened.folder.resume_command) if (sentence := say())]
    if parsed.json:
        print_json("report", _content(opened, files, warnings))
        return EXIT_OK
    for sentence in warnings:
        say(console, sentence, style="bold yellow")
    print_ranking(trials, console)
    console.print()
    tables = (files.configurations, files.leaderboard, files.epochs)
    for path in (files.page, files.report, *tables, *files.figures):
        if path.exists():
            say(console, str(path))
    if files.failed:
        warn(files.failed)
    return EXIT_OK


def _content(opened: Run, files: ReportFiles, warnings: Sequence[str]) -> dict[str, Any]:
    from bts_tune.results.listing import run_state
    from bts_tune.results.tables import with_profile

    run = opened.folder.read_run()
    written = {name: getattr(files, name) for name in ("page", "report", "configurations", "leaderboard", "epochs")}
    return {
        "run": run.get("run"),
        "path": opened.path,
        "state": run_state(opened.folder, run),
        "demo": run.get("profile") == "demo",
        "warnings": [*warnings, *filter(None, [files.failed])],
        "files": {**written, "figures": files.figures},
        "configurations": rows_of(with_profile(opened.configurations, run)),
        "trials": rows_of(with_profile(opened.leaderboard, run)),
    }
