"""The notebook of docs/examples: it runs in a fresh Python process, and what is committed is fit to be read."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bts_tune

NOTEBOOK = Path(__file__).parents[2] / "docs" / "examples" / "small_study.ipynb"

# What the cells are followed by: the notebook's own result.
CHECKS = """
import math
board = run.leaderboard
assert run.status == "complete"
assert len(board) == 5
assert board["rank"][0] == 1
assert all(math.isfinite(loss) for loss in board["val_dice_loss"])
assert set(run.epochs["trial"]) == set(board["trial"])
assert mask.shape == probability.shape == image.shape == truth.shape
assert files.page.is_file()
print("the notebook ran")
"""


def cells() -> list[dict[str, Any]]:
    return list(json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"])


def code_of_cells() -> list[str]:
    return ["".join(cell["source"]) for cell in cells() if cell["cell_type"] == "code"]


@pytest.mark.slow
def test_its_cells_run_in_order(tmp_path: Path) -> None:
    script = tmp_path / "cells.json"
    script.write_text(json.dumps([*code_of_cells(), CHECKS]))
    run = (
        "import json, pathlib, sys\n"
        "names = {'__name__': '__main__'}\n"
        "for number, code in enumerate(json.loads(pathlib.Path(sys.argv[1]).read_text()), start=1):\n"
        "    exec(compile(code, f'code cell {number}', 'exec'), names)\n"
    )
    environment = {**os.environ, "MPLBACKEND": "Agg", "TMPDIR": str(tmp_path)}
    environment["RAY_TMPDIR"] = environment.get("RAY_TMPDIR", "/tmp")  # sockets need a short path
    done = subprocess.run(
        [sys.executable, "-c", run, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("the notebook ran\n")


def test_it_was_committed_as_it_ran() -> None:
    """From top to bottom, without an error and without anything on standard error."""
    code = [cell for cell in cells() if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"display_data", "execute_result", "stream"}
    assert {output["name"] for output in outputs if output["output_type"] == "stream"} == {"stdout"}
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3


def test_it_is_small_and_names_no_folder_of_a_machine() -> None:
    assert NOTEBOOK.stat().st_size < 400_000
    for cell in cells():
        for output in cell.get("outputs", []):
            shown = {kind: text for kind, text in output.get("data", {}).items() if kind != "image/png"}
            text = json.dumps([shown, output.get("text", "")])
            assert not re.search(r"/(tmp|home|root|Users|usr|opt|work|var)\b", text), text


def test_it_uses_names_that_are_there() -> None:
    """Quick, where running it is not."""
    found = set()
    for code in code_of_cells():
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id == "bt":
                    found.add(node.attr)
                    assert node.attr in bts_tune.__all__
                if node.value.id == "run":
                    assert hasattr(bts_tune.Run, node.attr) or node.attr == "report_files"
    assert {"open_dataset", "check_dataset", "build_space", "tune"} <= found
