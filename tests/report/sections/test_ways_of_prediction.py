from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bts_tune.report.blocks import Table
from bts_tune.report.sections.ways_of_prediction import WaysOfPrediction
from bts_tune.report.wording import interval
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.results.record.scores import read_scores
from bts_tune.results.statistics.comparison import compare_configurations
from bts_tune.testing.runs import make_baselines, write_run, write_scores, write_variant
from bts_tune.testing.sections import SectionContract, context_of


class TestWaysOfPrediction(SectionContract):
    name = "ways-of-prediction"


def tables_of(folder: RunFolder) -> list[Table]:
    trials = folder.trials()
    context = context_of(trials, comparison=compare_configurations(folder, trials))
    return [block for block in WaysOfPrediction().blocks(context) if isinstance(block, Table)]


def test_what_the_same_models_score_in_other_ways(tmp_path: Path) -> None:
    trials = make_baselines(epochs=3)
    folder = write_run(tmp_path / "run", trials)
    for record in trials:
        write_scores(folder, record)
    assert tables_of(folder) == []
    first = trials[0]
    write_variant(folder, first, "tta", 0.95, [first.trial])
    write_variant(folder, first, "ensemble", 0.97, [first.trial, trials[1].trial])
    found = tables_of(folder)
    assert len(found) == 2
    for one in found:
        assert [row[1] for row in one.rows] == [
            "as it is",
            "with test-time augmentation",
            f"ensemble of 2, with {trials[1].name}",
        ]
        assert {row[0] for row in one.rows} == {first.name}
        assert all(" to " in str(row[3]) and " to " in str(row[5]) for row in one.rows), "each way has its intervals"
        assert set(one.rows[0][6:]) == {"–"}
        assert str(one.rows[1][6]).startswith("+")
        assert one.rows[2][-1] == "1m05s"


def test_a_way_is_compared_with_the_trainings_that_were_measured_in_it(tmp_path: Path) -> None:
    one = make_baselines(epochs=3)[0]
    trials = []
    for seed in range(3):
        rows = [{**row, "trial": f"one-s{seed}"} for row in one.rows]
        trials.append(replace(one, trial=f"one-s{seed}", config={**one.config, "seed": seed}, rows=rows))
    folder = write_run(tmp_path / "run", trials)
    for record, quality in zip(trials, (0.7, 0.75, 0.9), strict=True):
        write_scores(folder, record, quality)
    last = trials[2]
    write_variant(folder, last, "tta", 0.9, [last.trial])
    (folder.variant_scores_file(last.trial, "tta")).write_bytes(folder.scores_file(last.trial).read_bytes())
    plain, augmented = tables_of(folder)[0].rows
    assert augmented[1] == "with test-time augmentation (1 of 3 trainings)"
    assert plain[1] == "as it is"
    assert plain[2] != augmented[2], "the plain figures are of all trainings"
    assert float(str(augmented[6])) == float(str(augmented[8])) == 0, "of the same models, nothing is gained"


def test_intervals_draw_groups_as_everywhere_in_the_report(tmp_path: Path) -> None:
    trials = make_baselines(epochs=3)
    folder = write_run(tmp_path / "run", trials)
    for record in trials:
        write_scores(folder, record)
    write_variant(folder, trials[0], "tta", 0.95, [trials[0].trial])
    alone = tables_of(folder)[0].rows[0][3]
    names = read_scores(folder.scores_file(trials[0].trial)).splits["test"].names
    lines = [f"{name},test,g{place // 4}" for place, name in enumerate(names)]
    folder.split_file.write_text("\n".join(("file,split,group", *lines)))
    compared = compare_configurations(folder, folder.trials()).splits["test"]
    place = [one.name for one in compared.configurations].index(trials[0].name)
    assert tables_of(folder)[0].rows[0][3] == interval(compared.resampled.dice_loss[place]) != alone
    assert tables_of(folder)[0].rows[0][5] == interval(compared.resampled.iou[place])


def test_scores_that_are_missing_cost_their_row_and_leave_a_sentence(tmp_path: Path) -> None:
    trials = make_baselines(epochs=3)
    folder = write_run(tmp_path / "run", trials)
    for record in trials:
        write_scores(folder, record)
    write_variant(folder, trials[0], "tta", 0.95, [trials[0].trial])
    folder.variant_scores_file(trials[0].trial, "tta").unlink()
    assert tables_of(folder) == []
    missing = compare_configurations(folder, folder.trials()).missing
    assert any("missing" in sentence for sentence in missing)
