"""What `benchmark.json` may say, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.errors import RunError
from bts_tune.results.record.benchmark_folder import BenchmarkFolder
from tests.results.benchmarks import make_benchmark


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 2, "definition": {}, "configurations": {}, "runs": {}}']
)
def test_a_broken_record_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "benchmark.json").write_text(content)
    with pytest.raises(RunError, match=r"benchmark\.json"):
        BenchmarkFolder(tmp_path).read()


@pytest.mark.parametrize(
    ("key", "content", "where"),
    [
        ("definition", {"configurations": []}, "definition.configurations"),
        ("configurations", {"plain": {"config": {}, "origin": "x", "changed": [], "chosen_on": 1}}, "chosen_on"),
        ("configurations", {"plain": {}}, "configurations.plain.config"),
        ("runs", {"one": {"split": None, "options": {}}}, "runs.one.dataset"),
        ("runs", {"one": {"dataset": "one", "split": None, "options": {"plugins": 5}}}, "runs.one.options.plugins"),
        ("runs", [], "runs"),
    ],
)
def test_a_record_that_was_edited_is_refused_with_the_place(
    tmp_path: Path, key: str, content: object, where: str
) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": {"plain": 0.20}}, begun=0)
    folder.write({**folder.read(), key: content})
    with pytest.raises(RunError, match=rf"benchmark\.json: {where}|benchmark\.json: .*{where}") as error:
        folder.read()
    assert "\n" not in str(error.value)
