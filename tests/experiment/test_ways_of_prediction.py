"""Test-time augmentation and the ensemble of a winner's trainings, from the run to its report and to `predict`."""

from __future__ import annotations

from pathlib import Path

from tests.experiment.conftest import Command, Finished


def test_measured_reported_and_used(with_options: Finished, command: Command, tmp_path: Path) -> None:
    folder = with_options.folder
    best, other = sorted(folder.trials(), key=lambda record: -len(record.variants))
    assert best.variants.keys() == {"tta", "postprocessed", "ensemble", "ensemble-tta"}
    assert other.variants.keys() == {"tta", "postprocessed"}
    assert set(best.variants["ensemble"]["members"]) == {best.trial, other.trial}
    assert 0 <= best.variants["ensemble"]["metrics"]["test_iou"] <= 1
    page = (folder.path / "report.md").read_text(encoding="utf-8")
    assert "ensemble of 2, with test-time augmentation" in page

    image = next((command.data / "test").glob("*.png"))
    code, output, errors = command.here("predict", folder.path, image, "--out", tmp_path / "out", "--ensemble", "--tta")
    assert code == 0, errors
    assert output.count("Model: ") == 2
    assert list((tmp_path / "out").glob("*_mask.png"))
    code, _, errors = command.here("predict", folder.path, image, "--out", tmp_path / "post", "--postprocess")
    assert code == 0, errors
    code, _, errors = command.here(
        "predict", folder.path, image, "--out", tmp_path, "--ensemble", "--trial", best.trial
    )
    assert code == 2
    assert "give one of the two" in errors
