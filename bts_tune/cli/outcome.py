"""How a command ends that has trained: its result, what to do next, and the exit code."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from bts_tune.cli.output import print_ranking, warn
from bts_tune.console import say
from bts_tune.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_PROBLEM
from bts_tune.plugins import plugin_options
from bts_tune.results.record.status import in_group

if TYPE_CHECKING:
    from rich.console import Console

    from bts_tune.api import Run


def conclude(ended: Run, console: Console) -> int:
    """Print the ranking, the files of the report and the command that comes next, and return the exit code."""
    folder, files = ended.folder, ended.report_files
    assert files is not None  # a run that was carried out has a report
    trials, run = folder.trials(), folder.read_run()
    outcome = run["status"]
    console.print()
    print_ranking(trials, console)
    console.print()
    written = (("Report", files.page), ("as text", files.report), ("Leaderboard", files.leaderboard))
    for label, path in (*written, ("Epochs", files.epochs)):
        if path.exists():
            say(console, f"{label + ':':<13}{path}")
    if files.failed:
        warn(files.failed)
    if outcome != "complete":
        why = "interrupted" if outcome == "interrupted" else "out of time"
        say(console, f"The run was {why}: the report is partial. Go on with:")
        say(console, f"  {folder.resume_command}")
        if outcome == "interrupted":
            return EXIT_INTERRUPTED
        if any(record.rows for record in trials):
            return EXIT_OK
        warn("nothing was trained: no trial came to the end of an epoch within the time budget.")
        return EXIT_PROBLEM
    plugins = plugin_options(run.get("plugins"))
    if any(record.full_budget for record in trials):
        command = shlex.join(["bts-tune", "predict", str(folder.path), "IMAGES", "--out", "DIR", *plugins])
        say(console, f"Segment images with the best model:  {command}")
    if run.get("profile") == "demo":
        command = shlex.join(["bts-tune", "--space", str(run["options"]["space"]), "--data", "DIR", *plugins])
        say(console, f"Run it on your own data:  {command}")
    lacking = run.get("models_lacking") or []
    if lacking:
        warn(
            f"{folder}: the run is complete, but its models of {', '.join(map(str, lacking))} are not there, or not "
            "what was saved; their figures stand."
        )
    # A search may try what does not work; everything else was asked for by name, or chosen because it worked.
    named = [record for record in trials if record.stage == "final" or not record.name.startswith("search-")]
    failed = any(record.status in in_group("failed") for record in named)
    return EXIT_PROBLEM if failed or lacking or not any(record.full_budget for record in trials) else EXIT_OK
