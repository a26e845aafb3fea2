"""Carries out a run from its options to its report; goes on with one that was cut off."""

from __future__ import annotations

import contextlib
import re
import shlex
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
from bts_tune.data.prepare import PreparedData, prepare
from bts_tune.data.records import Dataset
from bts_tune.data.scan import scan_dataset
from bts_tune.data.sources import open_dataset
from bts_tune.data.splitting import Split, make_split, read_split, reassigned
from bts_tune.errors import BrokenDatasetError, ConfigError, RunError
from bts_tune.experiment.changes import changes_since, code_hash, device_changes, refuse
from bts_tune.experiment.cluster import Share, connected, share_out
from bts_tune.experiment.environment import hardware, versions
from bts_tune.experiment.evaluation import evaluate_kept_models
from bts_tune.experiment.interruption import sigterm_as_ctrl_c
from bts_tune.experiment.options import RunOptions
from bts_tune.experiment.plan import encoders, plan_run, preprocessings
from bts_tune.experiment.preview import cost, preview
from bts_tune.experiment.progress import ProgressView
from bts_tune.experiment.recorder import Recorder
from bts_tune.experiment.tuning import Materials, Outcome, tune_trials
from bts_tune.progress_bar import bar
from bts_tune.report.words import demo_sentence
from bts_tune.report.write import ReportFiles, write_report
from bts_tune.space import ResolvedSpace, Space, load_space
from bts_tune.store import RunFolder
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
    with sigterm_as_ctrl_c():
        return _start(_absolute(options), results, name, command, console)


def _start(options: RunOptions, results: Path, name: str | None, command: Sequence[str], console: Console) -> Finished:
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
        "code": code_hash(),
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
        "weights": _used(materials),
        "space": space.document,
        "options": options.model_dump(mode="json"),
        "seeds": sorted({named.config.seed for named in resolved.named}),
    }
    split.write(RunFolder(path).split_file)
    folder = RunFolder.create(path, run)
    return _carry_out(folder, resolved, materials, options, console)


def resume(
    folder: RunFolder,
    given: dict[str, Any],
    *,
    console: Console,
    extend_by: int | None = None,
    allow_changed: bool = False,
) -> Finished:
    """Go on with a run: what it finished stays, what was cut off goes on from its last epoch.

    Args:
        folder: the run.
        given: options of how it is carried out that were given anew, and where the dataset is now.
        extend_by: how many trials to add to its search.
        allow_changed: go on although data, weights, code, versions or device are not what the run began with; what
            changed is recorded.

    Raises:
        BtsTuneError: something that the user can mend, such as a dataset that is no longer the same.
    """
    with sigterm_as_ctrl_c():
        return _resume(folder, given, console, extend_by, allow_changed)


def _resume(
    folder: RunFolder, given: dict[str, Any], console: Console, extend_by: int | None, allow_changed: bool
) -> Finished:
    run = folder.read_run()
    for field in ("options", "space", "dataset"):
        if not run.get(field):
            raise RunError(f"{folder.run_file}: {field}: must be given, or the run cannot go on.")
    stored = dict(run["options"])
    if stored.get("data") is not None and isinstance(run["dataset"].get("path"), str):
        stored["data"] = run["dataset"]["path"]  # an earlier version kept it as it was typed, in some other folder
    options = _absolute(RunOptions.parse({**stored, **given}))
    space = Space.from_document(run["space"])
    resolved = _resolve(space, options)
    if extend_by is not None:
        options = _extended(folder, resolved, options, extend_by)
        resolved = _resolve(space, options)
    _require_data(run, options)
    dataset = _open(options, console)
    if run["dataset"].get("split", {}).get("method") == "grouped":
        # Read rather than dealt anew: another version of scikit-learn may deal otherwise.
        dataset = reassigned(dataset, read_split(folder.split_file))
    materials, _held = _materials(dataset, resolved, options, console)
    changed = changes_since(
        run,
        fingerprint=dataset.fingerprint(),
        weights=_used(materials),
        versions=versions(),
        code=code_hash(),
        named=resolved.named,
        trials=folder.trials(),
    )
    if changed and not allow_changed:
        raise refuse(folder, changed)
    record = {**run["dataset"], "path": str(dataset.root.absolute()), "fingerprint": dataset.fingerprint()}
    going_on = _GoingOn(changed, allow_changed, extend_by, record, _used(materials))
    return _carry_out(folder, resolved, materials, options, console, going_on)


@dataclass(frozen=True)
class _GoingOn:
    """What a resumed run's `run.json` is to say besides."""

    changed: list[str]
    allow_changed: bool
    extended_by: int | None
    dataset: dict[str, Any]
    weights: list[dict[str, Any]]


def _extended(folder: RunFolder, space: ResolvedSpace, options: RunOptions, by: int) -> RunOptions:
    if space.search is None:
        raise ConfigError(f"--extend {folder}: this run has no search, so there are no trials to add.")
    if by < 1:
        raise ConfigError(f"--num-trials {by}: must be at least 1; it is how many trials --extend adds.")
    return options.model_copy(update={"num_trials": space.search.num_trials + by})


def _used(materials: Materials) -> list[dict[str, Any]]:
    return [weights.to_dict() for weights in materials.weights.values()]


def _require_data(run: dict[str, Any], options: RunOptions) -> None:
    if options.data is not None and run.get("profile") == "demo":
        raise ConfigError("--data: this run is a demo on generated slices; start a new run on the dataset.")
    if options.data is not None and not Path(options.data).exists():
        raise RunError(f"{options.data}: the run's dataset is not there; if it has moved, name its folder with --data.")


def _absolute(options: RunOptions) -> RunOptions:
    """Make paths independent of the folder that the command runs in: a resume may be given in another."""
    paths = {name: getattr(options, name) for name in ("data", "weights_dir", "cache")}
    absolute = {name: str(Path(path).expanduser().absolute()) for name, path in paths.items() if path is not None}
    return options.model_copy(update=absolute)


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
    """Find everything that trials need before the first one starts: weights first, since they fail fastest."""
    weights_dir = Path(options.weights_dir) if options.weights_dir else None
    weights = {pair: resolve_weights(*pair, weights_dir) for pair in encoders(space)}
    cache = Path(options.cache) if options.cache else default_cache()
    prepared: dict[PreprocessingPart, PreparedData] = {}
    for part in preprocessings(space):
        with bar(console, f"preparing {part.image_size} px, equalisation {part.equalization}") as progress:
            prepared[part] = prepare(dataset, part, cache=cache, progress=progress)
    # The caller holds the prepared data, so that nobody clears it from the cache during the run.
    folders = {part: str(data.folder) for part, data in prepared.items()}
    return Materials(folders, weights), list(prepared.values())


def _carry_out(
    folder: RunFolder,
    space: ResolvedSpace,
    materials: Materials,
    options: RunOptions,
    console: Console,
    going_on: _GoingOn | None = None,
) -> Finished:
    with folder.locked(), contextlib.ExitStack() as signals:
        outcome: Outcome = "complete"
        began = False
        try:
            with connected(options) as cluster:
                # Ray has taken SIGTERM over, and would keep it until the report is written.
                signals.enter_context(sigterm_as_ctrl_c())
                # Shared out as at the beginning of the run, whatever is left of it: on CPUs a trial's figures depend
                # on its number of threads.
                most = len(space.named) + (space.search.num_trials if space.search else 0)
                share = share_out(options, cpus=cluster.cpus, gpus=cluster.gpus, trials=max(1, most))
                _record_start(folder, options, share, going_on)
                began = True
                plan = plan_run(folder, space)
                _announce(folder, cluster.dashboard, share, plan.trials, console)
                if plan.trials:
                    epochs = cost(space)[1] - sum(len(record.rows) for record in folder.trials())
                    view = ProgressView(console, trials=plan.trials, epochs=epochs, concurrent=share.concurrent)
                    with view, Recorder(folder, view, time.time) as recorder:
                        outcome = tune_trials(
                            folder, plan, space.search, materials, share, recorder, time_budget=options.time_budget
                        )
                if outcome == "complete":
                    try:
                        evaluate_kept_models(folder, materials, share, console)
                    except KeyboardInterrupt:
                        outcome = "interrupted"
            if outcome == "complete":
                # Ray's own logs and states are a cache of the record; of a complete run nothing needs them.
                shutil.rmtree(folder.path / "ray", ignore_errors=True)
        except BaseException as error:
            # A resume that was refused leaves the run as it was.
            if began or going_on is None:
                interrupted = isinstance(error, KeyboardInterrupt)
                folder.update_run(status="interrupted" if interrupted else "failed", ended=_now())
            _say_how_to_go_on(folder, error, console)
            raise
        folder.update_run(status=outcome, ended=_now())
        try:
            return Finished(folder, outcome, write_report(folder))
        except KeyboardInterrupt as error:
            _say_how_to_go_on(folder, error, console)
            raise


def _record_start(folder: RunFolder, options: RunOptions, share: Share, going_on: _GoingOn | None) -> None:
    """Record that the run goes on from here, on what, and with what changed.

    Raises:
        RunError: trials would run on another kind of device than before.
    """
    run = folder.read_run()
    updates: dict[str, Any] = {"status": "running", "ended": None, "device": _device(share)}
    if going_on is not None:
        changed = going_on.changed + device_changes(run, updates["device"])
        if changed and not going_on.allow_changed:
            raise refuse(folder, changed)
        updates |= {"options": options.model_dump(mode="json"), "dataset": going_on.dataset}
        if changed:
            updates["changes"] = [*run.get("changes", []), {"time": _now(), "changed": changed}]
            # What is there now is what the next resume is compared with; `changes` tells what was there before.
            updates |= {"versions": versions(), "code": code_hash(), "weights": going_on.weights}
        if going_on.extended_by is not None:
            extension = {"time": _now(), "trials": going_on.extended_by}
            updates["extensions"] = [*run.get("extensions", []), extension]
    folder.update_run(**updates)


def _device(share: Share) -> str:
    gpus = sorted({gpu["name"] for gpu in hardware()["gpus"]}) if share.device == "cuda" else []
    return f"{share.device} ({', '.join(gpus)})" if gpus else share.device


def _say_how_to_go_on(folder: RunFolder, error: BaseException, console: Console) -> None:
    if isinstance(error, KeyboardInterrupt):
        command = f"bts-tune --resume {shlex.quote(str(folder.path))}"
        console.print(f"The run can go on: {command}", highlight=False, markup=False, soft_wrap=True)


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
