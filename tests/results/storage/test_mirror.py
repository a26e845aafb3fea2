"""A run that is mirrored elsewhere and brought back: whole, and never over a newer state without a word."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bts_tune.errors import RunError
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.results.storage import mirror
from bts_tune.results.storage.mirror import pull, push
from bts_tune.testing.runs import make_search, write_run


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = write_run(tmp_path / "here" / "mine", make_search())
    for trial in ("a", "b"):
        run.model_folder(trial).mkdir(parents=True)
        (run.model_folder(trial) / "model.safetensors").write_bytes(trial.encode() * 2**21)
    (run.path / "ray").mkdir()
    (run.path / "ray" / "state.json").write_text("{}")
    return run


def contents(path: Path) -> dict[str, bytes]:
    own = {"run.lock", "owner.json", "mirror.json"}
    files = {file.relative_to(path): file for file in path.rglob("*") if file.is_file() and file.name not in own}
    return {str(name): file.read_bytes() for name, file in files.items() if name.parts[0] != "ray"}


def test_what_is_brought_back_is_what_was_sent(folder: RunFolder, tmp_path: Path) -> None:
    sent = push(folder, str(tmp_path / "there"))
    place = tmp_path / "there" / "mine"
    assert contents(place) == contents(folder.path)
    assert not (place / "ray").exists()
    assert sent.moved == sent.files == len(contents(place))
    assert push(folder, str(tmp_path / "there")).moved == 0
    back = tmp_path / "back"
    assert pull(str(place), back).moved == sent.files
    assert contents(back) == contents(folder.path)
    assert RunFolder.open(back).trials() == folder.trials()
    assert pull(str(place), back).moved == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "here", "there"]


def test_only_what_has_changed_is_sent_and_brought(folder: RunFolder, tmp_path: Path) -> None:
    push(folder, str(tmp_path))
    pull(str(tmp_path / "mine"), tmp_path / "back")
    folder.append_row({"trial": "a", "epoch": 9})
    shutil.rmtree(folder.model_folder("b"))
    assert push(folder, str(tmp_path)).moved == 1
    assert not (tmp_path / "mine" / "models" / "b" / "model.safetensors").exists()
    (tmp_path / "back" / "notes.txt").write_text("mine")
    assert pull(str(tmp_path / "mine"), tmp_path / "back").moved == 1
    assert contents(tmp_path / "back") == {**contents(folder.path), "notes.txt": b"mine"}


def test_a_newer_state_stays(folder: RunFolder, tmp_path: Path) -> None:
    push(folder, str(tmp_path))
    back = tmp_path / "back"
    pull(str(tmp_path / "mine"), back)
    RunFolder(back).append_row({"trial": "a", "epoch": 9})
    before = contents(back)
    with pytest.raises(RunError, match=r"back: holds a newer state of the run than .*--force writes over it"):
        pull(str(tmp_path / "mine"), back)
    assert contents(back) == before
    shutil.move(back, tmp_path / "other" / "mine")
    push(RunFolder(tmp_path / "other" / "mine"), str(tmp_path))
    with pytest.raises(RunError, match=r"mine: holds a newer state of the run than .*here/mine"):
        push(folder, str(tmp_path))
    assert contents(tmp_path / "mine") == before
    push(folder, str(tmp_path), force=True)
    pull(str(tmp_path / "mine"), tmp_path / "other" / "mine", force=True)
    assert contents(tmp_path / "other" / "mine") == contents(folder.path)


def test_a_mirror_of_before_the_first_trial_is_older(folder: RunFolder, tmp_path: Path) -> None:
    push(RunFolder.create(tmp_path / "empty" / "mine", {"run": "mine"}), str(tmp_path))
    before = contents(folder.path)
    with pytest.raises(RunError, match=r"here/mine: holds a newer state of the run than"):
        pull(str(tmp_path / "mine"), folder.path)
    assert contents(folder.path) == before
    assert [path.name for path in folder.path.parent.iterdir()] == ["mine"]


class CutOffError(Exception):
    pass


def test_a_push_that_is_cut_off_goes_on(folder: RunFolder, tmp_path: Path) -> None:
    def cut(text: str) -> None:
        if text.startswith("sent models/b"):
            raise CutOffError

    with pytest.raises(CutOffError):
        push(folder, str(tmp_path), say=cut)
    with pytest.raises(RunError, match="mine: holds no run that was pushed; push one there first"):
        pull(str(tmp_path / "mine"), tmp_path / "back")
    said: list[str] = []
    push(folder, str(tmp_path), say=said.append)
    assert said == ["sent models/b/model.safetensors"]
    assert contents(tmp_path / "mine") == contents(folder.path)


def test_a_pull_that_is_cut_off_goes_on(folder: RunFolder, tmp_path: Path) -> None:
    push(folder, str(tmp_path))

    def cut(text: str) -> None:
        raise CutOffError

    with pytest.raises(CutOffError):
        pull(str(tmp_path / "mine"), tmp_path / "back", say=cut)
    assert not (tmp_path / "back").exists()
    said: list[str] = []
    pull(str(tmp_path / "mine"), tmp_path / "back", say=said.append)
    assert said == ["brought models/b/model.safetensors"]
    assert contents(tmp_path / "back") == contents(folder.path)


def test_what_is_damaged_there_is_not_brought(folder: RunFolder, tmp_path: Path) -> None:
    push(folder, str(tmp_path))
    pull(str(tmp_path / "mine"), tmp_path / "back")
    before = contents(tmp_path / "back")
    folder.append_row({"trial": "a", "epoch": 9})
    push(folder, str(tmp_path))
    with (tmp_path / "mine" / "rows.jsonl").open("r+b") as file:
        file.write(b"?")
    with pytest.raises(RunError, match=r"rows\.jsonl is not the file that was pushed"):
        pull(str(tmp_path / "mine"), tmp_path / "back")
    assert contents(tmp_path / "back") == before


def test_an_index_cannot_name_files_outside_of_the_run(folder: RunFolder, tmp_path: Path) -> None:
    push(folder, str(tmp_path))
    index = json.loads((tmp_path / "mine" / mirror.MIRROR).read_text())
    index["files"]["../../evil"] = index["files"]["run.json"]
    (tmp_path / "mine" / mirror.MIRROR).write_text(json.dumps(index))
    with pytest.raises(RunError, match="names a file outside of the run"):
        pull(str(tmp_path / "mine"), tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_run_that_goes_on_is_not_sent(folder: RunFolder, tmp_path: Path) -> None:
    with folder.locked(), pytest.raises(RunError, match="this run is being written by"):
        push(RunFolder(folder.path), str(tmp_path / "there"))


def test_a_run_is_not_sent_into_itself(folder: RunFolder) -> None:
    for place in (folder.path.parent, folder.path, folder.path / "models"):
        with pytest.raises(RunError, match="is where the run is, or within it; name another place"):
            push(folder, str(place))
