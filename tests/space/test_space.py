"""A space: its document, and the trials that it makes under overrides, the demo profile and choices of seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bts_tune.config import FIELDS, allowed_values
from bts_tune.errors import ConfigError
from bts_tune.space import Final, Space, load_space
from tests.space.builders import EXTENDED, SMALL, RandomTrial, from_text, searching


class TestDocument:
    @pytest.mark.parametrize("name", ["baseline", "extended"])
    def test_gives_an_equal_space_back(self, name: str) -> None:
        space = load_space(name)
        again = Space.from_document(json.loads(json.dumps(space.document, allow_nan=False)))
        assert again == space
        assert again.document == space.document
        assert again.resolve(demo=True, seeds=[1, 2]) == space.resolve(demo=True, seeds=[1, 2])

    def test_needs_no_file(self, tmp_path: Path) -> None:
        from_text(tmp_path, "defaults: {epochs: 9}\ntrials: {one: {}}\n", "other")
        space = from_text(
            tmp_path, "include: [./other.yaml]\ndefaults: {freeze: all, epochs: 3}\n" + "trials: {two: {}}\n"
        )
        document = space.document
        for path in tmp_path.iterdir():
            path.unlink()
        assert Space.from_document(document).resolve() == space.resolve()

    def test_holds_every_field_of_a_trial(self) -> None:
        for trial in load_space("extended").document["trials"].values():
            assert set(trial["config"]) == set(FIELDS) - {"seed", "objective"}

    def test_a_run_that_searches_what_nothing_uses_goes_on(self) -> None:
        document = load_space("extended").document
        document["search"]["parameters"]["momentum"] = {"choices": [0.5, 0.9]}
        assert "momentum" in searching(Space.from_document(document).resolve()).parameters

    def test_other_spaces_differ(self, small: Space) -> None:
        assert small != load_space("extended")

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"source": None}, "must name its 'source'"),
            ({"trails": {}}, r"\(as recorded\): unknown key 'trails'"),
            ({"seeds": []}, r"\(as recorded\): seeds: "),
        ],
    )
    def test_a_broken_document_is_refused(self, change: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ConfigError, match=sentence):
            Space.from_document({**load_space("baseline").document, **change})


class TestNamedTrials:
    def test_seeds_are_the_inner_loop(self, small: Space) -> None:
        named = small.resolve().named
        assert [(trial.trial, trial.name, trial.config.seed) for trial in named] == [
            ("plain-seed3", "plain", 3),
            ("plain-seed1", "plain", 1),
            ("first-seed3", "first", 3),
            ("first-seed1", "first", 1),
        ]
        assert all(trial.changed == () for trial in named)
        assert (named[0].baseline, named[2].baseline) == (False, True)
        assert named[0].description == "The plain one."

    def test_one_seed_leaves_the_name_as_it_is(self, small: Space) -> None:
        named = small.resolve(seeds=[4]).named
        assert [(trial.trial, trial.config.seed, trial.changed) for trial in named] == [
            ("plain", 4, ()),
            ("first", 4, ()),
        ]
        assert searching(small.resolve(seeds=[4, 5])).fields["seed"] == 4

    def test_seed_as_an_override_stands_for_seeds(self, small: Space) -> None:
        assert small.resolve(overrides={"seed": 4}) == small.resolve(seeds=[4])
        with pytest.raises(ConfigError, match="--set seed and --seeds are both given"):
            small.resolve(overrides={"seed": 4}, seeds=[4])

    @pytest.mark.parametrize("seeds", [[], [1, 1], [-1], [2**31]])
    def test_wrong_seeds_are_refused(self, small: Space, seeds: list[int]) -> None:
        with pytest.raises(ConfigError, match=r"^seeds: "):
            small.resolve(seeds=seeds)

    def test_only_picks_in_the_order_of_the_file_and_drops_the_search(self, small: Space) -> None:
        resolved = small.resolve(only=["first", "plain"], seeds=[0])
        assert [trial.name for trial in resolved.named] == ["plain", "first"]
        assert resolved.search is None
        for only in (["first"], "first"):
            assert [trial.name for trial in small.resolve(only=only, seeds=[0]).named] == ["first"]

    def test_only_refuses_unknown_names(self, small: Space) -> None:
        with pytest.raises(
            ConfigError, match=r"no named trial 'frist'\. Did you mean 'first'\? Its named .*: plain, first"
        ):
            small.resolve(only=["frist"])

    def test_two_with_the_same_configuration_are_refused(self, tmp_path: Path) -> None:
        space = from_text(
            tmp_path,
            "trials: {a: {description: One.}, b: {description: It.}, c: {config: {epochs: 9}}}\ndemo: {epochs: 2}\n",
        )
        same = r"space.yaml: trials.a and trials.b: have the same configuration, which would be trained twice; change"
        with pytest.raises(ConfigError, match=same):
            space.resolve(seeds=[1, 2])
        assert [one.trial for one in space.resolve(only=["a", "c"], seeds=[1, 2]).named] == [
            *("a-seed1", "a-seed2", "c-seed1", "c-seed2")
        ]
        assert len(Space.from_document(space.document).resolve().named) == 3, "a run goes on as it began"
        with pytest.raises(ConfigError, match=r"trials.b and trials.c with epochs=9: have the same configuration"):
            space.resolve(only=["b", "c"], overrides={"epochs": 9})
        with pytest.raises(ConfigError, match=r"trials.a and trials.c in the demo profile: have the same"):
            space.resolve(only=["a", "c"], demo=True)

    def test_baselines_that_an_override_makes_alike_keep_their_names(self, tmp_path: Path) -> None:
        space = from_text(tmp_path, "trials: {a: {baseline: true}, b: {baseline: true, config: {epochs: 9}}}\n")
        assert [one.trial for one in space.resolve(overrides={"epochs": 9}).named] == ["a", "b"]

    def test_num_trials(self, small: Space) -> None:
        assert searching(small.resolve()).num_trials == 5
        assert searching(small.resolve(num_trials=2)).num_trials == 2
        assert searching(small.resolve(demo=True)).num_trials == 2
        assert searching(small.resolve(demo=True, num_trials=9)).num_trials == 9
        with pytest.raises(ConfigError, match="--num-trials: must be at least 1, got 0"):
            small.resolve(num_trials=0)
        with pytest.raises(ConfigError, match="--num-trials: named trials are picked"):
            small.resolve(num_trials=3, only=["plain"])
        with pytest.raises(ConfigError, match="--num-trials: space 'baseline' has no search"):
            load_space("baseline").resolve(num_trials=3)


class TestOverrides:
    def test_reach_every_trial_and_are_marked(self) -> None:
        resolved = load_space("extended").resolve(overrides={"image_size": 96, "encoder": "resnet34", "epochs": 35})
        for trial in resolved.named:
            assert (trial.config.image_size, trial.config.encoder) == (96, "resnet34")
            assert trial.changed == ("image_size", "encoder"), "epochs is as documented"
        search = searching(resolved)
        assert "encoder" not in search.parameters
        config = search.sample(RandomTrial(0))
        assert (config.image_size, config.encoder) == (96, "resnet34")

    def test_lie_over_the_demo_of_a_trial_which_lies_over_that_of_the_space(self, tmp_path: Path) -> None:
        from_text(tmp_path, "trials: {one: {demo: {epochs: 3}}, two: {config: {decoder: fpn}}}\n", "other")
        space = from_text(tmp_path, "include: [./other.yaml]\ndemo: {epochs: 2, batch_size: 4}\n")
        one, two = space.resolve(demo=True).named
        assert [(named.config.epochs, named.config.batch_size) for named in (one, two)] == [(3, 4), (2, 4)]
        assert one.changed == ("epochs", "batch_size")
        assert [named.config.epochs for named in space.resolve().named] == [35, 35]
        assert [named.config.epochs for named in space.resolve(demo=True, overrides={"epochs": 9}).named] == [9, 9]

    def test_lie_over_the_demo_profile(self, small: Space) -> None:
        resolved = small.resolve(demo=True, overrides={"epochs": 6})
        assert {trial.config.epochs for trial in resolved.named} == {6}
        assert searching(resolved).epochs == 6

    def test_back_to_the_documented_value_is_no_change(self, small: Space) -> None:
        assert all(trial.changed == ("epochs",) for trial in small.resolve(demo=True).named)
        assert all(trial.changed == () for trial in small.resolve(demo=True, overrides={"epochs": 12}).named)

    @pytest.mark.parametrize(
        ("overrides", "sentence"),
        [
            ({"optimiser": "adam"}, "--set: unknown key 'optimiser'. Did you mean 'optimizer'"),
            ({"epochs": 0}, "--set epochs: input should be greater than or equal to 1, got 0."),
            ({"image_size": "big"}, "--set image_size: input should be a valid integer"),
            ({"seed": -1}, "--set: seed: input should be greater than or equal to 0, got -1."),
            ({"epochs": True}, "--set epochs: should be a whole number, got True."),
            ({"freeze": "stages"}, "trials.plain with freeze=stages: freeze_stages is 0 with freeze: stages"),
            ({"freeze_epochs": 2}, "trials.plain with freeze_epochs=2: freeze_epochs is 2 with freeze: none"),
            ({"dice_weight": 0, "bce_weight": 0}, "with dice_weight=0, bce_weight=0: dice_weight and bce_weight are"),
        ],
    )
    def test_a_mistake_is_one_sentence(self, small: Space, overrides: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ConfigError) as caught:
            small.resolve(overrides=overrides)
        assert sentence in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_another_mode_of_freezing_resets_the_count(self, small: Space) -> None:
        for mode in ("none", "all"):
            resolved = small.resolve(overrides={"freeze": mode}, seeds=[0])
            first = resolved.named[1]
            assert (first.config.freeze, first.config.freeze_stages) == (mode, 0)
            assert first.changed == ("freeze", "freeze_stages")
            assert not {"freeze", "freeze_stages", "freeze_epochs"} & searching(resolved).parameters.keys()

    def test_a_count_that_is_given_as_well_is_kept(self, small: Space) -> None:
        resolved = small.resolve(overrides={"freeze": "epochs", "freeze_epochs": 3}, seeds=[0])
        for trial in resolved.named:
            assert (trial.config.freeze_stages, trial.config.freeze_epochs) == (0, 3)
        assert searching(resolved).sample(RandomTrial(0)).freeze_epochs == 3

    def test_the_same_mode_again_keeps_the_count(self, small: Space) -> None:
        resolved = small.resolve(overrides={"freeze": "stages", "freeze_stages": 2}, seeds=[0])
        assert resolved.named[1].changed == ()

    def test_a_fixed_parent_leaves_its_child_in_the_search(self, tmp_path: Path) -> None:
        space = from_text(tmp_path, SMALL.split("trials:")[0] + "search:" + SMALL.split("search:")[1])
        search = searching(space.resolve(overrides={"freeze": "stages"}))
        assert "freeze_epochs" not in search.parameters
        assert search.parameters["freeze_stages"].when == {}
        drawn = RandomTrial(0)
        assert search.sample(drawn).freeze_stages == drawn.params["freeze_stages"] > 0

    def test_what_hangs_on_a_parameter_that_left_leaves_too(self, small: Space) -> None:
        search = searching(small.resolve(overrides={"augmentation": "none"}))
        assert set(search.parameters) == {
            "freeze",
            "freeze_stages",
            "freeze_epochs",
            "learning_rate",
            "head_dropout",
        }

    def test_a_child_can_be_fixed_by_itself(self, small: Space) -> None:
        search = searching(small.resolve(overrides={"augmentation_kind": "both"}))
        assert search.parameters["augmentation_strength"].when == {"augmentation": ["strong"]}
        assert "image_size" not in search.parameters
        assert {search.sample(RandomTrial(seed)).augmentation_kind for seed in range(20)} == {"both"}

    def test_a_shorter_budget_shortens_the_search(self, small: Space) -> None:
        assert searching(small.resolve()).parameters["freeze_epochs"].bounds == (1, 8)
        search = searching(small.resolve(overrides={"epochs": 5}))
        assert search.parameters["freeze_epochs"].bounds == (1, 4)
        assert (search.epochs, search.grace_period) == (5, 1)
        search = searching(small.resolve(overrides={"epochs": 2}))
        assert search.parameters["freeze_epochs"].bounds == (1, 1)
        assert (search.epochs, search.grace_period) == (2, 1)
        search = searching(small.resolve(overrides={"epochs": 1}))
        assert "freeze_epochs" not in search.parameters
        assert search.parameters["freeze"].choices == ["none", "all", "stages"]

    def test_choices_of_thawing_are_shortened_as_well(self, tmp_path: Path) -> None:
        space = from_text(tmp_path, SMALL.replace("{int: [1, 8], when", "{choices: [1, 5, 8], when"))
        search = searching(space.resolve(overrides={"epochs": 6}))
        assert search.parameters["freeze_epochs"].choices == [1, 5]

    def test_a_budget_that_leaves_no_way_to_freeze_is_refused(self, tmp_path: Path) -> None:
        space = from_text(
            tmp_path,
            SMALL.replace("[none, all, stages, epochs]", "[epochs]")
            .split("freeze_stages: {")[0]
            .replace("demo: {epochs: 2}", "")
            + "freeze_epochs: {int: [1, 8], when: {freeze: [epochs]}}\n",
        )
        assert searching(space.resolve()).sample(RandomTrial(0)).freeze == "epochs"
        with pytest.raises(ConfigError, match=r"search with epochs=1: .*freeze_epochs is 1 with epochs: 1"):
            space.resolve(overrides={"epochs": 1})

    def test_nothing_left_to_search_is_refused(self, tmp_path: Path) -> None:
        space = from_text(tmp_path, "search: {parameters: {optimizer: {choices: [adam, adamw]}}}\n")
        with pytest.raises(ConfigError, match="search with optimizer=sgd: every searched parameter is fixed"):
            space.resolve(overrides={"optimizer": "sgd"})

    @given(st.data())
    def test_any_overrides_give_valid_trials_or_one_config_error(self, data: st.DataObject) -> None:
        values: dict[str, st.SearchStrategy[Any]] = {
            name: st.sampled_from(words) for name in FIELDS if (words := allowed_values(name))
        }
        values |= {"epochs": st.integers(1, 12), "freeze_stages": st.integers(0, 4), "freeze_epochs": st.integers(0, 6)}
        values |= {"bce_weight": st.sampled_from([0.0, 1.0]), "dice_weight": st.sampled_from([0.0, 1.0])}
        names = data.draw(st.sets(st.sampled_from(sorted(values)), max_size=5))
        overrides = {name: data.draw(values[name], name) for name in sorted(names)}
        try:
            resolved = EXTENDED.resolve(overrides=overrides, demo=data.draw(st.booleans()))
        except ConfigError as error:
            assert all(name in str(error) for name in overrides)  # noqa: PT017
            return
        search = searching(resolved)
        assert not overrides.keys() & search.parameters.keys()
        for seed in range(10):
            drawn = RandomTrial(seed)
            config = search.sample(drawn)
            assert search.values_of(config) == drawn.params
        for config in [trial.config for trial in resolved.named]:
            assert {name: getattr(config, name) for name in overrides} == overrides


class TestFinalStage:
    def test_a_search_has_one_and_named_trials_alone_have_none(self) -> None:
        assert load_space("extended").resolve().final == Final(top=2, seeds=3)
        assert load_space("extended").resolve(demo=True).final == Final(top=1, seeds=1)
        assert load_space("extended").resolve(only=["unet-b0"]).final is None
        assert load_space("baseline").resolve().final is None

    def test_it_can_be_asked_for_changed_and_left_out(self) -> None:
        assert load_space("baseline").resolve(final_seeds=5).final == Final(top=2, seeds=5)
        assert load_space("extended").resolve(final_top=4, demo=True).final == Final(top=4, seeds=1)
        assert load_space("extended").resolve(final_top=0, final_seeds=5).final is None

    def test_a_document_of_an_earlier_version_has_the_default_one(self) -> None:
        document = load_space("extended").document
        del document["search"]["final"]
        del document["search"]["demo"]["final_top"], document["search"]["demo"]["final_seeds"]
        assert Space.from_document(document).resolve(demo=True).final == Final()
