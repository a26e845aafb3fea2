"""Search spaces and plugins: found by name, read from a file, or built from keywords."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bts_tune import plugins
from bts_tune.api.arguments import checked, name_or_path
from bts_tune.api.plain import plain
from bts_tune.space import Space, loader
from bts_tune.space.file import parse_space_file
from bts_tune.space.layers import with_paths_beside

if TYPE_CHECKING:
    from bts_tune.plugins import Plugin


def load_plugin(plugin: Path | str) -> Plugin:
    """Load losses, metrics, decoders, … of your own; every process of a run that begins after it has them too.

    Args:
        plugin: a Python file (it ends in .py or holds a slash), or the name of a module.

    Raises:
        ConfigError: it is not there, or its code fails.

    Examples:
        >>> load_plugin("boundary_loss.py")  # doctest: +SKIP
        >>> run = tune("baseline", "slices", overrides={"loss": "boundary-bce"})  # doctest: +SKIP
    """
    return plugins.load_plugin(name_or_path(plugin, "plugin"))


@checked
def load_space(space: Path | str, *, run_plugins: bool = False) -> Space:
    """Return a search space by its name, or by the path of its YAML file.

    Args:
        space: 'baseline', 'extended', or a path that ends in .yaml or .yml or holds a slash.
        run_plugins: whether the code of the plugins that the file names may run.

    Raises:
        ConfigError: there is no such space, or its file has a mistake.

    Examples:
        >>> [trial.name for trial in load_space("baseline").resolve().named]
        ['unet-b0', 'unet-b0-frozen', 'unetplusplus-b5']
    """
    plugins.load_installed()
    return loader.load_space(name_or_path(space, "space"), run_plugins=run_plugins)


@checked
def build_space(**content: Any) -> Space:
    """Return a search space from the keys of a space file, as keyword arguments.

    `bts-tune spaces schema` lists the keys. Paths in `plugins`, `include` and `encoder_weights` begin at the
    working folder; the code of the `plugins` runs.

    Raises:
        ConfigError: one sentence with the field, its value and what is allowed.

    Examples:
        >>> space = build_space(
        ...     name="mine",
        ...     description="Two decoders.",
        ...     defaults={"encoder": "resnet18", "encoder_weights": "none"},
        ...     trials={"unet": {"config": {"decoder": "unet"}}, "fpn": {"config": {"decoder": "fpn"}}},
        ... )
        >>> [trial.name for trial in space.resolve().named]
        ['unet', 'fpn']
    """
    plugins.load_installed()
    content = plain(content)
    named = content.get("plugins")
    if isinstance(named, list) and all(isinstance(name, str) for name in named):
        plugins.load_plugins(named)  # their losses and decoders may be in the rest
    file = parse_space_file(with_paths_beside(content, Path.cwd()), "build_space")
    return Space.of_file(file, Path("build_space"), "build_space", [load_space(name) for name in file.include])
