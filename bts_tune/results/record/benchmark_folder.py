"""The benchmark folder `results/<benchmark>/`: `benchmark.json`, and a run folder for each dataset and split.

    benchmark.json    what the benchmark is: its file, what that defines, every configuration as it is trained, its runs
    <run>/            each run is a folder of its own, as any other; see `run_folder`

What its runs found together is in `results/benchmark/`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from bts_tune.config import explain
from bts_tune.errors import RunError
from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.run_folder import holds_run
from bts_tune.text import quoted

FORMAT = 1


class _Configuration(BaseModel):
    config: dict[str, Any]
    origin: str
    changed: list[str]
    chosen_on: str | None


class _Options(BaseModel):
    plugins: list[str] = []


class _PlannedRun(BaseModel):
    dataset: str
    split: str | None
    options: _Options


class _Definition(BaseModel):
    configurations: dict[str, dict[str, Any]]
    set: dict[str, Any] = {}


class _Record(BaseModel):
    """What of `benchmark.json` is relied on; whatever else is there is passed over."""

    definition: _Definition
    configurations: dict[str, _Configuration]
    runs: dict[str, _PlannedRun]


def holds_benchmark(path: Path) -> bool:
    """Whether a folder holds a benchmark; False where nobody can tell."""
    return os.path.isfile(BenchmarkFolder(path).file)


def runs_of(path: Path) -> list[str]:
    """Return the names of the folders in a benchmark's that hold a run, in alphabetical order.

    Raises:
        RunError: it cannot be read.
    """
    try:
        return sorted(one.name for one in path.iterdir() if holds_run(one))
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}.") from None


class BenchmarkFolder:
    """One benchmark on disk: `benchmark.json`, and a run folder for each dataset and split."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def file(self) -> Path:
        """What the benchmark is."""
        return self.path / "benchmark.json"

    def run_path(self, name: str) -> Path:
        """Where the run of a dataset and split is."""
        return self.path / name

    def read(self) -> dict[str, Any]:
        """Return the content of `benchmark.json`.

        Raises:
            RunError: it is not that of a benchmark of this version.
        """
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
        except OSError as error:
            raise RunError(f"{self.file}: cannot be read: {error.strerror}.") from None
        except ValueError:
            raise RunError(f"{self.file}: is not JSON; put it back, or begin a new benchmark.") from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else content
            raise RunError(
                f"{self.file}: format is {quoted(found)}; this version of bts-tune reads benchmarks of format {FORMAT}."
            )
        try:
            _Record.model_validate(content, strict=True)
        except ValidationError as error:
            raise RunError(
                f"{self.file}: {explain(error)} Put the file back as it was, or begin a new benchmark."
            ) from None
        return content

    def write(self, content: Mapping[str, Any]) -> None:
        """Replace `benchmark.json`.

        Raises:
            RunError: it cannot be written.
        """
        text = json.dumps({"format": FORMAT, **content}, indent=2, ensure_ascii=False, allow_nan=False)
        try:
            write_atomically(self.file, text + "\n")
        except OSError as error:
            raise RunError(f"{self.path}: the benchmark's folder cannot be written: {error.strerror}.") from None
