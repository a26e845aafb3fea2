from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bts_tune.experiment.execution.nodes import node_check
from bts_tune.experiment.execution.nodes.node_check import inspect_node, reads


def test_a_node_without_any_package_answers_too() -> None:
    """What is asked is sent as it is, and may find nothing there but Python."""
    code = Path(node_check.__file__).read_text() + "\nprint(inspect_versions(['torch'], [])['torch'])\n"
    done = subprocess.run([sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "none\n"


def test_a_node_is_asked_for_cuda_where_trials_need_it() -> None:
    import torch

    assert inspect_node([], [], {}, cuda=False)["cuda"] is True
    assert inspect_node([], [], {}, cuda=True)["cuda"] is torch.cuda.is_available()


def test_a_file_is_read_or_not_without_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert not reads(str(file), "text")
    file.write_bytes(b"\xff")
    assert not reads(str(file), "text")
    file.write_text("text")
    assert reads(str(file), "text")
    assert not reads(str(tmp_path), "text")
