"""The export of the documentation, as a user would write and check one, and what the base class refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bts_tune import plugins
from bts_tune.errors import ConfigError, RunError
from bts_tune.export.context import ExportContext
from bts_tune.export.formats.base import FileExport, require
from bts_tune.plugins import load_plugin
from bts_tune.registry import EXPORTS
from bts_tune.testing.exports import ExportContract, example_run
from bts_tune.training.prediction.segmenter import Segmenter

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "plugins" / "npz_weights.py"


class TestExample(ExportContract):
    name = "npz"

    @pytest.fixture(autouse=True)
    def _loaded(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(plugins, "_loaded", {})
        load_plugin(str(EXAMPLE))
        yield
        del EXPORTS._entries["npz"]

    def test_every_weight_is_in_the_file(self, tmp_path: Path) -> None:
        exported = self.make().write(ExportContext(example_run(), "plain"), str(tmp_path / "w.npz"))
        segmenter = Segmenter.load(example_run().model_folder("plain"), "cpu")
        with np.load(tmp_path / "w.npz") as arrays:
            state = segmenter.network.state_dict()
            assert set(arrays) == {*state, "mean", "std"}
            assert all(np.array_equal(arrays[name], tensor.numpy()) for name, tensor in state.items())
        assert exported.notes == (f"{len(state)} tensors of trial plain, epoch 1.",)


class Broken(FileExport):
    title, suffix = "breaks", ".txt"

    def write_to(self, context: ExportContext, target: Path) -> list[str]:
        target.write_text("half")
        target.with_name(f"{target.name}.json").write_text("half")
        raise RunError("No more.")


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No more"):
        Broken().write(ExportContext(example_run()), str(tmp_path / "new" / "out.txt"))
    assert not list(tmp_path.iterdir())


def test_where_nobody_says_where_it_is_in_the_run_under_the_trial_s_name() -> None:
    default = Broken().default_output(ExportContext(example_run(), "plain"))
    assert default == example_run().path / "exports" / "plain.txt"


def test_a_package_that_is_missing_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    require("json", extra="onnx")
    with pytest.raises(ConfigError, match=r"--to onnx: nowhere is not installed; .*pip install 'bts-tune\[onnx\]'\."):
        require("json", "nowhere", extra="onnx")


def test_every_export_has_a_title_for_the_help() -> None:
    assert {"folder", "onnx", "optuna", "torch-export"} <= set(EXPORTS)
    assert all(EXPORTS.get(name).title for name in EXPORTS)
