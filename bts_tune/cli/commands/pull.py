"""`bts-tune pull`: a run that was mirrored elsewhere, brought back."""

from __future__ import annotations

import argparse

from bts_tune.cli.help import add_examples
from bts_tune.cli.options import add_results, as_path
from bts_tune.console import make_console, say
from bts_tune.errors import EXIT_OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bts-tune pull`."""
    parser.description = (
        "Bring a run back that 'bts-tune push' mirrored. Every hash is compared; the folder appears, or changes, when "
        "all of it is there. It can be cut off and goes on when it is called again."
    )
    add_examples(
        parser,
        {
            "bts-tune pull s3://bucket/runs/NAME": "to results/NAME",
            "bts-tune pull /mnt/archive/NAME DIR": "to DIR",
        },
    )
    parser.add_argument("uri", metavar="URI", help="the run's folder there")
    parser.add_argument("folder", metavar="DIR", nargs="?", type=as_path, help="where to (its name in results/)")
    parser.add_argument("--force", action="store_true", help="write over a newer state of the run")
    add_results(parser)
    parser.set_defaults(action=_pull)


def _pull(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.experiment.planning.disk import size_text
    from bts_tune.results.storage.mirror import pull
    from bts_tune.results.storage.remote import RemoteFiles
    from bts_tune.text import plural

    console = make_console()
    name = RemoteFiles(parsed.uri).name
    target = parsed.folder if parsed.folder is not None else parsed.results / name
    done = pull(parsed.uri, target, force=parsed.force, say=lambda text: say(console, text))
    what = (
        f"{plural(done.moved, 'file')} of {done.files} brought, {size_text(done.size)}" if done.moved else "as it was"
    )
    say(console, f"{done.place}: {what}.")
    return EXIT_OK
