"""Code of users: loaded from files, modules and scripts, described, and loaded again in another process."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bts_tune import plugins, registry
from bts_tune.config import TrialConfig
from bts_tune.errors import ConfigError
from bts_tune.plugins import load_plugin, loaded_plugins, missing_plugins, restore
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


@pytest.mark.parametrize("fails", [False, True])
def test_a_file_that_was_edited_replaces_its_own_class_and_another_file_is_refused(tmp_path: Path, fails: bool) -> None:
    source = (EXAMPLES / "area_error.py").read_text()
    (tmp_path / "mine.py").write_text(source + "\n1 / 0\n" * fails)
    if fails:  # half of it was registered
        with pytest.raises(ConfigError, match="ZeroDivisionError"):
            load_plugin(str(tmp_path / "mine.py"))
    else:
        load_plugin(str(tmp_path / "mine.py"))
    (tmp_path / "mine.py").write_text(source.replace('"Area error"', '"My error"'))
    load_plugin(str(tmp_path / "mine.py"))
    assert METRICS.get("area-error").title == "My error"
    (tmp_path / "theirs.py").write_text(source.replace('"Area error"', '"Their error"'))
    with pytest.raises(ConfigError, match=r"theirs\.py: metric 'area-error': there is one of this name already"):
        load_plugin(str(tmp_path / "theirs.py"))
    assert METRICS.get("area-error").title == "My error"


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


def test_a_file_that_registers_nothing_is_told_and_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "mine.py").write_text("x = 1\n")
    for _ in range(2):
        load_plugin(str(tmp_path / "mine.py"))
    assert caplog.text.count("mine.py: registers nothing") == 1
    assert [plugin.name for plugin in loaded_plugins()] == [str(tmp_path / "mine.py")]


@pytest.mark.parametrize("name", ["nowhere.py", "no_such_module_of_mine", "./folder/mine.py"])
def test_a_plugin_that_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read|there is no such module"):
        load_plugin(name)


def test_what_a_model_was_made_with_and_is_not_loaded_is_told_by_kind(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text((EXAMPLES / "area_error.py").read_text())
    (loaded,) = [load_plugin(str(tmp_path / "mine.py")).describe()]
    assert missing_plugins([loaded]) == ""
    other = {"sha256": "0" * 64}
    assert (
        missing_plugins([{**loaded, **other}])
        == f"Plugins that it was made with have changed since: {tmp_path}/mine.py."
    )
    # An exported folder keeps the file's name alone.
    changed = missing_plugins([{**loaded, **other, "name": "mine.py"}])
    assert changed == "Plugins that it was made with have changed since: mine.py."
    missing = missing_plugins([{"name": "LOSSES:my-loss", "kind": "class", **other}, {"name": "a b.py", **other}])
    assert "classes that are not registered; register them first: LOSSES:my-loss. " in missing
    assert missing.endswith("plugins that are not loaded; if you trust their code, add --plugin 'a b.py'.")
    assert missing_plugins(["damaged"]) == missing_plugins(None) == ""


def test_a_plugin_does_not_inherit_what_this_package_imports_from_the_future(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(x: int) -> None: ...\nassert f.__annotations__['x'] is int\n")
    load_plugin(str(tmp_path / "mine.py"))


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_bytes(b"\xef\xbb\xbf" + (EXAMPLES / "area_error.py").read_bytes())
    plugin = load_plugin(str(tmp_path / "mine.py"))
    assert plugin.sha256 == hashlib.sha256((tmp_path / "mine.py").read_bytes()).hexdigest()
    restore([{**plugin.to_dict(), "name": "elsewhere/mine.py"}])
    assert "area-error" in METRICS


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
