"""A space whose objective is the metric of a plugin: the ranking, the final stage and the report follow."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

from tests.experiment.conftest import Command, Finished


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_plugin_s_metric_and_a_report_without_the_plugin(with_final: Finished, command: Command) -> None:
    assert "Split by-hash" in with_final.output
    folder = command.copy_of(with_final.folder)
    means = [float(row["val_area_error"]) for row in rows_of(folder.path / "configurations.csv")]
    assert len(means) == 3
    assert means == sorted(means)
    code, output, errors = command.here("report", folder.path)
    assert code == 0, errors
    assert "Area error" in output
    page = (folder.path / "report.md").read_text(encoding="utf-8")
    assert "ordered by Area error, then Dice loss, then IoU" in page
    assert "with validation Area error" in page.partition("## Ranking")[0]
    assert "failed" not in json.dumps(folder.read_run()["status"])


def test_an_unknown_metric_is_one_sentence(command: Command, space_file: Callable[..., Path]) -> None:
    code, _, errors = command.here(*command.run_arguments(space_file(extra="objective: iuo\n"), "x"))
    assert code == 2
    assert errors.count("\n") == 1
    assert "objective" in errors
    assert "iou" in errors
