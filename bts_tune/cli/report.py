"""`bts-tune report`: make a run's report anew."""

from __future__ import annotations

import argparse

from bts_tune.cli.options import add_plugin, add_results, load_given_plugins
from bts_tune.cli.output import make_console, print_ranking, say, warn
from bts_tune.errors import EXIT_OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bts-tune report`."""
    parser.add_argument("run", help="a run's folder or name")
    add_results(parser)
    add_plugin(parser)
    parser.set_defaults(action=_report)


def _report(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.api import open_run
    from bts_tune.results.warnings import demo_sentence, leak_sentence, partial_sentence

    console = make_console()
    opened = open_run(parsed.run, parsed.results)
    load_given_plugins(parsed)
    files = opened.report()
    trials, run = opened.folder.trials(), opened.folder.read_run()
    for sentence in (demo_sentence(run), partial_sentence(run), leak_sentence(run)):
        if sentence:
            console.print(sentence, style="bold yellow", highlight=False, soft_wrap=True)
    print_ranking(trials, console)
    console.print()
    tables = (files.configurations, files.leaderboard, files.epochs)
    for path in (files.page, files.report, *tables, *files.figures):
        if path.exists():
            say(console, str(path))
    if files.failed:
        warn(files.failed)
    return EXIT_OK
