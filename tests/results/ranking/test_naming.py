"""What a reader calls a trial."""

from __future__ import annotations

from bts_tune.results.ranking.naming import changed_note, mark, names, with_role
from bts_tune.testing.runs import make_baselines, make_trial


def test_marks_of_baselines() -> None:
    assert mark(make_trial("a")) == ""
    assert mark(make_trial("a", baseline=True)) == "*"
    assert mark(make_trial("a", baseline=True, changed=["epochs"])) == "*!"


def test_a_role_is_told_in_a_word_or_two() -> None:
    assert with_role("a", make_trial("a")) == "a"
    assert with_role("a", make_trial("a", baseline=True)) == "a (baseline)"
    assert with_role("a", make_trial("a", baseline=True, changed=["epochs"])) == "a (changed baseline)"


def test_changed_baselines_are_listed_once_with_their_fields() -> None:
    trials = make_baselines(seeds=2, changed=["epochs", "image_size"])
    note = changed_note(trials)
    assert note == "Changed baselines: unet-b0, unet-b0-frozen, unetplusplus-b5 (epochs, image_size)."
    assert changed_note(make_baselines()) is None


def test_seeds_are_named_only_where_names_repeat() -> None:
    assert list(names(make_baselines()).values()) == ["unet-b0", "unet-b0-frozen", "unetplusplus-b5"]
    assert names(make_baselines(seeds=2))["unet-b0-s1"] == "unet-b0 seed 1"
