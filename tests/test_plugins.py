"""Code of users: loaded from files, modules and scripts, described, and loaded again in another process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bts_tune import plugins, registry
from bts_tune.config import TrialConfig
from bts_tune.errors import ConfigError
from bts_tune.plugins import load_plugin, loaded_plugins, restore
from bts_tune.registry import LOSSES, METRICS
from bts_tune.space import load_space

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples" / "plugins"


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test loads is forgotten after it."""
    monkeypatch.setattr(plugins, "_loaded", {})
    yield
    for table in vars(registry).values():
        if isinstance(table, registry.Registry):
            for name in table.registered():
                if table.is_plugin(name):
                    del table._entries[name]
    for name in [name for name in sys.modules if name.startswith("bts_tune_plugin_")]:
        del sys.modules[name]


def test_a_file_registers_what_it_holds() -> None:
    plugin = load_plugin(str(EXAMPLES / "boundary_loss.py"))
    assert plugin.kind == "file"
    assert len(plugin.sha256) == 64
    assert "boundary-bce" in LOSSES
    config = TrialConfig.parse({"loss": "boundary-bce", "boundary_bce_weight": 8})
    assert config.to_dict()["boundary_bce_weight"] == 8.0
    assert [one.name for one in loaded_plugins()] == [plugin.name]


def test_a_path_is_relative_to_the_folder_that_is_named() -> None:
    assert load_plugin("area_error.py", relative_to=EXAMPLES).name == str(EXAMPLES / "area_error.py")


def test_another_process_loads_a_file_from_its_description_alone(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text((EXAMPLES / "area_error.py").read_text())
    described = json.dumps([load_plugin(str(file)).to_dict()])
    file.unlink()
    code = (
        "import json, sys; from bts_tune.plugins import restore; from bts_tune.registry import METRICS;"
        "restore(json.loads(sys.stdin.read())); print(METRICS.get('area-error').title)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=described, capture_output=True, text=True, check=True)
    assert done.stdout == "Area error\n"


def test_a_module_is_loaded_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_module_of_metrics.py").write_text((EXAMPLES / "area_error.py").read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    plugin = load_plugin("my_module_of_metrics")
    assert plugin.kind == "module"
    assert "area-error" in METRICS
    with pytest.raises(ConfigError, match="not the same as where the run began"):
        restore([{**plugin.to_dict(), "sha256": "0" * 64}])


def test_a_class_of_a_script_reaches_other_processes(tmp_path: Path) -> None:
    """The registry is filled in `__main__`, which no other process can import."""
    script = tmp_path / "study.py"
    source = (EXAMPLES / "area_error.py").read_text()
    script.write_text(
        source
        + """
import json
import sys
from bts_tune.plugins import loaded_plugins
sys.stdout.write(json.dumps([one.to_dict() for one in loaded_plugins()]))
"""
    )
    described = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout
    restore(json.loads(described))
    assert METRICS.get("area-error").title == "Area error"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("import nothing_of_this_name", "mine.py, line 1: cannot be loaded: ModuleNotFoundError"),
        ("x = 1\n\n1 / 0\n", "mine.py, line 3: cannot be loaded: ZeroDivisionError"),
        ("def f(:\n", "mine.py, line 1: cannot be loaded: SyntaxError"),
        (
            "from bts_tune.registry import LOSSES\nLOSSES.register('focal')(int)\n",
            r"mine.py: loss 'focal': must be a subclass of bts_tune\.losses\.base\.Loss",
        ),
    ],
)
def test_a_mistake_in_a_plugin_is_one_sentence(tmp_path: Path, source: str, sentence: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(source)
    with pytest.raises(ConfigError, match=sentence) as caught:
        load_plugin(str(file))
    assert "\n" not in str(caught.value)
    assert loaded_plugins() == []


@pytest.mark.parametrize("name", ["nowhere.py", "no_such_module_of_mine", "./folder/mine.py"])
def test_a_plugin_that_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read|there is no such module"):
        load_plugin(name)


def space(folder: Path) -> Path:
    file = folder / "mine.yaml"
    file.write_text(
        f"""
name: mine
description: A space with a loss of my own.
plugins: [{EXAMPLES / "boundary_loss.py"}]
trials:
  one: {{config: {{loss: boundary-bce, boundary_bce_weight: 2}}}}
"""
    )
    return file


def test_a_space_that_is_only_shown_runs_no_code(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'boundary_bce_weight'.* add --plugin .*boundary_loss\.py"):
        load_space(str(space(tmp_path)))
    assert "boundary-bce" not in LOSSES


def test_a_space_that_is_run_loads_its_plugins(tmp_path: Path) -> None:
    (named,) = load_space(str(space(tmp_path)), run_plugins=True).resolve().named
    assert named.config.loss == "boundary-bce"
    assert named.config.to_dict()["boundary_bce_weight"] == 2.0
