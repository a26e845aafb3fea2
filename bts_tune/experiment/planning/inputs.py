"""What a run is made from, found before its first trial: the dataset, how it is split, prepared images, weights."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bts_tune.config import PreprocessingPart
from bts_tune.console import say
from bts_tune.data.checks.check import CHANNEL_CODES, CheckReport, check_dataset, render
from bts_tune.data.checks.preview import sheet_of_run
from bts_tune.data.left_out import left_out_lines
from bts_tune.data.mask_rule import MaskRule
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.cache import default_cache, places
from bts_tune.data.prepared.prepare import PreparedData, bytes_to_prepare, prepare
from bts_tune.data.records import Dataset
from bts_tune.data.scan.scan_cache import cached_scan
from bts_tune.data.splits.folds import cross_validation, fold_datasets
from bts_tune.data.splits.leakage import LeakPair, measure_leak
from bts_tune.data.splits.make import make_split
from bts_tune.data.splits.split import Split, read_folds, read_groups, read_split, split_hash
from bts_tune.data.synthetic.demo import PATIENT, demo_dataset
from bts_tune.data.training_share import require_batch, with_training_share
from bts_tune.errors import BrokenDatasetError, RunError
from bts_tune.experiment.planning.disk import require_free_space
from bts_tune.experiment.planning.left_out import Weights, find_weights
from bts_tune.experiment.planning.options import OF_A_DATASET, RunOptions, flag
from bts_tune.experiment.planning.plan import largest_batches, models, preprocessings
from bts_tune.experiment.planning.trial_inputs import TrialInputs
from bts_tune.models.counting import parameters_of
from bts_tune.plugins import loaded_plugins, plugin_options
from bts_tune.progress_bar import progress_bar
from bts_tune.registry import READERS, SPLIT_METHODS
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.results.warnings import demo_sentence
from bts_tune.space import ResolvedSpace
from bts_tune.text import plural, printable

_OF_A_CHECK = (*OF_A_DATASET, "split", "cache")
"""Options of a run that `bts-tune data check` has too."""


def open_data(options: RunOptions, console: Console) -> Dataset:
    """Return the dataset as it is, or the phantoms of a demo.

    Raises:
        DataError: there is none that can be read.
    """
    if options.data is None:
        say(console, str(demo_sentence({"profile": "demo"})), style="bold yellow")
        with progress_bar(console, "generating phantoms") as progress:
            root = demo_dataset(cache_folder(options), progress)
    else:
        root = Path(options.data)
    return open_dataset(
        root,
        tumor_categories=options.tumor_categories,
        tumor_labels=options.tumor_labels,
        split_seed=options.split_seed,
        reader=options.reader,
        plane=options.plane,
        empty_slices=options.empty_slices,
        sequence=options.sequence,
    )


def cache_folder(options: RunOptions) -> Path:
    """Return the folder of prepared data and downloaded weights: the one that was named, or the usual one."""
    return Path(options.cache) if options.cache else default_cache()


@dataclass(frozen=True)
class CheckedDataset:
    """A dataset that was checked and split.

    Attributes:
        dataset: with the splits that the run trains on.
        folds: the dataset of each fold, from 1; without folds the dataset itself, as None.
        checked: what the check found; no errors.
        split: which image is in which split.
        leaks: images that are not trained on, with the closest one that is; in a cross-validation those of the test
            split, since all others are trained on in some fold.
        sheet: slices with their masks, as PNG; None where none can be shown.
    """

    dataset: Dataset
    folds: dict[int | None, Dataset]
    checked: CheckReport
    split: Split
    leaks: tuple[LeakPair, ...]
    sheet: bytes | None = None


def _check_command(dataset: Dataset, options: RunOptions, channels: int) -> str:
    """Return the command that checks a dataset as it was read for a run."""
    given = options.to_dict()
    words = ["bts-tune", "data", "check", str(dataset.root)]
    for one in fields(RunOptions):
        if one.name in _OF_A_CHECK and one.name != "data" and given[one.name] not in (None, one.default):
            value = given[one.name]
            words += [flag(one.name), *map(str, value if isinstance(value, list) else [value])]
    if channels > 1:
        words += ["--channels", str(channels)]
    if READERS.is_plugin(dataset.layout) or SPLIT_METHODS.is_plugin(str(options.split)):
        words += plugin_options([plugin.describe() for plugin in loaded_plugins()])
    return shlex.join(words)


def check_and_split(
    dataset: Dataset,
    options: RunOptions,
    console: Console,
    channels: Collection[int] = (1,),
    *,
    draw: bool = False,
) -> CheckedDataset:
    """Open every slice of a new run's dataset, and split it.

    Args:
        dataset: what the run is to be trained on.
        options: of the run.
        console: for what is said of the dataset.
        channels: that its trials read images with.
        draw: whether to draw slices with their masks, for its report.

    Raises:
        BrokenDatasetError: it has errors, which were printed.
        DataError: it cannot be split as asked for.
    """
    with progress_bar(console, "checking the dataset") as progress:
        scan = cached_scan(dataset, cache_folder(options), progress=progress)
    with progress_bar(console, "comparing images") as progress:
        scan.compare(progress)
    dataset = replace(dataset, mask_rule=scan.masks.rule)
    group_by = PATIENT if options.data is None and options.group_by is None else options.group_by
    dataset, split = make_split(dataset, scan, options.split, seed=options.split_seed, group_by=group_by)
    checked = check_dataset(dataset, scan=scan, groups=split.labels(scan), channels=channels)
    if checked.errors:
        say(console, render(checked))
        first = checked.errors[0]
        found = (
            f"{plural(len(checked.errors), 'error')}, the first of them: {first.file}: {first.message.rstrip('.')}"
            if console.quiet
            else f"{plural(len(checked.errors), 'error')}, listed above"
        )
        raise BrokenDatasetError(f"{dataset.root}: the dataset has {found}; nothing was trained.")
    dataset = dataset.with_groups(split.groups)
    folds: dict[int | None, Dataset] = {None: dataset}
    leaks = checked.leak.pairs
    if options.folds is not None:
        trained = {one.name: "test" if one.split == "test" else "train" for one in dataset}
        leaks = measure_leak(dataset.with_splits(trained), scan, split.labels(scan)).pairs
        datasets, split = cross_validation(dataset, split, scan, options.folds)
        folds = dict(enumerate(datasets, start=1))
    counts = ", ".join(f"{len(records)} {split}" for split, records in dataset.records.items())
    warnings = len(checked.warnings)
    read = options.replaced(group_by=group_by)
    also = f"; {plural(warnings, 'warning')}: {_check_command(dataset, read, max(channels))}" if warnings else ""
    title = READERS.get(dataset.layout).title
    for line in (
        f"Dataset {dataset.root}: {counts}; read as {title}{also}",
        *map(printable, left_out_lines(dataset)),
        *([scan.masks.sentence()] if scan.masks.number else []),
        *(f"Images: {one.message}" for one in checked.warnings if one.code in CHANNEL_CODES),
        split.sentence(),
    ):
        say(console, line)
    sheet = None
    if draw:
        with progress_bar(console, "drawing masks") as progress:
            sheet = sheet_of_run(dataset, scan, progress=progress)
    return CheckedDataset(dataset, folds, checked, split, leaks, sheet)


def reopen_dataset(
    folder: RunFolder, run: Mapping[str, Any], options: RunOptions, console: Console, *, grouped: bool = False
) -> tuple[Dataset, dict[int | None, Dataset]]:
    """Return the dataset of a recorded run, split as it was when the run began, and that of each of its folds.

    Args:
        folder: the run.
        run: the content of its `run.json`.
        options: of the run.
        console: for what is said of the dataset.
        grouped: whether the slices' groups are needed.

    Raises:
        DataError: there is no dataset that can be read, or its split cannot be.
        RunError: its folds are others now.
    """
    dataset = replace(open_data(options, console), mask_rule=_recorded_rule(run))
    method = run["dataset"].get("split", {}).get("method")
    if method is not None and (SPLIT_METHODS.get(method).read_back_on_resume or dataset.needs_splitting):
        dataset = dataset.with_splits(read_split(folder.split_file))
    if grouped:
        dataset = dataset.with_groups(read_groups(folder.split_file))
    if options.folds is None:
        return dataset, {None: dataset}
    folds = read_folds(folder.split_file)
    if split_hash({one.name: one.split for one in dataset}, folds) != run["dataset"].get("split", {}).get("hash"):
        raise RunError(
            f"{folder.split_file}: the folds are no longer what run {folder.path.name} began with; put the file back "
            "as it was, or start a new run."
        )
    return dataset, dict(enumerate(fold_datasets(dataset, folds), start=1))


def _recorded_rule(run: Mapping[str, Any]) -> MaskRule:
    """Return the rule that masks were read by when the run began; that of earlier versions, which recorded none."""
    recorded = run["dataset"].get("masks")
    return MaskRule.from_dict(recorded) if recorded else MaskRule()


@dataclass(frozen=True)
class FoundModels:
    """What is known of the models of a space before anything is trained.

    Attributes:
        parameters: of each decoder on each encoder.
        weights: of each encoder, with each kind of weights.
    """

    parameters: dict[tuple[str, str], int]
    weights: Weights


def find_models(space: ResolvedSpace, options: RunOptions, weights: Weights | None = None) -> FoundModels:
    """Find the weights of every model that a trial may ask for, and see that it can be built.

    Args:
        space: the trials.
        options: of the run.
        weights: where they have been found already.

    Raises:
        ConfigError: SMP cannot build one.
        WeightsError: weights cannot be had.
    """
    return FoundModels(
        count_parameters(space, options),
        find_weights(space, options, cache_folder(options)) if weights is None else weights,
    )


def count_parameters(space: ResolvedSpace, options: RunOptions) -> dict[tuple[str, str], int]:
    """Return the number of parameters of every model that a trial may ask for, by decoder and encoder.

    Raises:
        ConfigError: SMP cannot build one.
    """
    return {pair: parameters_of(*pair, cache_folder(options)) for pair in models(space)}


def require_batches(space: ResolvedSpace, datasets: Sequence[Dataset]) -> None:
    """Refuse a share of the training images that is less than a batch.

    Raises:
        ConfigError: there is one.
    """
    for share, batch_size in largest_batches(space).items():
        for dataset in datasets:
            require_batch(share, len(with_training_share(dataset, share).records["train"]), batch_size)


def prepare_inputs(
    datasets: Mapping[int | None, Dataset],
    space: ResolvedSpace,
    options: RunOptions,
    console: Console,
    found: FoundModels | None = None,
) -> tuple[TrialInputs, list[PreparedData]]:
    """Prepare everything that trials need before the first one starts.

    Args:
        datasets: of each fold, or the one.
        space: the trials.
        options: of the run.
        console: where progress is shown.
        found: its models, where they have been found already; they fail fastest.

    Raises:
        ConfigError: as `find_models`; a share of the training images is less than a batch.
        WeightsError: as `find_models`.
        DataError, RunError: the dataset cannot be prepared; there is no room for it.
    """
    found = found or find_models(space, options)
    cache = cache_folder(options)
    require_batches(space, list(datasets.values()))
    parts = preprocessings(space)
    to_prepare = sum(bytes_to_prepare(data, part, cache=cache) for part in parts for data in datasets.values())
    kept_in = places(cache)[-1]
    if to_prepare and kept_in != cache.absolute():
        say(console, f"The cache {cache} cannot be written to; what it lacks is kept in {kept_in}.")
    require_free_space(kept_in, to_prepare, "the prepared data")
    prepared: dict[tuple[PreprocessingPart, int | None], PreparedData] = {}
    for part in parts:
        some = f", {part.train_share:.0%} of the training images" if part.train_share < 1 else ""
        for fold, dataset in datasets.items():
            which = f", fold {fold}" if fold is not None else ""
            with progress_bar(
                console, f"preparing {part.image_size} px, equalisation {part.equalization}{some}{which}"
            ) as progress:
                prepared[part, fold] = prepare(dataset, part, cache=cache, progress=progress)
    # The caller holds the prepared data, so that nobody clears it from the cache during the run.
    folders = {key: str(data.folder) for key, data in prepared.items()}
    return TrialInputs(folders, found.weights, found.parameters), list(prepared.values())
