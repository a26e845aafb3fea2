from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bts_tune.errors import ConfigError
from bts_tune.space.yaml_reader import read_yaml

FUZZED = settings(deadline=None, suppress_health_check=list(HealthCheck))


def value(folder: Path, text: str) -> Any:
    """Return what a file says whose one value is `text`."""
    return document(folder, f"value: {text}\n")["value"]


def document(folder: Path, text: str) -> Any:
    path = folder / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path)


def test_yaml_reads_numbers_as_their_authors_mean_them(tmp_path: Path) -> None:
    text = "\ufeffa: 1e-4\nb: 1.5E+3\nc: 1e-4x\nd: none\ne: 12\nf: &base {k: 1, l: 2}\ng: {<<: *base, l: 3}\n"
    assert document(tmp_path, text) == {
        "a": 1e-4,
        "b": 1500.0,
        "c": "1e-4x",
        "d": "none",
        "e": 12,
        "f": {"k": 1, "l": 2},
        "g": {"k": 1, "l": 3},
    }


@pytest.mark.parametrize(
    ("text", "read"),
    [
        *(("016", 16), ("0o17", 15), ("0x1F", 31), ("-7", -7), (".5", 0.5), ("1.", 1.0), ("-.INF", float("-inf"))),
        *(("1:30", "1:30"), ("0b11", "0b11"), ("1_000", "1_000"), ("2024-01-01", "2024-01-01"), ("=", "=")),
        *((word, word) for word in ("yes", "no", "on", "off", "y", "tRUE")),
        *(("true", True), ("False", False), ("~", None), ("null", None), ("", None)),
        *(("'016'", "016"), ("!!str 16", "16"), ("!!float 3", 3.0)),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path: Path, text: str, read: object) -> None:
    found = value(tmp_path, text)
    assert found == read
    assert type(found) is type(read)


@FUZZED
@given(number=st.integers(-(10**20), 10**20), zeros=st.integers(0, 3), digits=st.sampled_from("dxo"))
def test_any_integer_is_read(tmp_path_factory: pytest.TempPathFactory, number: int, zeros: int, digits: str) -> None:
    if digits == "d":
        text = f"{'-' * (number < 0)}{'0' * zeros}{abs(number)}"
    else:
        number = abs(number)
        text = f"0{digits}{'0' * zeros}{number:{digits}}"
    assert value(tmp_path_factory.getbasetemp(), text) == number


letters = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | letters


@FUZZED
@given(content=st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(letters, inner), max_leaves=20))
def test_json_is_read_as_json(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    """YAML 1.2 holds JSON."""
    assert value(tmp_path_factory.getbasetemp(), json.dumps(content, ensure_ascii=False)) == content


names = st.sampled_from("abcd")
layers = st.lists(st.dictionaries(names, st.integers(0, 9)), min_size=1, max_size=5)


@FUZZED
@given(layers=layers)
def test_merges_follow_each_other(tmp_path_factory: pytest.TempPathFactory, layers: list[dict[str, int]]) -> None:
    """Each mapping merges the one before it, and what it says itself comes first."""
    lines, said = [], {}
    expected: dict[str, int] = {}
    for number, layer in enumerate(layers):
        own = [f"{name}: {given}" for name, given in layer.items()]
        merged = [f"<<: *m{number - 1}"] if number else []
        lines.append(f"m{number}: &m{number} {{{', '.join(own + merged)}}}\n")
        expected = {**expected, **layer}
        said[f"m{number}"] = expected
    assert document(tmp_path_factory.getbasetemp(), "".join(lines)) == said


@FUZZED
@given(layers=layers, own=st.dictionaries(names, st.integers(0, 9)))
def test_of_several_merged_mappings_the_first_that_has_a_key_gives_it(
    tmp_path_factory: pytest.TempPathFactory, layers: list[dict[str, int]], own: dict[str, int]
) -> None:
    lines = [f"m{number}: &m{number} {json.dumps(layer)}\n" for number, layer in enumerate(layers)]
    aliases = ", ".join(f"*m{number}" for number in range(len(layers)))
    lines.append(
        f"all: {{{', '.join(['<<: [' + aliases + ']', *(f'{name}: {given}' for name, given in own.items())])}}}\n"
    )
    expected: dict[str, int] = {}
    for layer in (own, *layers):
        expected = {**layer, **expected}
    assert document(tmp_path_factory.getbasetemp(), "".join(lines))["all"] == expected


@pytest.mark.parametrize("merged", ["3", "[{a: 1}, b]", "~"])
def test_only_mappings_are_merged(tmp_path: Path, merged: str) -> None:
    with pytest.raises(ConfigError, match=r"line 1, .* `<<` merges a mapping or a list of mappings"):
        document(tmp_path, f"a: {{<<: {merged}}}\n")


@FUZZED
@given(layers=layers, data=st.data())
def test_a_key_given_twice_is_refused_wherever_it_is_merged(
    tmp_path_factory: pytest.TempPathFactory, layers: list[dict[str, int]], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(layers) - 1))
    lines = []
    for number, layer in enumerate(layers):
        own = [f"{name}: {given}" for name, given in layer.items()] + ["twice: 1"] * (2 if number == at else 1)
        merged = [f"<<: *m{number - 1}"] if number else []
        lines.append(f"m{number}: &m{number} {{{', '.join(data.draw(st.permutations(own + merged)))}}}\n")
    with pytest.raises(ConfigError, match=f"line {at + 1}, .* the key 'twice' is given twice in one mapping"):
        document(tmp_path_factory.getbasetemp(), "".join(lines))


def test_of_several_merged_mappings_the_first_comes_first(tmp_path: Path) -> None:
    text = "a: &a {k: 1}\nb: &b {<<: *a, k: 2, l: 3}\nc: {<<: [*a, *b], m: 4}\n"
    assert document(tmp_path, text)["c"] == {"k": 1, "l": 3, "m": 4}


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match="not a text file in UTF-8"):
        read_yaml(path)
