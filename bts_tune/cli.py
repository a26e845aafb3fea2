"""The words of the command line. No logic of its own, and nothing heavy imported before it is needed."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from bts_tune import __version__
from bts_tune.errors import BtsTuneError, ConfigError, DataError, nearest, printable

if TYPE_CHECKING:
    from rich.console import Console

    from bts_tune.experiment.run import Finished

EXIT_OK, EXIT_PROBLEM, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

_LONGEST_TIME = 1e9  # of any unit; far beyond it clocks overflow

_DESCRIPTION = """\
Find out which model and which hyperparameters segment brain tumours best on your MRI slices.

  bts-tune --space baseline                    a demo on generated slices
  bts-tune --space baseline --data DIR         the three documented models on your data
  bts-tune --space extended --data DIR         a search around them
  bts-tune --resume RUN                        go on with a run that was cut off
"""

_COMMANDS = {
    "report": "make a run's report anew",
    "compare": "set runs side by side, ranked where they were measured alike",
    "predict": "segment images with a run's best model",
    "final": "train a run's best configurations and baselines again",
    "data": "check, generate and cache datasets",
    "spaces": "list and explain search spaces",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        unknown = re.search(r"unrecognized arguments: (-\S+)", message)
        hint = nearest(unknown.group(1), _all_options(self)) if unknown else ""
        self.exit(EXIT_USAGE, printable(f"{self.prog}: error: {message}.{hint} See '{self.prog} --help'.") + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: done. 1: done, with something wrong (errors in a dataset, a named trial that failed). 2: a mistake in what was
    asked for. 130: interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        parser = _command_parser() if _names_command(arguments) else _run_parser()
        parsed = parser.parse_args(arguments)
        return int(parsed.action(parsed, ["bts-tune", *arguments]))
    except BtsTuneError as error:
        print(f"bts-tune: error: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("bts-tune: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has left; what is still buffered must not raise at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PROBLEM
    except OSError as error:
        # What reads and writes says more where it can; this is for the rest, such as a name too long for the system.
        named = f"{error.filename}: " if error.filename is not None else ""
        print(f"bts-tune: error: {printable(f'{named}{error.strerror or error}')}.", file=sys.stderr)
        return EXIT_USAGE


def _names_command(arguments: Sequence[str]) -> bool:
    if not arguments or arguments[0].startswith("-"):
        return False
    if arguments[0] not in _COMMANDS:
        raise ConfigError(
            f"there is no command {arguments[0]!r}.{nearest(arguments[0], list(_COMMANDS))} "
            f"Commands: {', '.join(_COMMANDS)}; a run begins with --space or --resume."
        )
    return True


def _run_parser() -> argparse.ArgumentParser:
    commands = "\n".join(f"  bts-tune {name:<9}{text}" for name, text in _COMMANDS.items())
    parser = _Parser(
        prog="bts-tune",
        usage="bts-tune --space NAME [--data DIR] [options] | bts-tune --resume RUN | bts-tune COMMAND",
        description=_DESCRIPTION,
        epilog=f"other commands, each with a --help of its own:\n{commands}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(action=_run)
    parser.add_argument("--version", action="version", version=f"bts-tune {__version__}")
    what = parser.add_argument_group("what to run")
    what.add_argument("--space", metavar="NAME", help="search space: baseline, extended, or the path of a YAML file")
    what.add_argument("--resume", metavar="RUN", help="go on with a run, by its folder or its name")
    what.add_argument("--data", metavar="DIR", help="dataset; without it, a demo on generated slices")
    what.add_argument(
        "--tumor-categories", metavar="NAME", nargs="+", help="COCO categories that count as tumour (all)"
    )
    what.add_argument("--split", metavar="HOW", help="provided, or grouped: related slices stay together (provided)")
    what.add_argument("--group-by", metavar="HOW", help="patients: a regular expression on file names, or a CSV file")
    what.add_argument("--split-seed", metavar="N", type=int, help="seed of a split that the dataset does not have (0)")
    what.add_argument("--only", metavar="NAME", nargs="+", help="of the named trials, run these; no search")
    what.add_argument("--seeds", metavar="N", type=int, help="run each named trial with N seeds")
    what.add_argument("--folds", metavar="K", type=int, help="cross-validate the named trials over K folds; no search")
    what.add_argument("--num-trials", metavar="N", type=int, help="configurations that the search tries")
    _add_final_numbers(what)
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
        type=_duration,
        help="end the search after this time (90m, 8h, 1.5d); its final stage follows, however long it takes",
    )
    _add_how(how)
    return parser


def _add_final_numbers(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--final-top", metavar="N", type=int, help="best configurations that are trained again; 0: no final stage"
    )
    group.add_argument("--final-seeds", metavar="N", type=int, help="fresh seeds of each of them and each baseline")


def _add_how(how: argparse._ArgumentGroup) -> None:
    how.add_argument("--results", metavar="DIR", default="results", help="where run folders are (results)")
    how.add_argument("--device", metavar="NAME", help="auto, cpu or cuda (auto)")
    how.add_argument("--gpus-per-trial", metavar="X", type=float, help="GPUs, or the fraction of one, of a trial (1)")
    how.add_argument("--concurrent", metavar="N", type=int, help="trials at a time (as many as the GPUs or cores take)")
    how.add_argument("--address", metavar="HOST:PORT", help="Ray cluster to run on ('auto' finds one)")
    how.add_argument("--max-failures", metavar="N", type=int, help="attempts after a trial's process has died (2)")
    how.add_argument(
        "--trial-timeout", metavar="TIME", type=_duration, help="end a trial without a new epoch for this long"
    )
    how.add_argument("--cache", metavar="DIR", help="folder of prepared data")
    how.add_argument("--no-dashboard", dest="dashboard", action="store_const", const=False, help="no Ray dashboard")
    how.add_argument("--verbose", action="store_const", const=True, help="show Ray's own messages")


def _command_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="bts-tune", allow_abbrev=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    report = commands.add_parser("report", help=_COMMANDS["report"], allow_abbrev=False)
    report.add_argument("run", help="a run's folder or name")
    report.add_argument("--results", metavar="DIR", default="results")
    report.set_defaults(action=_report)

    compare = commands.add_parser("compare", help=_COMMANDS["compare"], allow_abbrev=False)
    compare.add_argument("runs", metavar="RUN", nargs="+", help="folders or names of at least two runs")
    compare.add_argument("--out", metavar="DIR", type=Path, help="write compare.html and compare.md into this folder")
    compare.add_argument("--results", metavar="DIR", default="results")
    compare.set_defaults(action=_compare)

    predict = commands.add_parser("predict", help=_COMMANDS["predict"], allow_abbrev=False)
    predict.add_argument("run", help="a run's folder or name")
    predict.add_argument("images", nargs="+", help="images, or folders of images", type=Path)
    predict.add_argument("--out", required=True, type=Path, help="folder for masks and overlays")
    predict.add_argument("--trial", metavar="NAME", help="use this trial's model instead of the best one")
    predict.add_argument("--device", default="auto", help="auto, cpu or cuda (auto)")
    predict.add_argument("--results", metavar="DIR", default="results")
    predict.set_defaults(action=_predict)

    final = commands.add_parser(
        "final",
        help=_COMMANDS["final"],
        description="Train a run's best configurations and all its baselines again, to the full budget and with fresh "
        "seeds, and add what an earlier call left out. A search that is not finished is closed.",
        allow_abbrev=False,
    )
    final.add_argument("run", help="a run's folder or name")
    _add_final_numbers(final.add_argument_group("what to train again"))
    _add_how(final.add_argument_group("how to run it"))
    final.set_defaults(action=_final)

    _add_data(commands.add_parser("data", help=_COMMANDS["data"], allow_abbrev=False))
    _add_spaces(commands.add_parser("spaces", help=_COMMANDS["spaces"], allow_abbrev=False))
    return parser


def _add_data(data: argparse.ArgumentParser) -> None:
    commands = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check = commands.add_parser("check", help="look for what is wrong with a dataset", allow_abbrev=False)
    check.add_argument("folder", type=Path)
    check.add_argument("--tumor-categories", metavar="NAME", nargs="+")
    check.add_argument("--split-seed", metavar="N", type=int, default=0)
    check.add_argument("--split", metavar="HOW", default="provided", help="provided or grouped (provided)")
    check.add_argument("--group-by", metavar="HOW", help="patients: a regular expression on file names, or a CSV file")
    check.add_argument("--pairs", metavar="FILE.png", type=Path, help="draw the worst pairs across splits")
    check.add_argument("--verbose", action="store_true", help="list every finding")
    check.set_defaults(action=_data_check)
    phantom = commands.add_parser("phantom", help="write a synthetic dataset", allow_abbrev=False)
    phantom.add_argument("folder", type=Path)
    phantom.add_argument("--count", type=int, default=240, help="number of slices (240)")
    phantom.add_argument("--image-size", type=int, default=256, help="side in pixels (256)")
    phantom.add_argument("--annotation", choices=("outline", "box"), default="outline")
    phantom.add_argument("--tumor-free", type=float, default=0.15, help="share of slices without a tumour (0.15)")
    phantom.add_argument("--slices-per-patient", type=int, default=8)
    phantom.add_argument("--seed", type=int, default=0)
    phantom.set_defaults(action=_data_phantom)
    cache = commands.add_parser("cache", help="show or clear the cache of prepared data", allow_abbrev=False)
    cache.add_argument("--clear", action="store_true", help="remove what nothing uses")
    cache.add_argument("--cache", metavar="DIR", type=Path)
    cache.set_defaults(action=_data_cache)


def _add_spaces(spaces: argparse.ArgumentParser) -> None:
    spaces.set_defaults(action=_spaces_list)
    commands = spaces.add_subparsers(title="commands", metavar="COMMAND")
    commands.add_parser("list", help="list the search spaces").set_defaults(action=_spaces_list)
    show = commands.add_parser("show", help="explain a search space", allow_abbrev=False)
    show.add_argument("name")
    show.set_defaults(action=_spaces_show)
    commands.add_parser("schema", help="print the JSON schema of a space file").set_defaults(action=_spaces_schema)


def _run(parsed: argparse.Namespace, command: list[str]) -> int:
    if (parsed.space is None) == (parsed.resume is None):
        what = (
            "--space and --resume are both given; give one of them."
            if parsed.space
            else ("nothing to do: give --space NAME or --resume RUN, or a command; see 'bts-tune --help'.")
        )
        raise ConfigError(what)
    from bts_tune.experiment import run as experiment
    from bts_tune.experiment.locate import find_run
    from bts_tune.experiment.options import RunOptions

    console = _console()
    results = Path(parsed.results)
    carried_out = _carried_out(parsed, "time_budget")
    if parsed.resume is not None:
        _refuse_with_resume(parsed)
        finished = experiment.resume(find_run(parsed.resume, results), carried_out, console=console)
    else:
        what_names = ["space", "data", "tumor_categories", "split", "group_by", "split_seed", "only", "seeds"]
        what_names += ["folds", "num_trials", "final_top", "final_seeds", "weights_dir", "warm_start"]
        fields = {name: getattr(parsed, name) for name in what_names if getattr(parsed, name) is not None}
        options = RunOptions.parse({**fields, **carried_out, "overrides": _overrides(parsed)})
        if parsed.dry_run:
            experiment.dry_run(options, console)
            return EXIT_OK
        finished = experiment.start(options, results=results, name=parsed.name, command=command, console=console)
    return _conclude(finished, console)


def _final(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.experiment import run as experiment
    from bts_tune.experiment.locate import find_run

    console = _console()
    folder = find_run(parsed.run, Path(parsed.results))
    finished = experiment.add_final(folder, parsed.final_top, parsed.final_seeds, _carried_out(parsed), console=console)
    return _conclude(finished, console)


def _carried_out(parsed: argparse.Namespace, *more: str) -> dict[str, Any]:
    """Return the options that say how a run is carried out, where they are given."""
    names = ["device", "gpus_per_trial", "concurrent", "address", "max_failures", "trial_timeout", "cache", "dashboard"]
    names += ["verbose", *more]
    return {name: getattr(parsed, name) for name in names if getattr(parsed, name) is not None}


def _refuse_with_resume(parsed: argparse.Namespace) -> None:
    for name in ("final_top", "final_seeds"):
        if getattr(parsed, name) is not None:
            option = "--" + name.replace("_", "-")
            raise ConfigError(
                f"{option} cannot go with --resume: a run goes on as it began; "
                f"'bts-tune final RUN {option} N' adds to it."
            )
    fixed = ["data", "tumor_categories", "split", "group_by", "split_seed", "only", "seeds", "folds", "num_trials"]
    fixed += ["weights_dir", "warm_start", "name"]
    given = [name for name in (*fixed, "epochs", "image_size", "batch_size") if getattr(parsed, name) is not None]
    given += ["set"] * bool(parsed.set) + ["dry_run"] * parsed.dry_run
    if given:
        option = "--" + given[0].replace("_", "-")
        raise ConfigError(f"{option} cannot go with --resume: a run goes on as it began; start a new run to change it.")


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


def _conclude(finished: Finished, console: Console) -> int:
    folder, files = finished.folder, finished.report
    trials, run = folder.trials(), folder.read_run()
    console.print()
    _print_ranking(trials, console)
    console.print()
    written = (("Report", files.page), ("as text", files.report), ("Leaderboard", files.leaderboard))
    for label, path in (*written, ("Epochs", files.epochs)):
        _say(console, f"{label + ':':<13}{path}")
    if finished.outcome != "complete":
        why = "interrupted" if finished.outcome == "interrupted" else "out of time"
        _say(console, f"The run was {why}: the report is partial. Go on with:")
        _say(console, f"  bts-tune --resume {shlex.quote(str(folder.path))}")
        return EXIT_INTERRUPTED if finished.outcome == "interrupted" else EXIT_OK
    quoted = shlex.quote(str(folder.path))
    if any(record.full_budget for record in trials):
        _say(console, f"Segment images with the best model:  bts-tune predict {quoted} IMAGES --out DIR")
    if run.get("profile") == "demo":
        _say(console, f"Run it on your own data:  bts-tune --space {run['options']['space']} --data DIR")
    # A search may try what does not work; everything else was asked for by name, or chosen because it worked.
    named = [record for record in trials if record.stage == "final" or not record.name.startswith("search-")]
    failed = any(record.status in ("failed", "oom", "diverged") for record in named)
    return EXIT_PROBLEM if failed or not any(record.full_budget for record in trials) else EXIT_OK


def _print_ranking(trials: Sequence[Any], console: Console) -> None:
    from bts_tune.report.terminal import ranking_table, ranking_text

    if console.is_terminal:
        console.print(ranking_table(trials, width=console.width))
    else:
        _say(console, ranking_text(trials))


def _report(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.experiment.locate import find_run
    from bts_tune.report.words import demo_sentence, leak_sentence, partial_sentence
    from bts_tune.report.write import write_report

    console = _console()
    folder = find_run(parsed.run, Path(parsed.results))
    trials = folder.trials()
    files = write_report(folder, trials)
    run = folder.read_run()
    for sentence in (demo_sentence(run), partial_sentence(run), leak_sentence(run)):
        if sentence:
            console.print(sentence, style="bold yellow", highlight=False, soft_wrap=True)
    _print_ranking(trials, console)
    console.print()
    tables = (files.configurations, files.leaderboard, files.epochs)
    for path in (files.page, files.report, *tables, *files.figures):
        _say(console, str(path))
    return EXIT_OK


def _compare(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.experiment.locate import find_run
    from bts_tune.report.compare import compare, comparison_document, write_comparison
    from bts_tune.report.plain import to_text

    console = _console()
    results = Path(parsed.results)
    comparison = compare([find_run(name, results) for name in parsed.runs])
    _say(console, to_text(comparison_document(comparison)))
    if parsed.out is not None:
        console.print()
        for path in write_comparison(comparison, parsed.out):
            _say(console, str(path))
    return EXIT_OK if comparison.ranked else EXIT_PROBLEM


def _predict(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.experiment.locate import best_model, find_run
    from bts_tune.training.predict import predict

    folder = find_run(parsed.run, Path(parsed.results))
    model = best_model(folder, parsed.trial)
    print(f"Model: {model}")
    for prediction in predict(model, parsed.images, parsed.out, device=parsed.device):
        print(f"{prediction.image}: tumour {prediction.tumor_share:.2%} of the image -> {prediction.mask}", flush=True)
    return EXIT_OK


def _data_check(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.data.check import check_dataset, render
    from bts_tune.data.leakage import draw_pairs
    from bts_tune.data.scan import scan_dataset
    from bts_tune.data.sources import open_dataset
    from bts_tune.data.splitting import make_split
    from bts_tune.progress_bar import bar
    from bts_tune.store import write_atomically

    console = _console()
    dataset = open_dataset(parsed.folder, tumor_categories=parsed.tumor_categories, split_seed=parsed.split_seed)
    with bar(_console(stderr=True), "checking") as progress:
        scan = scan_dataset(dataset, progress=progress)
    dataset, split = make_split(dataset, scan, parsed.split, seed=parsed.split_seed, group_by=parsed.group_by)
    checked = check_dataset(dataset, scan=scan, groups=split.labels(scan))
    _say(console, render(checked, verbose=parsed.verbose))
    _say(console, split.sentence())
    if parsed.pairs is not None:
        try:
            write_atomically(parsed.pairs, draw_pairs(dataset, checked.leak))
        except OSError as error:
            raise DataError(f"--pairs {parsed.pairs}: cannot be written: {error.strerror}.") from None
        _say(console, f"Worst pairs: {parsed.pairs}")
    return EXIT_PROBLEM if checked.errors else EXIT_OK


def _data_phantom(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.data.phantom import write_phantom
    from bts_tune.progress_bar import bar

    with bar(_console(stderr=True), "generating") as progress:
        write_phantom(
            parsed.folder,
            count=parsed.count,
            image_size=parsed.image_size,
            slices_per_patient=parsed.slices_per_patient,
            annotation=parsed.annotation,
            tumor_free=parsed.tumor_free,
            seed=parsed.seed,
            progress=progress,
        )
    print(f"{parsed.folder}: {parsed.count} slices")
    return EXIT_OK


def _data_cache(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.data.cache import clear, default_cache, entries, size

    cache = parsed.cache or default_cache()
    if parsed.clear:
        cleared = clear(cache)
        in_use = f"; {cleared.in_use} in use left" if cleared.in_use else ""
        print(f"{cache}: {cleared.removed} entries removed, {cleared.freed / 2**20:.1f} MiB freed{in_use}")
        return EXIT_OK
    for entry in entries(cache):
        how = ", ".join(f"{name} {value}" for name, value in sorted(entry.preprocessing.items()))
        print(f"{entry.folder.name}  {entry.size / 2**20:8.1f} MiB  {how}  {entry.dataset}")
    print(f"{cache}: {size(cache) / 2**20:.1f} MiB")
    return EXIT_OK


def _spaces_list(_parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.space import list_spaces

    for space in list_spaces():
        first = space.description.strip().split(":")[0].split(". ")[0].rstrip(".")
        print(f"{space.name:<12}{first}.")
    return EXIT_OK


def _spaces_show(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.space import load_space
    from bts_tune.space_text import render_space

    print(render_space(load_space(parsed.name)))
    return EXIT_OK


def _spaces_schema(_parsed: argparse.Namespace, _command: list[str]) -> int:
    import json

    from bts_tune.space import schema

    print(json.dumps(schema(), indent=2))
    return EXIT_OK


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if match is None or not 0 < float(match.group(1)) < _LONGEST_TIME:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 30s, 90m, 8h or 1.5d")
    return float(match.group(1)) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match.group(2)]


def _all_options(parser: argparse.ArgumentParser) -> list[str]:
    return [option for action in parser._actions for option in action.option_strings]
