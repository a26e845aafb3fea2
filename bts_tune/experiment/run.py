"""Carries out a run from its options to its report; goes on with one that was cut off."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bts_tune.config import PreprocessingPart
from bts_tune.data.cache import default_cache
from bts_tune.data.check import CheckReport, check_dataset, render
from bts_tune.data.demo import PATIENT, demo_dataset
from bts_tune.data.prepare import PreparedData, bytes_to_prepare, prepare
from bts_tune.data.records import Dataset
from bts_tune.data.scan import scan_dataset
from bts_tune.data.sources import open_dataset
from bts_tune.data.splitting import Split, make_split, read_split, reassigned
from bts_tune.errors import BrokenDatasetError, ConfigError, RunError, RunStoppedError
from bts_tune.experiment.cluster import connected, lost_sentence, share_out
from bts_tune.experiment.disk import needed_by, require_room, written
from bts_tune.experiment.environment import hardware, versions
from bts_tune.experiment.evaluation import evaluate_kept_models
from bts_tune.experiment.options import RunOptions
from bts_tune.experiment.plan import encoders, models, plan_run, preprocessings
from bts_tune.experiment.preview import cost, preview
from bts_tune.experiment.progress import ProgressView
from bts_tune.experiment.recorder import Recorder
from bts_tune.experiment.tuning import Materials, Outcome, tune_trials
from bts_tune.progress_bar import bar
from bts_tune.report.words import demo_sentence
from bts_tune.report.write import ReportFiles, write_report
from bts_tune.space import ResolvedSpace, Space, load_space
from bts_tune.store import RunFolder
from bts_tune.training.encoders import first_line
from bts_tune.training.model import parameters_of
from bts_tune.training.weights import resolve_weights

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Finished:
    """How a run ended, and where its report is."""

    folder: RunFolder
    outcome: Outcome
    report: ReportFiles


def start(
    options: RunOptions, *, results: Path, name: str | None, command: Sequence[str], console: Console
) -> Finished:
    """Begin a run and carry it out.

    Raises:
        BtsTuneError: something that the user can mend; nothing was trained.
    """
    space = load_space(options.space)
    resolved = _resolve(space, options)
    demo = options.data is None
    path = _new_path(results, name, space.name, demo)
    dataset, checked, split = _open_checked(options, console)
    materials, _held = _materials(dataset, resolved, options, console)
    run = {
        "run": path.name,
        "created": _now(),
        "command": list(command),
        "status": "running",
        "ended": None,
        "profile": "demo" if demo else "data",
        "versions": versions(),
        "hardware": hardware(),
        "dataset": {
            "path": str(dataset.root.absolute()),
            "layout": dataset.layout,
            "fingerprint": dataset.fingerprint(),
            "splits": {split: len(records) for split, records in dataset.records.items()},
            "categories": {str(number): label for number, label in dataset.categories.items()},
            "split": split.to_dict(),
            "check": checked.to_dict(),
        },
        "weights": [weights.to_dict() for weights in materials.weights.values()],
        "space": space.document,
        "options": options.model_dump(mode="json"),
        "seeds": sorted({named.config.seed for named in resolved.named}),
    }
    split.write(RunFolder(path).split_file)
    folder = RunFolder.create(path, run)
    return _carry_out(folder, resolved, materials, options, console)


def resume(folder: RunFolder, changes: dict[str, Any], *, console: Console) -> Finished:
    """Go on with a run: what it finished stays, what was cut off goes on from its last epoch.

    Args:
        folder: the run.
        changes: options of how it is carried out that were given anew.

    Raises:
        BtsTuneError: something that the user can mend, such as a dataset that is no longer the same.
    """
    run = folder.read_run()
    for field in ("options", "space", "dataset"):
        if not run.get(field):
            raise RunError(f"{folder.run_file}: {field}: must be given, or the run cannot go on.")
    options = RunOptions.parse({**run["options"], **changes})
    resolved = _resolve(Space.from_document(run["space"]), options)
    dataset = _open(options, console)
    if run["dataset"].get("split", {}).get("method") == "grouped":
        # Read rather than dealt anew: another version of scikit-learn may deal otherwise.
        dataset = reassigned(dataset, read_split(folder.split_file))
    if dataset.fingerprint() != run["dataset"].get("fingerprint"):
        raise RunError(
            f"{dataset.root}: the dataset is no longer what run {folder.path.name} began with, so its trials could not "
            "be compared; put it back as it was, or start a new run."
        )
    materials, _held = _materials(dataset, resolved, options, console)
    return _carry_out(folder, resolved, materials, options, console)


def dry_run(options: RunOptions, console: Console) -> None:
    """Print what a run would do and cost; train nothing, write nothing but a demo dataset into the cache."""
    space = load_space(options.space)
    resolved = _resolve(space, options)
    # What a grouped split is depends on every image; the one that the dataset has does not.
    dataset = _open(options, console) if options.split == "provided" else _open_checked(options, console)[0]
    console.print(f"Dry run of space {space.name!r}; nothing is trained.", highlight=False)
    text = preview(resolved, len(dataset.records["train"]))
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _resolve(space: Space, options: RunOptions) -> ResolvedSpace:
    first = space.resolve()
    return space.resolve(
        overrides=options.overrides,
        only=options.only,
        seeds=options.seed_list([named.config.seed for named in first.named] or [0]),
        demo=options.data is None,
        num_trials=options.num_trials,
    )


def _open(options: RunOptions, console: Console) -> Dataset:
    cache = Path(options.cache) if options.cache else default_cache()
    if options.data is None:
        console.print(demo_sentence({"profile": "demo"}), style="bold yellow", highlight=False, soft_wrap=True)
        with bar(console, "generating phantoms") as progress:
            root = demo_dataset(cache, progress)
        return open_dataset(root)
    return open_dataset(Path(options.data), tumor_categories=options.tumor_categories, split_seed=options.split_seed)


def _open_checked(options: RunOptions, console: Console) -> tuple[Dataset, CheckReport, Split]:
    dataset = _open(options, console)
    with bar(console, "checking the dataset") as progress:
        scan = scan_dataset(dataset, progress=progress)
    group_by = PATIENT if options.data is None and options.group_by is None else options.group_by
    dataset, split = make_split(dataset, scan, options.split, seed=options.split_seed, group_by=group_by)
    checked = check_dataset(dataset, scan=scan, groups=split.labels(scan))
    if checked.errors:
        console.print(render(checked), highlight=False, markup=False, soft_wrap=True)
        raise BrokenDatasetError(
            f"{dataset.root}: the dataset has {len(checked.errors)} error(s), listed above; nothing was trained."
        )
    counts = ", ".join(f"{len(records)} {split}" for split, records in dataset.records.items())
    warnings = len(checked.warnings)
    also = f"; {warnings} warning{'s' if warnings != 1 else ''}: bts-tune data check {dataset.root}" if warnings else ""
    console.print(f"Dataset {dataset.root}: {counts}{also}", highlight=False, markup=False, soft_wrap=True)
    console.print(split.sentence(), highlight=False, markup=False, soft_wrap=True)
    return dataset, checked, split


def _materials(
    dataset: Dataset, space: ResolvedSpace, options: RunOptions, console: Console
) -> tuple[Materials, list[PreparedData]]:
    """Find everything that trials need before the first one starts: weights first, since they fail fastest.

    Raises:
        ConfigError: SMP cannot build a model that a trial may ask for.
        WeightsError: weights that a trial may ask for cannot be had.
        DataError, RunError: the dataset cannot be prepared; there is no room for it.
    """
    parameters = {pair: parameters_of(*pair) for pair in models(space)}
    weights_dir = Path(options.weights_dir) if options.weights_dir else None
    weights = {pair: resolve_weights(*pair, weights_dir) for pair in encoders(space)}
    cache = Path(options.cache) if options.cache else default_cache()
    to_prepare = sum(bytes_to_prepare(dataset, part, cache=cache) for part in preprocessings(space))
    require_room(cache, to_prepare, "the prepared data")
    prepared: dict[PreprocessingPart, PreparedData] = {}
    for part in preprocessings(space):
        with bar(console, f"preparing {part.image_size} px, equalisation {part.equalization}") as progress:
            prepared[part] = prepare(dataset, part, cache=cache, progress=progress)
    # The caller holds the prepared data, so that nobody clears it from the cache during the run.
    folders = {part: str(data.folder) for part, data in prepared.items()}
    return Materials(folders, weights, parameters), list(prepared.values())


def _carry_out(
    folder: RunFolder, space: ResolvedSpace, materials: Materials, options: RunOptions, console: Console
) -> Finished:
    with folder.locked():
        folder.update_run(status="running", ended=None, reason=None)
        plan = plan_run(folder, space)
        outcome: Outcome = "complete"
        try:
            with connected(options, resume=folder.resume_command) as cluster:
                share = share_out(options, cpus=cluster.cpus, gpus=cluster.gpus, trials=max(1, plan.trials))
                needed = needed_by(space, materials.parameters, share.concurrent).total - written([folder.path])
                room = require_room(folder.path, max(0, needed), "results, checkpoints and models")
                console.print(f"Disk: {room}", highlight=False, markup=False, soft_wrap=True)
                _announce(folder, cluster.dashboard, share, plan.trials, console)
                if plan.trials:
                    epochs = cost(space)[1] - sum(len(record.rows) for record in folder.trials())
                    view = ProgressView(console, trials=plan.trials, epochs=epochs, concurrent=share.concurrent)
                    with view, Recorder(folder, view, time.time) as recorder:
                        outcome = tune_trials(
                            folder,
                            plan,
                            space.search,
                            materials,
                            share,
                            recorder,
                            time_budget=options.time_budget,
                            max_failures=options.max_failures,
                            trial_timeout=options.trial_timeout,
                            cluster_lost=cluster.lost,
                        )
                if outcome == "lost":
                    raise RunStoppedError(lost_sentence(folder.resume_command))
                if outcome == "complete":
                    evaluate_kept_models(folder, materials, share, console)
            if outcome == "complete":
                # Ray's own logs and states are a cache of the record; of a complete run nothing needs them.
                shutil.rmtree(folder.path / "ray", ignore_errors=True)
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            with contextlib.suppress(OSError, RunError):  # on a full disk, which `error` tells of
                folder.update_run(status=status, ended=_now(), reason=first_line(error))
                write_report(folder)
            raise
        folder.update_run(status=outcome, ended=_now())
        return Finished(folder, outcome, write_report(folder))


def _announce(folder: RunFolder, dashboard: str | None, share: Any, trials: int, console: Console) -> None:
    where = f"{share.gpus:g} GPU and {share.cpus} cores" if share.gpus else f"{share.cpus} CPU cores"
    console.print(
        f"Run {folder}: {trials} trial{'s' if trials != 1 else ''}, {share.concurrent} at a time, each on {where}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if dashboard is not None:
        console.print(
            f"Ray dashboard: {dashboard} (it asks for a token: ray get-auth-token)", highlight=False, soft_wrap=True
        )
    console.print(f"TensorBoard logs: {folder.path / 'tensorboard'}", highlight=False, soft_wrap=True)


def _new_path(results: Path, name: str | None, space: str, demo: bool) -> Path:
    if name is not None:
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"--name {name!r}: allowed are letters, digits, '.', '_' and '-', a letter or digit first."
            )
        path = results / name
        if (path / "run.json").exists():
            raise RunError(f"{path}: a run of this name exists already; choose another --name, or --resume {path}.")
        return path
    stem = f"{datetime.now():%Y-%m-%d_%H%M%S}_{space}{'_demo' if demo else ''}"
    number, path = 2, results / stem
    while path.exists():
        number, path = number + 1, results / f"{stem}_{number}"
    return path


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
