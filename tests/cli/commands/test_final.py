"""`bts-tune final`: what is handed on, and what is refused; whole final stages are run in tests/experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bts_tune import api
from bts_tune.cli.options import names_for_resume
from bts_tune.errors import RunError
from bts_tune.experiment.planning.options import flag
from bts_tune.testing.runs import make_baselines, make_run, write_run
from tests.cli.test_options import sample

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.fixture
def run(empty_folder: Path) -> Path:
    return write_run(empty_folder / "results" / "run", make_baselines(epochs=2), make_run()).path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a final stage was asked for; it goes no further than that."""
    received: dict[str, Any] = {}

    def train_final(run: api.Run, **options: Any) -> NoReturn:
        received.update(options, run=run.path)
        raise RunError("It begins.")

    monkeypatch.setattr(api, "train_final", train_final)
    return received


def test_a_run_is_found_and_its_own_numbers_are_kept(
    refused: Callable[..., str], run: Path, asked: dict[str, Any]
) -> None:
    assert "It begins." in refused("final", "run")
    assert asked.pop("progress") is not None
    assert asked == {"run": Path("results/run"), "top": None, "seeds": None, "allow_changed": False}


def test_options_are_handed_on(refused: Callable[..., str], run: Path, asked: dict[str, Any]) -> None:
    for name in names_for_resume():
        if name == "time_budget":  # the search's
            continue
        words, value = sample(name)
        asked.clear()
        assert "It begins." in refused("final", run, *words), flag(name)
        assert asked[name] == value
    assert "It begins." in refused("final", run, "--final-top", "3", "--final-seeds", "5", "--allow-changed")
    assert (asked["top"], asked["seeds"], asked["allow_changed"]) == (3, 5, True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing"], "no such run"),
        (["run", "--final-top", "0"], "must be at least 1 here"),
        (["run", "--time-budget", "3h"], "unrecognized arguments: --time-budget"),
        (["run", "--split", "grouped"], "unrecognized arguments: --split"),
        (["run"], "space: must be given, or the run cannot go on"),
    ],
)
def test_a_mistake_gets_one_sentence(
    refused: Callable[..., str], run: Path, arguments: list[str], sentence: str
) -> None:
    record = run / "run.json"
    record.write_text(record.read_text().replace('"space"', '"no-space"'))
    assert sentence in refused("final", *arguments)
