"""The JSON Schema of a space's file says what its reader does."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bts_tune.config import allowed_values, field_info, known_fields
from bts_tune.errors import ConfigError
from bts_tune.space import list_spaces
from bts_tune.space.file import parse_space_file
from bts_tune.space.json_schema import schema
from bts_tune.space.parameter import NOT_SEARCHED
from bts_tune.space.yaml_reader import read_yaml
from tests.mutations import junk, mutated
from tests.space.mistakes import MISTAKES, NOT_YAML, document, write

# What the schema need not say: a rule between several values, or about another file.
BEYOND_SCHEMA = {
    "demo of a trial contradicts it",
    "demo contradicts a trial",
    "contradiction",
    "unknown include",
    "missing include",
    "included name",
    "ends swapped",
    "integers between are not allowed",
    "step is not allowed",
    "uneven step",
    "parent not searched",
    "parent later",
    "parent is a range",
    "value is no choice",
    "mode without its count",
    "count without its mode",
    "count in another mode",
    "count before its mode",
    "average that is not kept",
    "start of an average that is not kept",
    "momentum of Adam",
    "strength of no augmentation",
    "parameter of another loss",
    "weight of another loss",
    "thaws after the budget",
    "no loss",
    "no mistake weighs",
}


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema())


def test_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_accepts_every_shipped_file(validator: jsonschema.Draft202012Validator) -> None:
    for space in list_spaces():
        validator.validate(read_yaml(space.source))
        document = space.document
        del document["source"]
        validator.validate(document)


def test_accepts_the_good_file(validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(document())


@pytest.mark.parametrize("mistake", [name for name in MISTAKES if name not in NOT_YAML | BEYOND_SCHEMA])
def test_refuses_what_the_reader_refuses(
    validator: jsonschema.Draft202012Validator, mistake: str, tmp_path: Path
) -> None:
    content = read_yaml(Path(write(tmp_path, MISTAKES[mistake][0])))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(content)


def test_everything_is_described() -> None:
    content = schema()
    described = [content, *content["$defs"].values()]
    fields = content["$defs"]["Search"]["properties"]["parameters"]["properties"]
    for owner in (*described, *fields.values()):
        for name, field in owner["properties"].items():
            assert field.get("description"), name


def test_has_the_fields_of_a_configuration() -> None:
    definitions = schema()["$defs"]
    fields = definitions["TrialFields"]["properties"]
    assert set(fields) == set(known_fields()) - {"seed", "objective"}
    assert "tversky_alpha" in fields
    searched = definitions["Search"]["properties"]["parameters"]["properties"]
    assert set(searched) == set(known_fields()) - set(NOT_SEARCHED)
    for name, field in fields.items():
        assert field["description"] == field_info(name).description
        assert field["default"] == field_info(name).default
        if name == "augmentation":
            for text in ("none", "medium+downscale", "none+noise+blur", "strong"):
                assert re.search(field["pattern"], text), text
            for text in ("medium+noise", "medium+noises", "none+noise+blur+noise", "strong+", "none+", "strongs"):
                assert not re.search(field["pattern"], text), text
        elif allowed_values(name):
            assert tuple(field["enum"]) == allowed_values(name)


def test_is_made_anew() -> None:
    first = schema()
    kept = copy.deepcopy(first)
    first["properties"].clear()
    assert schema() == kept


values = junk | st.sampled_from(
    [
        "fpn",
        "search-1",
        "medium+noise",
        "8",
        "0.1",
        "choices",
        "float",
        True,
        8,
        0.1,
        [1, 8],
        [0.1, 0.2],
        [8, 8],
        3.0,
        1e17,
        [8.0, 16.0],
        [],
        {},
    ]
)

# What the reader says of rules between several values, and of text that no file can hold.
BEYOND = re.compile(
    "the lowest must be below the highest|input should be a multiple of|must lie whole steps above|"
    "is not an earlier parameter with choices|must be among its choices|is searched too|"
    "unable to parse raw data as a unicode string"
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=mutated(document(seeds=[0, 1]), values))
def test_says_what_the_reader_says(validator: jsonschema.Draft202012Validator, content: Any) -> None:
    try:
        parse_space_file(content, "x.yaml")
    except ConfigError as error:
        sentence = str(error)
    else:
        sentence = ""
    if not BEYOND.search(sentence):
        assert validator.is_valid(content) == (not sentence), sentence
