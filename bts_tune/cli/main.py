"""The words of the command line: its parser, which command they name, and the exit code for whatever goes wrong.

The commands are in `commands`. Nothing heavy is imported before a command needs it, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from bts_tune.cli.commands import (
    benchmark,
    compare,
    completion,
    data,
    export,
    final,
    listing,
    predict,
    pull,
    push,
    report,
    run,
    spaces,
    watch,
)
from bts_tune.cli.help import HelpFormatter
from bts_tune.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_PROBLEM, EXIT_USAGE, BtsTuneError, ConfigError
from bts_tune.imports import leave_out_working_folder
from bts_tune.text import nearest, printable, shortened
from bts_tune.version import __version__

__all__ = ["EXIT_INTERRUPTED", "EXIT_OK", "EXIT_PROBLEM", "EXIT_USAGE", "main"]

_DESCRIPTION = """\
Find out which model and which hyperparameters segment brain tumours best on your MRI slices.

  bts-tune --space baseline             a demo on generated slices
  bts-tune --space baseline --data DIR  the three documented models on your data
  bts-tune --space extended --data DIR  a search around them
  bts-tune --resume RUN                 go on with a run that was cut off
  bts-tune --extend RUN --num-trials N  add trials to a run's search
"""

# What each command does, in a line of the help, and what adds its arguments to its parser.
_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "list": ("list the runs of a results folder", listing.add_arguments),
    "watch": ("show how far a run is, in another terminal", watch.add_arguments),
    "report": ("make a run's report anew", report.add_arguments),
    "compare": ("set runs side by side, ranked where they were measured alike", compare.add_arguments),
    "benchmark": ("compare configurations on several datasets, splits and seeds", benchmark.add_arguments),
    "predict": ("segment images with a run's best model", predict.add_arguments),
    "export": ("write a run's best model, or the run, for other programs", export.add_arguments),
    "push": ("mirror a run to a bucket or another folder", push.add_arguments),
    "pull": ("bring a mirrored run back", pull.add_arguments),
    "final": ("train a run's best configurations and baselines again", final.add_arguments),
    "data": ("check, generate and cache datasets", data.add_arguments),
    "spaces": ("list and explain search spaces", spaces.add_arguments),
    "completion": (
        "print what completes commands with the tab key",
        lambda parser: completion.add_arguments(parser, all_parsers),
    ),
}


_LONGEST_MESSAGE = 1000


class _Parser(argparse.ArgumentParser):
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuse what it does not know itself: argparse leaves that to the parser above, which knows no such option."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        unknown = re.search(r"unrecognized arguments: (-\S+)", message)
        hint = nearest(unknown.group(1), _all_options(self)) if unknown else ""
        message = shortened(message, _LONGEST_MESSAGE)  # argparse repeats what was typed, which may be of any length
        self.exit(EXIT_USAGE, printable(f"{self.prog}: error: {message}.{hint} See '{self.prog} --help'.") + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `errors` says what each means."""
    if arguments is None:
        arguments = sys.argv[1:]
        leave_out_working_folder()
        # Read when torch is loaded: threads that wait for each other by spinning lose most where another program wants
        # the same cores.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # None where it is closed
                # The name of a file may hold what the terminal's encoding has no character for.
                stream.reconfigure(errors="backslashreplace")
    arguments = list(arguments)
    try:
        parsed = parse(arguments)
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
    except UnicodeEncodeError as error:
        if error.encoding.replace("-", "") == "utf8":
            raise
        print(
            f"bts-tune: error: {ascii(error.object)[1:-1][:300]}: is no file name in the encoding of this system, "
            f"{error.encoding}; set the environment variable PYTHONUTF8=1, or LC_ALL=C.UTF-8.",
            file=sys.stderr,
        )
        return EXIT_USAGE
    except OSError as error:
        # What reads and writes says more where it can; this is for the rest, such as a name too long for the system.
        named = f"{error.filename}: " if error.filename is not None else ""
        print(f"bts-tune: error: {printable(f'{named}{error.strerror or error}')}.", file=sys.stderr)
        return EXIT_USAGE


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the values of a command line's options; `action` carries it out.

    Raises:
        ConfigError: there is no such command.
        SystemExit: it cannot be read, which one sentence has told, or its help has been printed.
    """
    parser = _command_parser() if _names_command(arguments) else _run_parser()
    return parser.parse_args(arguments)


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
    commands = "\n".join(f"  bts-tune {name:<10}  {text}" for name, (text, _) in _COMMANDS.items())
    parser = _Parser(
        prog="bts-tune",
        usage="bts-tune --space NAME [--data DIR] [options] | bts-tune --resume RUN | bts-tune --extend RUN "
        "--num-trials N | bts-tune COMMAND",
        description=_DESCRIPTION,
        epilog=f"other commands, each with a --help of its own:\n{commands}",
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"bts-tune {__version__}")
    run.add_arguments(parser)
    return parser


def _command_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="bts-tune", allow_abbrev=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (text, add_arguments) in _COMMANDS.items():
        about = f"{text[0].upper()}{text[1:]}."
        add_arguments(commands.add_parser(name, help=text, description=about, allow_abbrev=False))
    return parser


def all_parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of every command, by its words: 'bts-tune' is that of a run, then 'bts-tune list', …"""
    return {"bts-tune": _run_parser(), **_below(_command_parser())}


def _below(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                found |= {f"{parser.prog} {name}": command, **_below(command)}
    return found


def _all_options(parser: argparse.ArgumentParser) -> list[str]:
    return [option for action in parser._actions for option in action.option_strings]
