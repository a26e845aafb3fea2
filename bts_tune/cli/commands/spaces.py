"""`bts-tune spaces`: list and explain search spaces."""

from __future__ import annotations

import argparse

from bts_tune.cli.help import add_examples
from bts_tune.cli.json_output import add_json, print_json
from bts_tune.cli.options import add_plugin, load_given_plugins
from bts_tune.errors import EXIT_OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the commands of `bts-tune spaces`."""
    add_examples(
        parser,
        {
            "bts-tune spaces": "those that there are",
            "bts-tune spaces show extended": "what a space searches, and why",
        },
    )
    parser.set_defaults(action=_list, json=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    listed = commands.add_parser("list", help="list the search spaces", allow_abbrev=False)
    add_examples(
        listed,
        {
            "bts-tune spaces list": "name and purpose of each",
            "bts-tune spaces list --json": "the same, for programs",
        },
    )
    add_json(listed)
    listed.set_defaults(action=_list)
    show = commands.add_parser("show", help="explain a search space", allow_abbrev=False)
    add_examples(
        show,
        {
            "bts-tune spaces show baseline": "one that is shipped",
            "bts-tune spaces show my_space.yaml": "one of your own",
        },
    )
    show.add_argument("name", help="a name of 'spaces list', or the path of a YAML file")
    add_json(show)
    add_plugin(show)
    show.set_defaults(action=_show)
    printed = commands.add_parser("schema", help="print the JSON schema of a space file", allow_abbrev=False)
    add_examples(
        printed,
        {
            "bts-tune spaces schema": "every key, with what is allowed",
            "bts-tune spaces schema > space.json": "for an editor that completes and checks YAML files",
        },
    )
    printed.set_defaults(action=_schema)


def _list(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.space import list_spaces

    described = [
        (space, space.description.strip().split(":")[0].split(". ")[0].rstrip(".") + ".") for space in list_spaces()
    ]
    if parsed.json:
        spaces = [{"name": space.name, "description": text, "source": space.source} for space, text in described]
        print_json("spaces list", {"spaces": spaces})
        return EXIT_OK
    for space, text in described:
        print(f"{space.name:<12}{text}")
    return EXIT_OK


def _show(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.space import load_space
    from bts_tune.space.text import render_space

    load_given_plugins(parsed)
    space = load_space(parsed.name)
    if parsed.json:
        print_json("spaces show", {"space": space.document})
    else:
        print(render_space(space), end="")
    return EXIT_OK


def _schema(_parsed: argparse.Namespace, _command: list[str]) -> int:
    import json

    from bts_tune.space.json_schema import schema

    print(json.dumps(schema(), indent=2))
    return EXIT_OK
