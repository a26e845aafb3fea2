"""Search spaces from somewhere else: any text gives a space or one sentence, in bounded time and memory."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bts_tune.config import FIELDS
from bts_tune.errors import ConfigError
from bts_tune.space import Space, load_space, space_folders
from bts_tune.space.text import render_space
from bts_tune.space.yaml_reader import MAX_BYTES, read_yaml
from tests.mutations import junk, mutated

HEAD = "name: x\ndescription: d\n"
LAUGHS = "a0: &a0 [lol]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 40))


def refused(path: Path) -> str:
    """Return the one sentence with which a space is refused, within bounds of time, length and memory."""
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError) as error:
        load_space(str(path))
    assert time.monotonic() - begun < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024  # KiB
    sentence = str(error.value)
    assert "\n" not in sentence
    assert len(sentence) < 2000
    return sentence


def search(parameters: dict[str, Any]) -> str:
    return yaml.safe_dump({"name": "x", "description": "d", "search": {"parameters": parameters}}, sort_keys=False)


HOSTILE = {
    "billion laughs": (LAUGHS, "it stands for more than 50000 values"),
    "billion laughs in a mapping": (
        "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}\n" for n in range(1, 60)),
        "it stands for more than 50000 values",
    ),
    "billion laughs by merging": (
        "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60)),
        "it stands for more than 50000 values",
    ),
    "a list within itself": ("defaults: &a [*a]\n", "it is part of itself"),
    "a mapping within itself": (HEAD + "defaults: &a {epochs: *a}\n", "it is part of itself"),
    "a mapping merged into itself": (HEAD + "defaults: &a {<<: *a}\n", "it is part of itself"),
    "nested too deeply": ("a: " + "[" * 20_000, "it is nested too deeply"),
    "nested mappings": ("".join(" " * n + "a:\n" for n in range(600)) + " " * 600 + "b", "nested"),
    "larger than any space": ("#" * (MAX_BYTES + 1), f"is larger than {MAX_BYTES} bytes"),
    "a date that is none": (
        HEAD + "trials: !!timestamp 2024-99-99\n",
        "line 3, column 9: not valid YAML: '2024-99-99' is",
    ),
    "a word as integer": (HEAD + "trials: !!int x\n", "'x' is no int"),
    "a word as truth value": (HEAD + "trials: !!bool x\n", "'x' is no bool"),
    "a word as date": (HEAD + "trials: !!timestamp x\n", "'x' is no timestamp"),
    "a number as set": (HEAD + "trials: !!set 0.5\n", "expected a mapping node, but found scalar"),
    "a list as mapping": (HEAD + "trials: !!map [a, b]\n", "expected a mapping node, but found sequence"),
    "an empty float": (HEAD + "trials: !!float ''\n", "is no float"),
    "an integer of 5000 digits": (HEAD + f"seeds: [{'9' * 5000}]\n", "is no int"),
    "a hexadecimal integer of 50000 digits": (HEAD + f"seeds: [0x{'f' * 50_000}]\n", "seeds.0: "),
    "a sexagesimal integer": (HEAD + f"seeds: [1{':1' * 30_000}]\n", "seeds.0: "),
    "a key of 100000 characters": (HEAD + f"? {'k' * 100_000}\n: 1\n", "unknown key 'kkk"),
    "a field of 100000 characters": (HEAD + f"trials: {{a: {{config: {{? {'k' * 900} : 1}}}}}}\n", "unknown key 'kkk"),
    "a value of 100000 characters": (HEAD + f"trials: {{a: {{config: {{decoder: {'v' * 100_000}}}}}}}\n", "decoder"),
    "a name of 100000 characters": (f"name: {'n' * 100_000}\ndescription: d\n", "name: "),
    "a trial's name that is a path": (HEAD + "trials: {../../x: {}}\n", "trials.../../x"),
    "a Python object": (HEAD + "trials: !!python/object/apply:os.system [touch hacked]\n", "constructor"),
    "100000 seeds": (HEAD + f"trials: {{a: {{}}}}\nseeds: [{','.join(map(str, range(20_000)))}]\n", "seeds"),
    "a million named trials": (
        HEAD + "trials: {" + ",".join(f"t{n}: " for n in range(3000)) + "}\n",
        "must be a mapping",
    ),
    "trials by seeds": (
        HEAD
        + "trials: {"
        + ", ".join(f"t{n}: {{}}" for n in range(2000))
        + f"}}\nseeds: [{','.join(map(str, range(2000)))}]\n",
        "makes 4000000 named trials; at most 10000 are allowed",
    ),
    "a search without end": (
        HEAD + "search: {num_trials: 1000000000000, parameters: {decoder: {choices: [unet]}}}\n",
        "search.num_trials: input should be less than or equal to 1000000",
    ),
    "a range without end": (
        search(
            {"freeze": {"choices": ["epochs"]}, "freeze_epochs": {"int": [1, 10**15], "when": {"freeze": ["epochs"]}}}
        ),
        "freeze_epochs",
    ),
    "conditions that multiply": (
        search(
            {
                **{
                    name: {"choices": [round(0.0009 * n, 6) for n in range(1, 900)]}
                    for name in ("label_smoothing", "decoder_dropout", "head_dropout")
                },
                "learning_rate": {
                    "choices": [0.1, 0.2],
                    "when": {
                        name: [round(0.0009 * n, 6) for n in range(1, 900)]
                        for name in ("label_smoothing", "decoder_dropout", "head_dropout")
                    },
                },
            }
        ),
        "edge cases; at most 10000 are allowed",
    ),
    "choices without end": (
        search({"learning_rate": {"choices": [(n + 1) / 1e5 for n in range(9000)]}}),
        "learning_rate.choices: must have at most 1000 entries",
    ),
}


@pytest.mark.parametrize(("text", "why"), HOSTILE.values(), ids=HOSTILE)
def test_is_refused_in_one_sentence(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert why in refused(path)
    assert not Path("hacked").exists()


def test_encoders_that_multiply_are_refused_where_they_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    words = [f"e{number}" for number in range(200)]
    path.write_text(search({"encoder": {"choices": words}, "encoder_weights": {"choices": words}}))
    resolved = load_space(str(path)).resolve()
    assert resolved.search is not None
    with pytest.raises(ConfigError, match="more than 10000 combinations of encoder, encoder_weights"):
        resolved.search.all_encoders()


def test_aliases_are_read_as_what_they_stand_for(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(HEAD + "defaults: &d {epochs: 9}\ndemo: *d\ntrials: {a: {config: {<<: *d, seed: 1}}}\n")
    assert read_yaml(path)["trials"]["a"]["config"] == {"epochs": 9, "seed": 1}


def test_a_pipe_and_a_device_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.yaml")
    assert "is not a regular file" in refused(tmp_path / "x.yaml")
    (tmp_path / "y.yaml").symlink_to("/dev/zero")
    assert "is not a regular file" in refused(tmp_path / "y.yaml")


def test_a_gigantic_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").touch()
    os.truncate(tmp_path / "x.yaml", 2**40)
    assert "is larger than" in refused(tmp_path / "x.yaml")


def test_includes_that_multiply_are_read_once_each(tmp_path: Path) -> None:
    for number in range(10):
        includes = [f"./s{number + 1}.yaml"] * 8 if number < 9 else []
        content = {"name": f"s{number}", "description": "d", "include": includes, "trials": {f"t{number}": {}}}
        (tmp_path / f"s{number}.yaml").write_text(yaml.safe_dump(content))
    begun = time.monotonic()
    assert len(load_space(str(tmp_path / "s0.yaml")).file.trials) == 10
    assert time.monotonic() - begun < 5


def test_includes_without_end_are_refused(tmp_path: Path) -> None:
    for number in range(200):
        content = {"name": f"s{number}", "description": "d", "include": [f"./s{number + 1}.yaml"]}
        (tmp_path / f"s{number}.yaml").write_text(yaml.safe_dump(content))
    assert "include each other more than 10 deep" in refused(tmp_path / "s0.yaml")


# Fuzzing

FUZZED = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
SHIPPED = {path.stem: yaml.safe_load(path.read_text()) for folder in space_folders() for path in folder.glob("*.yaml")}
SMALL = {
    "name": "x",
    "description": "d",
    "defaults": {"epochs": 12},
    "demo": {"epochs": 2, "image_size": 64},
    "seeds": [0, 1],
    "trials": {"one": {"baseline": True, "published": {"iou": 0.5, "source": "s"}, "config": {"decoder": "fpn"}}},
    "search": {
        "num_trials": 5,
        "parameters": {
            "freeze": {"choices": ["none", "all", "stages", "epochs"]},
            "freeze_stages": {"int": [1, 4], "when": {"freeze": ["stages"]}},
            "freeze_epochs": {"int": [1, 8], "when": {"freeze": ["epochs"]}},
            "learning_rate": {"float": [1e-5, 1e-2], "log": True},
            "head_dropout": {"float": [0.0, 0.5], "step": 0.1},
        },
        "searcher": {"startup_trials": 3},
        "scheduler": {"grace_period": 2},
        "demo": {"num_trials": 2},
    },
}
values = junk | st.sampled_from(
    [*FIELDS, "choices", "int", "float", "when", "epochs", [1, 8], {"choices": [1]}, "./x.yaml"]
)


def read(path: Path) -> None:
    """Load a space and use it, or see that it is refused in one sentence."""
    space, sentence = None, ""
    try:
        space = load_space(str(path))
        resolved = space.resolve(demo=True)
        if resolved.search is not None:
            resolved.search.all_preprocessing()
            resolved.search.all_encoders()
    except ConfigError as error:
        sentence = str(error)
    assert "\n" not in sentence
    assert len(sentence) < 2500
    if space is None or sentence:
        return
    assert render_space(space)
    assert Space.from_document(space.document).resolve() == space.resolve()


@FUZZED
@given(content=st.sampled_from([SMALL, SMALL, *SHIPPED.values()]).flatmap(lambda one: mutated(one, values)))
def test_a_mutated_document_gives_a_space_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    try:
        text = yaml.safe_dump(content, allow_unicode=True).encode(errors="surrogatepass")
    except (yaml.YAMLError, ValueError):  # a huge integer has no text
        return
    path.write_bytes(text)
    read(path)


@FUZZED
@given(data=st.data())
def test_a_mutated_text_gives_a_space_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = yaml.safe_dump(SMALL)
    pieces = st.sampled_from(
        ["&a ", "*a", "<<: ", "!!int ", "!!set ", "!!omap ", "!!binary ", "? ", "- ", "|\n", "{", "["]
    )
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(text)))
        piece = data.draw(
            pieces | st.text(max_size=5) | st.sampled_from(["\t", "\0", "\u2028", ": ", "---\n", "%YAML 9\n"])
        )
        text = text[:place] + piece + text[place + data.draw(st.integers(0, 3)) :]
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    read(path)


@FUZZED
@given(data=st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_sentence(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as error:
        load_space(str(path))
    assert "\n" not in str(error.value)
