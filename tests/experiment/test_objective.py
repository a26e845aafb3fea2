"""A space that names another metric as its objective: early stopping, the search, the ranking and the report follow."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

from bts_tune.testing.runs import make_baselines, make_run, write_run
from tests.experiment.conftest import Command

AREA_ERROR = Path(__file__).parents[2] / "docs" / "examples" / "plugins" / "area_error.py"


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_search_by_another_metric(command: Command, space_file: Callable[..., Path]) -> None:
    space = space_file(epochs=2, search=True, extra="objective: iou\n")
    options = ("--set", "batch_norm_momentum=0.2", "--num-trials", "2", "--concurrent", "1")
    code, output, errors = command(*command.run_arguments(space, "iou", *options))
    assert code == 0, errors
    assert "ranked by IoU" in " ".join(output.split())
    folder = command.record("iou")
    assert folder.read_run()["objective"]["metric"] == "iou"
    for record in folder.trials():
        assert record.config["objective"] == "iou"
        best = record.best_row
        assert best is not None
        assert best["val_iou"] == max(row["val_iou"] for row in record.rows) == record.rows[-1]["best_val_iou"]
    ranked = [float(row["val_iou"]) for row in rows_of(folder.path / "leaderboard.csv") if row["rank"]]
    assert ranked == sorted(ranked, reverse=True)
    page = (folder.path / "report.md").read_text(encoding="utf-8")
    assert "by validation IoU, then Dice loss" in page

    # A resume decides by the same metric, and a run by another is not ranked beside it.
    code, _, errors = command("--resume", folder.path, "--no-dashboard")
    assert code == 0, errors
    other = write_run(command.folder / "results" / "dice", make_baselines(epochs=2), make_run())
    code, output, _ = command("compare", folder.path, other.path)
    assert "different objectives (IoU; Dice loss)" in output


def test_a_plugin_s_metric_and_a_report_without_the_plugin(command: Command, space_file: Callable[..., Path]) -> None:
    space = space_file(extra=f"objective: area-error\nplugins: [{AREA_ERROR}]\n")
    options = ("--final-top", "1", "--final-seeds", "2", "--concurrent", "1")
    arguments = command.run_arguments(space, "own", *options)
    code, _, errors = command(*arguments)
    assert code == 0, errors
    folder = command.record("own")
    means = [float(row["val_area_error"]) for row in rows_of(folder.path / "configurations.csv")]
    assert means == sorted(means)
    code, output, errors = command("report", folder.path)
    assert code == 0, errors
    assert "Area error" in output
    page = (folder.path / "report.md").read_text(encoding="utf-8")
    assert "by validation Area error, then Dice loss, then IoU" in page
    assert "How sure the Area error is cannot be told" in page
    assert "failed" not in json.dumps(folder.read_run()["status"])


def test_an_unknown_metric_is_one_sentence(command: Command, space_file: Callable[..., Path]) -> None:
    code, _, errors = command(*command.run_arguments(space_file(extra="objective: iuo\n"), "x"))
    assert code == 2
    assert errors.count("\n") == 1
    assert "objective" in errors
    assert "iou" in errors
