"""The Python API: what `import bts_tune` offers, which the command line is a thin layer on.

What a function cannot use raises a `BtsTuneError`, whose message is one sentence: what is wrong, where and what is
allowed.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bts_tune import plugins
from bts_tune.config import PreprocessingPart, TrialConfig
from bts_tune.errors import ConfigError, RunError
from bts_tune.registry import EXPORTS
from bts_tune.results.find import best_model, ensemble_models, find_run, plane_of_slices
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.space import Space, loader
from bts_tune.space.file import parse_space_file
from bts_tune.text import nearest, quoted

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from bts_tune.data.checks.check import CheckReport
    from bts_tune.data.records import Dataset
    from bts_tune.experiment.benchmark import FinishedBenchmark
    from bts_tune.experiment.planning.options import RunOptions
    from bts_tune.experiment.run import FinishedRun
    from bts_tune.export.formats.base import Exported
    from bts_tune.plugins import Plugin
    from bts_tune.report.benchmark import BenchmarkReportFiles
    from bts_tune.report.live import LivePage
    from bts_tune.report.write import ReportFiles
    from bts_tune.results.benchmark import BenchmarkFolder
    from bts_tune.training.prediction.predict import Prediction
    from bts_tune.training.prediction.segmenter import Segmenter
    from bts_tune.training.trial import Row, TrialSetup

__all__ = [
    "Run",
    "Space",
    "TrialConfig",
    "benchmark",
    "build_space",
    "check_dataset",
    "extend",
    "load_model",
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
    """A run on disk, finished or not. Whatever is asked of it is read from its folder anew.

    Attributes:
        folder: its folder and its record.
        report_files: the files of the report that `tune`, `resume` or `report` wrote; None for a run that was only
            opened.
    """

    def __init__(self, folder: RunFolder, report_files: ReportFiles | None = None) -> None:
        self.folder, self.report_files = folder, report_files

    def __repr__(self) -> str:
        """Return the call that opens it."""
        return f"open_run({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @property
    def status(self) -> str:
        """How it stands: 'running', 'complete', 'interrupted', 'out-of-time' or 'failed'."""
        return str(self.folder.read_run().get("status", ""))

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial, in the order of planning; the columns of `leaderboard`."""
        order = {record.trial: record.index for record in self.folder.trials()}
        return self.leaderboard.sort_values("trial", key=lambda names: names.map(order), ignore_index=True)

    @property
    def epochs(self) -> pd.DataFrame:
        """One row an epoch of a trial, with every metric; the same as `epochs.csv`."""
        from bts_tune.results.ranking.tables import epochs_table

        return epochs_table(self.folder.trials())

    @property
    def leaderboard(self) -> pd.DataFrame:
        """One row a trial, best first; the same as `leaderboard.csv`.

        How it ended (`status`, `reason`), the metrics at its best epoch and every field of its configuration.
        """
        from bts_tune.results.ranking.tables import leaderboard

        return leaderboard(self.folder.trials())

    @property
    def configurations(self) -> pd.DataFrame:
        """One row a configuration, best first: means, spreads and intervals; the same as `configurations.csv`."""
        from bts_tune.results.ranking.tables import configurations_table
        from bts_tune.results.statistics.comparison import compare_configurations

        trials = self.folder.trials()
        return configurations_table(trials, compare_configurations(self.folder, trials))

    @property
    def best_config(self) -> TrialConfig:
        """The configuration that is ranked first, with the seed of its best trial.

        Raises:
            RunError: no trial has been trained to the full budget yet.
            ConfigError: it names a loss or decoder of a plugin that is not loaded.
        """
        from bts_tune.results.ranking.leaderboard import ranking

        ranked = ranking(self.folder.trials())
        if not ranked:
            raise RunError(f"{self.path}: no trial has been trained to the full budget yet, so that none is ranked.")
        return TrialConfig.parse(ranked[0].config, f"{self.path}: trial {ranked[0].trial}")

    def best_model(
        self, trial: str | None = None, *, device: str = "auto", ensemble: bool = False, tta: bool = False
    ) -> Segmenter:
        """Return the model that is ranked first, with its preprocessing: a `torch.nn.Module` in evaluation mode.

        Its `predict(image)` takes a file or an array, [H, W] or [H, W, 3], and returns the tumour as uint8 0 and 1,
        [H, W]; `probability(image)` returns float32 from 0 to 1, [H, W].

        Args:
            trial: take this trial's model instead.
            device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
            ensemble: take all trainings of the winner as one, the mean of their probabilities; in place of `trial`.
            tta: test-time augmentation: the mean over flips of an image, in 2 or 4 times the time (docs/prediction.md).

        Raises:
            RunError: no trial, or not this one, has left a model, or too few for an ensemble, or one cannot be read.
            ConfigError: there is no such device.
        """
        from bts_tune.training.prediction.ensemble import load_segmenter

        if ensemble and trial is not None:
            raise ConfigError("ensemble and trial are both given; give one of them.")
        folders = ensemble_models(self.folder) if ensemble else [best_model(self.folder, trial)]
        return load_segmenter(folders, device, tta=tta)

    def predict(
        self,
        images: Path | str | Sequence[Path | str],
        out: Path | str,
        *,
        trial: str | None = None,
        device: str = "auto",
        ensemble: bool = False,
        tta: bool = False,
        formats: Sequence[str] = (),
        batch_size: int = 8,
    ) -> list[Prediction]:
        """Write a mask and an overlay for each image or volume, and `predictions.csv`; return what was written.

        Args:
            images: images, NIfTI volumes and DICOM series, or folders of them.
            out: folder for `<image>_mask.png`, of 0 and 255, and `<image>_overlay.png`, in the image's own size. Of a
                volume, which is cut along the plane of the run's own data, `<volume>_mask.nii.gz` of 0 and 1 has the
                same shape and affine; of a DICOM series `<series>_mask.dcm` is a DICOM SEG. Their overlay shows the
                slice with most tumour.
            trial, device, ensemble, tta: as for `best_model`.
            formats: of the masks, in place of those: 'png' (of a volume a folder of slices), 'nifti' (of NIfTI and
                DICOM), 'dicom-seg' (of DICOM), 'coco' (`predictions.json`, of images).
            batch_size: images, or slices of a volume, that go through the network together.

        Raises:
            RunError, ConfigError: as for `best_model`; there is no such format, or not for such an image.
            DataError: an image cannot be read (those before it are written), or would be overwritten.
        """
        from bts_tune.training.prediction.predict import predict

        listed = [images] if isinstance(images, str | Path) else images
        model = self.best_model(trial, device=device, ensemble=ensemble, tta=tta)
        plane = plane_of_slices(self.folder)
        paths = [Path(one) for one in listed]
        return list(predict(model, paths, Path(out), plane=plane, formats=formats, batch_size=batch_size))

    def export(
        self,
        to: str,
        output: Path | str | None = None,
        *,
        trial: str | None = None,
        ensemble: bool = False,
        tta: bool = False,
    ) -> Exported:
        """Write the best model, or the run itself, in a form that other programs read.

        Args:
            to: the format: 'folder', 'onnx', 'torch-export', 'optuna', or one of a plugin.
            output: the path to write to, or for 'optuna' the address of a storage; by default `exports/` of the run's
                folder. `output` of what is returned says where it is, `notes` what to know of it.
            trial: take this trial's model instead of the best.
            ensemble, tta: as for `best_model`; in 'onnx' and 'torch-export'.

        Raises:
            ConfigError: there is no such format, or a package that it needs is missing.
            RunError: no trial has left a model, something is there already, or it cannot be written.
        """
        from bts_tune.export.context import ExportContext

        export = EXPORTS.get(to)()
        context = ExportContext(self.folder, trial, ensemble=ensemble, tta=tta)
        exported: Exported = export.write(context, os.fspath(output) if output else None)
        return exported

    def send(self, tracker: str) -> str:
        """Send what a tracker lacks of the run: trials, epochs, the report and the best model.

        Args:
            tracker: 'mlflow', 'wandb', 'trackio', or one of a plugin that is a `ServiceTracker`.

        Returns:
            A line that says where it is found.

        Raises:
            ConfigError: there is no such tracker, or a package that it needs is missing.
            RunError: the service does not answer.
        """
        from bts_tune.experiment.callbacks.sending import send_run

        return send_run(self.folder, tracker)

    def report(self) -> ReportFiles:
        """Write the report anew from the record alone, and return its files: `page` is `report.html`.

        Raises:
            RunError: the record cannot be read, or a file cannot be written.
        """
        self.report_files = _report(self.folder)
        return self.report_files


def open_run(run: Path | str, results: Path | str = "results") -> Run:
    """Open a run by its folder, or by its name in `results`.

    Raises:
        RunError: there is none.

    Examples:
        >>> run = open_run("results/demo")  # doctest: +SKIP
        >>> run.leaderboard[["rank", "trial", "val_dice_loss"]]  # doctest: +SKIP
    """
    plugins.load_installed()
    return Run(find_run(str(run), Path(results)))


def load_model(folder: Path | str, *, device: str = "auto") -> Segmenter:
    """Return the model of a folder that `Run.export("folder")` wrote, as `Run.best_model` returns it.

    Args:
        folder: it holds `model.safetensors` and `model.json`, as `models/<trial>/` of a run does.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.

    Raises:
        RunError: it cannot be read, or needs a plugin that is not loaded.
        ConfigError: there is no such device.

    Examples:
        >>> load_model("unet-b0").predict("scan.png")  # doctest: +SKIP
    """
    from bts_tune.training.prediction.segmenter import Segmenter

    plugins.load_installed()
    return Segmenter.load(Path(folder), device).eval()


def load_plugin(plugin: Path | str) -> Plugin:
    """Load losses, metrics, decoders, … of your own; every process of a run that begins after it has them too.

    Args:
        plugin: a Python file (it ends in .py or holds a slash), or the name of a module.

    Raises:
        ConfigError: it is not there, or its code fails.

    Examples:
        >>> load_plugin("boundary_loss.py")  # doctest: +SKIP
        >>> run = tune("baseline", "slices", overrides={"loss": "boundary-bce"})  # doctest: +SKIP
    """
    return plugins.load_plugin(os.fspath(plugin))


def load_space(space: Path | str, *, run_plugins: bool = False) -> Space:
    """Return a search space by its name, or by the path of its YAML file.

    Args:
        space: 'baseline', 'extended', or a path that ends in .yaml or .yml or holds a slash.
        run_plugins: whether the code of the plugins that the file names may run.

    Raises:
        ConfigError: there is no such space, or its file has a mistake.

    Examples:
        >>> [trial.name for trial in load_space("baseline").resolve().named]
        ['unet-b0', 'unet-b0-frozen', 'unetplusplus-b5']
    """
    plugins.load_installed()
    return loader.load_space(os.fspath(space), run_plugins=run_plugins)


def build_space(**content: Any) -> Space:
    """Return a search space from the keys of a space file, as keyword arguments.

    `bts-tune spaces schema` lists the keys. Paths in `plugins` and `include` begin at the working folder; the code of
    the `plugins` runs.

    Raises:
        ConfigError: one sentence with the field, its value and what is allowed.

    Examples:
        >>> space = build_space(
        ...     name="mine",
        ...     description="Two decoders.",
        ...     defaults={"encoder": "resnet18", "encoder_weights": "none"},
        ...     trials={"unet": {"config": {"decoder": "unet"}}, "fpn": {"config": {"decoder": "fpn"}}},
        ... )
        >>> [trial.name for trial in space.resolve().named]
        ['unet', 'fpn']
    """
    plugins.load_installed()
    named = content.get("plugins")
    if isinstance(named, list) and all(isinstance(name, str) for name in named):
        plugins.load_plugins(named)  # their losses and decoders may be in the rest
    file = parse_space_file(content, "build_space")
    return Space.of_file(file, Path("build_space"), "build_space", [load_space(name) for name in file.include])


def open_dataset(
    root: Path | str,
    *,
    tumor_categories: Sequence[str] | None = None,
    tumor_labels: Sequence[float] | None = None,
    split_seed: int = 0,
    reader: str | None = None,
    plane: str = "axial",
    empty_slices: float = 0.2,
    sequence: str | None = None,
) -> Dataset:
    """Read what a folder says of its slices; no image is opened.

    Args:
        root: the dataset's folder.
        tumor_categories: names or ids of the categories that count as tumour; by default all.
        tumor_labels: values of mask files that are tumour; by default the masks themselves tell.
        split_seed: seed of a split that a plugin's reader makes.
        reader: name of the reader; by default the one that recognises the folder.
        plane: how volumes are cut into slices: `axial`, `coronal` or `sagittal`.
        empty_slices: of a volume's slices, the share without a tumour; 1 for all.
        sequence: of a dataset with several MRI sequences, the one to read.

    Raises:
        DataError: no reader recognises the folder, or it is broken.
        ConfigError: there is no reader of that name.

    Examples:
        >>> dataset = open_dataset("slices")  # doctest: +SKIP
        >>> len(dataset)  # doctest: +SKIP
    """
    from bts_tune.data.open import open_dataset as read

    plugins.load_installed()
    return read(
        Path(root),
        tumor_categories=tumor_categories,
        tumor_labels=tumor_labels,
        split_seed=split_seed,
        reader=reader,
        plane=plane,
        empty_slices=empty_slices,
        sequence=sequence,
    )


def check_dataset(data: Dataset | Path | str) -> CheckReport:
    """Open every image and mask of a dataset, and return what is wrong with it.

    Args:
        data: a dataset, or its folder.

    Raises:
        DataError: the folder is no dataset.

    Examples:
        >>> checked = check_dataset("slices")  # doctest: +SKIP
        >>> for issue in checked.errors:  # doctest: +SKIP
        ...     print(issue.file, issue.message)
    """
    from bts_tune.data.checks.check import check_dataset as check
    from bts_tune.data.checks.scan import scan_dataset
    from bts_tune.data.splits.make import make_split

    dataset = _dataset(data)
    scan = scan_dataset(dataset)
    dataset, split = make_split(dataset, scan)
    return check(dataset, scan=scan, groups=split.labels(scan))


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
        threads: CPU threads of this process, also afterwards; 0 leaves torch's own choice.
        folder: where the last state and the best weights are kept; a training that was cut off goes on from there,
            and first yields the epochs that it had. The model is
            `bts_tune.training.prediction.segmenter.Segmenter.load(folder)`.
        weights_dir: folder with `<encoder>.safetensors` or `.pth` files.
        cache: folder of prepared data.

    Raises:
        ConfigError, DataError, WeightsError: the configuration, the dataset or the encoder's weights cannot be used.
        RunError: `folder` holds a training of another configuration, or a broken one.
        DivergedError: the loss or a metric is no longer finite; after the last epoch that was.

    Examples:
        >>> for epoch in train({"encoder": "resnet18", "encoder_weights": "none"}, "slices"):  # doctest: +SKIP
        ...     print(epoch.epoch, epoch.val_dice_loss)
    """
    from bts_tune.models.weights import resolve_weights
    from bts_tune.training.trial import TrialSetup

    plugins.load_installed()
    # What can be refused is refused here, not where the first epoch is asked for.
    if not isinstance(config, TrialConfig):
        config = TrialConfig.parse(config)
    dataset = _split(_dataset(data))
    folders = [Path(folder) if folder else None for folder in (weights_dir, cache)]
    weights = resolve_weights(config.encoder, config.encoder_weights, *folders)
    setup = TrialSetup(weights, device=device, threads=threads, folder=Path(folder) if folder else None)
    return _epochs(config, dataset, setup, Path(cache) if cache else None)


def _epochs(config: TrialConfig, dataset: Dataset, setup: TrialSetup, cache: Path | None) -> Iterator[Row]:
    from bts_tune.data.prepared.prepare import prepare
    from bts_tune.training.loop import open_trial, rows

    prepared = prepare(dataset, config.part(PreprocessingPart), cache=cache)
    trial = open_trial(config, prepared, setup)
    try:
        if trial.lost:
            raise RunError(f"{setup.folder}: {trial.lost}; name another folder, or remove this one.")
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

    Trials that fail do not end a run; `Run.leaderboard` has their `status` and `reason`. Ctrl-C ends it: it is
    reported as it stands, its status is 'interrupted', and `resume` goes on with it.

    Args:
        space: a search space, its name or the path of its file. The plugins that it names are loaded.
        data: the dataset's folder; without it, a demo on generated slices.
        name: of the run's folder; by default date, time and space.
        results: where run folders are.
        progress: whether progress is printed, or a rich console to print it on.
        options: any option of `bts-tune --help`, by the names of `RunOptions`: `num_trials=20`,
            `overrides={"epochs": 5}` for `--set epochs=5`.

    Raises:
        BtsTuneError: something that can be mended; nothing was trained.
        RunStoppedError: the run had to end early; `resume` goes on with it.

    Examples:
        >>> run = tune("baseline", "slices", overrides={"epochs": 5}, only=["unet-b0"])  # doctest: +SKIP
        >>> run.best_model().predict("slices/test/a.png")  # doctest: +SKIP
    """
    from bts_tune.experiment.planning.options import RunOptions, declarations

    if data is not None and not isinstance(data, str | Path):
        raise ConfigError(f"data: must be a dataset's folder, got {quoted(data)}.")
    _require_known(options, [option for option in declarations() if option not in ("space", "data")])
    built = space if isinstance(space, Space) else None
    if built is not None:
        plugins.load_plugins(built.file.plugins, relative_to=built.source.parent)
    given = {"space": built.name if built else str(space), **_plain(options)}
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

    if num_trials is not None and (isinstance(num_trials, bool) or not isinstance(num_trials, int)):
        raise ConfigError(f"num_trials: must be a whole number, got {quoted(num_trials)}.")
    finished = experiment.resume(
        _folder(run),
        _given_anew(options),
        console=_console(progress),
        report=_report,
        extend_by=num_trials,
        allow_changed=allow_changed,
        retry_failed=retry_failed,
    )
    return _finished(finished)


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
        report=_report,
        allow_changed=allow_changed,
    )
    return _finished(finished)


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
    from bts_tune.experiment.benchmark import run_benchmark
    from bts_tune.experiment.planning.options import declarations
    from bts_tune.report.benchmark import write_benchmark_report
    from bts_tune.results.benchmark import BenchmarkReader

    how = [name for name, declared in declarations().items() if declared.group == "how" and name != "time_budget"]
    _require_known(options, ["weights_dir", "skip_missing_weights", *how])
    readers: dict[Path, BenchmarkReader] = {}

    def report(folder: BenchmarkFolder) -> BenchmarkReportFiles:
        reader = readers.setdefault(folder.path, BenchmarkReader(folder))
        return write_benchmark_report(folder, reader)

    return run_benchmark(
        Path(file),
        results=Path(results),
        options=_plain(options),
        console=_console(progress),
        report=_report,
        benchmark_report=report,
        allow_changed=allow_changed,
        retry_failed=retry_failed,
    )


def _dataset(data: Dataset | Path | str) -> Dataset:
    return open_dataset(data) if isinstance(data, str | Path) else data


def _split(dataset: Dataset) -> Dataset:
    """Return a dataset with a training and a validation split: its own, or one by groups."""
    from bts_tune.data.checks.scan import scan_dataset
    from bts_tune.data.splits.make import make_split

    return make_split(dataset, scan_dataset(dataset))[0] if dataset.needs_splitting else dataset


def _folder(run: Run | Path | str) -> RunFolder:
    return run.folder if isinstance(run, Run) else open_run(run).folder


def _finished(finished: FinishedRun) -> Run:
    return Run(finished.folder, finished.report)


class _Reporter:
    """Makes the report of a run: when it has ended, and its page from time to time while it goes on."""

    def __call__(self, folder: RunFolder) -> ReportFiles:
        from bts_tune.report.write import write_report

        return write_report(folder)

    def live(self, folder: RunFolder) -> LivePage:
        from bts_tune.plugins import loaded_plugins
        from bts_tune.report.live import LivePage

        return LivePage(folder, [plugin.name for plugin in loaded_plugins() if plugin.kind != "class"])


_report = _Reporter()


def _console(progress: bool | Console) -> Console:
    from rich.console import Console

    # In a notebook, rich would want a package of widgets; plain lines need none.
    return progress if isinstance(progress, Console) else Console(quiet=not progress, force_jupyter=False)


def _given_anew(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a run that goes on, having seen that each may be given to one."""
    from bts_tune.experiment.planning.options import declarations

    anew = [name for name, declared in declarations().items() if declared.anew or declared.group == "how"]
    fixed = [name for name in options if name in declarations() and name not in anew]
    if fixed:
        raise ConfigError(f"{fixed[0]}: cannot be given to a run that goes on; allowed: {', '.join(anew)}.")
    _require_known(options, anew)
    return _plain(options)


def _require_known(options: Mapping[str, Any], known: list[str]) -> None:
    for name in options:
        if name not in known:
            raise ConfigError(f"{name}: is no option here.{nearest(name, known)} Allowed: {', '.join(known)}.")


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with paths and tuples as the record has them, which is JSON."""
    return {
        name: [_text(one) for one in value] if isinstance(value, list | tuple) else _text(value)
        for name, value in options.items()
    }


def _text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value
