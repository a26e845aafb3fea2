"""The format of a space's file: every mistake is one sentence that says where, and what is given is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bts_tune.config import FIELDS
from bts_tune.errors import ConfigError
from bts_tune.space import Space, load_space
from bts_tune.space.file import parse_space_file
from tests.space.mistakes import GOOD, MISTAKES, document, write


def test_the_good_file_is_good(tmp_path: Path) -> None:
    space = load_space(write(tmp_path, GOOD))
    assert space.file.search is not None
    assert space.file.search.parameters["learning_rate"].bounds == (1e-5, 1e-2)


@pytest.mark.parametrize(("text", "fragment"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence_that_says_where(tmp_path: Path, text: str, fragment: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_space(path)
    sentence = str(caught.value)
    assert fragment in sentence
    assert sentence.startswith(str(tmp_path)), "the file stands first"
    assert sentence.endswith((".", "?"))
    assert "\n" not in sentence


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 50)
    | st.floats()
    | st.sampled_from([*FIELDS, "x", "none", "all", "fpn"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FIELDS, "float", "int", "when"]), inner)
    ),
    max_leaves=8,
)


@given(st.data())
def test_any_content_parses_or_is_one_config_error(data: st.DataObject) -> None:
    content = document()
    # Replace something at a random place of a good file by anything at all.
    place: Any = content
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        deeper = place[key]
        if not (isinstance(deeper, dict | list) and deeper and data.draw(st.booleans())):
            break
        place = deeper
    place[key] = data.draw(JSON)
    try:
        file = parse_space_file(content, "x.yaml")
    except ConfigError:
        return
    assert parse_space_file(file.model_dump(mode="json", by_alias=True, exclude_none=True), "x.yaml") == file


def test_values_take_the_type_of_their_field() -> None:
    file = parse_space_file(document(defaults={"batch_size": 8.0, "head_dropout": 0}), "x.yaml")
    assert repr(file.defaults) == "{'batch_size': 8, 'head_dropout': 0.0}"


def test_a_whole_number_may_be_written_with_a_point() -> None:
    search = {"num_trials": 40.0, "parameters": {"batch_size": {"choices": [4.0, 8]}}, "final": {"seeds": 2.0}}
    file = parse_space_file(document(seeds=[0.0, 1], search=search), "x.yaml")
    assert file.search is not None
    assert repr((file.seeds, file.search.num_trials, file.search.final.seeds)) == "([0, 1], 40, 2)"
    assert repr(file.search.parameters["batch_size"].choices) == "[4, 8]"
    with pytest.raises(ConfigError, match=r"search\.num_trials: input should be a valid integer, got 40\.5"):
        parse_space_file(document(search={**search, "num_trials": 40.5}), "x.yaml")


def test_a_file_written_by_hand_equals_one_written_by_a_program(tmp_path: Path, small: Space) -> None:
    content = small.document
    content.pop("source")
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    assert load_space(str(path)).file == small.file
