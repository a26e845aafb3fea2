"""Reading YAML from anybody: loaded safely, in bounded time and memory, and every mistake one sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from bts_tune.errors import ConfigError
from bts_tune.text import printable, quoted

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
    """Safe YAML with the scalars of YAML 1.2, which editors and other readers know, and no key given twice.

    PyYAML's own are those of YAML 1.1, where `016` is 14, `1:30` is 90, `no` is false and `1e-4` a word.

    Aliases may stand for each other (`<<: *base` is what they are for), but not without bound: a few lines of them can
    stand for billions of values, or for themselves.
    """

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _check_node(node, {})
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put the keys that `<<` merges into a mapping: its own come first, then the merged mappings' in their order.

        That is the rule of https://yaml.org/type/merge.html. PyYAML 6.0.4 breaks it where a merged mapping merges too.
        """
        own = [pair for pair in node.value if pair[0].tag != _MERGE]
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            for mapping in _mappings(value) if key.tag == _MERGE else ():
                self.flatten_mapping(mapping)
                for pair in mapping.value:
                    merged.setdefault(pair[0].value, pair)
        for key, _ in own:
            merged.pop(key.value, None)
        node.value = [*merged.values(), *own]

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, IndexError):
            # Converters fail as they will: `!!int x`, `!!timestamp x`, 5000 digits, …
            raise _refused(node, f"{quoted(node.value)} is no {node.tag.rpartition(':')[2]}") from None


_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"


def _refused(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _mappings(node: yaml.Node) -> list[yaml.MappingNode]:
    """Return the mappings that `<<: node` merges: one, or a list of them."""
    mappings = []
    for each in node.value if isinstance(node, yaml.SequenceNode) else [node]:
        if not isinstance(each, yaml.MappingNode):
            raise _refused(each, "`<<` merges a mapping or a list of mappings")
        mappings.append(each)
    return mappings


def _check_node(node: yaml.Node, counted: dict[int, int]) -> int:
    """Return how many values a node stands for, aliases followed; refuse too many, and one that holds itself.

    Keys are checked here too, as they are written: later PyYAML mixes those of merged mappings (`<<`) with a mapping's
    own.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in counted:
        counted[id(node)] = -1
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        total = 1
        for child in node.value:
            for part in child if isinstance(child, tuple) else (child,):
                total += _check_node(part, counted)
        if total > MAX_NODES:
            raise _refused(node, f"it stands for more than {MAX_NODES} values")
        counted[id(node)] = total
    if counted[id(node)] < 0:
        raise _refused(node, "it is part of itself")
    return counted[id(node)]


def _check_keys(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in (_TEXT, _MERGE):
            got = printable(key.value) if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
            raise _refused(key, f"a key must be a word, got {got}")
        if key.value in seen:
            raise _refused(key, f"the key {quoted(key.value)} is given twice in one mapping")
        seen.add(key.value)


_INTEGER = r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"
_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"

# The core schema of YAML 1.2, and the merge key, which it left out. The first that matches is taken.
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", _INTEGER, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
    ("merge", "<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    if not re.fullmatch(_INTEGER, text):
        raise ValueError(text)
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node)
    if not re.fullmatch(_FLOAT, text):
        raise ValueError(text)
    return float(text if text[-1].isdigit() or text[-1] == "." else text.replace(".", ""))  # Python's inf has no dot


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
