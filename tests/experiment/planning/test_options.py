from __future__ import annotations

import json

import pytest

from bts_tune.errors import ConfigError
from bts_tune.experiment.planning.options import RunOptions, declarations, flag


def test_options_survive_run_json() -> None:
    options = RunOptions.parse(
        {"space": "baseline", "tracker": ["csv", "tensorboard"], "time_budget": 60, "overrides": {"epochs": 3}}
    )
    assert RunOptions.parse(json.loads(json.dumps(options.to_dict()))) == options


def test_labels_may_be_numbers() -> None:
    given = {"tumor_labels": [1, 2.5], "tumor_categories": [3, "Tumor"]}
    options = RunOptions.parse({"space": "baseline", **given})
    assert (options.tumor_labels, options.tumor_categories) == (["1", "2.5"], ["3", "Tumor"])


def test_one_name_alone_is_a_list_of_it() -> None:
    options = RunOptions.parse({"space": "baseline", "only": "unet-b0", "tracker": "csv", "tumor_labels": 1})
    assert (options.only, options.tracker, options.tumor_labels) == (["unet-b0"], ["csv"], ["1"])
    assert RunOptions.parse({"space": "baseline", "tracker": None}).tracker is None


def test_options_of_an_earlier_version_lack_those_that_came_later() -> None:
    assert RunOptions.parse({"space": "baseline"}).tracker is None


def test_each_option_has_one_flag_and_a_line_of_help() -> None:
    flags = [flag(name) for name in declarations()]
    assert len(flags) == len(set(flags))
    assert all(one.startswith("--") for one in flags)
    assert all(declared.help for declared in declarations().values())
    assert flag("tracker") == "--tracker"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"concurent": 2}, r"^concurent: is no option of a run; those are space, plugins, "),
        ({"concurrent": 0}, r"^--concurrent: input should be greater than or equal to 1, got 0\.$"),
        ({"time_budget": float("inf")}, r"^--time-budget: "),
        ({"tracker": {"csv": 1}}, r"^--tracker: "),
        ({"only": None}, r"^--only: input should be a valid list, got None\.$"),
        ({"gpus_per_trial": "half"}, r"^--gpus-per-trial: must be a number above 0, or 'auto', got 'half'\.$"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_flag(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        RunOptions.parse({"space": "baseline", **given})
    assert "\n" not in str(caught.value)


def test_seeds_count_up_from_the_first_of_the_space() -> None:
    assert RunOptions(space="baseline", seeds=3).seed_list([7, 1]) == [7, 8, 9]
    assert RunOptions(space="baseline").seed_list([7, 1]) is None
