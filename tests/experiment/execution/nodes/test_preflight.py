from __future__ import annotations

from pathlib import Path

import bts_tune
from bts_tune.experiment.execution.nodes.node_check import inspect_node, reads
from bts_tune.experiment.execution.nodes.preflight import CODE, PACKAGES, Preflight, version_fault, versions_here


def test_this_machine_agrees_with_itself() -> None:
    found = versions_here()
    assert set(found) == {*PACKAGES, "python", "bts-tune"}
    assert "none" not in found.values()
    assert version_fault(found, versions_here()) == ""
    package = Path(bts_tune.__file__).parent
    assert all(any(package.glob(pattern)) for pattern in CODE)
    compared = {file for pattern in CODE for file in package.glob(pattern)}
    assert set((package / "experiment" / "execution").rglob("*.py")) <= compared


def test_what_differs_is_named_with_both_versions() -> None:
    expected = {"python": "3.11", "torch": "2.6", "timm": "1.0", "bts-tune": "abc"}
    fault = version_fault({"python": "3.11", "torch": "2.5", "timm": "none", "bts-tune": "def"}, expected)
    assert fault == "torch is 2.5, here 2.6; timm is not installed; the code of bts-tune is def, here abc"


def test_a_file_with_a_random_content_tells_who_shares_a_folder(tmp_path: Path) -> None:
    preflight = Preflight.of(tmp_path, needed=0, cuda=False)
    assert inspect_node([], [], {"results": preflight.shared}, cuda=False)["shared"] == ["results"]
    other = Preflight.of(tmp_path, needed=0, cuda=False)
    assert reads(*other.shared)
    assert not reads(*preflight.shared)  # the same path of another run, or of another machine
    Preflight.tidy(tmp_path)
    assert list(tmp_path.iterdir()) == []
