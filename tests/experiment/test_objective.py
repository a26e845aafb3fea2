"""A space whose objective is the metric of a plugin: the ranking, the final stage and the report follow."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

from tests.experiment.conftest import EXAMPLES, Command

PLUGINS = ", ".join(str(EXAMPLES / name) for name in ("area_error.py", "by_hash.py"))


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_plugin_s_metric_and_a_report_without_the_plugin(command: Command, space_file: Callable[..., Path]) -> None:
    space = space_file(extra=f"objective: area-error\nplugins: [{PLUGINS}]\n")
    options = ("--final-top", "1", "--final-seeds", "2", "--concurrent", "1", "--split", "by-hash")
    arguments = command.run_arguments(space, "own", *options)
    code, output, errors = command(*arguments)
    assert code == 0, errors
    assert "Split by-hash" in output
    folder = command.record("own")
    means = [float(row["val_area_error"]) for row in rows_of(folder.path / "configurations.csv")]
    assert means == sorted(means)
    code, output, errors = command("report", folder.path)
    assert code == 0, errors
    assert "Area error" in output
    page = (folder.path / "report.md").read_text(encoding="utf-8")
    assert "ordered by Area error, then Dice loss, then IoU" in page
    assert "with validation Area error" in page.partition("## Ranking")[0]
    assert "failed" not in json.dumps(folder.read_run()["status"])


def test_an_unknown_metric_is_one_sentence(command: Command, space_file: Callable[..., Path]) -> None:
    code, _, errors = command(*command.run_arguments(space_file(extra="objective: iuo\n"), "x"))
    assert code == 2
    assert errors.count("\n") == 1
    assert "objective" in errors
    assert "iou" in errors
