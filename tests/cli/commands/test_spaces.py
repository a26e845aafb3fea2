"""`bts-tune spaces`: spaces are listed and explained; the code of a space's plugins runs only where asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bts_tune.cli.main import main

pytestmark = pytest.mark.usefixtures("empty_folder")

BOUNDARY_LOSS = Path(__file__).parents[3] / "docs" / "examples" / "plugins" / "boundary_loss.py"


def test_spaces_are_listed_in_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spaces"]) == 0
    listed = capsys.readouterr().out
    assert {line.split()[0] for line in listed.splitlines()} >= {"baseline", "extended"}
    assert max(map(len, listed.splitlines())) <= 140
    assert main(["spaces", "list"]) == 0
    assert capsys.readouterr().out == listed


def test_a_space_is_explained(capsys: pytest.CaptureFixture[str], refused: Callable[..., str]) -> None:
    assert main(["spaces", "show", "extended"]) == 0
    shown = capsys.readouterr().out
    assert "learning_rate" in shown
    assert shown.endswith("\n")
    assert not shown.endswith("\n\n")
    assert "Did you mean 'extended'?" in refused("spaces", "show", "extendet")


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spaces", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["type"] == "object"


def test_a_space_with_a_loss_of_a_plugin_is_shown_with_the_plugin_alone(
    capsys: pytest.CaptureFixture[str], refused: Callable[..., str], forget_plugins: Callable[[], None]
) -> None:
    Path("own.py").write_text("open('ran', 'a').close()\n" + BOUNDARY_LOSS.read_text())
    Path("own.yaml").write_text(
        "name: own\ndescription: A loss of my own.\nplugins: [own.py]\n"
        "trials: {a: {config: {loss: boundary-bce, boundary_bce_weight: 8}}}\n"
    )
    assert "add --plugin own.py" in refused("spaces", "show", "own.yaml")
    assert not Path("ran").exists()
    assert main(["spaces", "show", "own.yaml", "--plugin", "own.py"]) == 0
    assert Path("ran").exists()
    assert "boundary-bce" in capsys.readouterr().out
