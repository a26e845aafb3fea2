"""Banners, marks and the writing of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bts_tune.report.wording import count, duration, metric
from bts_tune.results.naming import changed_note, mark, names
from bts_tune.results.settings import settings, varied_fields
from bts_tune.results.warnings import demo_sentence, leak_sentence, partial_sentence, tags
from bts_tune.testing.runs import make_baselines, make_run, make_trial
from bts_tune.text import shortened


def test_a_complete_run_on_data_has_no_banner() -> None:
    assert tags(make_run()) == []
    assert demo_sentence(make_run()) is None
    assert partial_sentence(make_run()) is None


def test_a_demo_says_that_it_is_no_result() -> None:
    sentence = demo_sentence(make_run(profile="demo"))
    assert sentence is not None
    assert sentence.startswith("DEMO")
    assert "not a result" in sentence


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("running", "still running"),
        ("interrupted", "interrupted"),
        ("out-of-time", "time budget"),
        ("failed", "failed"),
        ("something new", "not complete"),
    ],
)
def test_a_partial_run_says_why_and_how_to_go_on(status: str, why: str) -> None:
    sentence = partial_sentence(make_run(status=status))
    assert sentence is not None
    assert sentence.startswith("PARTIAL")
    assert why in sentence
    assert "bts-tune --resume spring-search" in sentence


def test_the_resume_command_is_quoted_for_a_shell() -> None:
    assert "--resume 'my run'" in str(partial_sentence(make_run(status="failed", run="my run")))


def test_marks_of_baselines() -> None:
    assert mark(make_trial("a")) == ""
    assert mark(make_trial("a", baseline=True)) == "*"
    assert mark(make_trial("a", baseline=True, changed=["epochs"])) == "*!"


def test_changed_baselines_are_listed_once_with_their_fields() -> None:
    trials = make_baselines(seeds=2, changed=["epochs", "image_size"])
    note = changed_note(trials)
    assert note == "Changed baselines: unet-b0, unet-b0-frozen, unetplusplus-b5 (epochs, image_size)."
    assert changed_note(make_baselines()) is None


def test_seeds_are_named_only_where_names_repeat() -> None:
    assert list(names(make_baselines()).values()) == ["unet-b0", "unet-b0-frozen", "unetplusplus-b5"]
    assert names(make_baselines(seeds=2))["unet-b0-s1"] == "unet-b0 seed 1"


def test_settings_show_what_is_not_the_default() -> None:
    record = make_trial("a", encoder="resnet34", learning_rate=3.14159e-4, freeze="all", seed=7, epochs=3)
    assert settings(record) == "unet / resnet34, learning_rate 0.000314, freeze all"
    assert settings(record, ["batch_size"]) == "unet / resnet34, learning_rate 0.000314"
    assert varied_fields([record, make_trial("b", seed=7, epochs=3)]) == ["learning_rate", "encoder", "freeze"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.2, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (725, "12m05s"),
        (3599.9, "1h00m"),
        (3 * 3600 + 250, "3h04m"),
        (51 * 3600, "2d03h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 99 * 86400))
def test_durations_are_short(seconds: float) -> None:
    assert len(duration(seconds)) <= 7


def test_numbers() -> None:
    assert (metric(None), metric(0.12345), metric(1)) == ("–", "0.1235", "1.0000")
    assert (count(None), count(950), count(6_251_469), count(12_345)) == ("–", "950", "6.25 M", "12.3 k")


@given(st.text(max_size=80), st.integers(4, 40))
def test_shortened_fits_and_keeps_both_ends(text: str, length: int) -> None:
    short = shortened(text, length)
    assert len(short) <= length
    flat = " ".join(text.split())
    assert short == flat or (short[0] == flat[0] and short[-1] == flat[-1] and "…" in short)


def split_with(*, leaks: bool) -> dict[str, object]:
    valid = {"related_share": 0.956, "look_alike_share": 0.72}
    return {"dataset": {"split": {"method": "provided", "leak": {"leaks": leaks, "splits": {"valid": valid}}}}}


def test_a_leaking_split_is_said_with_its_numbers() -> None:
    sentence = leak_sentence(split_with(leaks=True))
    assert sentence is not None
    assert "96%" in sentence
    assert "72%" in sentence
    assert "provided split" in sentence


def test_a_split_that_does_not_leak_or_is_not_known_is_not_warned_of() -> None:
    assert leak_sentence(split_with(leaks=False)) is None
    assert leak_sentence({}) is None
