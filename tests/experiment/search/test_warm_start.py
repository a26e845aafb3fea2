from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bts_tune.errors import ConfigError, RunError
from bts_tune.experiment.planning.plan import Plan
from bts_tune.experiment.search.searcher import PlanSearcher
from bts_tune.experiment.search.tpe import OptunaTPE
from bts_tune.experiment.search.warm_start import earlier_trials, read_earlier
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.space import ResolvedSearch, load_space
from tests.experiment.builders import planned, result
from tests.experiment.conftest import Command


@pytest.fixture
def search() -> ResolvedSearch:
    search = load_space("extended").resolve(overrides={"epochs": 4}, num_trials=8).search
    assert search is not None
    return search


@pytest.fixture
def earlier_run(tmp_path: Path, search: ResolvedSearch) -> RunFolder:
    """A run of six searched trials: complete, stopped, diverged, failed, and two that were cut off."""
    folder = RunFolder.create(tmp_path / "earlier", {"run": "earlier", "dataset": {"fingerprint": "f"}})
    sampler = OptunaTPE(search)
    for number, status in enumerate(("complete", "stopped", "diverged", "failed", "interrupted", None), start=1):
        trial = f"search-{number:04d}"
        config = sampler.suggest(trial)
        event = planned(trial, index=number, **config.to_dict()).event()
        folder.append_event("planned", trial, **event)
        for epoch in range(1, 5 if status == "complete" else 3):
            folder.append_row({"trial": trial, **result(epoch, 0.5 - 0.01 * epoch)})
        if status is not None:
            folder.append_event("ended", trial, status=status)
    return folder


def test_what_a_run_keeps_of_an_earlier_one_outlives_its_own_file(
    earlier_run: RunFolder, search: ResolvedSearch
) -> None:
    kept = json.loads(json.dumps(read_earlier(earlier_run, search, search, "f"), allow_nan=False))
    assert kept["run"] == str(earlier_run.path)
    records = earlier_trials({"warm_start": kept})
    originals = {record.trial: record for record in earlier_run.trials()}
    assert [record.status for record in records] == ["complete", "stopped", "diverged"]
    for record in records:
        assert record.config == originals[record.trial].config
        assert [row["val_dice_loss"] for row in record.rows] == [
            row["val_dice_loss"] for row in originals[record.trial].rows
        ]
    assert earlier_trials({}) == earlier_trials({"warm_start": None}) == []


def test_the_sampler_knows_what_the_earlier_run_found(earlier_run: RunFolder, search: ResolvedSearch) -> None:
    kept = read_earlier(earlier_run, search, search, "f")

    def searcher(earlier: bool) -> PlanSearcher:
        records = earlier_trials({"warm_start": kept}) if earlier else []
        plan = Plan((), (), 0, 1)
        return PlanSearcher(plan, search, lambda trial: {"config": trial.config}, lambda _: None, records)

    warm = searcher(True)
    assert warm._sampler is not None
    states = [(trial.state.name, trial.params["learning_rate"]) for trial in warm._sampler._study.trials]
    rates = [record.config["learning_rate"] for record in earlier_run.trials()]
    assert states == [("COMPLETE", rates[0]), ("PRUNED", rates[1]), ("PRUNED", rates[2])]
    first = warm.suggest("r0")
    again, cold = searcher(True).suggest("r0"), searcher(False).suggest("r0")
    assert first == again != cold


def test_only_a_run_that_can_be_compared_is_learnt_from(
    earlier_run: RunFolder, search: ResolvedSearch, tmp_path: Path
) -> None:
    def refused(sentence: str, earlier: ResolvedSearch | None = search, new: ResolvedSearch | None = search) -> None:
        with pytest.raises(ConfigError, match=sentence) as error:
            read_earlier(earlier_run, earlier, new, "f")
        assert str(error.value).startswith(f"--warm-start {earlier_run.path}: ")

    refused("nothing is searched", new=None)
    refused("it searched nothing", earlier=None)
    without = {name: parameter for name, parameter in search.parameters.items() if name != "schedule"}
    refused("parameter 'schedule' differs", earlier=replace(search, parameters=without))
    refused("had image_size 224, here it is 128", new=replace(search, fields={**search.fields, "image_size": 128}))
    focal = replace(search, fields={**search.fields, "my_gamma": 2.0})
    refused("had my_gamma 2.0, here it is None", earlier=focal)
    refused("had my_gamma None, here it is 2.0", new=focal)
    lower = replace(search, fields={**search.fields, "train_share": 0.5}, full={"train_share": 1.0})
    refused("had train_share 1.0, here it is 0.5, so their figures cannot be compared", new=lower)
    read_earlier(earlier_run, lower, lower, "f")
    read_earlier(earlier_run, search, replace(search, fields={**search.fields, "seed": 9}, num_trials=99), "f")
    with pytest.raises(ConfigError, match="another dataset or another split"):
        read_earlier(earlier_run, search, search, "g")
    empty = RunFolder.create(tmp_path / "empty", {"run": "empty", "dataset": {"fingerprint": "f"}})
    with pytest.raises(ConfigError, match="no trial of it has ended"):
        read_earlier(empty, search, search, "f")


def test_the_description_of_a_parameter_may_be_another(earlier_run: RunFolder, search: ResolvedSearch) -> None:
    parameters = {
        name: parameter.model_copy(update={"description": "In other words."})
        for name, parameter in search.parameters.items()
    }
    assert read_earlier(earlier_run, replace(search, parameters=parameters), search, "f")["trials"]


@pytest.mark.parametrize("kept", [[1], {"trials": [{}]}, {"trials": [{"trial": "a", "rows": 3}]}, "x"])
def test_a_damaged_record_of_it_is_told(kept: object) -> None:
    with pytest.raises(RunError, match=r"run.json: warm_start: cannot be read"):
        earlier_trials({"warm_start": kept})


@pytest.mark.slow
def test_a_run_learns_from_an_earlier_one_that_is_gone_by_then(
    command: Command, space_file: Callable[..., Path]
) -> None:
    space = space_file(epochs=1, search=True)
    few = ["--concurrent", "1", "--final-top", "0", "--num-trials"]
    for name, trials, *more in (("first", "3"), ("cold", "1"), ("warm", "1", "--warm-start", "first")):
        code, output, errors = command(*command.run_arguments(space, name, *few, trials, *more), timeout=400)
        assert code == 0, errors
    warm = command.record("warm")
    assert "Warm start: the search learns from 5 trials of results/first\n" in output
    assert "| trials that the search knew from the start | 5 of " in (warm.path / "report.md").read_text()
    assert not {one.trial for one in warm.trials()} - {"plain", "frozen", "search-0001"}, "none of them is its own"
    searched = [command.record(name).trials()[-1].config for name in ("cold", "warm")]
    assert searched[0] != searched[1]

    command.record("first").path.rename(command.folder / "elsewhere")
    code, _, errors = command("--extend", "warm", "--num-trials", "1", "--no-dashboard", timeout=400)
    assert code == 0, errors
    assert len(warm.trials()) == 4
