"""The final stage as the result: its ranking, comparison, tables and optimism, whole, incomplete and with folds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bts_tune.report.render.terminal import ranking_text
from bts_tune.report.sections.answer import headline, trust
from bts_tune.report.write import write_report
from bts_tune.results.ranking.configurations import configurations
from bts_tune.results.ranking.leaderboard import ordered, ranking, search_log
from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.results.record.scores import pooled_dice_loss
from bts_tune.results.statistics.comparison import compare_configurations
from bts_tune.results.statistics.optimism import optimism
from bts_tune.results.tables import configurations_table, leaderboard
from bts_tune.testing.runs import make_final, make_row, make_scores, make_search, make_trial, write_run, write_scores
from tests.report.pages import page, section

SEARCH = make_search(epochs=5)
FINAL = make_final(SEARCH)
BOTH = SEARCH + FINAL


def scored(path: Path, trials: list[TrialRecord], **kwargs: Any) -> RunFolder:
    folder = write_run(path, trials)
    for record in trials:
        if record.stage == "final":
            write_scores(folder, record, **kwargs)
    return folder


def test_only_the_final_stage_is_ranked() -> None:
    found = configurations(BOTH)
    assert [one.planned for one in found] == [3] * 5
    assert [one.seeds for one in found] == [3] * 5
    frame = leaderboard(BOTH).set_index("trial")
    assert frame[frame["stage"] == "search"]["rank"].isna().all()
    for rank, one in enumerate(found, start=1):
        assert {frame.loc[record.trial, "rank"] for record in one.trials} == {rank}
    assert ranking(BOTH)[0] is found[0].best
    assert list(frame["stage"]) == ["final"] * 15 + ["search"] * 12
    assert {record.stage for record in search_log(BOTH)} == {"search"}
    assert search_log(SEARCH) == []


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(len(BOTH))))
def test_the_order_of_the_trials_changes_nothing(order: list[int]) -> None:
    shuffled = [BOTH[place] for place in order]
    pd.testing.assert_frame_equal(leaderboard(shuffled), leaderboard(BOTH))
    pd.testing.assert_frame_equal(configurations_table(shuffled), configurations_table(BOTH))
    assert ranking_text(shuffled) == ranking_text(BOTH)
    assert optimism(shuffled) == optimism(BOTH)


def test_every_configuration_is_compared_over_seeds_and_groups(tmp_path: Path) -> None:
    folder = scored(tmp_path / "r", BOTH)
    lines = [f"test/{number:03d}.png,test,{number // 3}" for number in range(30)]
    folder.split_file.write_text("\n".join(["file,split,group", *lines]) + "\n")
    found = compare_configurations(folder, BOTH)
    assert found.missing == ()
    test, valid = found.splits["test"], found.splits["valid"]
    assert (test.groups, valid.groups) == (10, None)
    assert test.replicates == [3] * 5
    assert [one.key for one in test.configurations] == [one.key for one in configurations(BOTH)]
    assert test.configurations[test.reference].baseline
    losses = [
        pooled_dice_loss(found.scores[record.trial].splits["test"].sums.sum(axis=0))
        for record in test.configurations[0].trials
    ]
    assert test.resampled.dice_loss[0].value == pytest.approx(np.mean(losses))
    text = headline(BOTH, found)
    assert text is not None
    assert "beats the best baseline" in text
    assert "on the test split (95" in text
    table = configurations_table(BOTH, found)
    assert list(table["rank"]) == [1, 2, 3, 4, 5]
    assert (table["test_dice_loss_low"] < table["test_dice_loss_high"]).all()
    assert table["test_first"].sum() == pytest.approx(1)
    assert table["test_dice_gain"][test.reference] == 0


def test_two_trainings_are_called_two_values_wherever_their_figures_stand(tmp_path: Path) -> None:
    trials = SEARCH + make_final(SEARCH, seeds=2)
    text = write_report(scored(tmp_path / "r", trials)).report.read_text()
    for title in ("Answer", "Ranking", "Over seeds", "Test split", "Methods"):
        assert "no more than a range" in section(text, title), title
    assert "An interval from two trainings is wide" in section(text, "Comparison")
    assert "two values, no more than a range" in section(text, "Limits")
    first = configurations(trials)[0]
    one, other = first.values("val_dice_loss")
    assert f"| {first.dice_loss:.4f} ({one:.4f}, {other:.4f}) |" in section(text, "Ranking")
    assert "±" not in section(text, "Ranking") + section(text, "Over seeds") + section(text, "Test split")
    assert "no more than a range" in " ".join(ranking_text(trials).split())
    three = page(BOTH)
    assert "no more than a range" not in three.split("\n## Methods\n")[0]


def test_an_incomplete_final_stage_is_ranked_by_what_is_there() -> None:
    trials = SEARCH + make_final(SEARCH)
    trials[-1].status = trials[-2].status = trials[-3].status = "waiting"
    for record in trials[-3:]:
        record.rows = []
    trials[-4].status = "failed"
    found = configurations(trials)
    assert sorted(len(one.trials) for one in found) == [2, 3, 3, 3]
    text = trust(trials)
    assert text is not None
    assert "11 of its 15 trainings" in text
    shown = page(trials)
    assert "2 of 3" in section(shown, "Ranking")
    assert f"reached the full budget: {trials[-1].name}." in section(shown, "Ranking")
    terminal = ranking_text(trials)
    assert "2/3" in terminal
    assert "partial" in terminal
    assert "waiting" in terminal


def test_the_search_is_its_log_and_its_optimism_is_told(tmp_path: Path) -> None:
    files = write_report(scored(tmp_path / "r", BOTH))
    text = files.report.read_text()
    assert "the result is the ranking above" in section(text, "Search log")
    assert "t0001 seed 0" in section(text, "Search log")
    assert "search chose" in section(text, "Optimism of the search")
    frame = pd.read_csv(files.configurations)
    assert len(frame) == 5
    assert list(frame["planned"].unique()) == [3]


@pytest.mark.parametrize(("lost", "told"), [((), False), ((0,), False), ((0, 1), True)])
def test_a_mean_without_a_fold_is_told_as_one_of_other_images(lost: tuple[int, ...], told: bool) -> None:
    trials = [
        make_trial(
            f"{name}-{fold}-{seed}",
            name=name,
            decoder=name,
            fold=fold,
            baseline=True,
            status="failed" if (name, fold) == ("fpn", 2) and seed in lost else "complete",
            rows=[make_row(f"{name}-{fold}-{seed}", 1, 0.3)],
            epochs=1,
            seed=seed,
        )
        for name in ("unet", "fpn")
        for fold in (1, 2)
        for seed in (0, 1)
    ]
    sentence = "Without a full-budget training: fpn on fold 2. Such means are over other validation images"
    assert (sentence in " ".join(ranking_text(trials).split())) == told
    assert (sentence in page(trials)) == told


def test_folds_of_a_seed_score_every_image_once(tmp_path: Path) -> None:
    final = make_final(SEARCH, top=1, seeds=2, folds=2)
    trials = SEARCH + final
    folder = write_run(tmp_path / "r", trials)
    for record in final:
        best = record.best_row
        assert best is not None
        assert record.fold is not None
        scores = make_scores(0.75, epoch=best["epoch"], seed=record.fold)
        part = scores.splits["valid"]
        renamed = replace(part, names=tuple(f"{record.fold}/{name}" for name in part.names))
        test = make_scores(0.75, epoch=best["epoch"]).splits["test"]
        whole = type(scores)(scores.epoch, scores.pixels, {"valid": renamed, "test": test})
        folder.scores_file(record.trial).parent.mkdir(exist_ok=True)
        folder.scores_file(record.trial).write_bytes(whole.to_bytes())
    found = compare_configurations(folder, trials)
    assert found.missing == ()
    assert (found.splits["valid"].images, found.splits["test"].images) == (120, 30)
    assert found.splits["valid"].replicates == [2] * 4
    assert found.splits["test"].replicates == [4] * 4
    assert configurations(trials)[0].folds == 2
    over = section(write_report(folder).report.read_text(), "Over seeds")
    assert "seed by seed and fold by fold" in over
    assert "mean of 4" in over
    folder.scores_file(final[0].trial).unlink()
    again = compare_configurations(folder, trials)
    assert any("has 1 of 2 folds" in sentence for sentence in again.missing)


def test_a_second_training_with_the_same_seed_is_no_replicate() -> None:
    twice = [make_trial(name, rows=[make_row(name, 1, value)]) for name, value in (("a", 0.3), ("b", 0.2))]
    other = make_trial("c", seed=1, rows=[make_row("c", 1, 0.4)])
    (found,) = configurations([*twice, other])
    assert [record.trial for record in found.trials] == ["b", "c"]
    assert (found.planned, found.seeds, found.name) == (2, 2, "a")
    assert [record.trial for record in ordered([*twice, other])] == ["b", "c", "a"]
