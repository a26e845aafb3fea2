"""The models of a run that are kept elsewhere, with a folder as the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.errors import RunError
from bts_tune.experiment.execution.files.model_storage import ModelStorage
from bts_tune.experiment.execution.files.node_files import (
    NodeFaultError,
    Shipping,
    TrialFiles,
    UnwritableResultsError,
)
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.results.storage.remote import RemoteError
from bts_tune.testing.runs import make_search, write_run
from bts_tune.training.checkpoint import CARD, LAST, WEIGHTS


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return write_run(tmp_path / "results" / "run", make_search())


@pytest.fixture
def storage(folder: RunFolder, tmp_path: Path) -> ModelStorage:
    return ModelStorage.claim(str(tmp_path / "there"), folder)


def test_a_trial_goes_on_from_there_and_leaves_nothing_here(
    folder: RunFolder, storage: ModelStorage, tmp_path: Path
) -> None:
    home = folder.model_folder("a")
    files = TrialFiles(str(home), None, storage)
    assert not files.shared
    (files.folder / WEIGHTS).write_bytes(b"best")
    (files.folder / CARD).write_text("{}")
    (files.folder / LAST).write_bytes(b"epoch 1")
    files.bring_back()
    files.close()
    assert not home.exists()
    again = TrialFiles(str(home), None, ModelStorage.of_run(folder))
    assert [path.name for path in again.folder.iterdir()] == [LAST]
    again.close()
    storage.drop("a", LAST)
    assert (tmp_path / "there" / "run" / "models" / "a" / WEIGHTS).read_bytes() == b"best"
    assert not (tmp_path / "there" / "run" / "models" / "a" / LAST).exists()
    storage.fetch(folder)
    assert sorted(path.name for path in home.iterdir()) == [CARD, WEIGHTS]
    said: list[str] = []
    storage.drop_others([], said.append)
    assert not (tmp_path / "there" / "run" / "models" / "a").exists()
    assert said == []


def test_a_place_is_one_run_s(folder: RunFolder, storage: ModelStorage, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds something already; choose another --name"):
        ModelStorage.claim(str(tmp_path / "there"), folder)
    (tmp_path / "there" / "run" / "storage.id").write_text("another")
    with pytest.raises(RemoteError, match="is not the place where the run keeps its models"):
        ModelStorage.of_run(folder)


def test_what_a_node_cannot_reach_is_the_node_s_fault_and_on_the_driver_s_machine_ends_the_run(
    folder: RunFolder, storage: ModelStorage, tmp_path: Path
) -> None:
    (tmp_path / "there").rename(tmp_path / "away")
    with pytest.raises(NodeFaultError, match="is not the place"):
        TrialFiles(str(folder.model_folder("a")), Shipping("nobody"), storage)
    with pytest.raises(UnwritableResultsError, match="is not the place"):
        TrialFiles(str(folder.model_folder("a")), None, storage)
    (tmp_path / "away").rename(tmp_path / "there")
    files = TrialFiles(str(folder.model_folder("a")), Shipping("nobody"), storage)
    (files.folder / LAST).write_bytes(b"epoch 1")
    (tmp_path / "there" / "run" / "models").write_text("a file")
    with pytest.raises(NodeFaultError, match="cannot be written"):
        files.bring_back()
    files.close()
