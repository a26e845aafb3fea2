from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.errors import RunError
from bts_tune.export.context import ExportContext
from bts_tune.results.find import best_model
from bts_tune.testing.exports import example_run
from bts_tune.testing.runs import make_run, write_run


def test_the_best_model_or_the_one_that_was_asked_for() -> None:
    assert ExportContext(example_run()).model_folder == best_model(example_run())
    context = ExportContext(example_run(), "clahe")
    assert context.model_folder.name == "clahe"
    assert context.segmenter.config.equalization == "clahe"
    assert context.record is not None
    assert context.record.trial == "clahe"
    with pytest.raises(RunError, match="--trial 'other'"):
        _ = ExportContext(example_run(), "other").model_folder


def test_a_run_without_a_name_is_called_like_its_folder(tmp_path: Path) -> None:
    assert ExportContext(write_run(tmp_path / "mine", [], {"status": "complete"})).run_name == "mine"
    assert ExportContext(write_run(tmp_path / "other", [], make_run())).run_name == "spring-search"
