"""The plugins of docs/examples, run together by the command as a user would, and from an installed package."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask
from bts_tune.data.synthetic.phantom import write_phantom
from tests.experiment.conftest import Command

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "plugins"
PLUGINS = sorted(EXAMPLES.glob("*.py"))

SPACE = """
name: own
description: A loss, a decoder and an augmentation step of my own.
defaults:
  image_size: 32
  epochs: 2
  batch_size: 8
  decoder: tiny-net
  encoder: none
  encoder_weights: none
  augmentation: light+ghosting
trials:
  wide: {config: {loss: boundary-bce, boundary_bce_weight: 8, tiny_net_width: 16}}
  narrow: {config: {loss: boundary-bce, tiny_net_width: 4}}
"""


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of patients, with images and masks side by side."""
    phantom, root = tmp_path_factory.mktemp("phantom") / "data", tmp_path_factory.mktemp("patients")
    write_phantom(phantom, count=40, image_size=48, slices_per_patient=2, annotation="outline", seed=3, workers=1)
    for record in open_dataset(phantom):
        patient, stem = record.image.stem.split("_", 1)
        folder = root / patient
        folder.mkdir(exist_ok=True)
        shutil.copy(record.image, folder / f"{stem}.png")
        assert cv2.imwrite(str(folder / f"{stem}_mask.png"), 255 * read_mask(record))
    return root


def column(table: Path, name: str) -> list[str]:
    with table.open(newline="", encoding="utf-8") as file:
        return [row[name] for row in csv.DictReader(file)]


def test_every_example_is_short() -> None:
    assert len(PLUGINS) >= 6
    for plugin in PLUGINS:
        assert len(plugin.read_text().splitlines()) < 60, plugin.name


def run_all(command: Command, patients: Path, run: Callable[..., tuple[int, str, str]], *more: str | Path) -> Path:
    space = command.folder / "own.yaml"
    space.write_text(SPACE)
    arguments: list[str | Path] = [
        "--space",
        space,
        "--data",
        patients,
        "--name",
        "own",
        "--no-dashboard",
        "--split",
        "by-hash",
        "--concurrent",
        "1",
    ]
    code, output, errors = run(*arguments, *more)
    assert code == 0, errors
    assert "Split by-hash" in output
    return command.folder / "results" / "own"


def check(run: Path) -> None:
    """What the plugins register is used, recorded and shown."""
    record = json.loads((run / "run.json").read_text())
    assert record["dataset"]["layout"] == "patient-folders"
    assert record["dataset"]["split"]["method"] == "by-hash"
    assert record["metrics_defined"].keys() == {"area_error"}
    assert set(column(run / "leaderboard.csv", "decoder")) == {"tiny-net"}
    assert set(column(run / "leaderboard.csv", "loss")) == {"boundary-bce"}
    assert sorted(column(run / "leaderboard.csv", "boundary_bce_weight")) == ["4.0", "8.0"]
    assert all(0 <= float(value) <= 1 for value in column(run / "leaderboard.csv", "val_area_error"))
    assert len(column(run / "epochs.csv", "val_area_error")) == 4
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "|predicted area - true area|" in page


def test_all_of_them_together(command: Command, patients: Path, tmp_path: Path) -> None:
    given = [word for plugin in PLUGINS for word in ("--plugin", str(plugin))]
    run = run_all(command, patients, command.here, *given)
    check(run)
    record = json.loads((run / "run.json").read_text())
    assert {one["name"] for one in record["plugins"]} == {str(plugin) for plugin in PLUGINS}

    image = next(patients.glob("*/*.png"))
    predict: list[str | Path] = ["predict", run, image, "--out", tmp_path / "masks"]
    code, _, errors = command.here(*predict)
    assert code == 2
    assert f"made with plugins that are not loaded; if you trust their code, add --plugin {PLUGINS[0]}" in errors
    code, _, errors = command.here(*predict, *given)
    assert code == 0, errors

    code, output, errors = command.here("export", run, "--to", "npz", "--output", tmp_path / "weights.npz", *given)
    assert code == 0, errors
    assert str(tmp_path / "weights.npz") in output
    assert (tmp_path / "weights.npz").is_file()

    # A run that goes on with another plugin than it began with is refused.
    changed = tmp_path / "plugins"
    shutil.copytree(EXAMPLES, changed)
    options = record["options"]
    options["plugins"] = [str(changed / Path(name).name) for name in options["plugins"]]
    (changed / "area_error.py").write_text((changed / "area_error.py").read_text() + "# another\n")
    record["plugins"] = [{**one, "name": str(changed / Path(one["name"]).name)} for one in record["plugins"]]
    (run / "run.json").write_text(json.dumps(record))
    code, _, errors = command.here("--resume", run)
    assert code == 2
    assert "area_error.py, which has changed" in errors


def test_from_an_installed_package(command: Command, patients: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(EXAMPLES, site / "own_plugins")
    names = [plugin.stem for plugin in PLUGINS]
    (site / "own_plugins" / "__init__.py").write_text("".join(f"from own_plugins import {name}\n" for name in names))
    info = site / "own_plugins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-plugins\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bts_tune.plugins]\nown = own_plugins\n")
    command.environment["PYTHONPATH"] = str(site)
    check(run_all(command, patients, command))
