"""What is said of a search at a lower fidelity, in words and in every section that shows its figures."""

from __future__ import annotations

from dataclasses import replace

from bts_tune.results.fidelity import fidelity_sentence, search_fidelity
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.statistics.optimism import optimism
from bts_tune.testing.runs import make_search, make_trial
from tests.report.pages import page, section

SENTENCE = "The search ran at a lower fidelity (images of 32 px, 25% of the training images): its figures"


def lowered(trials: list[TrialRecord]) -> list[TrialRecord]:
    return [
        replace(
            record,
            config={**record.config, "image_size": 32, "train_share": 0.25},
            full={"image_size": 224, "train_share": 1.0},
        )
        for record in trials
    ]


def with_final_stage(trials: list[TrialRecord]) -> list[TrialRecord]:
    """The trials, and those of the first two as a final stage trains them."""
    final = [
        replace(
            record,
            trial=f"final-{record.name}",
            index=100 + record.index,
            config={**record.config, **record.full},
            full={},
            stage="final",
            origin=record.trial,
            rows=[{**row, "trial": f"final-{record.name}"} for row in record.rows],
        )
        for record in trials[:2]
    ]
    return [*trials, *final]


def test_what_was_lowered_is_told() -> None:
    assert search_fidelity(make_search()) is None
    assert fidelity_sentence(make_search()) is None
    assert search_fidelity(lowered(make_search())) == "images of 32 px, 25% of the training images"
    nearly_all = [replace(make_trial("a"), config={"train_share": 0.997}, full={"train_share": 1.0})]
    assert search_fidelity(nearly_all) == "> 99% of the training images"
    shorter = [replace(record, full={"epochs": 70}) for record in make_search(epochs=35)]
    assert search_fidelity(shorter) == "a budget of 35 epochs"
    assert SENTENCE in str(fidelity_sentence(lowered(make_search())))


def test_a_report_of_the_search_alone_says_what_its_ranking_is_of() -> None:
    text = page(lowered(make_search()))
    assert SENTENCE in section(text, "Ranking")
    assert SENTENCE in section(text, "Methods")
    assert "lower fidelity" not in page(make_search())


def test_with_a_final_stage_the_search_is_what_is_explained() -> None:
    trials = with_final_stage(lowered(make_search()))
    assert optimism(trials) == []
    text = page(trials)
    assert SENTENCE not in section(text, "Ranking")
    assert SENTENCE in section(text, "Search log")
    assert "Not measured: the search ran at a lower fidelity" in section(text, "Optimism of the search")
    assert optimism(with_final_stage(make_search()))


def test_before_the_final_stage_has_a_result_the_best_of_the_search_is_shown_for_what_it_is() -> None:
    trials = with_final_stage(lowered(make_search()))
    waiting = [replace(one, status="waiting", rows=[]) if one.stage == "final" else one for one in trials]
    assert SENTENCE in page(waiting).split("Search log")[0]
