"""Spaces: what the shipped ones say, what overrides and the demo profile do, and what a search draws."""

from __future__ import annotations

import json
import pickle
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bts_tune import space as module
from bts_tune.config import FIELDS, PreprocessingPart, TrialConfig, allowed_values
from bts_tune.errors import ConfigError
from bts_tune.space import Final, ResolvedSearch, ResolvedSpace, Space, list_spaces, load_space, space_folders

DOCUMENTED: dict[str, dict[str, Any]] = {
    "unet-b0": {"decoder_dropout": 0.5, "head_dropout": 0.5},
    "unet-b0-frozen": {"decoder_dropout": 0.5, "head_dropout": 0.5, "freeze": "all"},
    "unetplusplus-b5": {"decoder": "unetplusplus", "encoder": "efficientnet-b5", "learning_rate": 1e-4},
}


class RandomTrial:
    """Draws as Optuna's random sampler does, in a few lines, and keeps what it drew."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.params: dict[str, Any] = {}

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if step is not None:
            value = low + step * self._random.randint(0, round((high - low) / step))
        elif log:
            value = min(high, max(low, low * (high / low) ** self._random.random()))
        else:
            value = self._random.uniform(low, high)
        return float(self._keep(name, value))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self._keep(name, self._random.randrange(low, high + 1, step)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._keep(name, self._random.choice(choices))

    def _keep(self, name: str, value: Any) -> Any:
        assert name not in self.params, "a parameter is drawn once"
        self.params[name] = value
        return value


def searching(resolved: ResolvedSpace) -> ResolvedSearch:
    assert resolved.search is not None
    return resolved.search


def from_text(folder: Path, text: str, name: str = "space") -> Space:
    path = folder / f"{name}.yaml"
    path.write_text(f"name: {name}\ndescription: d\n{text}", encoding="utf-8")
    return load_space(str(path))


SMALL = """
defaults: {epochs: 12, image_size: 128, encoder_weights: none}
demo: {epochs: 2}
seeds: [3, 1]
trials:
  plain: {description: The plain one., config: {decoder: fpn}}
  first: {baseline: true, config: {freeze: stages, freeze_stages: 2}}
search:
  num_trials: 5
  parameters:
    freeze: {choices: [none, all, stages, epochs]}
    freeze_stages: {int: [1, 4], when: {freeze: [stages]}}
    freeze_epochs: {int: [1, 8], when: {freeze: [epochs]}}
    augmentation: {choices: [none, light, strong]}
    augmentation_kind: {choices: [geometry, both], when: {augmentation: [light, strong]}}
    augmentation_strength: {float: [0.5, 1.5], when: {augmentation: [strong], augmentation_kind: [both]}}
    learning_rate: {float: [1e-5, 1e-2], log: true}
    head_dropout: {float: [0.0, 0.6], step: 0.1}
    image_size: {int: [64, 128], step: 32, when: {augmentation_kind: [geometry]}}
  searcher: {startup_trials: 2, seed: 7}
  scheduler: {grace_period: 3, reduction_factor: 2}
  demo: {num_trials: 2, startup_trials: 1}
"""


@pytest.fixture
def small(tmp_path: Path) -> Space:
    return from_text(tmp_path, SMALL)


class TestShippedSpaces:
    def test_are_found_by_name(self) -> None:
        assert [space.name for space in list_spaces()] == ["baseline", "extended"]
        for space in list_spaces():
            assert space.source.is_file()
            assert load_space(str(space.source)) == load_space(space.name) == space

    @pytest.mark.parametrize("name", ["baseline", "extended"])
    def test_hold_the_documented_models(self, name: str) -> None:
        named = load_space(name).resolve().named
        assert [trial.trial for trial in named] == list(DOCUMENTED)
        for trial in named:
            assert trial.config == TrialConfig.parse(DOCUMENTED[trial.name])
            assert trial.baseline
            assert trial.description
            assert trial.changed == ()

    def test_documented_conditions(self) -> None:
        for trial in load_space("baseline").resolve().named:
            config = trial.config
            assert (config.epochs, config.image_size, config.optimizer) == (35, 224, "adam")
            assert (config.equalization, config.augmentation, config.encoder_weights) == (
                "histogram",
                "none",
                "imagenet",
            )
            assert config.dice_weight == config.bce_weight == 1.0

    def test_figures_were_published_for_the_third_model_alone(self) -> None:
        published = {trial.name: trial.published for trial in load_space("extended").resolve().named}
        third = published.pop("unetplusplus-b5")
        assert third is not None
        assert (third["dice_loss"], third["iou"]) == (0.3057, 0.5426)
        assert "not known" in third["source"]
        assert set(published.values()) == {None}

    @pytest.mark.parametrize("demo", [False, True])
    def test_baselines_lie_in_the_extended_space(self, demo: bool) -> None:
        resolved = load_space("extended").resolve(demo=demo)
        for trial in resolved.named:
            values = searching(resolved).values_of(trial.config)
            assert values is not None
            assert values.items() <= trial.config.to_dict().items()

    def test_a_baseline_can_be_drawn_exactly(self) -> None:
        resolved = load_space("extended").resolve()
        for trial in resolved.named:
            values = searching(resolved).values_of(trial.config)
            assert values is not None
            assert searching(resolved).sample(optuna.trial.FixedTrial(values)) == trial.config

    def test_baseline_searches_nothing(self) -> None:
        assert load_space("baseline").resolve().search is None

    def test_demo_profile_is_small_and_needs_no_download(self) -> None:
        for space in list_spaces():
            resolved = space.resolve(demo=True)
            for trial in resolved.named:
                assert trial.config.image_size == 64
                assert trial.config.epochs <= 10
                assert trial.config.encoder_weights == "none"
                assert set(trial.changed) == set(space.file.demo)
            if resolved.search:
                assert resolved.search.num_trials < 10
                assert resolved.search.grace_period < resolved.search.epochs
                assert {weights for _, weights in resolved.search.all_encoders()} == {"none"}

    def test_the_searched_words_are_in_the_extended_space(self) -> None:
        parameters = searching(load_space("extended").resolve()).parameters
        for name in ("freeze", "equalization", "augmentation", "augmentation_kind", "schedule"):
            assert parameters[name].choices == list(allowed_values(name) or ())


class TestFindingSpaces:
    def test_unknown_name(self) -> None:
        with pytest.raises(
            ConfigError, match=r"no search space 'extendet'\. Did you mean 'extended'\? Known: baseline, ext"
        ):
            load_space("extendet")

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"nothing\.yaml: cannot be read: No such file"):
            load_space(str(tmp_path / "nothing.yaml"))

    def test_a_folder_is_no_space(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
            load_space(f"{tmp_path}/")

    def test_both_places_are_searched(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package, checkout = tmp_path / "bts_tune" / "search_spaces", tmp_path / "search_spaces"
        for folder, names in ((package, ["a", "b"]), (checkout, ["b", "c"])):
            folder.mkdir(parents=True)
            for name in names:
                from_text(folder, "trials: {one: {}}\n", name)
        monkeypatch.setattr(module, "__file__", str(tmp_path / "bts_tune" / "space.py"))
        assert space_folders() == [package], "an installed package's neighbours are not ours"
        (tmp_path / "pyproject.toml").touch()
        assert space_folders() == [package, checkout]
        assert [space.name for space in list_spaces()] == ["a", "b", "c"]
        assert load_space("b").source.parent == package

    def test_a_space_that_is_found_by_name_bears_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "space_folders", lambda: [tmp_path])
        (tmp_path / "mine.yaml").write_text("name: yours\ndescription: d\ntrials: {one: {}}\n")
        with pytest.raises(ConfigError, match="name: must be 'mine', as the file is, got 'yours'"):
            load_space("mine")

    def test_nothing_heavy_is_imported(self) -> None:
        heavy = "{'torch', 'ray', 'optuna', 'numpy', 'albumentations', 'matplotlib', 'pandas'}"
        code = f"import sys, bts_tune.space, bts_tune.space_text; assert not {heavy} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


class TestIncluding:
    def test_included_trials_come_first_and_as_their_space_defines_them(self, tmp_path: Path) -> None:
        from_text(tmp_path, "defaults: {epochs: 9}\nseeds: [5]\ntrials: {one: {baseline: true}}\n", "other")
        space = from_text(tmp_path, "include: [./other.yaml, baseline]\ndefaults: {epochs: 7}\ntrials: {two: {}}\n")
        named = space.resolve().named
        assert [(trial.name, trial.config.epochs, trial.config.seed) for trial in named] == [
            ("one", 9, 0),
            *((name, 35, 0) for name in DOCUMENTED),
            ("two", 7, 0),
        ]
        assert named[0].baseline

    def test_a_circle_is_refused(self, tmp_path: Path) -> None:
        for name, other in (("a", "b"), ("b", "c"), ("c", "b")):
            (tmp_path / f"{name}.yaml").write_text(f"name: {name}\ndescription: d\ninclude: [./{other}.yaml]\n")
        with pytest.raises(ConfigError, match=r"include each other in a circle: b\.yaml -> c\.yaml -> b\.yaml\.$"):
            load_space(str(tmp_path / "a.yaml"))

    def test_a_space_does_not_include_itself(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"circle: space\.yaml -> space\.yaml\.$"):
            from_text(tmp_path, "include: [./space.yaml]\n")

    def test_the_same_trial_may_come_by_two_ways(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            from_text(tmp_path, "include: [baseline]\n", name)
        space = from_text(tmp_path, "include: [./a.yaml, ./b.yaml]\n")
        assert [trial.name for trial in space.resolve().named] == list(DOCUMENTED)

    def test_different_trials_of_one_name_are_refused(self, tmp_path: Path) -> None:
        from_text(tmp_path, "trials: {one: {}}\n", "a")
        from_text(tmp_path, "trials: {one: {config: {epochs: 3}}}\n", "b")
        with pytest.raises(ConfigError, match="two of the included spaces have different trials named 'one'"):
            from_text(tmp_path, "include: [./a.yaml, ./b.yaml]\n")

    def test_a_mistake_in_an_included_file_names_that_file(self, tmp_path: Path) -> None:
        (tmp_path / "other.yaml").write_text("name: other\ndescription: d\ntrials: {one: {config: {epochs: 0}}}\n")
        with pytest.raises(ConfigError, match=r"other\.yaml: trials\.one\.config\.epochs: "):
            from_text(tmp_path, "include: [./other.yaml]\n")


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
            assert set(trial["config"]) == set(FIELDS) - {"seed"}

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
        with pytest.raises(ConfigError, match="seed and seeds are both given"):
            small.resolve(overrides={"seed": 4}, seeds=[4])

    @pytest.mark.parametrize("seeds", [[], [1, 1], [-1], [2**31]])
    def test_wrong_seeds_are_refused(self, small: Space, seeds: list[int]) -> None:
        with pytest.raises(ConfigError, match=r"^seeds: "):
            small.resolve(seeds=seeds)

    def test_only_picks_in_the_order_of_the_file_and_drops_the_search(self, small: Space) -> None:
        resolved = small.resolve(only=["first", "plain"], seeds=[0])
        assert [trial.name for trial in resolved.named] == ["plain", "first"]
        assert resolved.search is None
        assert [trial.name for trial in small.resolve(only=["first"], seeds=[0]).named] == ["first"]

    def test_only_refuses_unknown_names(self, small: Space) -> None:
        with pytest.raises(
            ConfigError, match=r"no named trial 'frist'\. Did you mean 'first'\? Its named .*: plain, first"
        ):
            small.resolve(only=["frist"])

    def test_num_trials(self, small: Space) -> None:
        assert searching(small.resolve()).num_trials == 5
        assert searching(small.resolve(num_trials=2)).num_trials == 2
        assert searching(small.resolve(demo=True)).num_trials == 2
        assert searching(small.resolve(demo=True, num_trials=9)).num_trials == 9
        with pytest.raises(ConfigError, match="num_trials: must be at least 1, got 0"):
            small.resolve(num_trials=0)
        with pytest.raises(ConfigError, match="num_trials: named trials are picked"):
            small.resolve(num_trials=3, only=["plain"])
        with pytest.raises(ConfigError, match="num_trials: space 'baseline' has no search"):
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

    def test_lie_over_the_demo_profile(self, small: Space) -> None:
        resolved = small.resolve(demo=True, overrides={"epochs": "6"})
        assert {trial.config.epochs for trial in resolved.named} == {6}
        assert searching(resolved).epochs == 6

    def test_back_to_the_documented_value_is_no_change(self, small: Space) -> None:
        assert all(trial.changed == ("epochs",) for trial in small.resolve(demo=True).named)
        assert all(trial.changed == () for trial in small.resolve(demo=True, overrides={"epochs": 12}).named)

    @pytest.mark.parametrize(
        ("overrides", "sentence"),
        [
            ({"optimiser": "adam"}, "override: unknown key 'optimiser'. Did you mean 'optimizer'"),
            ({"epochs": 0}, "override.epochs: input should be greater than or equal to 1, got 0."),
            ({"image_size": "big"}, "override.image_size: input should be a valid integer"),
            ({"seed": -1}, "override: seed: input should be greater than or equal to 0, got -1."),
            ({"epochs": True}, "override.epochs: should be a number or a word, got True."),
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


EXTENDED = load_space("extended")


class TestSearch:
    @pytest.mark.parametrize("demo", [False, True])
    def test_whatever_is_drawn_is_valid_and_can_be_told_from_the_configuration(self, small: Space, demo: bool) -> None:
        for space in (small, EXTENDED):
            search = searching(space.resolve(demo=demo))
            for seed in range(300):
                drawn = RandomTrial(seed)
                config = search.sample(drawn)
                assert search.values_of(config) == drawn.params
                assert drawn.params.items() <= config.to_dict().items()
                assert config.epochs == search.epochs
                # What was not drawn is as the space says, but for the counts, which go with the mode.
                for name in set(FIELDS) - drawn.params.keys() - {"freeze_stages", "freeze_epochs"}:
                    assert getattr(config, name) == search.fields[name]

    @pytest.mark.parametrize("demo", [False, True])
    def test_optuna_draws_from_it(self, demo: bool) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        search = searching(EXTENDED.resolve(demo=demo))
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        seen: dict[str, set[Any]] = {}
        for _ in range(300):
            trial = study.ask()
            config = search.sample(trial)
            assert search.values_of(config) == trial.params
            for name, value in trial.params.items():
                seen.setdefault(name, set()).add(value)
            study.tell(trial, config.learning_rate)
        assert seen.keys() == search.parameters.keys()
        for name, parameter in search.parameters.items():
            if parameter.choices:
                assert seen[name] == set(parameter.choices)
        assert sorted(seen["head_dropout"]) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])

    @pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
    def test_tpe_learns_from_it_and_takes_the_baselines_as_points(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        resolved = EXTENDED.resolve()
        search = searching(resolved)
        sampler = optuna.samplers.TPESampler(multivariate=True, group=True, n_startup_trials=5, seed=0)
        study = optuna.create_study(sampler=sampler)
        for named in resolved.named:
            study.enqueue_trial(search.values_of(named.config) or {})
        configs = []
        for _ in range(20):
            trial = study.ask()
            configs.append(search.sample(trial))
            study.tell(trial, abs(configs[-1].head_dropout - 0.3))
        assert configs[:3] == [named.config for named in resolved.named]
        assert len({config.config_id for config in configs}) == len(configs)

    def test_settings(self, small: Space) -> None:
        search = searching(small.resolve())
        assert (search.startup_trials, search.sampler_seed) == (2, 7)
        assert (search.grace_period, search.reduction_factor, search.epochs) == (3, 2, 12)
        short = searching(small.resolve(demo=True))
        assert (short.startup_trials, short.sampler_seed) == (1, 7)
        assert (short.grace_period, short.reduction_factor, short.epochs) == (1, 2, 2)

    def test_can_be_pickled(self) -> None:
        resolved = EXTENDED.resolve(overrides={"freeze": "all"})
        assert pickle.loads(pickle.dumps(resolved)) == resolved

    @pytest.mark.parametrize(
        ("changes", "inside"),
        [
            ({}, True),
            ({"learning_rate": 1e-5}, True),
            ({"learning_rate": 9e-6}, False),
            ({"learning_rate": 2e-2}, False),
            ({"head_dropout": 0.3}, True),
            ({"head_dropout": 0.25}, False),
            ({"head_dropout": 0.7}, False),
            ({"freeze": "stages", "freeze_stages": 4}, True),
            ({"freeze": "stages", "freeze_stages": 5}, False),
            ({"augmentation": "medium"}, False),
            ({"augmentation": "strong", "augmentation_strength": 1.5}, True),
            ({"augmentation": "strong", "augmentation_strength": 1.6}, False),
            # drawn for 'strong' alone, so that with 'light' it is no concern of the search
            ({"augmentation": "light", "augmentation_strength": 1.6}, True),
            # not searched at all
            ({"batch_size": 64, "decoder": "unet", "seed": 9, "epochs": 99}, True),
        ],
    )
    def test_what_lies_in_the_space(self, small: Space, changes: dict[str, Any], inside: bool) -> None:
        values = searching(small.resolve()).values_of(TrialConfig().replaced(changes))
        assert (values is not None) == inside

    def test_a_drawn_step_lies_in_the_space_however_it_was_rounded(self, tmp_path: Path) -> None:
        space = from_text(tmp_path, "search: {parameters: {head_dropout: {float: [0.1, 0.7], step: 0.2}}}\n")
        search = searching(space.resolve())
        for value in (0.1, 0.1 + 0.2, 0.1 + 2 * 0.2, 0.1 + 3 * 0.2, 0.7):
            assert search.values_of(TrialConfig(head_dropout=value)) == {"head_dropout": value}

    def test_all_preprocessing(self, small: Space) -> None:
        # the size is searched under a condition, and otherwise the space's default
        assert searching(small.resolve()).all_preprocessing() == [
            PreprocessingPart(image_size=size, equalization="histogram") for size in (128, 64, 96)
        ]
        assert searching(EXTENDED.resolve()).all_preprocessing() == [
            PreprocessingPart(image_size=224, equalization="none"),
            PreprocessingPart(image_size=224, equalization="histogram"),
            PreprocessingPart(image_size=224, equalization="clahe"),
        ]
        fixed = EXTENDED.resolve(overrides={"equalization": "clahe", "image_size": 64})
        assert searching(fixed).all_preprocessing() == [PreprocessingPart(image_size=64, equalization="clahe")]

    def test_all_encoders_follows_conditions(self, tmp_path: Path) -> None:
        space = from_text(
            tmp_path,
            """
defaults: {encoder_weights: none}
search:
  parameters:
    decoder: {choices: [unet, fpn]}
    encoder: {choices: [resnet34, resnet50], when: {decoder: [fpn]}}
    encoder_weights: {choices: [imagenet, none], when: {encoder: [resnet50]}}
""",
        )
        search = searching(space.resolve())
        assert search.all_encoders() == [
            ("efficientnet-b0", "none"),
            ("resnet34", "none"),
            ("resnet50", "imagenet"),
            ("resnet50", "none"),
        ]
        configs = [search.sample(RandomTrial(seed)) for seed in range(100)]
        assert {(config.encoder, config.encoder_weights) for config in configs} == set(search.all_encoders())

    def test_everything_drawn_was_announced(self, small: Space) -> None:
        for space in (small, EXTENDED):
            search = searching(space.resolve())
            configs = [search.sample(RandomTrial(seed)) for seed in range(300)]
            assert {config.part(PreprocessingPart) for config in configs} == set(search.all_preprocessing())
            assert {(c.encoder, c.encoder_weights) for c in configs} == set(search.all_encoders())


def test_a_file_written_by_hand_equals_one_written_by_a_program(tmp_path: Path, small: Space) -> None:
    content = small.document
    content.pop("source")
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    assert load_space(str(path)).file == small.file


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
