"""Every kind of broken dataset: one clear sentence, the exit code, and nothing half-prepared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bts_tune.cli.main import main
from bts_tune.config import PreprocessingPart
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.cache import entries
from bts_tune.data.prepared.prepare import load_prepared, prepare
from bts_tune.errors import DataError
from tests.data.broken import KINDS, Broken

# The module that reads images silences these outside of pytest, which resets the filters.
pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning:PIL"), pytest.mark.filterwarnings("ignore:Image size")]


def cached(cache: Path) -> list[str]:
    """What lies in the cache but its locks: entries, and what an unfinished build would leave."""
    return [path.name for path in cache.iterdir() if path.name != ".locks"] if cache.exists() else []


def test_there_are_enough_kinds_and_each_has_a_name() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 100


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_is_told_in_one_sentence_and_leaves_nothing_half_prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: Broken
) -> None:
    root = kind.build(tmp_path / "dataset")
    if kind.forbidden and os.access(root / kind.forbidden, os.R_OK):
        pytest.skip("the super-user may read everything")
    assert main(["data", "check", str(root)]) == kind.code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    if kind.code == 2:
        assert captured.out == ""
        assert captured.err.startswith("bts-tune: error: ")
        assert captured.err.count("\n") == 1
        assert captured.err.endswith(".\n")
        told = captured.err
    else:
        assert "error" not in captured.err  # it shows progress
        assert (kind.code == 0) == ("Errors: none" in captured.out)
        told = captured.out
    lines = [line for line in told.splitlines() if kind.sentence in line]
    assert lines, told
    assert len(lines[0]) < 1000

    cache = tmp_path / "cache"
    part = PreprocessingPart(image_size=32)
    if kind.prepares:
        folder = prepare(open_dataset(root), part, cache=cache).folder
        assert cached(cache) == [folder.name]
        assert len(load_prepared(folder).train) > 0
        return
    with pytest.raises(DataError) as refusal:
        prepare(open_dataset(root), part, cache=cache)
    assert str(tmp_path) in str(refusal.value)
    assert entries(cache) == []
    assert cached(cache) == []
