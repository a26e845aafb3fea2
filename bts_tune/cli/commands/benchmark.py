"""`bts-tune benchmark`: configurations x datasets x splits x seeds as one study, begun or gone on with."""

from __future__ import annotations

import argparse

from bts_tune.cli.help import add_examples
from bts_tune.cli.json_output import add_json, print_json
from bts_tune.cli.options import (
    add_allow_changed,
    add_plugin,
    add_results,
    add_run_options,
    as_path,
    given_options,
    load_given_plugins,
    names_of,
)
from bts_tune.cli.output import warn
from bts_tune.console import make_console, say
from bts_tune.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_PROBLEM, ConfigError

_OF_NEW_RUNS = ["weights_dir", "skip_missing_weights"]
_HOW = [name for name in names_of("how") if name != "time_budget"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bts-tune benchmark`."""
    parser.description = (
        "Train every configuration of a file on every dataset and split, with several seeds, each dataset and split as "
        "one ordinary run, and compare them. The same command goes on with a benchmark that was cut off; of a complete "
        "one it makes the report anew."
    )
    add_examples(
        parser,
        {
            "bts-tune benchmark study.yaml --dry-run": "the runs, and what they cost",
            "bts-tune benchmark study.yaml": "train what is not trained yet, and compare",
        },
    )
    parser.add_argument("file", metavar="FILE", type=as_path, help="what to compare, and on what (docs/benchmark.md)")
    what = parser.add_argument_group("what to run")
    add_allow_changed(what)
    what.add_argument("--retry-failed", action="store_true", help="run trials that failed again, from their beginning")
    add_run_options(what, _OF_NEW_RUNS)
    add_plugin(what)
    add_json(what)
    what.add_argument("--dry-run", action="store_true", help="print the runs and what they cost; train nothing")
    how = parser.add_argument_group("how to run it")
    add_results(how)
    add_run_options(how, _HOW)
    parser.set_defaults(action=_benchmark)


def _benchmark(parsed: argparse.Namespace, command: list[str]) -> int:
    if parsed.json and not parsed.dry_run:
        raise ConfigError("--json goes with --dry-run; the tables of a benchmark are benchmark.csv and pairs.csv.")
    from bts_tune.api.tuning import carry_out_benchmark
    from bts_tune.experiment.benchmark import GO_ON, dry_run_benchmark

    load_given_plugins(parsed)
    options = given_options(parsed, [*_OF_NEW_RUNS, *_HOW])
    if parsed.dry_run:
        console = make_console(stderr=True) if parsed.json else make_console()
        planned = dry_run_benchmark(parsed.file, results=parsed.results, options=options, console=console)
        if parsed.json:
            print_json("benchmark", planned.to_dict())
        else:
            say(console, planned.text())
        return EXIT_OK
    console = make_console()
    ended = carry_out_benchmark(
        parsed.file,
        results=parsed.results,
        options=options,
        command=command,
        console=console,
        allow_changed=parsed.allow_changed,
        retry_failed=parsed.retry_failed,
    )
    console.print()
    for label, path in (("Report", ended.report.page), ("as text", ended.report.report), ("Table", ended.report.table)):
        say(console, f"{label + ':':<13}{path}")
    say(console, f"{'Pairs:':<13}{ended.report.pairs}")
    if ended.interrupted:
        say(console, GO_ON)
        return EXIT_INTERRUPTED
    lacking = ended.report.lacking
    if lacking:
        warn(
            f"{ended.folder}: not all trainings came to their end: {', '.join(lacking)}; see the reports of their runs."
        )
    unmeasured = ended.report.models_lacking
    if unmeasured:
        warn(
            f"{ended.folder}: models are not there, or not what was saved: {', '.join(unmeasured)}; see the reports of "
            "these runs."
        )
    return EXIT_PROBLEM if lacking or unmeasured else EXIT_OK
