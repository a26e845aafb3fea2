"""Finds runs, and the models in them, by name."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import replace
from pathlib import Path

from bts_tune.errors import RunError
from bts_tune.paths import user_path
from bts_tune.results.ranking.configurations import Configuration, configurations
from bts_tune.results.record.benchmark_folder import holds_benchmark, runs_of
from bts_tune.results.record.run_folder import RunFolder, TrialRecord, holds_run


def find_run(name: str, results: Path) -> RunFolder:
    """Return a run by the path of its folder or by its name in `results`.

    Raises:
        RunError: there is none, or it cannot be read.
        ConfigError: it is no path.
    """
    for path in (user_path(name, recorded=False), results / name):
        if holds_run(path):
            return RunFolder.open(path)
        if holds_benchmark(path):
            raise RunError(
                f"{path}: is a benchmark, which 'bts-tune benchmark FILE' goes on with and reports; name one of its "
                f"runs: {', '.join(shlex.quote(str(path / run)) for run in runs_of(path)) or 'none has begun'}."
            )
    raise RunError(f"{name}: no such run; name a folder with a run.json in it, or a run in {results}/.")


def best_model(folder: RunFolder, trial: str | None = None) -> Path:
    """Return the folder of the run's best model: of the configuration that is ranked first, else of the best so far.

    Args:
        folder: the run.
        trial: take this trial's model instead.

    Raises:
        RunError: no trial, or not this one, has left a model.
    """
    if trial is not None:
        kept = sorted(path.parent.name for path in (folder.path / "models").glob("*/model.json"))
        if trial not in kept:
            raise RunError(
                f"--trial {trial!r}: this run kept no model of that name; it has {', '.join(kept) or 'none'}."
            )
        return folder.model_folder(trial)
    trials = folder.trials()
    for one in configurations(trials):
        if (record := kept_replicate(folder, one)) is not None:
            return folder.model_folder(record.trial)
    candidates = [
        (
            not record.full_budget,
            record.objective.cost_of(record.best_row),
            record.index,
            folder.model_folder(record.trial),
        )
        for record in trials
        if record.best_row is not None and _has_model(folder, record)
    ]
    if not candidates:
        elsewhere = (folder.read_run().get("storage") or {}).get("uri")
        until = f"; until it is complete, its models are at {elsewhere}" if elsewhere else ""
        raise RunError(f"{folder}: no trial of this run has left a model yet{until}.")
    return min(candidates)[-1]


def kept_replicate(folder: RunFolder, configuration: Configuration) -> TrialRecord | None:
    """Return the best replicate of a configuration whose weights the run still has; None where it has none."""
    kept = [record for record in configuration.trials if _has_model(folder, record)]
    return replace(configuration, trials=tuple(kept)).best if kept else None


def ensemble_models(folder: RunFolder) -> list[Path]:
    """Return the folders of the models of the run's ensemble: those that were measured as one.

    Where none was measured, they are all trainings of the winning configuration, by seed and fold.

    Raises:
        RunError: the run has no winner yet, or kept fewer than two of its models.
    """
    trials = folder.trials()
    best = next(iter(configurations(trials)), None)
    members = [record.trial for record in best.trials] if best else []
    for record in best.trials if best else ():  # one of an earlier winner is on record too
        members = record.variants.get("ensemble", {}).get("members", members)
    kept = [folder.model_folder(record.trial) for record in trials if record.trial in members]
    kept = [model for model in kept if (model / "model.json").is_file()]
    if len(kept) < 2:
        raise RunError(
            f"{folder}: an ensemble needs at least two trained models of the winning configuration, and this run kept "
            f"{len(kept)}; run with --ensemble, and with several seeds (--final-seeds, --seeds) or --folds."
        )
    return kept


def chosen_postprocessing(folder: RunFolder, model: Path) -> dict[str, float]:
    """Return the `threshold` and `smallest_region` that the run chose for a model on its validation split.

    Raises:
        RunError: it chose none.
    """
    for record in folder.trials():
        chosen = record.variants.get("postprocessed", {})
        values = {name: chosen[name] for name in ("threshold", "smallest_region") if chosen.get(name) is not None}
        if record.trial == model.name and len(values) == 2:
            return values
    raise RunError(f"{folder}: no postprocessing was chosen for {model.name}; resume the run with --postprocess.")


def plane_of_slices(folder: RunFolder) -> str:
    """Return the plane along which the volumes of a run's data were cut; axial where the run recorded none."""
    plane = folder.read_run().get("options", {}).get("plane")
    return plane if isinstance(plane, str) else "axial"


def is_whole(model: Path) -> bool:
    """Whether the model of a trial is in its folder, and its weights are those that its card was written for."""
    try:
        card = json.loads((model / "model.json").read_text(encoding="utf-8"))
        data = (model / "model.safetensors").read_bytes()
        # An earlier version wrote no digest.
        return bool("sha256" not in card or hashlib.sha256(data).hexdigest() == card["sha256"])
    except (OSError, ValueError, TypeError):
        return False


def _has_model(folder: RunFolder, record: TrialRecord) -> bool:
    return (folder.model_folder(record.trial) / "model.json").is_file()
