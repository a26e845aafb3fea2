"""`bts-tune watch`: how far a run is, in another terminal, from its folder alone."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from bts_tune.cli.help import add_examples
from bts_tune.cli.options import add_results
from bts_tune.console import make_console, say
from bts_tune.errors import EXIT_OK

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bts_tune.results.record.run_folder import RunFolder

_SECONDS = 2.0
_WIDTH = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bts-tune watch`."""
    add_examples(
        parser,
        {
            "bts-tune watch RUN": "until the run ends, or Ctrl-C; the run itself is not touched",
            "bts-tune watch RUN --once | cat": "one table, for a log",
        },
    )
    parser.add_argument("run", help="a run's folder or name")
    parser.add_argument("--once", action="store_true", help="print one table and end, as where there is no terminal")
    add_results(parser)
    parser.set_defaults(action=_watch)


def _watch(parsed: argparse.Namespace, _command: list[str]) -> int:
    from rich.live import Live

    from bts_tune.results.find import find_run
    from bts_tune.results.listing import next_command, run_state

    folder = find_run(parsed.run, parsed.results)
    console = make_console()
    if parsed.once or not console.is_terminal:
        if not console.is_terminal:
            console.width = max(console.width, _WIDTH)  # of a pipe there is none
        state, table = look(folder, width=console.width)
        console.print(table)
    else:
        try:
            with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
                seen, state = None, "running"
                while state == "running":
                    now = (_stamps(folder), run_state(folder, folder.read_run()), console.size)
                    if now != seen:  # of a long run, reading takes its time
                        state, table = look(folder, console.size.height, console.size.width)
                        live.update(table, refresh=True)
                        seen = now
                    if state == "running":
                        time.sleep(_SECONDS)
        except KeyboardInterrupt:  # how one stops watching
            return EXIT_OK
    if state != "running":
        model = any(folder.path.glob("models/*/model.json"))
        say(console, f"Go on with:  {next_command(folder, folder.read_run(), state, model=model)}")
    return EXIT_OK


def _stamps(folder: RunFolder) -> list[tuple[int, int]]:
    """Return what tells whether the record has changed."""
    files = (path for path in (folder.run_file, folder.trials_file, folder.rows_file) if path.exists())
    return [(found.st_mtime_ns, found.st_size) for path in files for found in [path.stat()]]


def look(folder: RunFolder, height: int | None = None, width: int | None = None) -> tuple[str, RenderableType]:
    """Return how a run stands now, and its table."""
    from bts_tune.report.render.progress import progress_table
    from bts_tune.results.listing import run_state

    run = folder.read_run()
    state = run_state(folder, run)
    return state, progress_table(run, folder.trials(), state=state, height=height, width=width)
