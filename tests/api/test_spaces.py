"""Search spaces and plugins from Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

import bts_tune as bt
from bts_tune.errors import ConfigError
from tests.api.studies import FIELDS

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "plugins"


def test_a_space_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    assert bt.load_space("extended").name == "extended"
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\ndescription: d\ntrials: {a: {}}\n")
    assert bt.load_space(file).name == bt.load_space(str(file)).name == "mine"
    with pytest.raises(ConfigError, match="Did you mean 'extended'"):
        bt.load_space("extendet")


def test_a_built_space_is_the_same_as_its_file(tmp_path: Path) -> None:
    content = {"name": "mine", "description": "d", "include": ["baseline"], "trials": {"a": {"config": FIELDS}}}
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps(content))
    built, loaded = bt.build_space(**content).document, bt.load_space(file).document
    assert {**built, "source": ""} == {**loaded, "source": ""}
    assert list(built["trials"]) == ["unet-b0", "unet-b0-frozen", "unetplusplus-b5", "a"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"trails": {}}, "build_space: unknown key 'trails'. Did you mean 'trials'"),
        ({"trials": {"a": {"config": {"learning_rat": 1}}}}, "Did you mean 'learning_rate'"),
        ({"trials": {"a": {"config": {"lr": 1}}}}, "Did you mean 'learning_rate'"),
        ({"trials": {"a": {"config": {"learning_rate": -1}}}}, "learning_rate: .* got -1"),
        ({"include": ["basline"]}, "Did you mean 'baseline'"),
        ({"plugins": ["nowhere.py"]}, "nowhere.py: cannot be read"),
        ({"plugins": "nowhere.py"}, r"plugins: must be a list, got 'nowhere.py'; write \[nowhere.py\]"),
        ({}, "has nothing to run"),
    ],
)
def test_a_mistake_in_a_built_space_gets_one_sentence(content: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        bt.build_space(**{"name": "mine", "description": "d", **content})
    assert "\n" not in str(refused.value)


def test_arguments_that_are_not_taken_get_one_sentence() -> None:
    build, load = cast(Any, bt.build_space), cast(Any, bt.load_space)
    with pytest.raises(ConfigError, match=r"^build_space: too many positional arguments; every argument is given with"):
        build("mine", "d")
    with pytest.raises(ConfigError, match=r"^load_space: too many .*; arguments without a name are space, in this"):
        load("baseline", True)
    with pytest.raises(ConfigError, match=r"^load_space: missing a required argument: 'space'; "):
        load()


def test_a_plugin_s_loss_can_be_named_once_it_is_loaded() -> None:
    """In a process of its own, since what is registered stays."""
    code = f"""
import pathlib
import bts_tune as bt
examples = pathlib.Path({str(EXAMPLES)!r})
space = dict(name="a", description="d", trials={{"b": {{"config": {{"loss": "boundary-bce"}}}}}})
try:
    bt.build_space(**space)
except bt.BtsTuneError as error:
    assert "boundary-bce" in str(error)
else:
    raise SystemExit("it is known already")
plugin = bt.load_plugin(examples / "boundary_loss.py")
assert "boundary-bce" in bt.LOSSES and plugin.kind == "file"
bt.build_space(**space)
bt.build_space(**space, plugins=[str(examples / "ghosting.py")])
assert "ghosting" in bt.AUGMENTATION_STEPS
print("done")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr
