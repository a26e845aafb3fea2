"""Spaces are found by name or path, and loaded with those that they include."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bts_tune.errors import ConfigError
from bts_tune.space import Space, list_spaces, load_space, loader, space_folders
from tests.space.builders import from_text

BASELINES = [trial.name for trial in load_space("baseline").resolve().named]


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
        monkeypatch.setattr(loader, "__file__", str(tmp_path / "bts_tune" / "space" / "loader.py"))
        assert space_folders() == [package], "an installed package's neighbours are not ours"
        (tmp_path / "pyproject.toml").touch()
        assert space_folders() == [package, checkout]
        assert [space.name for space in list_spaces()] == ["a", "b", "c"]
        assert load_space("b").source.parent == package

    def test_a_space_that_is_found_by_name_bears_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loader, "space_folders", lambda: [tmp_path])
        (tmp_path / "mine.yaml").write_text("name: yours\ndescription: d\ntrials: {one: {}}\n")
        with pytest.raises(ConfigError, match="name: must be 'mine', as the file is, got 'yours'"):
            load_space("mine")

    def test_nothing_heavy_is_imported(self) -> None:
        heavy = "{'torch', 'ray', 'optuna', 'numpy', 'albumentations', 'matplotlib', 'pandas'}"
        code = f"import sys, bts_tune.space.text; assert not {heavy} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


class TestIncluding:
    def test_included_trials_come_first_and_as_their_space_defines_them(self, tmp_path: Path) -> None:
        from_text(tmp_path, "defaults: {epochs: 9}\nseeds: [5]\ntrials: {one: {baseline: true}}\n", "other")
        space = from_text(tmp_path, "include: [./other.yaml, baseline]\ndefaults: {epochs: 7}\ntrials: {two: {}}\n")
        named = space.resolve().named
        assert [(trial.name, trial.config.epochs, trial.config.seed) for trial in named] == [
            ("one", 9, 0),
            *((name, 35, 0) for name in BASELINES),
            ("two", 7, 0),
        ]
        assert named[0].baseline

    def test_a_circle_is_refused(self, tmp_path: Path) -> None:
        for name, other in (("a", "b"), ("b", "c"), ("c", "b")):
            (tmp_path / f"{name}.yaml").write_text(f"name: {name}\ndescription: d\ninclude: [./{other}.yaml]\n")
        with pytest.raises(ConfigError, match=r"include each other in a circle: b\.yaml -> c\.yaml -> b\.yaml\.$"):
            load_space(str(tmp_path / "a.yaml"))

    def test_notes_of_included_spaces_come_first_and_once(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            content = (
                f"name: {name}\ndescription: d\nnotes: [said twice, of {name}]\ntrials: {{{name}: {{notes: [mine]}}}}\n"
            )
            (tmp_path / f"{name}.yaml").write_text(content)
        space = from_text(tmp_path, "include: [./a.yaml, ./b.yaml]\nnotes: [own]\n")
        assert space.file.notes == ["said twice", "of a", "of b", "own"]
        assert space.file.trials["a"].notes == ["mine"]
        assert load_space("extended").file.notes == load_space("baseline").file.notes

    def test_a_space_does_not_include_itself(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"circle: space\.yaml -> space\.yaml\.$"):
            from_text(tmp_path, "include: [./space.yaml]\n")

    def test_the_same_trial_may_come_by_two_ways(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            from_text(tmp_path, "include: [baseline]\n", name)
        space = from_text(tmp_path, "include: [./a.yaml, ./b.yaml]\n")
        assert [trial.name for trial in space.resolve().named] == BASELINES

    def test_different_trials_of_one_name_are_refused(self, tmp_path: Path) -> None:
        from_text(tmp_path, "trials: {one: {}}\n", "a")
        from_text(tmp_path, "trials: {one: {config: {epochs: 3}}}\n", "b")
        with pytest.raises(ConfigError, match="two of the included spaces have different trials named 'one'"):
            from_text(tmp_path, "include: [./a.yaml, ./b.yaml]\n")

    def test_a_mistake_in_an_included_file_names_that_file(self, tmp_path: Path) -> None:
        (tmp_path / "other.yaml").write_text("name: other\ndescription: d\ntrials: {one: {config: {epochs: 0}}}\n")
        with pytest.raises(ConfigError, match=r"other\.yaml: trials\.one\.config\.epochs: "):
            from_text(tmp_path, "include: [./other.yaml]\n")


def test_files_of_weights_begin_at_the_space_s_own_folder(tmp_path: Path) -> None:
    space = from_text(
        tmp_path,
        """
trials:
  a: {config: {encoder_weights: mine.pth}}
  b: {config: {encoder_weights: none}}
search:
  parameters:
    encoder_weights: {choices: [imagenet, ../other.pth]}
    learning_rate: {float: [1.0e-4, 1.0e-2], when: {encoder_weights: [../other.pth]}}
""",
    )
    resolved = space.resolve()
    assert [one.config.encoder_weights for one in resolved.named] == [str(tmp_path / "mine.pth"), "none"]
    assert resolved.search is not None
    other = str(tmp_path / ".." / "other.pth")
    assert resolved.search.parameters["encoder_weights"].choices == ["imagenet", other]
    assert resolved.search.parameters["learning_rate"].when == {"encoder_weights": [other]}
    (again,) = Space.from_document(space.document).resolve(only=["a"]).named
    assert again.config == resolved.named[0].config


@pytest.mark.parametrize(
    ("plugin", "sentence"),
    [
        ("gone.py", r"plugin .*gone\.py: cannot be read: No such file or directory"),
        ("broken.py", r"plugin .*broken\.py, line 1: cannot be loaded: SyntaxError: "),
        ("no_such_module.losses", "plugin 'no_such_module.losses': there is no such module"),
        (".relative", "plugin '.relative': there is no such module"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_refused_though_none_may_run(
    tmp_path: Path, plugin: str, sentence: str
) -> None:
    (tmp_path / "broken.py").write_text("def (:\n")
    (tmp_path / "whole.py").write_text("raise SystemExit\n")
    file = tmp_path / "mine.yaml"
    content = "name: mine\ndescription: d\nplugins: [PLUGIN]\ntrials: {one: {}}\n"
    file.write_text(content.replace("PLUGIN", plugin))
    with pytest.raises(ConfigError, match=sentence):
        load_space(str(file))
    file.write_text(content.replace("PLUGIN", "whole.py"))
    assert load_space(str(file)).name == "mine"
