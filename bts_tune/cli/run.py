"""`bts-tune --space`, `--resume` and `--extend`: begin a run, go on with one, or add trials to its search."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from bts_tune.cli.options import (
    add_allow_changed,
    add_execution_options,
    add_final_numbers,
    duration,
    execution_options,
)
from bts_tune.cli.outcome import conclude
from bts_tune.cli.output import make_console
from bts_tune.errors import EXIT_OK, ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run."""
    parser.set_defaults(action=_run)
    what = parser.add_argument_group("what to run")
    what.add_argument("--space", metavar="NAME", help="search space: baseline, extended, or the path of a YAML file")
    what.add_argument("--resume", metavar="RUN", help="go on with a run, by its folder or its name")
    what.add_argument("--extend", metavar="RUN", help="add --num-trials to a run's search, finished or not")
    add_allow_changed(what)
    what.add_argument(
        "--data", metavar="DIR", help="dataset; without it, a demo on generated slices. With --resume: where it is now"
    )
    what.add_argument(
        "--tumor-categories", metavar="NAME", nargs="+", help="COCO categories that count as tumour (all)"
    )
    what.add_argument("--split", metavar="HOW", help="provided, or grouped: related slices stay together (provided)")
    what.add_argument("--group-by", metavar="HOW", help="patients: a regular expression on file names, or a CSV file")
    what.add_argument("--split-seed", metavar="N", type=int, help="seed of a split that the dataset does not have (0)")
    what.add_argument("--only", metavar="NAME", nargs="+", help="of the named trials, run these; no search")
    what.add_argument("--seeds", metavar="N", type=int, help="run each named trial with N seeds")
    what.add_argument("--folds", metavar="K", type=int, help="cross-validate the named trials over K folds; no search")
    what.add_argument("--num-trials", metavar="N", type=int, help="trials that the search tries, or --extend adds")
    add_final_numbers(what)
    what.add_argument("--epochs", metavar="N", type=_number, help="the full budget of every trial")
    what.add_argument("--image-size", metavar="N", type=_number, help="side of the images in pixels")
    what.add_argument("--batch-size", metavar="N", type=_number, help="images of a step")
    what.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="set any field of every trial")
    what.add_argument("--warm-start", metavar="RUN", help="let the search learn from an earlier run of the same space")
    what.add_argument("--weights-dir", metavar="DIR", help="folder with <encoder>.safetensors or .pth files")
    what.add_argument("--dry-run", action="store_true", help="print the trials and what they cost; train nothing")
    how = parser.add_argument_group("how to run it")
    how.add_argument("--name", metavar="RUN", help="name of the run's folder (date, time and space)")
    how.add_argument(
        "--time-budget",
        metavar="TIME",
        type=duration,
        help="end the search after this time (90m, 8h, 1.5d); its final stage follows, however long it takes",
    )
    add_execution_options(how)


def _run(parsed: argparse.Namespace, command: list[str]) -> int:
    asked = [name for name in ("space", "resume", "extend") if getattr(parsed, name) is not None]
    if len(asked) > 1:
        raise ConfigError(f"--{asked[0]} and --{asked[1]} are both given; give one of them.")
    if not asked:
        raise ConfigError("nothing to do: give --space NAME or --resume RUN, or a command; see 'bts-tune --help'.")
    from bts_tune.experiment import run as experiment
    from bts_tune.experiment.planning.options import RunOptions
    from bts_tune.results.find import find_run

    console = make_console()
    results = Path(parsed.results)
    execution = execution_options(parsed, "time_budget")
    if parsed.space is None:
        _refuse_with_resume(parsed)
        if parsed.data is not None:
            execution["data"] = parsed.data
        finished = experiment.resume(
            find_run(parsed.resume or parsed.extend, results),
            execution,
            console=console,
            extend_by=parsed.num_trials,
            allow_changed=parsed.allow_changed,
        )
    else:
        if parsed.allow_changed:
            raise ConfigError("--allow-changed goes with --resume or --extend; in a new run nothing can have changed.")
        what_names = ["space", "data", "tumor_categories", "split", "group_by", "split_seed", "only", "seeds"]
        what_names += ["folds", "num_trials", "final_top", "final_seeds", "weights_dir", "warm_start"]
        fields = {name: getattr(parsed, name) for name in what_names if getattr(parsed, name) is not None}
        options = RunOptions.parse({**fields, **execution, "overrides": _overrides(parsed)})
        if parsed.dry_run:
            experiment.dry_run(options, console)
            return EXIT_OK
        finished = experiment.start(options, results=results, name=parsed.name, command=command, console=console)
    return conclude(finished, console)


def _refuse_with_resume(parsed: argparse.Namespace) -> None:
    how = "resume" if parsed.resume is not None else "extend"
    if how == "extend" and parsed.num_trials is None:
        raise ConfigError("--extend needs --num-trials N, how many trials to add.")
    for name in ("final_top", "final_seeds"):
        if getattr(parsed, name) is not None:
            option = "--" + name.replace("_", "-")
            raise ConfigError(
                f"{option} cannot go with --{how}: a run goes on as it began; "
                f"'bts-tune final RUN {option} N' adds to it."
            )
    fixed = ["tumor_categories", "split", "group_by", "split_seed", "only", "seeds", "folds"]
    fixed += [*(["num_trials"] if how == "resume" else []), "weights_dir", "warm_start", "name"]
    given = [name for name in (*fixed, "epochs", "image_size", "batch_size") if getattr(parsed, name) is not None]
    given += ["set"] * bool(parsed.set) + ["dry_run"] * parsed.dry_run
    if given:
        option = "--" + given[0].replace("_", "-")
        also = " (--extend RUN --num-trials N adds trials)" if option == "--num-trials" else ""
        raise ConfigError(
            f"{option} cannot go with --{how}: a run goes on as it began{also}; start a new run to change it."
        )


def _overrides(parsed: argparse.Namespace) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for name in ("epochs", "image_size", "batch_size"):
        if getattr(parsed, name) is not None:
            overrides[name] = getattr(parsed, name)
    for setting in parsed.set:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f"--set {setting!r}: must be KEY=VALUE, such as learning_rate=1e-3.")
        if key in overrides:
            raise ConfigError(f"--set {key}: given twice; give it once.")
        overrides[key] = _scalar(text.strip())
    return overrides


def _scalar(text: str) -> Any:
    try:
        return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
    except ValueError:
        return text


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() else number
