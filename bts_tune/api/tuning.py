"""Whole runs: begun, gone on with, extended; and benchmarks of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bts_tune import plugins
from bts_tune.api.arguments import checked, name_or_path
from bts_tune.api.plain import plain
from bts_tune.api.run import Run, open_run, reporter
from bts_tune.console import make_console
from bts_tune.errors import ConfigError
from bts_tune.paths import user_path
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.space import Space
from bts_tune.text import nearest, quoted

if TYPE_CHECKING:
    from rich.console import Console

    from bts_tune.experiment.benchmark import FinishedBenchmark
    from bts_tune.experiment.planning.options import RunOptions
    from bts_tune.experiment.run import FinishedRun
    from bts_tune.report.benchmark import BenchmarkReportFiles
    from bts_tune.results.record.benchmark_folder import BenchmarkFolder


@checked
def tune(
    space: Space | Path | str,
    data: Path | str | None = None,
    *,
    name: str | None = None,
    results: Path | str = "results",
    progress: bool | Console = True,
    **options: Any,
) -> Run:
    """Carry out a run: its named trials, its search and its final stage; then write its report.

    Trials that fail do not end a run; `Run.leaderboard` has their `status` and `reason`. Ctrl-C ends it: it is
    reported as it stands, its status is 'interrupted', and `resume` goes on with it.

    Args:
        space: a search space, its name or the path of its file. The plugins that it names are loaded.
        data: the dataset's folder; without it, a demo on generated slices.
        name: of the run's folder; by default date, time and space.
        results: where run folders are.
        progress: whether progress is printed, or a rich console to print it on.
        options: any option of `bts-tune --help`, by the names of `RunOptions`: `num_trials=20`,
            `overrides={"epochs": 5}` for `--set epochs=5`. Where an option takes several names, one alone will do.

    Raises:
        BtsTuneError: something that can be mended; nothing was trained.
        RunStoppedError: the run had to end early; `resume` goes on with it.

    Examples:
        >>> run = tune("baseline", "slices", overrides={"epochs": 5}, only="unet-b0")  # doctest: +SKIP
        >>> run.best_model().predict("slices/test/a.png")  # doctest: +SKIP
    """
    from bts_tune.experiment.planning.options import RunOptions, declarations

    if data is not None and not isinstance(data, str | Path):
        raise ConfigError(f"data: must be a dataset's folder, got {quoted(data)}.")
    _require_known(options, [option for option in declarations() if option not in ("space", "data")])
    built = space if isinstance(space, Space) else None
    if built is not None:
        plugins.load_plugins(built.file.plugins, relative_to=built.source.parent)
    given = {"space": built.name if built else name_or_path(space, "space"), **plain(options)}
    if data is not None:
        given["data"] = str(data)
    command = _as_called("bts_tune.tune", {**given, "name": name, "results": results})
    return start(
        RunOptions.parse(given), results=results, name=name, command=command, console=_console(progress), space=built
    )


def start(
    options: RunOptions,
    *,
    results: Path | str,
    name: str | None,
    command: Sequence[str],
    console: Console,
    space: Space | None = None,
) -> Run:
    """Carry out a run from its options, as `tune` does; `command` is how it was asked for, for its record."""
    from bts_tune.experiment.run import start as start_run

    finished = start_run(
        options,
        results=user_path(results, "results"),
        name=name,
        command=command,
        console=console,
        report=reporter,
        space=space,
    )
    return _finished(finished)


@checked
def resume(
    run: Run | Path | str,
    *,
    num_trials: int | None = None,
    allow_changed: bool = False,
    retry_failed: bool = False,
    progress: bool | Console = True,
    **options: Any,
) -> Run:
    """Go on with a run that was cut off; what it finished is not trained again.

    Args:
        run: the run, its folder or its name in `results/`.
        num_trials: add so many trials to its search, as `extend` does.
        allow_changed: go on although data, code, versions or device have changed.
        retry_failed: run the trials that failed or ran out of memory again, from their beginning.
        progress: whether progress is printed, or a rich console to print it on.
        options: options of how it is carried out, given anew, such as `concurrent=2`; and `data`, where the dataset has
            moved.

    Raises:
        BtsTuneError: something that can be mended, such as a dataset that is no longer the same.
        RunStoppedError: the run had to end early; `resume` goes on with it.

    Examples:
        >>> run = resume("results/mine")  # doctest: +SKIP
    """
    from bts_tune.experiment import run as experiment

    finished = experiment.resume(
        _folder(run),
        _given_anew(options),
        console=_console(progress),
        report=reporter,
        extend_by=num_trials,
        allow_changed=allow_changed,
        retry_failed=retry_failed,
    )
    return _finished(finished)


@checked
def extend(
    run: Run | Path | str,
    num_trials: int,
    *,
    allow_changed: bool = False,
    progress: bool | Console = True,
    **options: Any,
) -> Run:
    """Add `num_trials` trials to a run's search, finished or not; all else as for `resume`.

    Examples:
        >>> run = extend("results/mine", 20)  # doctest: +SKIP
    """
    return resume(run, num_trials=num_trials, allow_changed=allow_changed, progress=progress, **options)


@checked
def train_final(
    run: Run | Path | str,
    *,
    top: int | None = None,
    seeds: int | None = None,
    allow_changed: bool = False,
    progress: bool | Console = True,
    **options: Any,
) -> Run:
    """Train a run's best configurations and all its baselines again, with fresh seeds.

    Args:
        run: the run, its folder or its name in `results/`.
        top: how many configurations; by default as the run or its space says.
        seeds: fresh seeds of each, likewise.
        allow_changed, progress, options: as for `resume`.

    Raises:
        BtsTuneError: something that can be mended; nothing was trained.
        RunStoppedError: the run had to end early; `resume` goes on with it.

    Examples:
        >>> run = train_final("results/mine", top=3, seeds=5)  # doctest: +SKIP
    """
    from bts_tune.experiment import run as experiment

    finished = experiment.add_final(
        _folder(run),
        top,
        seeds,
        _given_anew(options),
        console=_console(progress),
        report=reporter,
        allow_changed=allow_changed,
    )
    return _finished(finished)


@checked
def benchmark(
    file: Path | str,
    *,
    results: Path | str = "results",
    allow_changed: bool = False,
    retry_failed: bool = False,
    progress: bool | Console = True,
    **options: Any,
) -> FinishedBenchmark:
    """Train every configuration of a benchmark's file on each of its datasets and splits, and compare them.

    Each dataset and split is one ordinary run, in the benchmark's folder. The same call goes on with a benchmark that
    was cut off, and of a complete one makes the report anew.

    Args:
        file: the benchmark (docs/benchmark.md).
        results: where the benchmark's folder is, and the runs that the file names.
        allow_changed, retry_failed, progress: as for `resume`.
        options: how its runs are carried out, such as `concurrent=2`; and `weights_dir` and `skip_missing_weights`.

    Raises:
        BtsTuneError: something that can be mended.
        RunStoppedError: a run had to end early; the same call goes on with it.

    Examples:
        >>> ended = benchmark("three_models.yaml")  # doctest: +SKIP
        >>> ended.report.page  # doctest: +SKIP
    """
    from bts_tune.experiment.planning.options import declarations

    how = [name for name, declared in declarations().items() if declared.group == "how" and name != "time_budget"]
    _require_known(options, ["weights_dir", "skip_missing_weights", *how])
    given = plain(options)
    switches = {"allow_changed": allow_changed or None, "retry_failed": retry_failed or None}
    return carry_out_benchmark(
        user_path(file, "file"),
        results=user_path(results, "results"),
        options=given,
        command=_as_called("bts_tune.benchmark", {"file": file, **given, "results": results, **switches}),
        console=_console(progress),
        allow_changed=allow_changed,
        retry_failed=retry_failed,
    )


def carry_out_benchmark(
    file: Path,
    *,
    results: Path,
    options: Mapping[str, Any],
    command: Sequence[str],
    console: Console,
    allow_changed: bool,
    retry_failed: bool,
) -> FinishedBenchmark:
    """Carry out a benchmark, as `benchmark` does; `command` is how it was asked for, for the record of its runs."""
    from bts_tune.experiment.benchmark import run_benchmark
    from bts_tune.report.benchmark import write_benchmark_report
    from bts_tune.results.benchmark.between_runs import BenchmarkReader

    readers: dict[Path, BenchmarkReader] = {}

    def report(folder: BenchmarkFolder) -> BenchmarkReportFiles:
        reader = readers.setdefault(folder.path, BenchmarkReader(folder))
        return write_benchmark_report(folder, reader)

    return run_benchmark(
        file,
        results=results,
        options=options,
        command=command,
        console=console,
        report=reporter,
        benchmark_report=report,
        allow_changed=allow_changed,
        retry_failed=retry_failed,
    )


def _as_called(function: str, given: Mapping[str, Any]) -> list[str]:
    """Return the words of a call for the record, as those of a command line are; what was not given is left out."""
    return [function, *(f"{name}={plain(value)}" for name, value in given.items() if value is not None)]


def _folder(run: Run | Path | str) -> RunFolder:
    return run.folder if isinstance(run, Run) else open_run(run).folder


def _finished(finished: FinishedRun) -> Run:
    return Run(finished.folder, finished.report)


def _console(progress: bool | Console) -> Console:
    from rich.console import Console

    return progress if isinstance(progress, Console) else make_console(quiet=not progress)


def _given_anew(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a run that goes on, having seen that each may be given to one."""
    from bts_tune.experiment.planning.options import declarations

    anew = [name for name, declared in declarations().items() if declared.anew or declared.group == "how"]
    fixed = [name for name in options if name in declarations() and name not in anew]
    if fixed:
        raise ConfigError(f"{fixed[0]}: cannot be given to a run that goes on; allowed: {', '.join(anew)}.")
    _require_known(options, anew)
    return plain(options)


def _require_known(options: Mapping[str, Any], known: list[str]) -> None:
    for name in options:
        if name not in known:
            raise ConfigError(f"{name}: is no option here.{nearest(name, known)} Allowed: {', '.join(known)}.")
