"""`bts-tune export`: a run's best model, or the run itself, in a form that other programs read."""

from __future__ import annotations

import argparse

from bts_tune.cli.help import add_examples
from bts_tune.cli.options import add_plugin, add_results, load_given_plugins
from bts_tune.console import make_console, say
from bts_tune.errors import EXIT_OK, ConfigError
from bts_tune.registry import EXPORTS, TRACKERS
from bts_tune.text import nearest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bts-tune export`."""
    parser.usage = (
        "bts-tune export RUN --to FORMAT [--output PATH] [--trial NAME] | bts-tune export FORMAT RUN [options] | "
        "bts-tune export --formats"
    )
    parser.description = (
        "Write a run's best model, or the run itself, in a form that other programs read. Nothing is written over what "
        "is there, and nothing is sent anywhere, but where --storage names a database elsewhere."
    )
    add_examples(
        parser,
        {
            "bts-tune export RUN --to folder": "for SMP and the Hugging Face Hub, with a model card",
            "bts-tune export RUN --to onnx --output tumour.onnx": "one file, checked against the run's own model",
            "bts-tune export optuna RUN --storage sqlite:///study.db": "then: optuna-dashboard sqlite:///study.db",
            "bts-tune export RUN --to mlflow": "what the tracker has missed of the run, or all of it",
        },
    )
    parser.add_argument(
        "words", metavar="RUN", nargs="*", help="a run's folder or name; the format may stand before it"
    )
    parser.add_argument("--to", metavar="FORMAT", help=f"{', '.join(EXPORTS)}, a tracker, or one of a plugin")
    parser.add_argument("--formats", action="store_true", help="say what each format is, and end")
    parser.add_argument(
        "--output",
        "--storage",
        dest="output",
        metavar="PATH",
        help="where to; for optuna the URL of a storage or the path of a journal (exports/ in the run's folder)",
    )
    parser.add_argument("--trial", metavar="NAME", help="export this trial's model instead of the best one")
    parser.add_argument(
        "--ensemble", action="store_true", help="all trainings of the winner as one model, where the run kept them"
    )
    parser.add_argument("--tta", action="store_true", help="with test-time augmentation inside (2 or 4 times the time)")
    add_results(parser)
    add_plugin(parser)
    parser.set_defaults(action=_export)


def _export(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.api import open_run

    load_given_plugins(parsed)
    if parsed.formats:
        for name, export in EXPORTS.all().items():
            print(f"{name:<13}{export.title}")
        return EXIT_OK
    to, run = _format_and_run(parsed)
    if to in TRACKERS and to not in EXPORTS:
        if parsed.output or parsed.trial or parsed.ensemble or parsed.tta:
            raise ConfigError(f"--to {to}: is sent the whole run; leave out --output, --trial, --ensemble and --tta.")
        say(make_console(), open_run(run, parsed.results).send(to))
        return EXIT_OK
    if to not in EXPORTS:  # told before an unknown run
        known = [*EXPORTS, *TRACKERS]
        raise ConfigError(f"--to {to!r}: is no format and no tracker.{nearest(to, known)} {_allowed()}")
    exported = open_run(run, parsed.results).export(
        to, parsed.output, trial=parsed.trial, ensemble=parsed.ensemble, tta=parsed.tta
    )
    console = make_console()
    say(console, exported.output)
    for note in exported.notes:
        say(console, note)
    return EXIT_OK


def _allowed() -> str:
    from bts_tune.experiment.callbacks.sending import trackers_to_send_to

    return (
        f"Formats: {', '.join(EXPORTS)}; trackers: {', '.join(trackers_to_send_to())}. One of a plugin is known with "
        "--plugin FILE."
    )


def _format_and_run(parsed: argparse.Namespace) -> tuple[str, str]:
    words = parsed.words
    if len(words) == 1 and parsed.to is not None:
        return parsed.to, words[0]
    if len(words) == 2 and parsed.to is None:
        return words[0], words[1]
    if not words:
        raise ConfigError("export: give a run, by its folder or its name.")
    if len(words) == 1:
        raise ConfigError(f"export: give the format, --to FORMAT. {_allowed()}")
    raise ConfigError(f"export: got {' '.join(map(repr, words))}; give one run and one format.")
