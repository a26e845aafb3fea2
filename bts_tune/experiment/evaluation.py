"""After the trials: test figures, scores of each image and sample predictions of the best trial and the baselines."""

from __future__ import annotations

import shutil
from pathlib import Path

import ray
from rich.console import Console

from bts_tune.config import PreprocessingPart, TrialConfig
from bts_tune.data.prepare import load_prepared
from bts_tune.errors import BtsTuneError
from bts_tune.experiment.cluster import Share
from bts_tune.experiment.tuning import Materials
from bts_tune.report.leaderboard import ranking
from bts_tune.store import RunFolder, TrialRecord, write_atomically
from bts_tune.training.evaluation import Evaluation, evaluate_model


def evaluate_kept_models(folder: RunFolder, materials: Materials, share: Share, console: Console) -> None:
    """Measure the kept models on the test split, once each, and drop the weights of all others.

    The test split is looked at here alone, after the best trial is known, and chooses nothing.
    """
    trials = folder.trials()
    kept = ranking(trials)[:1]
    kept += [record for record in trials if record.baseline and record.full_budget and record not in kept]
    _drop_others(folder, {record.trial for record in kept})
    # The scores are written last. A run of an earlier version lacks them: the same weights give the same figures again.
    waiting = [record for record in kept if not folder.scores_file(record.trial).is_file()]
    pending = {_submit(folder, record, materials, share): record for record in waiting}
    while pending:
        (done,), _ = ray.wait(list(pending))
        record = pending.pop(done)
        try:
            result: Evaluation = ray.get(done)
        except (BtsTuneError, ray.exceptions.RayError) as error:
            reason = str(error).strip().splitlines()[-1]
            console.print(f"{record.trial} could not be evaluated: {reason}", highlight=False, markup=False)
            continue
        write_atomically(folder.samples_file(record.trial), result.samples)
        if result.test:
            folder.append_event("evaluated", record.trial, metrics=result.test)
        write_atomically(folder.scores_file(record.trial), result.scores.to_bytes())


def _submit(folder: RunFolder, record: TrialRecord, materials: Materials, share: Share) -> ray.ObjectRef:
    config = TrialConfig.parse(record.config, f"trial {record.trial}")
    task = ray.remote(_evaluate).options(
        name=f"evaluate {record.trial}", num_cpus=share.cpus, num_gpus=share.gpus, max_retries=1
    )
    prepared = materials.prepared[config.part(PreprocessingPart)]
    return task.remote(str(folder.model_folder(record.trial).resolve()), prepared, share.device, share.cpus)


def _evaluate(model: str, prepared: str, device: str, threads: int) -> Evaluation:
    return evaluate_model(Path(model), load_prepared(Path(prepared)), device=device, threads=threads)


def _drop_others(folder: RunFolder, kept: set[str]) -> None:
    models = folder.path / "models"
    if models.is_dir():
        for model in models.iterdir():
            if model.is_dir() and model.name not in kept:
                shutil.rmtree(model, ignore_errors=True)
