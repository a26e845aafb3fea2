"""What the tests of the Python API share: a dataset of a few slices, and an empty working folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.data.synthetic.phantom import write_phantom


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 40 slices."""
    root = tmp_path_factory.mktemp("api") / "slices"
    write_phantom(root, count=40, image_size=48, slices_per_patient=2, seed=3, workers=1)
    return root


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BTS_TUNE_CACHE", str(tmp_path / "cache"))
