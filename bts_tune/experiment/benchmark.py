"""A benchmark: its runs one after the other, each an ordinary run, and the same call again to go on with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bts_tune.console import make_console, say
from bts_tune.errors import ConfigError, RunError
from bts_tune.experiment.execution.execute import Report
from bts_tune.experiment.planning.benchmark_file import Benchmark, PlannedRun, load_benchmark, read_benchmark
from bts_tune.experiment.planning.inputs import check_and_split, open_data
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.experiment.planning.plan import RETRIED
from bts_tune.experiment.planning.preview import DryRun
from bts_tune.experiment.run import dry_run, lasting, resume, start
from bts_tune.plugins import load_installed, loaded_plugins
from bts_tune.results.record.benchmark_folder import BenchmarkFolder
from bts_tune.results.record.run_folder import RunFolder, holds_run
from bts_tune.text import plural

GO_ON = "The benchmark was interrupted; the same command goes on with it."

OF_NEW_RUNS = ("weights_dir", "skip_missing_weights")
"""Options that a run keeps as it began; to go on with it they are passed over, unless its folder of weights is gone."""

BenchmarkReport = Callable[[BenchmarkFolder], Any]
"""Makes the report of a benchmark, finished or not."""


@dataclass(frozen=True)
class FinishedBenchmark:
    """How a benchmark ended.

    Attributes:
        folder: the benchmark.
        interrupted: whether it was interrupted; the same call goes on with it.
        report: what the caller's report returned.
    """

    folder: BenchmarkFolder
    interrupted: bool
    report: Any


@dataclass(frozen=True)
class BenchmarkDryRun:
    """What a benchmark would do.

    Attributes:
        benchmark: as its file says.
        runs: what each run would do, by name.
        states: how each run stands: 'complete', 'begun' or 'to do'.
    """

    benchmark: Benchmark
    runs: Mapping[str, DryRun]
    states: Mapping[str, str]

    def text(self) -> str:
        """Return it in words."""
        file, benchmark = self.benchmark.file, self.benchmark
        product = [
            plural(len(file.configurations), "configuration"),
            plural(len(file.datasets), "dataset"),
            plural(len(file.splits) or 1, "split"),
            plural(len(benchmark.seeds), "seed"),
            *([plural(file.folds, "fold")] if file.folds else []),
        ]
        lines = [f"Dry run of benchmark {benchmark.name!r}: {' x '.join(product)}; nothing is trained."]
        lines += [
            f"  {name}: from {one.origin}{_changed(one.changed)}" for name, one in benchmark.configurations.items()
        ]
        totals = [0, 0, 0]
        for name, run in self.runs.items():
            cost = run.to_dict()["cost"]
            numbers = [cost["trials"], cost["epochs_at_most"], cost["images_at_most"]]
            state = self.states[name]
            lines.append(
                f"Run {name} ({state}): {plural(numbers[0], 'trial')}, {numbers[1]} epochs, {numbers[2]} images"
            )
            if state != "complete":
                totals = [sum(pair) for pair in zip(totals, numbers, strict=True)]
        begun = " (what the runs that have begun did already is counted too)" if "begun" in self.states.values() else ""
        lines.append(
            f"Cost of what is not complete: {plural(totals[0], 'trial')}, {totals[1]} epochs, {totals[2]} training "
            f"images in all{begun}."
        )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return it in the types of JSON."""
        return {
            "benchmark": self.benchmark.name,
            "configurations": {name: one.to_dict() for name, one in self.benchmark.configurations.items()},
            "seeds": self.benchmark.seeds,
            "runs": [
                {
                    "run": run.name,
                    "dataset": run.dataset,
                    "split": run.split,
                    "state": self.states[run.name],
                    "train_images": list(self.runs[run.name].train_images),
                    "cost": self.runs[run.name].to_dict()["cost"],
                }
                for run in self.benchmark.runs
            ],
        }


def run_benchmark(
    path: Path,
    *,
    results: Path,
    options: Mapping[str, Any],
    command: Sequence[str],
    console: Console,
    report: Report,
    benchmark_report: BenchmarkReport,
    allow_changed: bool = False,
    retry_failed: bool = False,
) -> FinishedBenchmark:
    """Carry out what a benchmark lacks: all of a new one, the rest of one that has begun.

    Every dataset of a run that has not begun is checked before anything is trained.

    Args:
        path: the benchmark's file.
        results: where the benchmark's folder is, and the runs that the file names.
        options: how its runs are carried out, by the names of `RunOptions`.
        command: for the record of its runs: how the benchmark was asked for.
        console: where progress is shown.
        report: of each run.
        benchmark_report: of the benchmark, after each of its runs.
        allow_changed: go on though data, code, versions or device have changed.
        retry_failed: run the trials that failed again, from their beginning.

    Raises:
        BtsTuneError: something that the user can mend.
    """
    load_installed()
    results = lasting(results, console)
    folder, benchmark = _open(path, results, run_plugins=True)
    waiting = [run for run in benchmark.runs if not _begun(folder, run)]
    for run in waiting:
        say(console, f"Checking {run.name}")
        quiet = make_console(quiet=True)
        asked = _options(run, options)
        check_and_split(open_data(asked, quiet), asked, quiet)
    folder.write(benchmark.to_dict())
    space = benchmark.space()
    try:
        for number, run in enumerate(benchmark.runs, start=1):
            where = f"Run {number} of {len(benchmark.runs)} of benchmark {benchmark.name}: {run.name}"
            begun = RunFolder.open(folder.run_path(run.name)) if _begun(folder, run) else None
            more = begun is not None and ((retry_failed and _failed(begun)) or _measures_more(begun, options))
            if begun is not None and _complete(begun) and not more:
                say(console, f"{where}, complete")
                continue
            say(console, where)
            if begun is None:
                ended = start(
                    _options(run, options),
                    results=folder.path,
                    name=run.name,
                    command=command,
                    console=console,
                    report=report,
                    space=space,
                )
            else:
                passed_over = OF_NEW_RUNS if _has_weights_dir(begun) else ("skip_missing_weights",)
                anew = {name: value for name, value in options.items() if name not in passed_over}
                ended = resume(
                    begun,
                    {**anew, "data": run.options["data"], "plugins": _plugins_of(begun)},
                    console=console,
                    report=report,
                    allow_changed=allow_changed,
                    retry_failed=retry_failed,
                    space_file=benchmark.source,
                )
            if ended.outcome != "complete":
                return FinishedBenchmark(folder, True, benchmark_report(folder))
            if number < len(benchmark.runs):
                benchmark_report(folder)
    except KeyboardInterrupt:
        say(console, GO_ON)
        raise
    return FinishedBenchmark(folder, False, benchmark_report(folder))


def dry_run_benchmark(path: Path, *, results: Path, options: Mapping[str, Any], console: Console) -> BenchmarkDryRun:
    """Return what a benchmark would do and cost; train nothing, and run no code of plugins that it names."""
    load_installed()
    folder, benchmark = _open(path, results, run_plugins=False)
    space = benchmark.space()
    runs, states = {}, {}
    for run in benchmark.runs:
        runs[run.name] = dry_run(_options(run, options).replaced(plugins=[]), console, space, results=folder.path)
        states[run.name] = "to do"
        if _begun(folder, run):
            states[run.name] = "complete" if _complete(RunFolder.open(folder.run_path(run.name))) else "begun"
    return BenchmarkDryRun(benchmark, runs, states)


def _open(path: Path, results: Path, *, run_plugins: bool) -> tuple[BenchmarkFolder, Benchmark]:
    """Return the folder of a benchmark, which need not be there, and what its file says."""
    folder = BenchmarkFolder(results / read_benchmark(path, run_plugins=run_plugins).name)
    recorded = None
    if folder.file.is_file():
        recorded = folder.read()
        if not any(holds_run(folder.run_path(run)) for run in recorded["runs"]):
            recorded = None  # nothing has begun that would have to stay as it is
    elif folder.path.exists() and not (folder.path.is_dir() and not any(folder.path.iterdir())):
        raise ConfigError(f"{folder.path}: exists already, and is no benchmark; choose another 'name' in {path}.")
    return folder, load_benchmark(path, results, recorded, run_plugins=run_plugins)


def _begun(folder: BenchmarkFolder, run: PlannedRun) -> bool:
    path = folder.run_path(run.name)
    if holds_run(path):
        return True
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise RunError(
            f"{path}: is in the way: it should be a run of the benchmark, and has no run.json; move it away."
        )
    return False


def _options(run: PlannedRun, options: Mapping[str, Any]) -> RunOptions:
    return RunOptions.parse({**run.options, **options})


def _complete(folder: RunFolder) -> bool:
    return folder.read_run().get("status") == "complete"


def _failed(folder: RunFolder) -> bool:
    return any(record.status in RETRIED for record in folder.trials())


def _has_weights_dir(folder: RunFolder) -> bool:
    """Whether the folder of weights that a run began with, if it had one, is still there."""
    began = (folder.read_run().get("options") or {}).get("weights_dir")
    return not isinstance(began, str) or Path(began).is_dir()


def _measures_more(folder: RunFolder, options: Mapping[str, Any]) -> bool:
    """Whether a way of prediction is asked for that the run was not."""
    recorded = folder.read_run().get("options") or {}
    ways = ("tta", "postprocess", "ensemble", "ensemble_top")
    return any(options.get(name) and options[name] != recorded.get(name) for name in ways)


def _plugins_of(folder: RunFolder) -> list[str]:
    """Return the plugins that a run goes on with: those that are loaded, and its own but for what is gone or moved."""
    loaded = [plugin for plugin in loaded_plugins() if plugin.kind != "class"]
    here = {plugin.sha256 for plugin in loaded}
    own = [
        one["name"]
        for one in folder.read_run().get("plugins") or ()
        if one.get("kind") != "class" and one["sha256"] not in here
    ]
    kept = [name for name in own if not os.path.isabs(name) or Path(name).is_file()]
    return list(dict.fromkeys([*(plugin.name for plugin in loaded), *kept]))


def _changed(fields: tuple[str, ...]) -> str:
    return f", changed: {', '.join(fields)}" if fields else ""
