"""The record of a run from somewhere else: read as it stands, or refused in one sentence with file and line."""

from __future__ import annotations

import copy
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bts_tune.cli.main import main
from bts_tune.errors import BtsTuneError, RunError
from bts_tune.report.context import ReportContext
from bts_tune.report.document import document
from bts_tune.report.render.csv import to_csv
from bts_tune.report.render.html import to_html
from bts_tune.report.render.markdown import to_markdown
from bts_tune.report.render.terminal import ranking_text
from bts_tune.report.sections.predictions import read_samples
from bts_tune.report.write import write_report
from bts_tune.results.find import best_model, find_run
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.results.statistics.comparison import compare_configurations
from bts_tune.results.tables import epochs_table, leaderboard
from bts_tune.testing.runs import make_baselines, make_row, make_run, make_search, write_run
from tests.mutations import mutated

PLANNED: dict[str, Any] = {
    "event": "planned",
    "trial": "a",
    "name": "a",
    "index": 0,
    "baseline": False,
    "changed": [],
    "published": None,
    "config": {"epochs": 3},
    "config_id": "c",
    "recipe_id": "r",
}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", make_run())


def write_lines(path: Path, *lines: Any) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def without(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}


class TestBrokenLines:
    @pytest.mark.parametrize(
        ("line", "why"),
        [
            ({"event": "started", "trial": "b"}, "trial 'b' was never planned"),
            ({"event": "ended", "trial": "b", "status": "complete"}, "trial 'b' was never planned"),
            ({"trial": "a"}, "event: field required"),
            ({"event": "started"}, "trial: field required"),
            ({"event": 3, "trial": "a"}, "event: input should be a valid string, got 3"),
            ({"event": "ended", "trial": "a"}, "status: field required"),
            ({"event": "ended", "trial": "a", "status": "won"}, "status: input should be 'waiting', 'running'"),
            ({"event": "ended", "trial": "a", "status": "failed", "reason": ["x"]}, "reason: input should be"),
            ({"event": "evaluated", "trial": "a"}, "metrics: field required"),
            ({"event": "evaluated", "trial": "a", "metrics": {"test_iou": "1"}}, "metrics.test_iou"),
            ({"event": "opened", "trial": "a", "parameters": 10**30}, "parameters: input should be less than"),
            ({"event": "opened", "trial": "a", "trainable_parameters": -1}, "trainable_parameters"),
            ({"event": "opened", "trial": "a", "device": ["cpu"]}, "device"),
            (PLANNED, "trial 'a' is planned a second time"),
            ({**PLANNED, "trial": "../../b"}, "trial: string should match pattern"),
            ({**PLANNED, "trial": "/b"}, "trial: string should match pattern"),
            ({**PLANNED, "trial": "b/c"}, "trial: string should match pattern"),
            ({**PLANNED, "trial": ".."}, "trial: string should match pattern"),
            ({**PLANNED, "trial": "b\n"}, "trial: string should match pattern"),
            ({**PLANNED, "trial": "b\0"}, "trial: string should match pattern"),
            ({**PLANNED, "trial": ""}, "trial: string should match pattern"),
            ({**PLANNED, "trial": "b" * 101}, "trial: string should have at most 100 characters"),
            ({**PLANNED, "trial": "b", "config": {"epochs": 0}}, "config: epochs: input should be greater"),
            ({**PLANNED, "trial": "b", "config": {"seed": "1"}}, "config: seed: input should be a valid integer"),
            ({**PLANNED, "trial": "b", "config": []}, "config: input should be a valid dictionary"),
            ({**PLANNED, "trial": "b", "name": ""}, "name: string should have at least 1"),
            ({**PLANNED, "trial": "b", "name": "\ud800"}, "is no valid Unicode"),
            ({**PLANNED, "trial": "b", "published": {"iou": []}}, "published.iou"),
            (without({**PLANNED, "trial": "b"}, "config_id"), "config_id: field required"),
            ([], "not a JSON object"),
            ("{", "not a JSON object"),
        ],
    )
    def test_an_event_is_refused_by_file_and_line(self, folder: RunFolder, line: Any, why: str) -> None:
        write_lines(folder.trials_file, PLANNED, line)
        with pytest.raises(RunError, match=re.escape(why)) as error:
            folder.trials()
        assert str(error.value).startswith(f"{folder.trials_file}, line 2: ")
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"trial": "b"}, "trial 'b' was never planned"),
            ({"trial": "../a"}, "trial: string should match pattern"),
            ({"epoch": 0}, "epoch: input should be greater than or equal to 1, got 0"),
            ({"epoch": 1.5}, "epoch: input should be a valid integer, got 1.5"),
            ({"epoch": 10**30}, "epoch: input should be less than"),
            ({"epoch": True}, "epoch: input should be a valid integer, got True"),
            ({"val_dice_loss": None}, "val_dice_loss: input should be a valid number"),
            ({"val_dice_loss": float("nan")}, "NaN is no number of JSON"),
            ({"val_iou": 10**400}, "val_iou: "),
            ({"val_iou": 1e300}, "val_iou: input should be less than"),
            ({"seconds": "1"}, "seconds: input should be a valid number, got '1'"),
        ],
    )
    def test_a_row_is_refused_by_file_and_line(self, folder: RunFolder, changes: dict[str, Any], why: str) -> None:
        write_lines(folder.trials_file, PLANNED)
        write_lines(folder.rows_file, make_row("a", 1, 0.5), {**make_row("a", 2, 0.5), **changes})
        with pytest.raises(RunError, match=re.escape(why)) as error:
            folder.trials()
        assert str(error.value).startswith(f"{folder.rows_file}, line 2: ")

    @pytest.mark.parametrize("key", ["trial", "epoch", "val_dice_loss", "val_iou"])
    def test_a_row_without_a_field(self, folder: RunFolder, key: str) -> None:
        write_lines(folder.trials_file, PLANNED)
        write_lines(folder.rows_file, without(make_row("a", 1, 0.5), key))
        with pytest.raises(RunError, match=f"line 1: {key}: field required"):
            folder.trials()

    @pytest.mark.parametrize(
        "line",
        [
            '{"trial": "a", "epoch": 1, "val_dice_loss": 0.1, "val_iou": 1, "seconds": 2.2250738585072011e-308}',
            '{"trial": "a", "epoch": 1, "val_dice_loss": 0.30000000000000004, "val_iou": 1E-7, "time": null}',
            '{"val_iou": 0.5, "epoch": 7, "trial": "a", "val_dice_loss": 1, "val_dice_loss": 1795457329.1629415}',
            ' {"trial": "a", "epoch": 1, "val_dice_loss": -0.0, "val_iou": 0, "best_epoch": 9007199254740991} ',
        ],
    )
    def test_a_row_is_read_as_json_has_it(self, folder: RunFolder, line: str) -> None:
        write_lines(folder.trials_file, PLANNED)
        folder.rows_file.write_text(line + "\n")
        (record,) = folder.trials()
        assert record.rows == [json.loads(line)]

    def test_a_figure_that_no_double_holds_is_refused_in_any_field(self, folder: RunFolder) -> None:
        write_lines(folder.trials_file, PLANNED)
        for field in ("val_iou", "val_new"):
            folder.rows_file.write_text(json.dumps(make_row("a", 1, 0.5))[:-1] + f', "{field}": 1e999}}\n')
            with pytest.raises(RunError, match="line 1: cannot be read: a number is too large"):
                folder.trials()

    def test_a_line_without_end_is_refused_before_it_fills_the_memory(self, folder: RunFolder) -> None:
        folder.trials_file.touch()
        os.truncate(folder.trials_file, 2**40)
        with pytest.raises(RunError, match="line 1: cannot be read: it is longer than"):
            folder.trials()

    def test_a_run_file_without_end_is_refused(self, folder: RunFolder) -> None:
        os.truncate(folder.run_file, 2**40)
        with pytest.raises(RunError, match=r"run\.json: is larger than"):
            RunFolder.open(folder.path)

    @pytest.mark.parametrize(
        ("check", "field"),
        [
            ({"errors": 0}, "dataset.check.errors"),
            ({"warnings": {"no-tumor": "3"}}, "dataset.check.warnings.no-tumor"),
            ({"splits": {"train": 3}}, "dataset.check.splits.train"),
            ({"splits": {"train": {"tumor_share": {"0": []}}}}, "dataset.check.splits.train.tumor_share.0"),
        ],
    )
    def test_what_the_data_check_found_is_refused_by_field(self, folder: RunFolder, check: Any, field: str) -> None:
        folder.run_file.write_text(json.dumps({"format": 1, "dataset": {"check": check}}))
        with pytest.raises(RunError, match=rf"run\.json: {field}: "):
            RunFolder.open(folder.path).read_run()

    def test_fields_and_events_of_a_later_version_are_no_mistake(self, folder: RunFolder) -> None:
        later = {"event": "moved", "trial": "a", "to": "elsewhere"}
        write_lines(folder.trials_file, {**PLANNED, "config": {"epochs": 3, "new": 1}, "why": "x"}, later)
        write_lines(folder.rows_file, {**make_row("a", 1, 0.5), "val_new": 3})
        (record,) = folder.trials()
        assert (record.config, record.rows[0]["val_new"]) == ({"epochs": 3, "new": 1}, 3)

    @pytest.mark.parametrize("command", [["report"], ["predict", "--out", "o"], ["--resume"]])
    def test_the_command_line_tells_it_in_one_sentence(
        self, folder: RunFolder, capsys: pytest.CaptureFixture[str], command: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(folder.path.parent)
        folder.run_file.write_text('{"format": 1}')
        write_lines(folder.trials_file, {"event": "started", "trial": "b\x1b[2J"})
        arguments = [command[0], "run", *(["x.png"] if command[0] == "predict" else []), *command[1:]]
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("bts-tune: error: run/")
        assert captured.err.count("\n") == 1
        assert "\x1b" not in captured.err


class TestLinks:
    @pytest.mark.parametrize(
        "name",
        ["rows.jsonl", "trials.jsonl", "owner.json", "run.lock", "models", "models/a", "samples/a.npz", "figures"],
    )
    def test_out_of_the_run_folder_are_refused(self, folder: RunFolder, tmp_path: Path, name: str) -> None:
        target = tmp_path / "victim"
        target.mkdir()
        link = folder.path / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(target)
        with pytest.raises(RunError, match=f"{name}: is a link that leads out of the run folder"):
            RunFolder.open(folder.path)

    def test_in_a_loop_are_refused_and_within_the_folder_are_not(self, folder: RunFolder) -> None:
        (folder.path / "latest").symlink_to("run.json")
        (folder.path / "models").mkdir()
        RunFolder.open(folder.path)
        (folder.path / "models" / "a").symlink_to("a")
        with pytest.raises(RunError, match="leads out"):
            RunFolder.open(folder.path)

    def test_to_the_run_folder_are_followed(self, folder: RunFolder) -> None:
        link = folder.path.parent / "link"
        link.symlink_to(folder.path)
        RunFolder.open(link)


def test_no_trial_is_found_by_a_path(folder: RunFolder, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "model.json").write_text("{}")
    for trial in ("../../outside", str(outside), "..", "a/../../../outside"):
        with pytest.raises(RunError, match="kept no model of that name"):
            best_model(folder, trial)


class TestLock:
    def test_a_folder_that_cannot_be_written_is_one_sentence(
        self, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder.path / "run.lock").mkdir()
        with (
            pytest.raises(RunError, match=f"^{folder.path}: the run folder cannot be written: Is a dir"),
            folder.locked(),
        ):
            pass

    def test_nor_is_one_whose_owner_cannot_be_written(self, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        def read_only(*_: Any) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr("bts_tune.results.record.run_folder.write_atomically", read_only)
        with pytest.raises(RunError, match="cannot be written: Read-only file system"), folder.locked():
            pass
        monkeypatch.undo()
        with folder.locked():
            pass

    def test_what_fails_under_the_lock_is_not_taken_for_the_lock(self, folder: RunFolder) -> None:
        with pytest.raises(OSError, match="disk"), folder.locked():
            raise OSError(28, "disk full")


class TestSamples:
    def test_an_archive_that_unpacks_to_gigabytes_is_refused(self, tmp_path: Path) -> None:
        import zipfile

        with (
            zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("images.npy", "w") as file,
        ):
            for _ in range(300):
                file.write(bytes(2**20))
        assert (tmp_path / "a.npz").stat().st_size < 2**20
        with pytest.raises(RunError, match="unpacks to 314572800 bytes"):
            read_samples(tmp_path / "a.npz")

    def test_pickled_objects_are_never_loaded(self, tmp_path: Path) -> None:
        import numpy as np

        np.savez(tmp_path / "a.npz", images=np.array([{"a": 1}], dtype=object), allow_pickle=True)
        with pytest.raises(RunError, match="cannot be read"):
            read_samples(tmp_path / "a.npz")


HOSTILE = ["=cmd|'/C calc'!A1", "+1+1", "-2", "@SUM(A1)", "\t=1", "<script>alert(1)</script>", "![x](http://e/x.png)"]


@pytest.mark.parametrize("text", [*HOSTILE, "$\\frac{1}{", "a|b\n# c", "`` ` ``", "[a](javascript:alert(1))"])
def test_names_and_reasons_are_harmless_in_every_file_of_a_report(tmp_path: Path, text: str) -> None:
    import csv

    records = make_baselines(epochs=2)[:2]
    records[0].name = text
    records[1].status, records[1].reason = "failed", text
    files = write_report(write_run(tmp_path / "run", records, make_run(run=text, command=[text], reason=text)))
    for path in (files.leaderboard, files.epochs):
        with path.open(newline="") as file:
            for cell in (cell for row in csv.reader(file) for cell in row):
                assert not re.match(r"\s*[=+@]|\t|\s*-(?![\d.])", cell)
    page = files.report.read_text()
    outside_code = re.sub(r"(`{3,})\w*\n.*?\n\1", "", page, flags=re.DOTALL)
    assert "<script" not in outside_code
    assert not re.search(r"(?<!\\)\]\((?!figures/)", outside_code)
    assert not re.search(r"^# c", outside_code, flags=re.MULTILINE)


# Fuzzing: any mutation of a sound record gives trials and a report, or one sentence


def read_and_report(folder: RunFolder) -> str:
    """Read a run and make the texts of its report; return the sentence where that is refused."""
    try:
        opened = find_run(str(folder.path), Path("nowhere"))
        run, trials = opened.read_run(), opened.trials()
    except BtsTuneError as error:
        return str(error)
    for table in (leaderboard(trials), epochs_table(trials)):
        assert to_csv(table, run).encode()
    context = ReportContext.of(folder, run, trials, compare_configurations(folder, trials))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReportContext, "picture", lambda *_, **__: iter(()))  # drawing takes long, and is no text
        content = document(context)
    assert context.failures.found == []
    assert to_markdown(content).encode()
    assert to_html(content).encode()
    assert ranking_text(trials).encode()
    return ""


def sound_lines(folder: RunFolder) -> tuple[list[Any], list[Any]]:
    write_run(folder.path, make_search(epochs=2, searched=3))
    files = (folder.trials_file, folder.rows_file)
    first, second = ([json.loads(line) for line in path.read_text().splitlines()] for path in files)
    return first, second


# Each example writes and reads a whole run, and makes all of its report but the figures.
FUZZED = settings(
    max_examples=max(100, settings().max_examples), deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, dict[str, Any], list[Any], list[Any]]:
    folder = RunFolder(tmp_path_factory.mktemp("fuzzed") / "run")
    events, rows = sound_lines(folder)
    return folder, make_run(), events, rows


@FUZZED
@given(data=st.data())
def test_mutated_lines_give_a_report_or_one_sentence(fuzzed: Any, data: st.DataObject) -> None:
    folder, run, events, rows = fuzzed
    events, rows = copy.deepcopy(events), copy.deepcopy(rows)
    target = data.draw(st.sampled_from(["trials", "rows"]))
    lines = events if target == "trials" else rows
    lines = data.draw(mutated(lines))
    if not isinstance(lines, list):
        lines = [lines]
    events, rows = (lines, rows) if target == "trials" else (events, lines)
    write_lines(folder.run_file, {"format": 1, **run})
    write_lines(folder.trials_file, *events)
    write_lines(folder.rows_file, *rows)
    sentence = read_and_report(folder)
    assert "\n" not in sentence
    assert len(sentence) < 600
    if sentence:
        assert re.match(rf"{re.escape(str(folder.path))}/(trials|rows)\.jsonl, line \d+: ", sentence)


@FUZZED
@given(data=st.data())
def test_mutated_run_files_give_a_report_or_one_sentence(fuzzed: Any, data: st.DataObject) -> None:
    folder, run, events, rows = fuzzed
    write_lines(folder.run_file, data.draw(mutated({"format": 1, **run})))
    write_lines(folder.trials_file, *events)
    write_lines(folder.rows_file, *rows)
    sentence = read_and_report(folder)
    assert "\n" not in sentence
    assert len(sentence) < 600
    assert not sentence or sentence.startswith(f"{folder.run_file}: ")


@FUZZED
@given(line=st.binary(max_size=300), place=st.sampled_from(["run", "trials", "rows"]))
def test_any_bytes_give_a_report_or_one_sentence(fuzzed: Any, line: bytes, place: str) -> None:
    folder, run, events, rows = fuzzed
    write_lines(folder.run_file, {"format": 1, **run})
    write_lines(folder.trials_file, *events)
    write_lines(folder.rows_file, *rows)
    path = {"run": folder.run_file, "trials": folder.trials_file, "rows": folder.rows_file}[place]
    whole = path.read_bytes()
    path.write_bytes(line if place == "run" else whole + line + b"\n" + whole)
    assert read_and_report(folder).count("\n") == 0


def test_a_large_record_is_read_in_time(folder: RunFolder) -> None:
    write_lines(folder.trials_file, *({**PLANNED, "trial": f"t{number}", "index": number} for number in range(500)))
    write_lines(folder.rows_file, *(make_row(f"t{n}", epoch, 0.5) for n in range(500) for epoch in range(1, 21)))
    begun = time.monotonic()
    assert sum(len(record.rows) for record in folder.trials()) == 10_000
    assert time.monotonic() - begun < 10
