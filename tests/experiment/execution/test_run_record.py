from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.errors import RunError
from bts_tune.experiment.execution.nodes.resources import TrialResources
from bts_tune.experiment.execution.run_record import NewRun, ResumedRun, free_path, record_start
from bts_tune.experiment.planning.changes import changes_since, code_hash
from bts_tune.experiment.planning.environment import versions
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.plugins import loaded_plugins
from bts_tune.results.record.run_folder import RunExistsError, RunFolder

OPTIONS = RunOptions(space="baseline")
CPU = TrialResources(2, 0.0, 1, "cpu")


def resumed(*changed: str, allow: bool = False, extended_by: int | None = None) -> ResumedRun:
    return ResumedRun(list(changed), allow, extended_by, {"path": "moved"}, [{"encoder": "resnet18", "sha256": "s"}])


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", {"run": "run", "weights": [], "dataset": {"path": "here"}})


def test_a_free_path_is_numbered(tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert free_path(path) == path
    path.mkdir()
    (tmp_path / "run_2").symlink_to("nowhere")
    assert free_path(path) == tmp_path / "run_3"


def test_a_name_that_is_taken_is_refused_where_the_user_chose_it(tmp_path: Path) -> None:
    def new(named: bool) -> NewRun:
        return NewRun(tmp_path / "run", {"status": "running"}, lambda folder: folder.split_file.touch(), named)

    first = new(True).create_folder()
    assert first.read_run()["run"] == "run"
    assert first.split_file.exists()
    second = new(False).create_folder()
    assert (second.path.name, second.read_run()["run"]) == ("run_2", "run_2")
    with pytest.raises(RunExistsError, match="a run of this name exists already"):
        new(True).create_folder()


def test_a_start_records_the_device_and_a_resume_its_options(folder: RunFolder) -> None:
    record_start(folder, OPTIONS, CPU, None)
    run = folder.read_run()
    assert (run["status"], run["device"], "options" in run) == ("running", "cpu", False)
    record_start(folder, OPTIONS.replaced(tracker=["none"]), CPU, resumed(extended_by=4))
    run = folder.read_run()
    assert run["options"]["tracker"] == ["none"]
    assert run["dataset"] == {"path": "moved"}
    assert [one["trials"] for one in run["extensions"]] == [4]
    assert "changes" not in run
    assert run["weights"] == []


def test_another_device_is_refused_or_recorded(folder: RunFolder) -> None:
    record_start(folder, OPTIONS, CPU, None)
    folder.update_run(device="cuda (A GPU)")
    before = folder.read_run()
    with pytest.raises(RunError, match=r"the device \('cuda \(A GPU\)', now 'cpu'\)"):
        record_start(folder, OPTIONS, CPU, resumed())
    assert folder.read_run() == before
    record_start(folder, OPTIONS, CPU, resumed("the dataset", allow=True))
    run = folder.read_run()
    assert [one["changed"] for one in run["changes"]] == [["the dataset", "the device ('cuda (A GPU)', now 'cpu')"]]
    assert run["device"] == "cpu"
    assert run["weights"] == [{"encoder": "resnet18", "sha256": "s"}]


def test_what_is_allowed_once_is_what_the_next_resume_is_compared_with(folder: RunFolder) -> None:
    record_start(folder, OPTIONS, CPU, None)
    folder.update_run(plugins=[{"name": "gone.py", "kind": "file", "sha256": "0"}])
    record_start(folder, OPTIONS, CPU, resumed("plugin gone.py, which is not loaded", allow=True))
    run = folder.read_run()
    loaded = loaded_plugins()
    assert run["plugins"] == [plugin.describe() for plugin in loaded]
    fingerprint = {"dataset": {"fingerprint": "f"}}
    found = changes_since(
        run | fingerprint,
        fingerprint="f",
        weights=run["weights"],
        versions=versions(),
        code=code_hash(),
        plugins=loaded,
    )
    assert found == []
