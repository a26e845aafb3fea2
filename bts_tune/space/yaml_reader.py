"""Reading YAML from anybody: loaded safely, in bounded time and memory, and every mistake one sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from bts_tune.errors import ConfigError
from bts_tune.text import quoted

MAX_BYTES = 2**18
MAX_NODES = 50_000
"""Most values that a file may hold, those behind an alias counted wherever it stands."""


def read_yaml(path: Path) -> Any:
    """Return what a YAML file says, loaded safely; a key that is given twice is refused.

    Raises:
        ConfigError: the file cannot be read, is too large, or is not YAML; with the line where there is one.
    """
    try:
        loader = _Loader(_read_text(path))
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid YAML: it is nested too deeply.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {_shortened(error.problem or error.context)}.") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(f"{path}: not a text file in UTF-8.") from None


def _shortened(text: object, limit: int = 200) -> str:
    return str(text) if len(str(text)) <= limit else f"{str(text)[:limit]} …"


def _read_text(path: Path) -> str:
    if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would block for ever
        raise ConfigError(f"{path}: is not a regular file.")
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_BYTES} bytes, hence no search space.")
    return data.decode("utf-8-sig")


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice and reads `1e-4` as the number that it is in YAML 1.2.

    Aliases may stand for each other (`<<: *base` is what they are for), but not without bound: a few lines of them can
    stand for billions of values, or for themselves.
    """

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _count_nodes(node, {})
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, IndexError):
            # PyYAML lets its converters fail as they will: `2024-99-99`, `!!int x`, `!!timestamp x`, 5000 digits, …
            raise _refused(node, f"{quoted(node.value)} is no {node.tag.rpartition(':')[2]}") from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        # A tag may name a mapping where there is none (`!!set 3`): what PyYAML says of that will do.
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _refused(key_node, f"a key must be a word, got {quoted(key)}")
            if key in seen:
                raise _refused(key_node, f"the key {quoted(key)} is given twice in one mapping")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _refused(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _count_nodes(node: yaml.Node, counted: dict[int, int]) -> int:
    """Return how many values a node stands for, aliases followed; refuse too many, and one that holds itself."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in counted:
        counted[id(node)] = -1
        total = 1
        for child in node.value:
            for part in child if isinstance(child, tuple) else (child,):
                total += _count_nodes(part, counted)
        if total > MAX_NODES:
            raise _refused(node, f"it stands for more than {MAX_NODES} values")
        counted[id(node)] = total
    if counted[id(node)] < 0:
        raise _refused(node, "it is part of itself")
    return counted[id(node)]


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
