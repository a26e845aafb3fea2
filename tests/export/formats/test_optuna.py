from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from bts_tune import api
from bts_tune.errors import ConfigError, RunError
from bts_tune.export.formats import optuna as exporter
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.space import load_space
from bts_tune.testing.exports import ExportContract
from bts_tune.testing.runs import make_curve, make_final, make_run, make_search, make_trial, write_run


class TestOptuna(ExportContract):
    name = "optuna"

    def output(self, folder: Path) -> str:
        return f"sqlite:///{folder / 'study.db'}"

    def written(self, folder: Path) -> dict[str, str]:
        with sqlite3.connect(folder / "study.db") as database:
            return {str(number): line for number, line in enumerate(database.iterdump())}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A search of the shipped space, with a trial of every status, and its final stage."""
    search = make_search(epochs=6)
    search += [
        make_trial("cut", index=20, status="interrupted", rows=make_curve("cut", 2, 0.5)),
        make_trial("next", index=21, status="waiting"),
        make_trial("large", index=22, status="oom", reason="twice out of memory"),
    ]
    space = load_space("extended").document
    return write_run(
        tmp_path / "run", search + make_final(search), make_run(space=space, options={"space": "extended"})
    )


def studies(storage: Any) -> dict[str, optuna.Study]:
    names = optuna.get_all_study_names(storage)
    return {name: optuna.load_study(study_name=name, storage=storage) for name in names}


def test_states_values_and_attributes_are_right(folder: RunFolder, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    exported = api.Run(folder).export("optuna", url)
    assert exported.output == url
    read = studies(url)
    assert list(read) == ["spring-search", "spring-search (final stage)"]
    study, records = read["spring-search"], [one for one in folder.trials() if one.stage == "search"]
    assert study.direction.name == "MINIMIZE"
    assert study.user_attrs["run"] == "spring-search"
    assert [trial.user_attrs["trial"] for trial in study.trials] == [record.trial for record in records]
    states = {
        "complete": TrialState.COMPLETE,
        "stopped": TrialState.PRUNED,
        "diverged": TrialState.FAIL,
        "failed": TrialState.FAIL,
        "oom": TrialState.FAIL,
        "interrupted": TrialState.RUNNING,
        "waiting": TrialState.WAITING,
    }
    assert {record.status for record in records} == states.keys()
    for trial, record in zip(study.trials, records, strict=True):
        assert trial.state == states[record.status], record.trial
        assert trial.intermediate_values == {row["epoch"]: row["best_val_dice_loss"] for row in record.rows}
        assert trial.user_attrs["config"] == record.config
        assert trial.user_attrs.get("reason", "") == record.reason
        if record.status == "complete":
            assert record.best_row is not None
            assert trial.value == record.best_row["val_dice_loss"]
        if record.status in ("waiting", "interrupted"):
            assert trial.datetime_complete is None
        elif trial.datetime_start is not None:
            assert trial.datetime_complete is not None
            assert trial.datetime_complete >= trial.datetime_start
    best = min((one for one in records if one.full_budget), key=lambda one: (one.best_row or {})["val_dice_loss"])
    assert study.best_trial.user_attrs["trial"] == best.trial
    assert len(read["spring-search (final stage)"].trials) == 15


def test_parameters_are_those_of_the_space_with_its_ranges(folder: RunFolder, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    api.Run(folder).export("optuna", url)
    search = load_space("extended").resolve().search
    assert search is not None
    trials = studies(url)["spring-search"].trials
    assert {name for trial in trials for name in trial.params} <= search.parameters.keys()
    for trial in trials:
        config = trial.user_attrs["config"]
        assert all(config[name] == value for name, value in trial.params.items())
        rate = trial.distributions.get("learning_rate")
        if rate is not None:
            assert isinstance(rate, optuna.distributions.FloatDistribution)
            assert (rate.low, rate.high) == search.parameters["learning_rate"].bounds
            assert rate.log
    # A parameter whose condition does not hold was not drawn.
    frozen = next(trial for trial in trials if trial.params.get("freeze") == "all")
    assert "freeze_epochs" not in frozen.params


def test_without_a_search_what_differs_is_a_parameter(tmp_path: Path) -> None:
    fields: list[dict[str, Any]] = [
        {"learning_rate": 1e-3, "batch_size": 8, "decoder": "unet", "seed": 0},
        {"learning_rate": 1e-2, "batch_size": 16, "decoder": "fpn", "seed": 1},
    ]
    trials = [
        make_trial(f"t{number}", index=number, rows=make_curve(f"t{number}", 2, 0.3), **one)
        for number, one in enumerate(fields)
    ]
    folder = write_run(tmp_path / "run", trials, make_run(space={}))
    url = f"sqlite:///{tmp_path / 'study.db'}"
    api.Run(folder).export("optuna", url)
    first, second = studies(url)["spring-search"].trials
    assert first.params == {"learning_rate": 1e-3, "batch_size": 8, "decoder": "unet"}
    assert second.params == {"learning_rate": 1e-2, "batch_size": 16, "decoder": "fpn"}


def test_a_trial_that_failed_before_its_first_epoch_lasted_until_it_failed(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [make_trial("a", status="failed")], make_run())
    folder.append_event("started", "a", time=1_700_000_000.0)
    folder.append_event("ended", "a", status="failed", reason="", time=1_700_000_060.0)
    api.Run(folder).export("optuna", f"sqlite:///{tmp_path / 'study.db'}")
    (trial,) = studies(f"sqlite:///{tmp_path / 'study.db'}")["spring-search"].trials
    assert trial.duration is not None
    assert trial.duration.total_seconds() == 60


def test_plugins_without_which_the_space_cannot_be_read_are_named(tmp_path: Path) -> None:
    space = {"name": "small", "description": "x", "trials": {"a": {"description": "x", "config": {"loss": "mine"}}}}
    plugins = [{"name": "my losses.py", "kind": "file", "sha256": "0" * 64}]
    folder = write_run(tmp_path / "run", [make_trial("a")], make_run(space=space, plugins=plugins))
    exported = api.Run(folder).export("optuna", f"sqlite:///{tmp_path / 'study.db'}")
    assert exported.notes[-1].endswith("if you trust their code, add --plugin 'my losses.py'.")


def test_a_run_in_a_folder_whose_name_means_something_in_a_url(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "what? 50%#1", make_search(epochs=3), make_run())
    exported = api.Run(folder).export("optuna")
    assert (folder.path / "exports" / "optuna.db").is_file()
    assert list(studies(exported.output)) == ["spring-search"]


def test_a_journal_file(folder: RunFolder, tmp_path: Path) -> None:
    journal = tmp_path / "new" / "study.log"
    api.Run(folder).export("optuna", journal)
    read = studies(JournalStorage(JournalFileBackend(str(journal))))
    assert len(read["spring-search"].trials) == sum(one.stage == "search" for one in folder.trials())


def test_a_storage_may_hold_other_studies_which_stay(folder: RunFolder, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(storage=url, study_name="other").add_trial(optuna.create_trial(value=1.0))
    api.Run(folder).export("optuna", url)
    assert len(studies(url)) == 3
    with pytest.raises(ConfigError, match="has a study named 'spring-search' already") as refused:
        api.Run(folder).export("optuna", url)
    assert str(refused.value).endswith(f": optuna delete-study --storage {url} --study-name spring-search")
    assert len(studies(url)["other"].trials) == 1


def test_what_breaks_off_leaves_no_study(folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(storage=url, study_name="other")
    frozen = exporter._frozen

    def fail(record: Any, parameters: Any) -> Any:
        if record.stage == "final":
            raise RunError("No more.")
        return frozen(record, parameters)

    monkeypatch.setattr(exporter, "_frozen", fail)
    for storage in (url, f"sqlite:///{tmp_path / 'new.db'}"):
        with pytest.raises(RunError, match="No more"):
            api.Run(folder).export("optuna", storage)
    assert list(studies(url)) == ["other"]
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize(
    ("storage", "sentence"),
    [
        ("nothing://user:secret@host/db", "--storage nothing://…@host/db: cannot be opened"),
        ("sqlite://", "--storage sqlite://: keeps nothing; name a file, such as sqlite:///study.db"),
        ("sqlite:///:memory:", "--storage sqlite:///:memory:: keeps nothing"),
        ("postgresql://user:secret@127.0.0.1:9/db", "cannot be opened"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_told_without_its_password(
    folder: RunFolder, storage: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        api.Run(folder).export("optuna", storage)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_storage_is_left_as_it_is(folder: RunFolder, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("my notes\n")
    for storage in (text, f"sqlite:///{text}"):
        with pytest.raises(ConfigError, match=r"notes\.txt: cannot be opened"):
            api.Run(folder).export("optuna", storage)
        assert text.read_text() == "my notes\n"
        assert not list(tmp_path.glob("*.lock"))


def test_a_damaged_record_is_exported_as_far_as_it_goes(tmp_path: Path) -> None:
    record = make_trial("a", rows=make_curve("a", 2, 0.3))
    record.rows[0]["time"] = record.rows[1]["time"] = 1e90
    folder = write_run(
        tmp_path / "run", [record], make_run(space=load_space("extended").document, options={"overrides": "x"})
    )
    url = f"sqlite:///{tmp_path / 'study.db'}"
    api.Run(folder).export("optuna", url)
    (trial,) = studies(url)["spring-search"].trials
    assert trial.state == TrialState.COMPLETE
    with pytest.raises(RunError, match="no trial of this run is planned yet"):
        api.Run(write_run(tmp_path / "none", [], make_run())).export("optuna", url)


def test_a_single_trial_cannot_be_asked_for(folder: RunFolder) -> None:
    with pytest.raises(ConfigError, match="--trial: a study has all trials"):
        api.Run(folder).export("optuna", trial="t0001")
