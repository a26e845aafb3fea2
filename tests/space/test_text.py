"""A space as text: everything that a reader must know is there, and it fits a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.space import Space, list_spaces, load_space
from bts_tune.space.text import render_space
from tests.space.builders import from_text


@pytest.mark.parametrize("space", list_spaces(), ids=lambda space: space.name)
def test_explains_a_shipped_space(space: Space) -> None:
    text = render_space(space)
    assert text.startswith(f"{space.name}\n")
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    for line in text.splitlines():
        assert line == line.rstrip()
        assert len(line) <= 120
    words = " ".join(text.split())
    for name, trial in space.file.trials.items():
        assert f"\n{name}  " in text, "in the table"
        assert " ".join(trial.description.split()) in words
    for note in space.file.notes:
        assert f"- {' '.join(note.split())}" in words
    for name, value in space.file.demo.items():
        assert f"{name} {value}" in words.partition("Demo profile")[2]
    for name, trial in space.file.trials.items():
        assert not trial.demo or f"in {name}: " in text.partition("Demo profile")[2]
    if space.file.search:
        for name, parameter in space.file.search.parameters.items():
            assert f"\n{name}  " in text
            assert " ".join(parameter.description.split()) in words


def test_shows_ranges_conditions_and_published_figures() -> None:
    text = render_space(load_space("extended"))
    assert "1e-05 to 0.01, on a logarithmic scale\n" in text
    assert "1 to 4; when freeze is stages\n" in text
    assert "0 to 0.6, in steps of 0.1\n" in text
    assert "none, histogram, clahe\n" in text
    assert "Dice loss 0.3057, IoU 0.5426; " in text
    assert "Search: 55 sampled trials of at most 35 epochs\n" in text
    assert "in the search:  num_trials 6, startup_trials 3, grace_period 2, final_top 1, final_seeds 1\n" in text
    assert "the best 2 configurations and all baselines again" in text


def test_columns_are_the_fields_that_differ() -> None:
    text = render_space(load_space("baseline"))
    header, *rows = next(part for part in text.split("\n\n") if part.startswith("Named trials")).splitlines()[2:]
    assert header.split() == [
        *("trial", "baseline", "decoder", "encoder", "freeze", "decoder_dropout", "head_dropout", "learning_rate")
    ]
    assert [row.split() for row in rows] == [
        ["unet-b0", "yes", "unet", "efficientnet-b0", "none", "0.5", "0.5", "0.001"],
        ["unet-b0-frozen", "yes", "unet", "efficientnet-b0", "all", "0.5", "0.5", "0.001"],
        ["unetplusplus-b5", "yes", "unetplusplus", "efficientnet-b5", "none", "0", "0", "0.0001"],
    ]
    for column in header.split():
        at = header.index(column)
        assert {row[at - 1] for row in rows if at} <= {" "}, "aligned"


def test_a_parameter_that_some_trials_have_is_a_column(tmp_path: Path) -> None:
    some = tmp_path / "some.yaml"
    some.write_text(
        "name: some\ndescription: d\ndefaults: {loss: tversky}\n"
        "trials: {one: {config: {tversky_alpha: 0.4}}, two: {}, three: {config: {loss: dice-bce}}}\n"
    )
    text = render_space(load_space(str(some)))
    header, *rows = next(part for part in text.split("\n\n") if part.startswith("Named trials")).splitlines()[2:]
    assert header.split() == ["trial", "baseline", "loss", "tversky_alpha", "tversky_beta"]
    assert [row.split() for row in rows] == [
        ["one", "no", "tversky", "0.4", "0.7"],
        ["two", "no", "tversky", "0.3", "0.7"],
        ["three", "no", "dice-bce", "–", "–"],
    ]
    assert "tversky" not in text.partition("the same in all: ")[2]
    some.write_text("name: some\ndescription: d\ndefaults: {loss: tversky}\ntrials: {one: {}, two: {}}\n")
    same = " ".join(render_space(load_space(str(some))).partition("the same in all: ")[2].split())
    assert "tversky_alpha 0.3, tversky_beta 0.7" in same


def test_a_search_alone_and_a_trial_alone(tmp_path: Path) -> None:
    alone = tmp_path / "alone.yaml"
    alone.write_text("name: alone\ndescription: d\nsearch: {parameters: {optimizer: {choices: [adam, sgd]}}}\n")
    text = render_space(load_space(str(alone)))
    assert "Named trials" not in text
    assert "Demo profile" not in text
    assert "optimizer  adam, sgd\n           how gradients become steps\n" in text, "the field's own description"
    alone.write_text("name: alone\ndescription: d\nseeds: [1, 2]\ntrials: {one: {}}\n")
    text = render_space(load_space(str(alone)))
    assert "Named trials (1), each with seed 1, 2\n" in text
    assert "one    no        unet     efficientnet-b0\n" in text
    assert "Search" not in text


def test_a_grace_period_that_is_not_below_the_budget_stops_nothing(tmp_path: Path) -> None:
    search = "search: {parameters: {optimizer: {choices: [adam, sgd]}}, scheduler: {grace_period: 5}}\n"
    shown = render_space(from_text(tmp_path, "defaults: {epochs: 2}\n" + search))
    assert "scheduler: no trial is stopped early, as the grace_period is not below the budget" in shown
    assert "before epoch 5" in render_space(from_text(tmp_path, "defaults: {epochs: 6}\n" + search))
