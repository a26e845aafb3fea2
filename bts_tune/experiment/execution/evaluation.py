"""After the trials: test figures, scores of each image and sample predictions of those that the result rests on."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import ray
from rich.console import Console

from bts_tune.config import TrialConfig
from bts_tune.data.prepared.prepare import load_prepared
from bts_tune.errors import BtsTuneError
from bts_tune.experiment.execution.node_files import Shipping
from bts_tune.experiment.execution.resources import TrialResources
from bts_tune.experiment.execution.trainable import anywhere_but
from bts_tune.experiment.planning.trial_inputs import TrialInputs
from bts_tune.plugins import plugins_to_restore, restore
from bts_tune.results.configurations import configurations, result_stage
from bts_tune.results.files import write_atomically
from bts_tune.results.find import is_whole, kept_replicate
from bts_tune.results.leaderboard import ranking
from bts_tune.results.run_folder import RunFolder, TrialRecord
from bts_tune.training.evaluation import Evaluation, evaluate_model


def evaluate_models(
    folder: RunFolder,
    inputs: TrialInputs,
    resources: TrialResources,
    console: Console,
    *,
    left_out: Sequence[str] = (),
    shipping: Shipping | None = None,
) -> None:
    """Measure the models that the result rests on, once each, and drop the weights that nobody will ask for.

    Measured are all complete trials of the final stage, or of a cross-validation; in a run with neither, the best trial
    and the baselines. The test split is looked at here alone, after all is chosen, and chooses nothing.

    Args:
        folder: the run.
        inputs: what its trials were made from.
        resources: what each of them had.
        console: where to say what could not be measured.
        left_out: nodes that nothing runs on, by their ids.
        shipping: how files reach the nodes of a cluster that is not the run's own.
    """
    trials = folder.trials()
    measured = _measured(trials)
    kept = _kept(folder, trials)
    _drop_others(folder, measured + kept)
    # The scores are written last. A run of an earlier version lacks them: the same weights give the same figures again.
    waiting = [
        record
        for record in measured
        if not folder.scores_file(record.trial).is_file()
        or (record in kept and not folder.samples_file(record.trial).is_file())
    ]
    pending = {_submit(folder, record, inputs, resources, left_out, shipping): record for record in waiting}
    while pending:
        (done,), _ = ray.wait(list(pending))
        record = pending.pop(done)
        try:
            result: Evaluation = ray.get(done)
        except (BtsTuneError, ray.exceptions.RayError) as error:
            reason = str(error).strip().splitlines()[-1]
            console.print(f"{record.trial} could not be evaluated: {reason}", highlight=False, markup=False)
            continue
        if record in kept:
            write_atomically(folder.samples_file(record.trial), result.samples)
        if result.test:
            folder.append_event("evaluated", record.trial, metrics=result.test)
        write_atomically(folder.scores_file(record.trial), result.scores.to_bytes())
    _drop_others(folder, kept + [record for record in measured if not folder.scores_file(record.trial).is_file()])
    for samples in (folder.path / "samples").glob("*.npz"):
        if samples.stem not in {record.trial for record in kept}:
            samples.unlink()


def _measured(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    stage = result_stage(trials)
    complete = [record for record in ranking(trials) if record.stage == stage]
    if stage == "final" or any(record.fold is not None for record in complete):
        return complete
    best = [one.best for one in configurations(trials)[:1]]
    return best + [record for record in complete if record.baseline and record not in best]


def _kept(folder: RunFolder, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials whose weights stay: the best replicate of the winning configuration and of each baseline.

    In a run without a final stage and without folds, every seed of a baseline.
    """
    measured = _measured(trials)
    if measured and all(record.stage == "search" and record.fold is None for record in measured):
        return measured
    # Where no trial of the final stage came to its end, the best of the search is what there is.
    ranked = configurations(trials) or configurations(trials, "search")
    replicates = [kept_replicate(folder, one) for place, one in enumerate(ranked) if place == 0 or one.baseline]
    return [record for record in replicates if record is not None]


def models_that_lack(folder: RunFolder) -> list[str]:
    """Return the trials whose models a complete run should have and has not, or not whole: winner and baselines."""
    trials = folder.trials()
    # Where no trial of the final stage came to its end, the best of the search is what there is.
    ranked = configurations(trials) or configurations(trials, "search")
    lacking = []
    for place, one in enumerate(ranked):
        if place and not one.baseline:
            continue
        kept = kept_replicate(folder, one)
        if kept is None or not is_whole(folder.model_folder(kept.trial)):
            lacking.append((kept or one.best).trial)
    return lacking


def _submit(
    folder: RunFolder,
    record: TrialRecord,
    inputs: TrialInputs,
    resources: TrialResources,
    left_out: Sequence[str],
    shipping: Shipping | None,
) -> ray.ObjectRef:
    config = TrialConfig.parse(record.config, f"trial {record.trial}")
    task = ray.remote(_evaluate).options(
        name=f"evaluate {record.trial}",
        num_cpus=resources.cpus,
        num_gpus=resources.gpus,
        max_retries=1,
        **({"label_selector": anywhere_but(left_out)} if left_out else {}),
    )
    prepared = inputs.prepared_for(config, record.fold)
    plugins = plugins_to_restore()
    model = str(folder.model_folder(record.trial).resolve())
    return task.remote(model, prepared, plugins, resources.device, resources.cpus, shipping)


def _evaluate(
    model: str, prepared: str, plugins: list[dict[str, str]], device: str, threads: int, shipping: Shipping | None
) -> Evaluation:
    restore(plugins)
    if shipping is None:
        return evaluate_model(Path(model), load_prepared(Path(prepared)), device=device, threads=threads)
    with shipping.model(model) as here:
        return evaluate_model(here, shipping.prepared(prepared), device=device, threads=threads)


def _drop_others(folder: RunFolder, kept: Sequence[TrialRecord]) -> None:
    names = {record.trial for record in kept}
    models = folder.path / "models"
    if models.is_dir():
        for model in models.iterdir():
            if model.is_dir() and model.name not in names:
                shutil.rmtree(model, ignore_errors=True)
