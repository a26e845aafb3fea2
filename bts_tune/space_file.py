"""The format of a search-space file: its keys, what each allows, and the sentence for every mistake in one.

`SpaceFile` is the content of a file, checked field by field; what fields mean together (which configurations they
make) is `space.py`'s. `schema()` gives the same rules to editors, as a JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from bts_tune.config import explain
from bts_tune.errors import ConfigError, quoted
from bts_tune.space_parameter import (
    NOT_SEARCHED,
    Parameter,
    Section,
    TrialFields,
    check_fields,
    check_parameters,
    parameter_schema,
)

MAX_BYTES = 2**18
MAX_NODES = 50_000
"""Most values that a file may hold, those behind an alias counted wherever it stands."""

MAX_SAMPLED = 1_000_000

MAX_FINAL = 1000
"""Most configurations, and most seeds, of a final stage."""

MAX_NAMED_TRIALS = 10_000
"""Most named trials that a space may make, each seed of each counted."""

NAME = r"^[a-z0-9]+([._-][a-z0-9]+)*$"
Name = Annotated[str, Field(pattern=NAME, max_length=60)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Published(Section):
    """Figures that others reported for a trial; shown beside ours, never compared as if they were measured alike."""

    dice_loss: float | None = Field(default=None, ge=0.0, le=1.0, description="reported Dice loss")
    iou: float | None = Field(default=None, ge=0.0, le=1.0, description="reported intersection over union")
    source: str = Field(min_length=1, description="who reported them, and what is known of how they were measured")


class Trial(Section):
    """A named trial: one fixed configuration."""

    description: str = Field(default="", description="what this trial is, for a reader of the space")
    baseline: bool = Field(
        default=False, description="a baseline is trained for the full budget and marked in every report"
    )
    published: Published | None = Field(default=None, description="figures that others reported for this trial")
    config: dict[str, Any] = Field(
        default_factory=dict, description="fields that differ from the space's defaults, by name"
    )


class Searcher(Section):
    """Optuna's TPE (Bergstra et al. 2011), multivariate and grouped, so that it knows conditional parameters."""

    startup_trials: int = Field(default=10, ge=0, description="trials drawn at random before TPE begins to learn")
    seed: Seed = Field(default=0, description="seed of the sampler")


class Scheduler(Section):
    """ASHA (Li et al. 2020), which stops trials early; named trials that are baselines are never stopped."""

    grace_period: int = Field(
        default=4,
        ge=1,
        description="epochs before a trial may be stopped; with a smaller budget than the space's, the same share",
    )
    reduction_factor: float = Field(
        default=3, gt=1.0, description="at each rung one trial in this many goes on, to this many times the epochs"
    )


class Final(Section):
    """The final stage: the best configurations and all baselines again, to the full budget, with fresh seeds."""

    top: int = Field(
        default=2,
        ge=0,
        le=MAX_FINAL,
        description="how many of the search's configurations are trained again; 0: no final stage",
    )
    seeds: int = Field(
        default=3, ge=1, le=MAX_FINAL, description="fresh seeds of each configuration and baseline, the same for all"
    )


class SearchDemo(Section):
    """What the demo profile changes of the search itself."""

    num_trials: int | None = Field(default=None, ge=1, le=MAX_SAMPLED, description="number of sampled trials")
    startup_trials: int | None = Field(default=None, ge=0, description="random trials before TPE begins to learn")
    grace_period: int | None = Field(default=None, ge=1, description="epochs before a trial may be stopped")
    final_top: int | None = Field(default=None, ge=0, le=MAX_FINAL, description="configurations of the final stage")
    final_seeds: int | None = Field(default=None, ge=1, le=MAX_FINAL, description="seeds of the final stage")


class Search(Section):
    """A search beside the named trials."""

    num_trials: int = Field(
        default=40, ge=1, le=MAX_SAMPLED, description="number of sampled trials; the named ones come on top"
    )
    parameters: dict[str, Parameter] = Field(min_length=1, description="fields that are searched, by name")
    searcher: Searcher = Field(default_factory=Searcher, description="how the next configuration is chosen: TPE")
    scheduler: Scheduler = Field(default_factory=Scheduler, description="how trials are stopped early: ASHA")
    final: Final = Field(default_factory=Final, description="what is trained again when the search has ended")
    demo: SearchDemo = Field(default_factory=SearchDemo, description="what the demo profile changes of the search")


class SpaceFile(Section):
    """The content of a search-space file."""

    name: str = Field(pattern=NAME, max_length=60, description="name of the space: the file's name without .yaml")
    description: str = Field(min_length=1, description="what the space is for and what is to be known about it")
    include: list[str] = Field(
        default_factory=list,
        description="other spaces whose named trials come first, each as its own space defines it: "
        "names of spaces, or paths of .yaml files relative to this one",
    )
    defaults: dict[str, Any] = Field(
        default_factory=dict, description="fields that the trials and the search of this file start from"
    )
    demo: dict[str, Any] = Field(
        default_factory=dict, description="fields laid over every trial where no dataset is given (the demo profile)"
    )
    seeds: list[Seed] = Field(
        default_factory=lambda: [0],
        min_length=1,
        description="each named trial is run once with each of these; the search uses the first",
    )
    trials: dict[Name, Trial] = Field(default_factory=dict, description="named trials by name, in order")
    search: Search | None = Field(default=None, description="absent: nothing but the named trials is run")


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


def parse_space_file(content: Any, where: str) -> SpaceFile:
    """Check the content of a file, field by field.

    Args:
        content: what the YAML says.
        where: the file, for the errors' sentences.

    Returns:
        The content, with every value of a configuration's field in that field's own type.

    Raises:
        ConfigError: one sentence with the file, the field's path, its value and what is allowed.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where}: must be a mapping with the keys {', '.join(SpaceFile.model_fields)}.")
    try:
        file = SpaceFile.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_sentence(error)}") from None
    if len(set(file.seeds)) < len(file.seeds):
        raise ConfigError(f"{where}: seeds: every seed must be given once, got {quoted(file.seeds)}.")
    if len(file.seeds) > MAX_NAMED_TRIALS:
        raise ConfigError(f"{where}: seeds: has {len(file.seeds)} of them; at most {MAX_NAMED_TRIALS} are allowed.")
    if not (file.trials or file.include or file.search):
        raise ConfigError(f"{where}: has nothing to run; give 'trials', 'include' or 'search'.")
    for name in file.trials:
        for prefix, others in (("search-", "sampled trials"), ("final-", "trials of the final stage")):
            if name.startswith(prefix):
                raise ConfigError(f"{where}: trials.{name}: must not begin with '{prefix}', as {others} do.")
    trials = {
        name: trial.model_copy(update={"config": check_fields(trial.config, f"{where}: trials.{name}.config")})
        for name, trial in file.trials.items()
    }
    search = file.search
    if search:
        search = search.model_copy(
            update={"parameters": check_parameters(search.parameters, f"{where}: search.parameters")}
        )
    return file.model_copy(
        update={
            "defaults": check_fields(file.defaults, f"{where}: defaults"),
            "demo": check_fields(file.demo, f"{where}: demo"),
            "trials": trials,
            "search": search,
        }
    )


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a search-space file, for editors and `bts-tune spaces schema`."""
    document = SpaceFile.model_json_schema(schema_generator=_UntitledSchema)
    fields = TrialFields.model_json_schema(schema_generator=_UntitledSchema)["properties"]
    definitions = document["$defs"]
    parameter = definitions.pop("Parameter")
    definitions["TrialFields"] = {
        "type": "object",
        "description": "fields of a trial's configuration",
        "properties": fields,
        "additionalProperties": False,
    }
    for owner, key in ((document, "defaults"), (document, "demo"), (definitions["Trial"], "config")):
        described = owner["properties"][key]["description"]
        owner["properties"][key] = {"$ref": "#/$defs/TrialFields", "description": described}
    document["properties"]["trials"]["additionalProperties"] = False
    parameters = definitions["Search"]["properties"]["parameters"]
    parameters.pop("additionalProperties")
    parameters["properties"] = {
        name: parameter_schema(parameter, name, field) for name, field in fields.items() if name not in NOT_SEARCHED
    }
    parameters["additionalProperties"] = False
    document.update({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "bts-tune search space"})
    return document


def _sentence(error: ValidationError) -> str:
    """Return one sentence for the first mistake in the structure of a file."""
    first = error.errors()[0]
    path = ".".join(str(step) if len(str(step)) <= 100 else f"{str(step)[:100]} …" for step in first["loc"])
    if first["type"] == "value_error":  # ours: it names what it is about
        message = first["msg"].removeprefix("Value error, ") + "."
    elif first["type"] == "missing":
        message = "must be given."
    elif first["type"] == "string_pattern_mismatch":
        message = (
            f"must be lower-case letters, digits and single '-', '_' or '.' between them, got {quoted(first['input'])}."
        )
    elif first["type"] in ("model_type", "model_attributes_type", "dict_type"):
        message = f"must be a mapping (key: value), got {quoted(first['input'])}."
    else:
        return explain(error)
    return f"{path}: {message}" if path else message


class _UntitledSchema(GenerateJsonSchema):
    """Leaves out the titles, which only repeat the names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


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
        for key_node, _ in node.value:
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
