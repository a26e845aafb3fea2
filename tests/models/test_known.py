"""What is known of models is found out once, and nothing is believed that is damaged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bts_tune.models.known import definition_of_loss, keep, recall
from bts_tune.registry import LOSSES


def test_an_answer_is_that_of_its_own_question(tmp_path: Path) -> None:
    keep(tmp_path, [1, 2], what="a")
    assert recall(tmp_path, what="a") == [1, 2]
    assert recall(tmp_path, what="b") is None
    assert recall(tmp_path / "other", what="a") is None


def test_a_damaged_answer_is_none(tmp_path: Path) -> None:
    keep(tmp_path, 5, what="a")
    (file,) = (tmp_path / "models").glob("*.json")
    for content in (b"", b"{", b"[]", b'{"question": {"what": "b"}, "answer": 5}', b"\xff"):
        file.write_bytes(content)
        assert recall(tmp_path, what="a") is None


def test_a_cache_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("no folder")
    keep(tmp_path, 5, what="a")
    assert recall(tmp_path, what="a") is None


def test_the_definition_of_a_loss_is_its_own_and_needs_no_torch_again(tmp_path: Path) -> None:
    loss = LOSSES.get("dice-bce")
    told = definition_of_loss("dice-bce", tmp_path)
    assert loss.definition in told
    code = (
        "import sys; from pathlib import Path; from bts_tune.models.known import definition_of_loss; "
        f"print(definition_of_loss('dice-bce', Path({str(tmp_path)!r})), 'torch' in sys.modules)"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert again.stdout.strip() == f"{told} False"
