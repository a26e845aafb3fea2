"""`bts-tune --space`, `--resume` and `--extend`: begin a run, go on with one, or add trials to its search."""

from __future__ import annotations

import argparse
from typing import Any

from bts_tune.cli.json_output import add_json, print_json
from bts_tune.cli.options import (
    add_allow_changed,
    add_results,
    add_retry_failed,
    add_run_options,
    given_options,
    names_for_resume,
    names_of,
)
from bts_tune.cli.outcome import conclude
from bts_tune.console import make_console, say
from bts_tune.errors import EXIT_OK, ConfigError
from bts_tune.experiment.planning.options import RunOptions, flag
from bts_tune.text import scalar

# Shorter words for fields of the configuration that are often set.
_SHORTCUTS = {
    "epochs": "the full budget of every trial",
    "image_size": "side of the images in pixels",
    "batch_size": "images of a step",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run."""
    parser.set_defaults(action=_run)
    what = parser.add_argument_group("what to run")
    add_run_options(what, ["space"])
    what.add_argument("--resume", metavar="RUN", help="go on with a run, by its folder or its name")
    what.add_argument("--extend", metavar="RUN", help="add --num-trials to a run's search, finished or not")
    add_allow_changed(what)
    add_retry_failed(what)
    add_run_options(what, [name for name in names_of("what") if name != "space"])
    for name, text in _SHORTCUTS.items():
        what.add_argument(_option(name), metavar="N", type=_number, help=text)
    add_json(what)
    what.add_argument("--dry-run", action="store_true", help="print the trials and what they cost; train nothing")
    what.add_argument("--no-timing", action="store_true", help="with --dry-run: time no model on this machine")
    how = parser.add_argument_group("how to run it")
    how.add_argument("--name", metavar="RUN", help="name of the run's folder (date, time and space)")
    add_results(how)
    add_run_options(how, names_of("how"))


def _run(parsed: argparse.Namespace, command: list[str]) -> int:
    asked = [name for name in ("space", "resume", "extend") if getattr(parsed, name) is not None]
    if len(asked) > 1:
        raise ConfigError(f"--{asked[0]} and --{asked[1]} are both given; give one of them.")
    if not asked:
        raise ConfigError("nothing to do: give --space NAME or --resume RUN, or a command; see 'bts-tune --help'.")
    if parsed.json and not parsed.dry_run:
        raise ConfigError("--json goes with --dry-run; of a run that was carried out: bts-tune report RUN --json.")
    if parsed.no_timing and not parsed.dry_run:
        raise ConfigError("--no-timing goes with --dry-run; a run times nothing before it trains.")
    from bts_tune import api
    from bts_tune.api.tuning import start

    console = make_console()
    if parsed.space is None:
        from bts_tune.experiment.run import lasting

        _refuse_with_resume(parsed)
        run = api.resume(
            api.open_run(parsed.resume or parsed.extend, lasting(parsed.results, console)),
            progress=console,
            num_trials=parsed.num_trials,
            allow_changed=parsed.allow_changed,
            retry_failed=parsed.retry_failed,
            **given_options(parsed, names_for_resume()),
        )
        return conclude(run, console)
    if parsed.allow_changed:
        raise ConfigError("--allow-changed goes with --resume or --extend; in a new run nothing can have changed.")
    if parsed.retry_failed:
        raise ConfigError("--retry-failed goes with --resume or --extend; in a new run nothing has failed.")
    given = given_options(parsed, [*names_of("what"), *names_of("how")])
    options = RunOptions.parse({**given, "overrides": _overrides(parsed)})
    if parsed.dry_run:
        from bts_tune.experiment.run import dry_run

        shown = make_console(stderr=True) if parsed.json else console
        planned = dry_run(options, shown, results=parsed.results, name=parsed.name, timed=not parsed.no_timing)
        if parsed.json:
            print_json("dry-run", planned.to_dict())
        else:
            say(console, planned.text())
        return EXIT_OK
    run = start(options, results=parsed.results, name=parsed.name, command=command, console=console)
    return conclude(run, console)


def _refuse_with_resume(parsed: argparse.Namespace) -> None:
    how = "resume" if parsed.resume is not None else "extend"
    if how == "extend" and parsed.num_trials is None:
        raise ConfigError("--extend needs --num-trials N, how many trials to add.")
    for name in ("final_top", "final_seeds"):
        if getattr(parsed, name) is not None:
            raise ConfigError(
                f"{flag(name)} cannot go with --{how}: a run goes on as it began; "
                f"'bts-tune final RUN {flag(name)} N' adds to it."
            )
    fixed = [name for name in names_of("what") if name not in names_for_resume()]
    if how == "extend":
        fixed.remove("num_trials")
    given = [flag(name) for name in given_options(parsed, fixed)]
    given += [_option(name) for name in given_options(parsed, ["name", *_SHORTCUTS])]
    given += ["--dry-run"] * parsed.dry_run
    if given:
        also = " (--extend RUN --num-trials N adds trials)" if given[0] == "--num-trials" else ""
        raise ConfigError(
            f"{given[0]} cannot go with --{how}: a run goes on as it began{also}; start a new run to change it."
        )


def _overrides(parsed: argparse.Namespace) -> dict[str, Any]:
    from bts_tune.space.parameter import check_value

    overrides: dict[str, Any] = {}
    for name, value in given_options(parsed, _SHORTCUTS).items():
        overrides[name] = check_value(name, value, _option(name))
    for setting in parsed.overrides or []:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f"--set {setting!r}: must be KEY=VALUE, such as learning_rate=1e-3.")
        if key in overrides:
            raise ConfigError(f"--set {key}: given twice; give it once.")
        overrides[key] = scalar(text.strip())
    return overrides


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _number(text: str) -> int | float:
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    return int(number) if number.is_integer() else number
