"""`bts-tune completion`: what a shell needs to complete commands, options and their values."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping

from bts_tune.cli.help import add_examples
from bts_tune.data.volumes.planes import PLANES
from bts_tune.errors import EXIT_OK
from bts_tune.registry import EXPORTS, READERS, SPLIT_METHODS, TRACKERS

Parsers = Callable[[], Mapping[str, argparse.ArgumentParser]]

_DEVICES = ("auto", "cpu", "cuda")

_BASH = """\
# Completes bts-tune. For one shell:  source <(bts-tune completion bash)
_bts_tune() {
    local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD - 1]}" command=bts-tune word words=
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$command $word" in
            COMMANDS) command="$command $word" ;;
        esac
    done
    case "$command $before" in
VALUES
        *" --"*) [[ "SWITCHES" == *" $before "* ]] || return ;;  # the name of a file
    esac
    [[ -n $words ]] || case "$command" in
WORDS
    esac
    COMPREPLY=($(compgen -W "${words//RUNS/}" -- "$current"))
    if [[ $words == *RUNS* ]]; then  # names of folders are anybody's: they are never expanded, and quoted on the line
        while IFS= read -r word; do
            printf -v word %q "${word#results/}"
            COMPREPLY+=("$word")
        done < <(compgen -d -- "results/$current")
    fi
}
complete -o default -F _bts_tune bts-tune
"""

_ZSH = """\
#compdef bts-tune
# Completes bts-tune. For one shell:  source <(bts-tune completion zsh)
autoload -U +X compinit && compinit
autoload -U +X bashcompinit && bashcompinit
"""

_OF_RUNS = ("run", "runs", "words", "resume", "extend", "warm_start")
_RUNS = "RUNS"  # in capitals, as no command or option is


def add_arguments(parser: argparse.ArgumentParser, parsers: Parsers) -> None:
    """Add the arguments of `bts-tune completion`; `parsers` returns the parser of every command."""
    parser.description = "Print what a shell needs to complete commands, options and their values with the tab key."
    parser.add_argument("shell", choices=("bash", "zsh"), help="bash or zsh")
    add_examples(
        parser,
        {
            "source <(bts-tune completion bash)": "for this shell; in ~/.bashrc for every one",
            "source <(bts-tune completion zsh)": "the same for zsh, in ~/.zshrc",
        },
    )
    parser.set_defaults(action=_completion, parsers=parsers)


def _completion(parsed: argparse.Namespace, _command: list[str]) -> int:
    if parsed.shell == "zsh":
        print(_ZSH, end="")
    print(bash(parsed.parsers()), end="")
    return EXIT_OK


def bash(parsers: Mapping[str, argparse.ArgumentParser]) -> str:
    """Return the script for bash; what is allowed for each option is known to it, the runs are looked up."""
    words: dict[str, list[str]] = {}
    values: dict[str, list[str]] = {}
    switches: list[str] = []
    names = _names()
    for command, parser in parsers.items():
        words[command] = [other.rpartition(" ")[2] for other in parsers if other.rpartition(" ")[0] == command]
        for action in parser._actions:
            known = _values(action, names)
            words[command] += [option for option in action.option_strings if option.startswith("--")]
            if not action.option_strings:
                words[command] += known
            elif known:
                values |= {f"{command} {option}": known for option in action.option_strings}
            elif action.nargs == 0:
                switches += action.option_strings
    script = _BASH.replace("COMMANDS", "|".join(f'"{command}"' for command in parsers if " " in command))
    script = script.replace("SWITCHES", f" {' '.join(dict.fromkeys(switches))} ")
    return script.replace("VALUES", _cases(values)).replace("WORDS\n", _cases(words) + "\n")


def _cases(words: Mapping[str, list[str]]) -> str:
    return "\n".join(f'        "{typed}") words="{" ".join(known)}" ;;' for typed, known in words.items())


def _values(action: argparse.Action, names: Mapping[str, Iterable[str]]) -> list[str]:
    """Return what an option or argument may be; an empty list where that is not known, or is the name of a file."""
    if isinstance(action, argparse._SubParsersAction):
        return []
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    if action.dest in _OF_RUNS:
        return [_RUNS]
    return [*next((known for option, known in names.items() if option in action.option_strings), [])]


def _names() -> dict[str, Iterable[str]]:
    """Return the names that an option can have; reads every space."""
    from bts_tune.space import list_spaces

    return {
        "--space": [space.name for space in list_spaces()],
        "--tracker": (*TRACKERS.names(), "none"),
        "--split": SPLIT_METHODS.names(),
        "--reader": READERS.names(),
        "--to": (*EXPORTS.names(), *(name for name in TRACKERS.names() if name != "tensorboard")),
        "--device": _DEVICES,
        "--plane": PLANES,
    }
