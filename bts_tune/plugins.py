"""Code of users and of installed packages that registers implementations of their own.

A plugin comes in three ways:

- by name: the path of a Python file or the name of an importable module, given with `--plugin`, in a space's `plugins`
  or to `load_plugin`. The code of a file reaches every process of a run, on other nodes too, by its text; a module must
  be importable on every node.
- from an installed package, by an entry point of the group `bts_tune.plugins` that names a module.
- from Python: classes that a script or a notebook registers itself.

What was loaded is described by name and SHA-256, so that a run that goes on can tell whether it is still the same.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.util
import inspect
import logging
import os
import pickle
import shlex
import sys
import traceback
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from bts_tune import registry
from bts_tune.errors import ConfigError
from bts_tune.paths import user_path
from bts_tune.registry import Registry
from bts_tune.text import first_line, printable

ENTRY_POINTS = "bts_tune.plugins"
"""The group of entry points by which an installed package names its plugins."""

_MAX_BYTES = 2**20


@dataclass(frozen=True)
class Plugin:
    """A plugin that was loaded.

    Attributes:
        name: the file's path or the module's name, or `<registry>:<name>` of a class that Python code registered.
        kind: what it is.
        sha256: of its source.
        content: what another process needs to load it: a file's text, or a pickled class; empty for a module.
    """

    name: str
    kind: Literal["file", "module", "class"]
    sha256: str
    content: str = field(default="", repr=False)

    def describe(self) -> dict[str, str]:
        """Return what a run records of it."""
        return {"name": self.name, "kind": self.kind, "sha256": self.sha256}

    def to_dict(self) -> dict[str, str]:
        """Return what another process loads it from; see `restore`."""
        return asdict(self)


_loaded: dict[str, Plugin] = {}


def load_plugin(name: str, *, relative_to: Path | None = None) -> Plugin:
    """Load a plugin by the path of a file (it ends in .py or holds a slash) or by the name of a module.

    Args:
        name: the plugin.
        relative_to: the folder that a path begins at; by default the working folder.

    Raises:
        ConfigError: it is not there, or its code fails.
    """
    if _is_file(name):
        path = _path(name, relative_to)
        before = _entries()
        plugin = _load_file(path, _read(Path(path)))
        # No error: a file may be for what else it does, such as a setting of a library.
        if _entries() == before and path not in _loaded:
            logging.getLogger(__name__).warning(
                "Plugin %s: registers nothing; a class of it is known once it has a line such as "
                '@LOSSES.register("my-loss").',
                path,
            )
        return _remember(plugin)
    return _remember(_load_module(name))


def full_name(name: str, *, relative_to: Path | None = None) -> str:
    """Return the name that a plugin is remembered by: a file's absolute path, a module's name."""
    return _path(name, relative_to) if _is_file(name) else name


def is_loaded(name: str, *, relative_to: Path | None = None) -> bool:
    """Return whether a plugin was loaded in this process; arguments as for `load_plugin`."""
    return full_name(name, relative_to=relative_to) in _loaded


def _is_file(name: str) -> bool:
    return name.endswith(".py") or os.sep in name


def _path(name: str, relative_to: Path | None) -> str:
    path = user_path(name, "plugin")
    return str((relative_to / path if relative_to is not None else path).absolute())


def load_plugins(names: Iterable[str], *, relative_to: Path | None = None) -> None:
    """Load several plugins in order; see `load_plugin`."""
    for name in names:
        load_plugin(name, relative_to=relative_to)


def require_plugins(names: Iterable[str], *, relative_to: Path | None = None) -> None:
    """Refuse plugins that cannot be loaded for sure, without running their code; arguments as for `load_plugin`.

    Raises:
        ConfigError: a file is not there, or is no Python; there is no such module.
    """
    for name in names:
        if is_loaded(name, relative_to=relative_to):
            continue
        if _is_file(name):
            path = _path(name, relative_to)
            _compiled(path, _read(Path(path)))
        elif not _is_importable(name.partition(".")[0]):  # to look within a package would run its code
            raise _no_module(name)


def load_installed() -> None:
    """Load the plugins of installed packages: the modules that entry points of the group `bts_tune.plugins` name.

    Raises:
        ConfigError: the code of one fails.
    """
    for point in entry_points(group=ENTRY_POINTS):
        if point.module not in _loaded:
            _remember(_load_module(point.module))


def loaded_plugins() -> list[Plugin]:
    """Return every plugin of this process, those that Python code registered included, in the order of loading."""
    return [*_loaded.values(), *_registered_classes()]


def missing_plugins(recorded: Any) -> str:
    """Return what to do where a model or a run was made with plugins that are not loaded, or not the same; else "".

    Args:
        recorded: what a card or a record says of its plugins; of an earlier version, or damaged, it may be anything.
    """
    loaded = loaded_plugins()
    try:
        missing = [
            (printable(str(one["name"]))[:200], one.get("kind"))
            for one in recorded
            if one["sha256"] not in [plugin.sha256 for plugin in loaded]
        ][:20]
    except (AttributeError, KeyError, TypeError):
        return ""
    known = {Path(plugin.name).name for plugin in loaded}  # an exported folder keeps no more of a path than this
    changed = [name for name, _ in missing if Path(name).name in known]
    classes = [name for name, kind in missing if kind == "class" and name not in changed]
    files = [shlex.quote(name) for name, kind in missing if kind != "class" and name not in changed]
    sentences = (
        f"Plugins that it was made with have changed since: {', '.join(changed)}." if changed else "",
        f"It was made with classes that are not registered; register them first: {', '.join(classes)}."
        if classes
        else "",
        "It was made with plugins that are not loaded; if you trust their code, add "
        f"{' '.join(f'--plugin {name}' for name in files)}."
        if files
        else "",
    )
    return " ".join(filter(None, sentences))


def plugin_options(recorded: Any) -> list[str]:
    """Return the words of a command line that load what a run was made with: `--plugin NAME` of each file and module.

    Installed packages load by themselves, and what Python code registered cannot be loaded so.

    Args:
        recorded: what a run's record says of its plugins; of an earlier version it may be None.
    """
    installed = {point.module for point in entry_points(group=ENTRY_POINTS)}
    named = [one["name"] for one in recorded or () if one.get("kind") in ("file", "module")]
    return [word for name in dict.fromkeys(named) if name not in installed for word in ("--plugin", name)]


def plugins_to_restore() -> list[dict[str, str]]:
    """Return what `restore` needs in another process to load the plugins of this one."""
    return [plugin.to_dict() for plugin in loaded_plugins()]


def restore(plugins: Sequence[Mapping[str, str]]) -> None:
    """Load in this process what `Plugin.to_dict` described in another one.

    Raises:
        ConfigError: a module is not there, or is not the same as in the other process; the code of one fails.
    """
    for fields in plugins:
        plugin = Plugin(**fields)  # type: ignore[arg-type]
        known = _loaded.get(plugin.name)
        if known is not None and known.sha256 == plugin.sha256:
            continue
        if plugin.kind == "file":
            _remember(_load_file(plugin.name, plugin.content))
        elif plugin.kind == "class":
            table, _, name = plugin.name.partition(":")
            entry = pickle.loads(base64.b64decode(plugin.content))
            _registries()[table].register(name)(entry)
            _loaded[plugin.name] = plugin
        else:
            found = _remember(_load_module(plugin.name))
            if found.sha256 != plugin.sha256:
                raise ConfigError(
                    f"plugin {plugin.name}: the module on this node is not the same as where the run began; install "
                    "the same version on every node."
                )


def _remember(plugin: Plugin) -> Plugin:
    _loaded[plugin.name] = plugin
    return plugin


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
        if len(data) > _MAX_BYTES:
            raise ConfigError(f"plugin {path}: has {len(data)} bytes; at most {_MAX_BYTES} are allowed.")
        return data.decode()
    except OSError as error:
        raise ConfigError(f"plugin {path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"plugin {path}: is not a text in UTF-8.") from None


def _load_file(name: str, source: str) -> Plugin:
    digest = hashlib.sha256(source.encode()).hexdigest()
    stem = "".join(character if character.isalnum() else "_" for character in Path(name).stem)
    code = _compiled(name, source)
    module = types.ModuleType(f"bts_tune_plugin_{stem}_{digest[:12]}")
    module.__file__ = name
    sys.modules[module.__name__] = module
    try:
        exec(code, vars(module))
    except BaseException as error:
        del sys.modules[module.__name__]
        if isinstance(error, Exception):
            raise _failed(name, error) from None
        raise
    return Plugin(name, "file", digest, source)


def _compiled(name: str, source: str) -> types.CodeType:
    try:
        return compile(source.removeprefix("\ufeff"), name, "exec", dont_inherit=True)
    except Exception as error:  # not a SyntaxError alone: zero bytes are a ValueError, endless brackets a MemoryError
        raise _failed(name, error) from None


def _load_module(name: str) -> Plugin:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise _no_module(name) from None
        raise _failed(name, error) from None
    except Exception as error:
        raise _failed(name, error) from None
    digest = hashlib.sha256()
    for file in _sources(module):
        digest.update(file.read_bytes())
    return Plugin(name, "module", digest.hexdigest())


def _is_importable(package: str) -> bool:
    try:
        return package in sys.modules or importlib.util.find_spec(package) is not None
    except ValueError:  # no name at all
        return False


def _no_module(name: str) -> ConfigError:
    return ConfigError(
        f"plugin {name!r}: there is no such module; give the path of a .py file or the name of an installed module."
    )


def _sources(module: types.ModuleType) -> list[Path]:
    if hasattr(module, "__path__"):
        return sorted(file for folder in module.__path__ for file in Path(folder).rglob("*.py"))
    return [Path(module.__file__)] if module.__file__ else []


def _failed(name: str, error: Exception) -> ConfigError:
    if isinstance(error, ConfigError):  # what a registry says of it
        return ConfigError(f"plugin {name}: {error}")
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    line = error.lineno if isinstance(error, SyntaxError) else next(iter(reversed(lines)), None)
    where = f", line {line}" if line else ""
    return ConfigError(f"plugin {name}{where}: cannot be loaded: {type(error).__name__}: {first_line(error)}")


def _entries() -> list[type]:
    return [entry for table in _registries().values() for entry in table.registered().values()]


def _registries() -> dict[str, Registry[Any]]:
    return {name: table for name, table in vars(registry).items() if isinstance(table, Registry)}


def _registered_classes() -> list[Plugin]:
    """Return the classes that a script or a notebook registered itself, which no other process could import."""
    found = []
    for table, entries in _registries().items():
        for name, entry in entries.registered().items():
            if entry.__module__ == "__main__" and f"{table}:{name}" not in _loaded:
                import cloudpickle

                content = cloudpickle.dumps(entry)
                try:
                    source = inspect.getsource(entry).encode()
                except (OSError, TypeError):  # typed into an interpreter
                    source = content
                digest = hashlib.sha256(source).hexdigest()
                found.append(Plugin(f"{table}:{name}", "class", digest, base64.b64encode(content).decode()))
    return found
