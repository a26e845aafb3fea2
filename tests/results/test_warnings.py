"""What a reader must know of a run before its metrics."""

from __future__ import annotations

from typing import Any

import pytest

from bts_tune.results.warnings import (
    demo_sentence,
    identical_sentence,
    leak_sentence,
    left_out_sentence,
    partial_sentence,
    patients_sentence,
    short_warnings,
    tags,
    warnings_of,
    worst_leak,
)
from bts_tune.testing.runs import make_run


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
    sentence = partial_sentence(make_run(status=status), "bts-tune --resume results/mine")
    assert sentence is not None
    assert sentence.startswith("PARTIAL")
    assert why in sentence
    assert sentence.endswith(" Go on with: bts-tune --resume results/mine")


def test_a_reader_who_does_not_have_the_run_is_told_no_command() -> None:
    assert "Go on with" not in str(partial_sentence(make_run(status="failed")))


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


def classed(**split: object) -> dict[str, Any]:
    part = {"images": 860, "related_share": 0.9, "look_alike_share": 0.88, "same_scan": 300, "similar": 350}
    leak = {"leaks": True, "splits": {"valid": {**part, "identical": 0}, "test": {**part, "identical": 103}}}
    return {"dataset": {"split": {"method": "provided", "group_by": None, "leak": leak, **split}}}


def test_identical_images_are_told_of_the_splits_that_have_any() -> None:
    sentence = identical_sentence(classed())
    assert sentence is not None
    assert "103 of the 860 test images are in the training split too" in sentence
    assert "validation" not in sentence
    assert identical_sentence(split_with(leaks=True)) is None


def test_test_images_that_stand_in_the_validation_split_are_told_too() -> None:
    run: dict[str, Any] = classed()
    test = run["dataset"]["split"]["leak"]["splits"]["test"]
    test["identical_in_valid"] = 125
    assert "without such images too. 125 test images are not in the training split but in the validation split" in str(
        identical_sentence(run)
    )
    test["identical"] = 0
    assert str(identical_sentence(run)).startswith("IDENTICAL IMAGES: 125 test images are")
    test["identical_in_valid"] = 1
    assert str(identical_sentence(run)).startswith("IDENTICAL IMAGES: 1 test image is")
    test["identical"] = 1
    assert "1 of the 860 test images is in the training split too" in str(identical_sentence(run))


def test_what_unknown_patients_leave_open_is_told_where_they_are_unknown() -> None:
    sentence = patients_sentence(classed())
    assert sentence is not None
    assert "57 % of a patient's pairs" in sentence  # of the measure that runs of earlier versions had
    assert "precision of 0.99" in sentence
    run = classed()
    run["dataset"]["split"]["leak"]["threshold_detail"] = 0.54
    assert "25 % of the pairs of neighbouring slices" in str(patients_sentence(run))
    assert patients_sentence(classed(group_by="the dataset")) is None


def test_the_leak_is_told_by_classes_where_they_are_recorded() -> None:
    assert "90% of the validation and 90% of the test images have a slice" in str(leak_sentence(classed()))
    assert "The closest image in train is identical for 0.0% of valid and 12.0% of test" in str(
        leak_sentence(classed())
    )
    assert "correlates above 0.9" in str(leak_sentence(split_with(leaks=True)))


def test_every_warning_has_a_short_form_in_the_same_order() -> None:
    run = {"profile": "demo", "status": "failed", "left_out": {"encoders": ["resnet34"]}, **classed()}
    long = [sentence for say in warnings_of(run) if (sentence := say())]
    assert len(long) == len(warnings_of(run))
    assert [one.partition(":")[0] for one in short_warnings(run)] == [one.partition(":")[0] for one in long]
    assert "LEAK: 90% of the validation images have relatives in training" in short_warnings(run)
    assert short_warnings(make_run(dataset={})) == []


def test_the_short_warning_is_of_the_split_that_leaks_most() -> None:
    """A validation split taken by groups has no relatives in training, whatever the dataset's own test split has."""
    run = classed()
    run["dataset"]["split"]["leak"]["splits"]["test"]["related_share"] = 0.73
    run["dataset"]["split"]["leak"]["splits"]["valid"]["related_share"] = 0.0
    assert worst_leak(run) == ("test", 0.73)
    assert "LEAK: 73% of the test images have relatives in training" in short_warnings(run)
    assert worst_leak(make_run(dataset={})) is None


def test_few_images_that_leak_are_not_told_as_none() -> None:
    run = classed()
    for one in run["dataset"]["split"]["leak"]["splits"].values():
        one["related_share"] = 2 / 860
    assert "< 1% of the validation and < 1% of the test images have a slice" in str(leak_sentence(run))
    assert "LEAK: < 1% of the validation images have relatives in training" in short_warnings(run)
    alike: dict[str, Any] = split_with(leaks=True)
    alike["dataset"]["split"]["leak"]["splits"]["valid"]["look_alike_share"] = 0.997
    assert "> 99% one that correlates" in str(leak_sentence(alike))


def test_of_an_earlier_run_only_its_leak_is_told() -> None:
    told = [sentence for say in warnings_of({"status": "complete", **split_with(leaks=True)}) if (sentence := say())]
    assert [sentence.partition(":")[0] for sentence in told] == ["LEAK"]


def test_what_was_left_out_for_want_of_weights_is_told() -> None:
    run = make_run(left_out={"encoders": ["resnet34", "mit_b0"], "trials": ["unet-b0"]})
    assert left_out_sentence(run) == (
        "LEFT OUT: pretrained weights could not be had, so that the search cannot draw resnet34, mit_b0, and unet-b0 "
        "was not trained, nor compared with."
    )
    assert left_out_sentence(make_run(left_out=None)) is None
    assert left_out_sentence(make_run()) is None
