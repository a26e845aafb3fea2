from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune import plugins
from bts_tune.experiment.planning.definitions import definitions_of_losses, definitions_of_metrics
from bts_tune.plugins import load_plugin
from bts_tune.registry import LOSSES, METRICS
from bts_tune.space import Space, load_space
from bts_tune.space.file import parse_space_file

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples" / "plugins"


def test_the_losses_of_named_trials_with_their_source() -> None:
    found = definitions_of_losses(load_space("baseline").resolve())
    assert list(found) == ["dice-bce"]
    assert LOSSES.get("dice-bce").definition in found["dice-bce"]


def test_every_loss_that_a_search_may_choose() -> None:
    content = {
        "name": "losses",
        "description": "Which loss?",
        "search": {"parameters": {"loss": {"choices": ["focal-tversky", "focal", "lovasz"]}}},
    }
    space = Space.of_file(parse_space_file(content, "losses"), Path("losses"), "losses")
    found = definitions_of_losses(space.resolve())
    assert list(found) == ["focal-tversky", "focal", "lovasz"]
    assert LOSSES.get("focal").source in found["focal"]


def test_metrics_of_plugins_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    METRICS.all()
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))
    assert definitions_of_metrics() == {}
    load_plugin(str(EXAMPLES / "area_error.py"))
    found = definitions_of_metrics()
    assert list(found) == ["area_error"]
    assert "predicted area" in found["area_error"]
