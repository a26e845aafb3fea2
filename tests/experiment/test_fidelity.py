"""Whole runs whose search is at a lower fidelity: real Ray, real files, real signals."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from bts_tune.config import PreprocessingPart, TrialConfig
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.prepare import prepare
from bts_tune.data.splits.split import read_groups, read_split
from bts_tune.models.weights import EncoderWeights
from bts_tune.plugins import load_plugins
from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.training.loop import open_trial, rows
from bts_tune.training.trial import TrialSetup
from tests.experiment.conftest import Command, Finished, lower_space
from tests.experiment.test_run import figures
from tests.forgetting import forget_plugins


def fields(records: list[TrialRecord]) -> set[tuple[int, float]]:
    """Image size and share of the training images of some trials."""
    return {(record.config["image_size"], record.config["train_share"]) for record in records}


def of_stage(folder: RunFolder, stage: str) -> list[TrialRecord]:
    return [record for record in folder.trials() if record.stage == stage]


def plain_text(folder: RunFolder) -> str:
    """The report on one line."""
    return re.sub(r"\s+", " ", (folder.path / "report.md").read_text(encoding="utf-8"))


def know_its_plugins(folder: RunFolder, patch: pytest.MonkeyPatch) -> None:
    """Load the plugins of a run into this process until the patch is undone."""
    forget_plugins(patch)
    load_plugins(plugin["name"] for plugin in folder.read_run()["plugins"])


def check_stages(folder: RunFolder, *, searched: int, seeds: int) -> None:
    """What holds of every such run that came to its end: the search is lower, the final stage is not."""
    search, final = of_stage(folder, "search"), of_stage(folder, "final")
    assert folder.read_run()["status"] == "complete"
    assert len(search) == 2 + searched
    assert fields(search) == {(32, 0.5)}
    assert all(record.full == {"image_size": 64, "train_share": 1.0} for record in search)
    assert len(final) == 3 * seeds
    assert fields(final) == {(64, 1.0)}
    assert not any(record.full for record in final)
    assert {record.status for record in final} == {"complete"}
    origins = {record.trial: record for record in search}
    for record in final:
        assert record.origin is not None
        origin = TrialConfig.parse(origins[record.origin].config)
        expected = origin.replaced({"image_size": 64, "train_share": 1.0, "seed": record.config["seed"]})
        assert TrialConfig.parse(record.config) == expected
        assert record.config_id == expected.config_id
    assert {record.name for record in final if record.baseline} == {"plain", "frozen"}
    text = plain_text(folder)
    sentence = "The search ran at a lower fidelity (images of 32 px, 50% of the training images)"
    assert text.count(sentence) == 2, "the search log and the methods say so"
    assert "Not measured: the search ran at a lower fidelity" in text
    assert "promised too much" not in text.split("Search log")[0]


def test_the_search_is_lower_and_the_final_stage_is_in_full(
    with_final: Finished, small_data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_final.folder
    know_its_plugins(folder, monkeypatch)
    check_stages(folder, searched=2, seeds=2)
    dataset = open_dataset(small_data).with_splits(read_split(folder.split_file))
    dataset = dataset.with_groups(read_groups(folder.split_file))
    for stage, share in (("search", 0.5), ("final", 1.0)):
        trial = next(record for record in of_stage(folder, stage) if record.name == "plain")
        config = TrialConfig.parse(trial.config)
        prepared = prepare(dataset, config.part(PreprocessingPart), cache=cache)
        assert len(prepared.train) == pytest.approx(share * len(dataset.records["train"]), abs=2)
        setup = TrialSetup(EncoderWeights(config.encoder), device="cpu", threads=trial.started["torch_threads"])
        opened = open_trial(config, prepared, setup)
        assert figures(trial.rows) == figures([row.to_dict() for row in rows(opened)])
        opened.close()


def test_such_a_run_is_given_more_seeds(
    with_final: Finished, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = command.copy_of(with_final.folder)
    code, _, errors = command.here("final", folder.path.name, "--final-seeds", "3", "--no-dashboard")
    assert code == 0, errors
    know_its_plugins(folder, monkeypatch)
    check_stages(folder, searched=2, seeds=3)


@pytest.mark.slow
def test_such_a_run_is_extended(with_final: Finished, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = command.copy_of(with_final.folder)
    know_its_plugins(folder, monkeypatch)
    code, _, errors = command("--extend", folder.path.name, "--num-trials", "1", "--no-dashboard")
    assert code == 0, errors
    search = of_stage(folder, "search")
    assert len(search) == 5
    assert fields(search) == {(32, 0.5)}
    assert fields(of_stage(folder, "final")) == {(64, 1.0)}


@pytest.mark.slow
def test_it_is_resumed_in_either_stage(command: Command) -> None:
    arguments = command.run_arguments(lower_space(command.folder), "cut", "--concurrent", "2")
    path = command.folder / "results" / "cut"
    for stage, start in (("search", arguments), ("final", ("--resume", "cut", "--no-dashboard"))):
        process = command.start(*start)
        while not path.is_dir() or not any(record.rows for record in of_stage(RunFolder(path), stage)):
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 130, errors
        if stage == "search":
            assert "The search ran at a lower fidelity" in plain_text(RunFolder(path))
    code, _, errors = command("--resume", "cut", "--no-dashboard")
    assert code == 0, errors
    folder = command.record("cut")
    check_stages(folder, searched=2, seeds=2)


def test_what_cannot_be_is_refused_before_anything_is_trained(command: Command) -> None:
    space = lower_space(command.folder)
    for options, sentence in (
        (("--final-top", "0"), "search.fidelity: needs a final stage"),
        (("--set", "batch_size=400"), "train_share 0.5: leaves "),
        (("--folds", "2"), "--folds 2: cannot go with a search"),
    ):
        code, _, errors = command.here(*command.run_arguments(space, "refused", *options))
        assert code == 2
        assert sentence in errors
        assert "Traceback" not in errors
    assert not (command.folder / "results" / "refused").exists()
