"""The section on the answer, in every state a run can be in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bts_tune.report.blocks import Tile
from bts_tune.report.sections.answer import answer, headline, in_short, tiles
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.record.scores import read_scores
from bts_tune.results.statistics.comparison import Comparison, compare_configurations
from bts_tune.testing.runs import make_row, make_run, make_split, make_trial
from bts_tune.testing.sections import SectionContract, context_of
from tests.results.scored import SEARCHED, of_seeds, written
from tests.results.scored import trial as scored_trial


class TestAnswer(SectionContract):
    name = "answer"


def trial(identifier: str, loss: float, iou: float, **kwargs: Any) -> TrialRecord:
    return make_trial(identifier, rows=[make_row(identifier, 1, loss, iou)], epochs=1, **kwargs)


def test_a_searched_configuration_that_beats_the_best_baseline() -> None:
    trials = [
        trial("t1", 0.2, 0.7, encoder="resnet34"),
        trial("slow", 0.4, 0.5, baseline=True),
        trial("good", 0.25, 0.72, baseline=True),
    ]
    text = answer(trials)
    assert "Dice loss 0.2000 and IoU 0.7000 at epoch 1 of 1" in text
    assert "0.0500 lower Dice loss and 0.0200 lower IoU than the best baseline, good (baseline)" in text
    assert "Dice loss 0.2500 and IoU 0.7200" in text


def test_a_changed_baseline_is_named_as_changed() -> None:
    text = answer([trial("t1", 0.2, 0.7), trial("unet-b0", 0.3, 0.6, baseline=True, changed=["epochs", "image_size"])])
    assert "unet-b0 (changed baseline)" in text
    assert "image_size" not in text


def test_a_baseline_that_no_search_beats() -> None:
    text = answer([trial("unet-b0", 0.2, 0.7, baseline=True), trial("t1", 0.3, 0.6)])
    assert "No searched configuration does better" in text
    assert "the closest, t1, has Dice loss 0.3000 and IoU 0.6000" in text


def test_baselines_alone() -> None:
    text = answer([trial("a", 0.2, 0.7, baseline=True), trial("b", 0.3, 0.6, baseline=True)])
    assert "The next is b (baseline), with Dice loss 0.3000" in text


def test_one_trial_alone() -> None:
    assert "no other configuration" in answer([trial("a", 0.2, 0.7, baseline=True)])


def test_no_baseline_trained_to_the_full_budget() -> None:
    trials = [trial("t1", 0.2, 0.7), trial("unet-b0", 0.1, 0.9, baseline=True, status="interrupted")]
    text = answer(trials)
    assert "t1" in text
    assert "no baseline was trained to the full budget" in text


def test_seeds_of_one_configuration_are_one_mean() -> None:
    trials = [trial(f"a-s{seed}", 0.2 + seed / 10, 0.7, name="a", seed=seed, baseline=True) for seed in range(2)]
    text = answer(trials)
    assert text.startswith("The only configuration trained to the full budget: a (baseline), with")
    assert "Dice loss 0.2500 (0.2000, 0.3000) and IoU 0.7000 (0.7000, 0.7000) (means of 2 trainings and" in text
    assert "both values, which are no more than a range" in text
    trials.append(trial("a-s2", 0.4, 0.7, name="a", seed=2, baseline=True))
    assert "Dice loss 0.3000 ± 0.1000 and IoU 0.7000 ± 0.0000 (mean ± standard deviation of 3 trainings)" in answer(
        trials
    )


def test_nothing_ranked_names_the_lowest_so_far_across_statuses() -> None:
    text = answer([trial("t1", 0.5, 0.4, status="stopped"), trial("t2", 0.3, 0.6, status="interrupted")])
    assert "nothing is ranked" in text
    assert "so far is 0.3000 (IoU 0.6000), by t2" in text
    assert "1 stopped early, 1 interrupted" in text


def test_a_final_stage_that_has_just_begun_does_not_hide_what_the_search_found() -> None:
    searched = [trial("t1", 0.3, 0.6, encoder="resnet34"), trial("t2", 0.2, 0.7)]
    final = [
        trial("f1", 0.9, 0.1, stage="final", origin="t2", status="interrupted"),
        make_trial("f2", stage="final", origin="t2", status="waiting"),
    ]
    assert answer([*searched, *final]) == (
        "No training of the final stage, which alone is ranked, is complete yet (1 interrupted, 1 waiting). The best "
        "of the search is t2, with validation Dice loss 0.2000 and IoU 0.7000."
    )


def test_a_final_stage_without_an_epoch_does_not_hide_those_of_a_search_in_which_nothing_is_complete() -> None:
    final = make_trial("f1", index=1, stage="final", origin="t1", status="waiting")
    text = answer([trial("t1", 0.3, 0.6, status="stopped"), final])
    assert "nothing is ranked (trials: 1 waiting, 1 stopped early)" in text
    assert "so far is 0.3000 (IoU 0.6000), by t1" in text


def test_all_failed_before_the_first_epoch() -> None:
    text = answer([make_trial("t1", status="failed"), make_trial("t2", index=1, status="failed")])
    assert text == "No trial has finished an epoch, so there is nothing to rank (trials: 2 failed)."


def test_no_trials() -> None:
    assert "none planned" in answer([])


def test_in_short_it_is_one_sentence_and_one_on_the_baseline() -> None:
    trials = [trial("t1", 0.2, 0.7), trial("good", 0.25, 0.72, baseline=True, changed=["epochs", "image_size"])]
    assert in_short(trials) == (
        "Best of 2 trials: t1, with validation Dice loss 0.2000 and IoU 0.7000. The best baseline, good, has Dice loss "
        "0.2500 and IoU 0.7200."
    )
    assert in_short(trials[1:]) == (
        "The only trial trained to the end: good (changed baseline), with validation Dice loss 0.2500 and IoU 0.7200."
    )
    assert "nothing to rank" in in_short([])


def test_without_scores_there_is_no_headline() -> None:
    assert headline(SEARCHED, Comparison()) is None


@pytest.mark.parametrize(
    ("qualities", "told"),
    [
        ({"t1": 0.8, "good": 0.7, "weak": 0.6}, "t1 beats the best baseline, good, by 0."),
        ({"t1": 0.7, "good": 0.7, "weak": 0.6}, "This may be chance: the interval of the difference includes zero"),
        (
            {"t1": 0.6, "good": 0.7, "weak": 0.6},
            "t1 ranks first on the validation split, but on the test split it is 0.",
        ),
    ],
)
def test_the_headline_says_what_the_test_split_allows(tmp_path: Path, qualities: dict[str, float], told: str) -> None:
    text = headline(SEARCHED, compare_configurations(written(tmp_path / "r", SEARCHED, qualities), SEARCHED))
    assert text is not None
    assert told in text
    assert "on the test split" in text
    assert text.count(".") < 9  # one or two sentences; the rest are decimals


def test_the_headline_says_where_the_best_is_a_baseline(tmp_path: Path) -> None:
    trials = [
        scored_trial("good", 0.2, baseline=True),
        scored_trial("weak", 0.4, index=1, baseline=True),
        scored_trial("t1", 0.5, index=2),
    ]
    text = headline(trials, compare_configurations(written(tmp_path / "r", trials, {"good": 0.8, "weak": 0.6}), trials))
    assert text is not None
    assert text.startswith("The best is a baseline: good beats the next baseline, weak, by 0.")
    assert "interval +0." in text


def test_the_headline_names_a_changed_baseline_too(tmp_path: Path) -> None:
    trials = [scored_trial("t1", 0.2), scored_trial("good", 0.3, index=1, baseline=True, changed=["epochs"])]
    text = headline(trials, compare_configurations(written(tmp_path / "r", trials, {"t1": 0.8, "good": 0.7}), trials))
    assert text is not None
    assert "the best baseline, good" in text


def test_without_a_test_split_the_headline_is_about_the_split_that_chose(tmp_path: Path) -> None:
    found = compare_configurations(
        written(tmp_path / "r", SEARCHED, {"t1": 0.8, "good": 0.7, "weak": 0.6}, test=0), SEARCHED
    )
    text = headline(SEARCHED, found)
    assert text is not None
    assert "on the validation split, which chose it" in text


def test_one_test_image_tells_nothing(tmp_path: Path) -> None:
    found = compare_configurations(
        written(tmp_path / "r", SEARCHED, {"t1": 0.8, "good": 0.7, "weak": 0.6}, test=1), SEARCHED
    )
    text = headline(SEARCHED, found)
    assert text is not None
    assert "cannot be compared on the test split: there is one image." in text


def numbers(trials: list[TrialRecord], comparison: Comparison | None = None, **run: Any) -> dict[str, Tile]:
    found = tiles(context_of(trials, make_run(**run), comparison=comparison))
    return {tile.label: tile for tile in found}


def test_the_tiles_are_of_the_test_split_and_have_intervals(tmp_path: Path) -> None:
    qualities = {"t1": 0.8, "good": 0.7, "weak": 0.6}
    found = numbers(SEARCHED, compare_configurations(written(tmp_path / "r", SEARCHED, qualities), SEARCHED))
    assert list(found) == [
        "Dice loss of t1, test split",
        "Gain over the best baseline",
        "Seeds and images",
        "Leakage of the split",
    ]
    loss, gain, evidence, leak = found.values()
    assert float(loss.value) < 0.4
    assert loss.details[0].startswith("95\u00a0% interval 0.")
    assert loss.details[1].startswith("IoU 0.")
    assert gain.value.startswith("+0.")
    assert gain.value.endswith(" Dice")
    assert gain.details[1] == "good"
    assert evidence.value == "1 seed, 30 images"
    assert "first of 3 in" in evidence.details[1]
    assert leak.value == "86\u00a0%"


def test_the_tiles_say_why_images_of_one_group_give_no_interval(tmp_path: Path) -> None:
    folder = written(tmp_path / "r", SEARCHED, {"t1": 0.8, "good": 0.7, "weak": 0.6})
    names = read_scores(folder.scores_file("t1")).splits["test"].names
    folder.split_file.write_text("\n".join(("file,split,group", *(f"{name},test,one" for name in names))))
    loss, gain, evidence, _ = numbers(SEARCHED, compare_configurations(folder, SEARCHED)).values()
    assert loss.details[0] == gain.details[0] == "no interval: all 30 images are of one group"
    assert not any("of resamples" in detail for detail in evidence.details), "nothing was drawn"


def test_the_tiles_tell_of_the_seeds_that_were_measured(tmp_path: Path) -> None:
    seeds = of_seeds("a", 0.3, 3)
    comparison = compare_configurations(written(tmp_path / "r", seeds, {"a-s0": 0.8}), seeds)
    found = tiles(context_of(seeds, make_run(), comparison=comparison))
    assert "1 of 3 trainings measured" in found[0].details
    assert found[2].value == "1 seed, 30 images"


def test_without_scores_the_tiles_say_that_there_are_no_intervals() -> None:
    found = numbers([trial("t1", 0.2, 0.7), trial("good", 0.25, 0.72, baseline=True)])
    loss, gain, *_ = found.values()
    assert (loss.label, loss.value) == ("Dice loss of t1, validation split", "0.2000")
    assert "no interval" in loss.details[1]
    assert gain.value == "+0.0500 Dice"


def test_before_a_trial_is_ranked_the_tiles_tell_how_far_the_run_is() -> None:
    found = numbers([trial("t1", 0.5, 0.4, status="stopped"), make_trial("t2", status="waiting")], status="running")
    assert found["Trials ended"].value == "1 of 2"


def test_a_split_that_does_not_leak_or_is_not_known() -> None:
    split = make_split("grouped", related=0.0)
    found = numbers([trial("t1", 0.2, 0.7)], dataset={"split": split})
    assert found["Leakage of the split"].value == "none found"
    assert "Leakage of the split" not in numbers([trial("t1", 0.2, 0.7)], dataset={})
