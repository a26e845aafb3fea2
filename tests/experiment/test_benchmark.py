"""Whole benchmarks, by real commands on two phantom datasets: interrupted, gone on with, and the docs' example."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from bts_tune.data.synthetic.phantom import write_phantom
from bts_tune.results.record.run_folder import RunFolder
from tests.experiment.conftest import Command

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "benchmark.yaml"
QUICK = {"epochs": 1, "image_size": 32, "batch_size": 8, "encoder": "tu-test_efficientnet", "encoder_weights": "none"}


@pytest.fixture
def example(command: Command) -> Path:
    """The example of the documentation beside its two datasets, with what makes it quick and nothing else changed."""
    content: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    for number, dataset in enumerate(("clinic_a", "clinic_b")):
        write_phantom(command.folder / dataset, count=30, image_size=48, slices_per_patient=2, seed=number, workers=1)
    file = command.folder / "benchmark.yaml"
    file.write_text(yaml.safe_dump({**content, "seeds": 1, "set": QUICK}, sort_keys=False))
    return file


def test_a_benchmark_is_interrupted_and_gone_on_with(command: Command, example: Path) -> None:
    results = command.folder / "results" / "decoders"
    going = command.start("benchmark", example, "--no-dashboard")
    deadline = time.monotonic() + 400
    first = results / "clinic-a" / "run.json"
    while time.monotonic() < deadline and not (
        first.is_file() and json.loads(first.read_text())["status"] == "complete"
    ):
        assert going.poll() is None, going.communicate()
        time.sleep(0.2)
    while time.monotonic() < deadline and not (results / "clinic-b" / "run.json").is_file():
        time.sleep(0.1)
    going.send_signal(signal.SIGINT)
    output, _ = going.communicate(timeout=240)
    assert going.returncode == 130
    assert "the same command goes on with it" in output
    assert "PARTIAL: 1 run of 2 is not complete (clinic-b)" in (results / "report.md").read_text()
    before = (results / "clinic-a" / "rows.jsonl").read_bytes()

    code, output, errors = command.here("benchmark", example, "--no-dashboard")
    assert code == 0, errors
    assert "Run 1 of 2 of benchmark decoders: clinic-a, complete" in output
    assert (results / "clinic-a" / "rows.jsonl").read_bytes() == before
    for run in ("clinic-a", "clinic-b"):
        trials = RunFolder.open(results / run).trials()
        assert [(trial.name, trial.status, len(trial.rows)) for trial in trials] == [
            ("unet-b0", "complete", 1),
            ("unetplusplus-b0", "complete", 1),
            ("fpn-resnet18", "complete", 1),
        ]
    report = (results / "report.md").read_text()
    assert "2 datasets are too few to tell" in report
    assert "PARTIAL" not in report
    table = pd.read_csv(results / "benchmark.csv")
    assert len(table) == 2 * 2 * 3
    # The test images are of one group, which tells nothing of chance.
    assert (table["value_low"].notna() == (table["measured_on"] == "valid")).all()
    test = RunFolder.open(results / "clinic-b").trials()[0].test["test_dice_loss"]
    row = table[(table["run"] == "clinic-b") & (table["measured_on"] == "test") & (table["configuration"] == "unet-b0")]
    assert row["value"].item() == pytest.approx(test)

    code, output, _ = command.here("benchmark", example, "--dry-run")
    assert code == 0
    assert "Run clinic-b (complete): 3 trials, 3 epochs" in output
    assert "Cost of what is not complete: 0 trials, 0 epochs" in output
    example.write_text(example.read_text().replace("seeds: 1", "seeds: 2"))
    code, _, errors = command.here("benchmark", example)
    assert code == 2
    assert "seeds is not as it was when the benchmark began" in errors
    assert errors.count("\n") == 1


def test_a_broken_dataset_is_refused_before_anything_is_trained(command: Command, example: Path) -> None:
    for image in sorted((command.folder / "clinic_b" / "train").glob("*.png"))[:2]:
        image.write_bytes(b"no image")
    code, _, errors = command.here("benchmark", example, "--no-dashboard")
    assert code == 1
    assert "clinic_b: the dataset has" in errors
    assert not list((command.folder / "results").rglob("run.json"))


def test_the_example_says_what_it_is(example: Path, command: Command) -> None:
    code, output, errors = command.here("benchmark", example, "--dry-run", "--json")
    assert code == 0, errors
    found = json.loads(output)
    assert (found["command"], found["benchmark"], found["seeds"]) == ("benchmark", "decoders", [0])
    assert list(found["configurations"]) == ["unet-b0", "unetplusplus-b0", "fpn-resnet18"]
    assert [(run["run"], run["state"], run["cost"]["trials"]) for run in found["runs"]] == [
        ("clinic-a", "to do", 3),
        ("clinic-b", "to do", 3),
    ]
