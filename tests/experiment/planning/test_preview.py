from __future__ import annotations

from bts_tune.experiment.planning.preview import DryRun, cost, preview
from bts_tune.space import Space, load_space


def test_named_trials_and_what_they_cost() -> None:
    space = load_space("baseline").resolve(overrides={"epochs": 10}, seeds=[0, 1])
    assert cost(space) == (6, 60)
    lines = preview(space, [100]).splitlines()
    assert lines[0] == "6 named trials, to the full budget:"
    assert lines[-1] == "Cost: 6 trials, 60 epochs of 100 training images, 6000 images in all."
    assert "changed: epochs" in lines[1]


def test_a_search_and_its_final_stage() -> None:
    space = load_space("extended").resolve(overrides={"epochs": 10}, num_trials=5, final_top=2, final_seeds=3)
    trials, epochs = cost(space)
    assert trials == 3 + 5 + (3 + 2) * 3
    assert epochs == trials * 10
    text = preview(space, [100])
    assert "5 searched trials of at most 10 epochs, stopped early from epoch" in text
    assert "2 best configurations and 3 baselines, 3 fresh seeds each: 15 trials" in text
    assert text.endswith(
        f"Cost: {trials} trials, at most {epochs} epochs of 100 training images, at most 23000 images in all."
    )


def test_a_grace_period_that_is_not_below_the_budget_stops_nothing() -> None:
    space = load_space("extended").resolve(overrides={"epochs": 1}, num_trials=5)
    assert "5 searched trials of 1 epoch, none stopped early, as the grace_period is not" in preview(space, [100])


def test_a_named_trial_that_is_no_baseline_may_be_stopped_beside_a_search() -> None:
    space = load_space("extended")
    other = {**space.document, "trials": {**space.document["trials"], "mine": {"config": {"decoder": "fpn"}}}}
    lines = preview(Space.from_document(other).resolve(num_trials=5), [100]).splitlines()
    assert lines[0] == "4 named trials, baselines to the full budget, others may be stopped early:"
    assert preview(space.resolve(num_trials=5), [100]).startswith("3 named trials, to the full budget:")


def test_weights_that_a_run_downloads_are_told() -> None:
    space = load_space("baseline").resolve()
    shown = DryRun("baseline", space, [100], downloads=["efficientnet-b0"])
    assert "Weights that a run downloads first: of efficientnet-b0. Without internet, put them" in shown.text()
    assert shown.to_dict()["downloads"] == ["efficientnet-b0"]
    assert "downloads" not in DryRun("baseline", space, [100]).text()


def test_folds_multiply_the_cost() -> None:
    text = preview(load_space("baseline").resolve(overrides={"epochs": 10}), [90, 110])
    assert "Each of them on 2 folds." in text
    assert text.endswith("Cost: 6 trials, 60 epochs of 90 to 110 training images, 6000 images in all.")


def test_a_share_of_the_training_images_costs_as_much_less() -> None:
    text = preview(load_space("baseline").resolve(overrides={"epochs": 10, "train_share": 0.25}), [100])
    assert "px on 25% of the images  changed: " in text
    assert text.endswith("Cost: 3 trials, 30 epochs of 25 training images, 750 images in all.")


def test_a_share_of_whole_groups_costs_what_it_trains_on() -> None:
    space = load_space("baseline").resolve(overrides={"epochs": 10, "train_share": 0.3})
    assert preview(space, [24], {0.3: [8]}).endswith("30 epochs of 8 training images, 240 images in all.")
    assert DryRun("x", space, [24], counted={0.3: [8]}).to_dict()["cost"]["images_at_most"] == 240
