"""`bts-tune push`: a run's folder, mirrored to a bucket or another folder."""

from __future__ import annotations

import argparse
import shlex

from bts_tune.cli.help import add_examples
from bts_tune.cli.options import add_results
from bts_tune.console import make_console, say
from bts_tune.errors import EXIT_OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bts-tune push`."""
    parser.description = (
        "Mirror a run to a folder of its name elsewhere: models, record, report, all but Ray's logs. It can be cut off "
        "and goes on when it is called again."
    )
    add_examples(
        parser,
        {
            "bts-tune push RUN s3://bucket/runs": "to s3://bucket/runs/RUN; what is there is not sent again",
            "bts-tune push RUN /mnt/archive": "to a folder",
        },
    )
    parser.add_argument("run", metavar="RUN", help="a run's folder or name")
    parser.add_argument("uri", metavar="URI", help="s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or a folder")
    parser.add_argument("--force", action="store_true", help="write over a newer state of the run")
    add_results(parser)
    parser.set_defaults(action=_push)


def _push(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.experiment.planning.disk import size_text
    from bts_tune.results.find import find_run
    from bts_tune.results.storage.mirror import push
    from bts_tune.text import plural

    console = make_console()
    folder = find_run(parsed.run, parsed.results)
    done = push(folder, parsed.uri, force=parsed.force, say=lambda text: say(console, text))
    sent = f"{plural(done.moved, 'file')} of {done.files} sent, {size_text(done.size)}"
    back = shlex.join(["bts-tune", "pull", done.uri])
    say(console, f"{done.place}: {sent if done.moved else 'as it was'}. Bring it back with: {back}")
    return EXIT_OK
