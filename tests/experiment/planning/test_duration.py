from __future__ import annotations

from dataclasses import replace

import pytest

from bts_tune.config import TrialConfig
from bts_tune.experiment.planning.duration import Job, duration_words, estimate, jobs_of_space
from bts_tune.space import load_space
from bts_tune.training.speed import Speed

FAST, SLOW = (TrialConfig.parse({"encoder": encoder, "epochs": 10}) for encoder in ("resnet18", "resnet34"))
SPEEDS = {FAST.config_id: Speed(0.1, 0.05), SLOW.config_id: Speed(1.0, 0.5)}


def seconds(jobs: list[Job], concurrent: int = 1) -> float:
    found = estimate(
        jobs, [(100, 20)], lambda config: SPEEDS.get(config.config_id), concurrent=concurrent, at_most=False
    )
    assert found is not None
    return found.seconds


def test_trainings_one_after_the_other() -> None:
    assert seconds([Job(FAST, 10)]) == pytest.approx(10 * (100 * 0.1 + 20 * 0.05))
    assert seconds([Job(FAST, 10), Job(SLOW, 10, 2)]) == pytest.approx(110 + 2 * 1100)


def test_side_by_side_nothing_ends_before_its_longest_training() -> None:
    assert seconds([Job(FAST, 10, 4)], concurrent=2) == pytest.approx(220)
    assert seconds([Job(FAST, 10), Job(SLOW, 10)], concurrent=2) == pytest.approx(1100)


def test_a_model_whose_speed_is_not_known_counts_as_the_mean_and_is_told() -> None:
    other = TrialConfig.parse({"encoder": "resnet50", "epochs": 10})
    found = estimate(
        [Job(FAST, 10), Job(SLOW, 10), Job(other, 10)],
        [(100, 20)],
        lambda config: SPEEDS.get(config.config_id),
        concurrent=1,
        at_most=True,
    )
    assert found is not None
    assert found.seconds == pytest.approx(110 + 1100 + 605)
    assert found.text() == "at most about 30 min (2 of 3 models timed, the others taken for their mean)"


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert estimate([Job(FAST, 10)], [(1, 1)], lambda _: None, concurrent=1, at_most=False) is None


def test_the_folds_are_as_large_as_their_mean() -> None:
    found = estimate([Job(FAST, 1)], [(90, 10), (110, 30)], lambda _: Speed(1, 1), concurrent=1, at_most=False)
    assert found is not None
    assert found.seconds == pytest.approx(120)


def test_a_share_takes_the_time_of_the_images_that_it_is() -> None:
    jobs = [Job(FAST.replaced({"train_share": 0.3}), 1)]
    found = estimate(jobs, [(24, 0)], lambda _: Speed(1, 1), concurrent=1, at_most=False, counted={0.3: [8]})
    assert found is not None
    assert found.seconds == pytest.approx(8)


def test_a_search_and_its_final_stage_are_shared_out_among_the_models() -> None:
    space = load_space("extended").resolve(num_trials=40, final_top=2, final_seeds=3)
    jobs = jobs_of_space(space)
    assert sum(job.count for job in jobs) == pytest.approx(3 + 40 + (3 + 2) * 3)
    assert len({(job.config.decoder, job.config.encoder) for job in jobs}) == 32


def test_what_is_the_same_for_all_trials_of_a_search_is_estimated_as_it_is_trained() -> None:
    space = load_space("extended").resolve(num_trials=4)
    assert space.search is not None
    parameters = {name: one for name, one in space.search.parameters.items() if not name.startswith("freeze")}
    fields = {**space.search.fields, "channels": 3, "freeze": "stages", "freeze_stages": 2}
    search = replace(space.search, parameters=parameters, fields=fields)
    jobs = jobs_of_space(replace(space, named=(), final=None, search=search))
    assert {(job.config.channels, job.config.freeze_stages) for job in jobs} == {(3, 2)}


@pytest.mark.parametrize(
    ("number", "words"),
    [(0.2, "1 s"), (70, "70 s"), (100, "2 min"), (5400, "1 h 30 min"), (12_000, "3 h 20 min"), (190_000, "2 days 5 h")],
)
def test_words(number: float, words: str) -> None:
    assert duration_words(number) == words
