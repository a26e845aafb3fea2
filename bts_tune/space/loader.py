"""Finding spaces by name or path, and loading them with those that they include."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bts_tune.errors import ConfigError
from bts_tune.paths import user_path
from bts_tune.plugins import is_loaded, load_plugins, require_plugins
from bts_tune.space.file import parse_space_file
from bts_tune.space.layers import with_paths_beside
from bts_tune.space.space import Space
from bts_tune.space.yaml_reader import read_yaml
from bts_tune.text import nearest, quoted

_MAX_INCLUDE_DEPTH = 10


def space_folders() -> list[Path]:
    """Return the folders that spaces are found in by name: the installed package's, and that of a checkout."""
    package = Path(__file__).resolve().parents[1]
    folders = [package / "search_spaces"]
    if (package.parent / "pyproject.toml").is_file():
        folders.append(package.parent / "search_spaces")
    return [folder for folder in folders if folder.is_dir()]


def list_spaces() -> list[Space]:
    """Return every space that is found by name, in alphabetical order."""
    return [load_space(name) for name in sorted(_by_name())]


def load_space(name_or_path: str, *, run_plugins: bool = False) -> Space:
    """Return a space by its name, or by the path of its file (which ends in .yaml or .yml, or holds a slash).

    Args:
        name_or_path: the space.
        run_plugins: whether the code of the plugins that it names may run. Without them a space that uses what they
            register is refused, as is one whose plugins are not there.

    Raises:
        ConfigError: it does not exist, or the file has a mistake: one sentence with the file, the field's path, its
            value and what is allowed.
    """
    return _load(_find(name_or_path), (), {}, run_plugins)


def _by_name() -> dict[str, Path]:
    return {path.stem: path for folder in reversed(space_folders()) for path in folder.glob("*.yaml")}


def _find(name_or_path: str, beside: Path | None = None) -> Path:
    if "/" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        path = user_path(name_or_path, f"{beside}: include" if beside else "")
        return beside.parent / path if beside else path
    known = _by_name()
    if name_or_path not in known:
        where = f"{beside}: include: " if beside else ""
        names = sorted(known)
        raise ConfigError(
            f"{where}there is no search space {quoted(name_or_path)}.{nearest(name_or_path, names)} "
            f"Known: {', '.join(names)}, or the path of a .yaml file."
        )
    return known[name_or_path]


def _load(path: Path, chain: tuple[Path, ...], loaded: dict[Path, Space], run_plugins: bool) -> Space:
    source = path.resolve()
    if source in chain:
        circle = " -> ".join(step.name for step in (*chain[chain.index(source) :], source))
        raise ConfigError(f"{chain[-1]}: include: spaces include each other in a circle: {circle}.")
    if source in loaded:
        return loaded[source]
    if len(chain) > _MAX_INCLUDE_DEPTH:
        raise ConfigError(f"{chain[-1]}: include: spaces include each other more than {_MAX_INCLUDE_DEPTH} deep.")
    content = with_paths_beside(read_yaml(path), source.parent)
    plugins = _plugins(content, path)
    if run_plugins:
        load_plugins(plugins, relative_to=source.parent)
    else:
        require_plugins(plugins, relative_to=source.parent)
    try:
        file = parse_space_file(content, str(path))
    except ConfigError as error:
        missing = [name for name in plugins if not run_plugins and not is_loaded(name, relative_to=source.parent)]
        if not missing:
            raise
        given = " ".join(f"--plugin {shlex.quote(name)}" for name in missing)
        raise ConfigError(f"{error} The space's own plugins are not loaded; to load them, add {given}") from None
    if source.parent in space_folders() and file.name != source.stem:
        raise ConfigError(f"{path}: name: must be {source.stem!r}, as the file is, got {file.name!r}.")
    included = [_load(_find(entry, beside=path), (*chain, source), loaded, run_plugins) for entry in file.include]
    loaded[source] = Space.of_file(file, source, str(path), included)
    return loaded[source]


def _plugins(content: Any, path: Path) -> list[str]:
    """Return the plugins that a file names, before anything else of it is checked."""
    names = content.get("plugins", []) if isinstance(content, Mapping) else []
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(f"{path}: plugins: must be a list of Python files or modules, got {quoted(names)}.")
    return names
