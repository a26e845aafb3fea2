"""The Python API: what `import bts_tune` offers, which the command line is a thin layer on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bts_tune.config import PreprocessingPart, TrialConfig
from bts_tune.data.open import open_dataset
from bts_tune.errors import ConfigError
from bts_tune.plugins import load_plugin
from bts_tune.results.find import best_model, find_run
from bts_tune.results.run_folder import RunFolder
from bts_tune.space import Space, load_space
from bts_tune.space.file import parse_space_file

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from bts_tune.data.checks.check import CheckReport
    from bts_tune.data.records import Dataset
    from bts_tune.experiment.planning.options import RunOptions
    from bts_tune.experiment.run import FinishedRun
    from bts_tune.report.write import ReportFiles
    from bts_tune.training.prediction import Prediction
    from bts_tune.training.segmenter import Segmenter
    from bts_tune.training.trial import Row

__all__ = [
    "Run",
    "Space",
    "TrialConfig",
    "build_space",
    "check_dataset",
    "extend",
    "load_plugin",
    "load_space",
    "open_dataset",
    "open_run",
    "resume",
    "train",
    "train_final",
    "tune",
]


class Run:
    """A run on disk, finished or not.

    Attributes:
        folder: its folder and its record.
        files: the report that was made when it ended; None for a run that was only opened.
    """

    def __init__(self, folder: RunFolder, files: ReportFiles | None = None) -> None:
        self.folder, self.files = folder, files

    def __repr__(self) -> str:
        """Return the call that opens it, and its status."""
        return f"open_run({str(self.path)!r})  # {self.status}"

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @property
    def status(self) -> str:
        """How it stands: running, complete, interrupted, out-of-time or failed."""
        return str(self.folder.read_run().get("status", ""))

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial, in the order of planning: how it ended, its metrics at its best epoch, its configuration."""
        from bts_tune.results.tables import leaderboard

        frame = leaderboard(self.folder.trials())
        order = {record.trial: record.index for record in self.folder.trials()}
        return frame.sort_values("trial", key=lambda names: names.map(order), ignore_index=True)

    @property
    def epochs(self) -> pd.DataFrame:
        """One row an epoch of a trial, with every metric; the same as `epochs.csv`."""
        from bts_tune.results.tables import epochs_table

        return epochs_table(self.folder.trials())

    @property
    def leaderboard(self) -> pd.DataFrame:
        """One row a trial, best first; the same as `leaderboard.csv`."""
        from bts_tune.results.tables import leaderboard

        return leaderboard(self.folder.trials())

    @property
    def configurations(self) -> pd.DataFrame:
        """One row a configuration, best first: means, spreads and intervals; the same as `configurations.csv`."""
        from bts_tune.results.comparison import compare_configurations
        from bts_tune.results.tables import configurations_table

        trials = self.folder.trials()
        return configurations_table(trials, compare_configurations(self.folder, trials))

    def best_model(self, trial: str | None = None, *, device: str = "auto") -> Segmenter:
        """Return the run's best model with its preprocessing, a `torch.nn.Module`.

        Args:
            trial: take this trial's model instead.
            device: 'auto', 'cpu', 'cuda' or 'cuda:N'.

        Raises:
            RunError: no trial, or not this one, has left a model.
        """
        from bts_tune.training.segmenter import Segmenter

        return Segmenter.load(best_model(self.folder, trial), device)

    def predict(
        self, images: Sequence[Path | str], out: Path | str, *, trial: str | None = None, device: str = "auto"
    ) -> Iterator[Prediction]:
        """Write a mask and an overlay for each image or folder of images, and yield what was written.

        Raises:
            RunError: the run has no model.
            DataError: an image cannot be read.
        """
        from bts_tune.training.prediction import predict

        yield from predict(best_model(self.folder, trial), [Path(one) for one in images], Path(out), device=device)

    def report(self) -> ReportFiles:
        """Write the report anew from the record alone, and return its files.

        Raises:
            RunError: the record cannot be read, or a file cannot be written.
        """
        from bts_tune.report.write import write_report

        self.files = write_report(self.folder)
        return self.files


def open_run(run: Path | str, results: Path | str = "results") -> Run:
    """Open a run by its folder, or by its name in `results`.

    Raises:
        RunError: there is none.

    Example:
        >>> run = open_run("results/demo")  # doctest: +SKIP
        >>> run.leaderboard[["rank", "trial", "val_dice_loss"]]  # doctest: +SKIP
    """
    return Run(find_run(str(run), Path(results)))


def build_space(**content: Any) -> Space:
    """Return a search space from the keys of a space file, as keyword arguments.

    Raises:
        ConfigError: one sentence with the field, its value and what is allowed.

    Example:
        >>> space = build_space(
        ...     name="mine",
        ...     description="Two decoders.",
        ...     defaults={"encoder": "resnet18", "encoder_weights": "none"},
        ...     trials={"unet": {"config": {"decoder": "unet"}}, "fpn": {"config": {"decoder": "fpn"}}},
        ... )
        >>> [trial.name for trial in space.resolve().named]
        ['unet', 'fpn']
    """
    file = parse_space_file(content, "build_space")
    if file.include:
        included = [load_space(name) for name in file.include]
        return Space.of_file(file, Path("build_space"), "build_space", included)
    return Space.of_file(file, Path("build_space"), "build_space")


def check_dataset(dataset: Dataset) -> CheckReport:
    """Open every image and mask of a dataset, and return what is wrong with it.

    Example:
        >>> checked = check_dataset(open_dataset("slices"))  # doctest: +SKIP
        >>> checked.errors  # doctest: +SKIP
    """
    from bts_tune.data.checks.check import check_dataset as check

    return check(dataset)


def train(
    config: TrialConfig | Mapping[str, Any],
    data: Dataset | Path | str,
    *,
    device: str = "auto",
    threads: int = 0,
    folder: Path | str | None = None,
    weights_dir: Path | str | None = None,
    cache: Path | str | None = None,
) -> Iterator[Row]:
    """Train one configuration in this process, without Ray, and yield each epoch.

    Args:
        config: the configuration, or its fields that are not at their defaults.
        data: a dataset, or its folder.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        threads: CPU threads; 0 leaves torch's own choice.
        folder: where the last state and the best weights are kept; a training that was cut off goes on from there.
        weights_dir: folder with `<encoder>.safetensors` or `.pth` files.
        cache: folder of prepared data.

    Raises:
        ConfigError, DataError, WeightsError: in one sentence, what cannot be used.
        DivergedError: the loss or a metric is not finite.

    Example:
        >>> for epoch in train({"encoder": "resnet18", "encoder_weights": "none"}, "slices"):  # doctest: +SKIP
        ...     print(epoch.epoch, epoch.val_dice_loss)
    """
    from bts_tune.data.prepared.cache import default_cache
    from bts_tune.data.prepared.prepare import prepare
    from bts_tune.models.weights import resolve_weights
    from bts_tune.training.loop import open_trial, rows
    from bts_tune.training.trial import TrialSetup

    if not isinstance(config, TrialConfig):
        config = TrialConfig.parse(config)
    dataset = open_dataset(Path(data)) if isinstance(data, str | Path) else data
    weights = resolve_weights(config.encoder, config.encoder_weights, Path(weights_dir) if weights_dir else None)
    prepared = prepare(dataset, config.part(PreprocessingPart), cache=Path(cache) if cache else default_cache())
    setup = TrialSetup(weights, device=device, threads=threads, folder=Path(folder) if folder else None)
    trial = open_trial(config, prepared, setup)
    try:
        yield from rows(trial)
    finally:
        trial.close()


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

    Args:
        space: a search space, its name or the path of its file.
        data: the dataset's folder; without it, a demo on generated slices.
        name: of the run's folder; by default date, time and space.
        results: where run folders are.
        progress: whether progress is printed, or a rich console to print it on.
        options: any option of a run, by the names of `RunOptions`, such as `num_trials=20`.

    Raises:
        BtsTuneError: something that can be mended; the message is one sentence.

    Example:
        >>> run = tune("baseline", "slices", overrides={"epochs": 5}, only=["unet-b0"])  # doctest: +SKIP
        >>> run.best_model().predict("slices/test/a.png")  # doctest: +SKIP
    """
    from bts_tune.experiment.planning.options import RunOptions

    built = space if isinstance(space, Space) else None
    given = {"space": built.name if built else str(space), **options}
    if data is not None:
        given["data"] = str(data)
    command = ["bts_tune.tune", *(f"{option}={shlex.quote(str(value))}" for option, value in given.items())]
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
        options, results=Path(results), name=name, command=command, console=console, report=_report, space=space
    )
    return _finished(finished)


def resume(run: Run | Path | str, *, progress: bool | Console = True, **options: Any) -> Run:
    """Go on with a run that was cut off; what it finished is not trained again.

    Args:
        run: the run, its folder or its name in `results/`.
        progress: whether progress is printed, or a rich console to print it on.
        options: options of how it is carried out, given anew; `allow_changed=True` goes on although data, code,
            versions or device have changed, and `num_trials=N` adds trials to its search.

    Raises:
        BtsTuneError: something that can be mended, such as a dataset that is no longer the same.
    """
    from bts_tune.experiment import run as experiment

    allow_changed = bool(options.pop("allow_changed", False))
    extend_by = options.pop("num_trials", None)
    _require_anew(options)
    finished = experiment.resume(
        _folder(run),
        options,
        console=_console(progress),
        report=_report,
        extend_by=extend_by,
        allow_changed=allow_changed,
    )
    return _finished(finished)


def extend(run: Run | Path | str, num_trials: int, *, progress: bool | Console = True, **options: Any) -> Run:
    """Add trials to a run's search; arguments as for `resume`."""
    return resume(run, progress=progress, num_trials=num_trials, **options)


def train_final(
    run: Run | Path | str,
    *,
    top: int | None = None,
    seeds: int | None = None,
    progress: bool | Console = True,
    **options: Any,
) -> Run:
    """Train a run's best configurations and all its baselines again, with fresh seeds.

    Args:
        run: the run, its folder or its name in `results/`.
        top: how many configurations; by default as the run or its space says.
        seeds: fresh seeds of each, likewise.
        progress: whether progress is printed, or a rich console to print it on.
        options: as for `resume`.

    Raises:
        BtsTuneError: something that can be mended; nothing was trained.
    """
    from bts_tune.experiment import run as experiment

    allow_changed = bool(options.pop("allow_changed", False))
    _require_anew(options)
    finished = experiment.add_final(
        _folder(run), top, seeds, options, console=_console(progress), report=_report, allow_changed=allow_changed
    )
    return _finished(finished)


def _folder(run: Run | Path | str) -> RunFolder:
    return run.folder if isinstance(run, Run) else open_run(run).folder


def _finished(finished: FinishedRun) -> Run:
    return Run(finished.folder, finished.report)


def _report(folder: RunFolder) -> ReportFiles:
    from bts_tune.report.write import write_report

    return write_report(folder)


def _console(progress: bool | Console) -> Console:
    from rich.console import Console

    return progress if isinstance(progress, Console) else Console(quiet=not progress)


def _require_anew(options: Mapping[str, Any]) -> None:
    from bts_tune.experiment.planning.options import declarations

    allowed = [name for name, declared in declarations().items() if declared.anew or declared.group == "how"]
    for name in options:
        if name not in allowed:
            raise ConfigError(f"{name}: cannot be given to a run that goes on; allowed: {', '.join(allowed)}.")
