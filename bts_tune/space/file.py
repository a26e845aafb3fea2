"""The format of a search-space file: its keys, what each allows, and the sentence for every mistake in one.

`SpaceFile` is the content of a file, checked field by field; what fields mean together (which configurations they
make) is `space`'s.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError, model_validator

from bts_tune.config import SYNONYMS, MetricName, explain, known_fields
from bts_tune.errors import ConfigError
from bts_tune.space.parameter import (
    NOT_SEARCHED,
    OF_THE_SPACE,
    Parameter,
    Prose,
    Section,
    check_fields,
    check_parameters,
)
from bts_tune.text import quoted

MAX_SAMPLED = 1_000_000

MAX_FINAL = 1000
"""Most configurations, and most seeds, of a final stage."""

MAX_NAMED_TRIALS = 10_000
"""Most named trials that a space may make, each seed of each counted."""

RESERVED = {"search-": "sampled trials", "final-": "trials of the final stage"}
"""What the names of a run's own trials begin with, and which those are."""

STARTUP = "trials that have ended, named ones included, before TPE begins to learn; until then it draws at random"

NAME = r"^[a-z0-9]+([._-][a-z0-9]+)*$"
Name = Annotated[str, Field(pattern=NAME, max_length=60)]
Text = Annotated[Prose, Field(min_length=1, json_schema_extra={"pattern": r"\S"})]
Note = Annotated[Text, Field(max_length=1000)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Published(Section):
    """Metrics that others reported for a trial; shown beside ours, never compared as if they were measured alike."""

    dice_loss: float | None = Field(default=None, ge=0.0, le=1.0, description="reported Dice loss")
    iou: float | None = Field(default=None, ge=0.0, le=1.0, description="reported intersection over union")
    source: Text = Field(description="who reported them, and what is known of how they were measured")


class Trial(Section):
    """A named trial: one fixed configuration."""

    description: Prose = Field(default="", description="what this trial is, for a reader of the space")
    baseline: bool = Field(
        default=False, description="a baseline is trained for the full budget and marked in every report"
    )
    published: Published | None = Field(default=None, description="metrics that others reported for this trial")
    notes: list[Note] = Field(default_factory=list, description="sentences on this trial that a report prints")
    config: dict[str, Any] = Field(
        default_factory=dict, description="fields that differ from the space's defaults, by name"
    )
    demo: dict[str, Any] = Field(
        default_factory=dict,
        description="fields laid over this trial alone where no dataset is given, after those of the space's 'demo'",
    )


class Searcher(Section):
    """Optuna's TPE (Bergstra et al. 2011), multivariate and grouped, so that it knows conditional parameters."""

    startup_trials: int = Field(default=3, ge=0, description=STARTUP)
    seed: Seed = Field(default=0, description="seed of the sampler")


class Scheduler(Section):
    """ASHA (Li et al. 2020) and the outlook of learning curves, which stop trials early, but never a baseline."""

    grace_period: int = Field(
        default=3,
        ge=1,
        description="epochs before a trial may be stopped; with a smaller budget than the space's, the same share",
    )
    reduction_factor: float = Field(
        default=3, gt=1.0, description="at each rung one trial in this many goes on, to this many times the epochs"
    )
    outlook_after: int = Field(
        default=3,
        ge=0,
        description="complete trials, baselines included, from which on a trial is also stopped where none of their "
        "learning curves would take it from where it is to the best; 0: never",
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
    startup_trials: int | None = Field(default=None, ge=0, description=STARTUP)
    grace_period: int | None = Field(default=None, ge=1, description="epochs before a trial may be stopped")
    final_top: int | None = Field(default=None, ge=0, le=MAX_FINAL, description="configurations of the final stage")
    final_seeds: int | None = Field(default=None, ge=1, le=MAX_FINAL, description="seeds of the final stage")


class Fidelity(Section):
    """Fields that every trial of the search has in place of its own, at a lower cost; the final stage has its own."""

    image_size: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] | None = Field(
        default=None, description="side of the search's images in pixels; below the space's own"
    )
    train_share: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(
        default=None, description="share of the training images that the search trains on, in whole groups"
    )
    epochs: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="full budget of the search's trials; below the space's own"
    )

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if not self.fields:
            raise ValueError(f"must have one of {', '.join(type(self).model_fields)} at least")
        return self

    @property
    def fields(self) -> dict[str, Any]:
        """The fields that are given, by name."""
        return self.model_dump(exclude_none=True)


class Search(Section):
    """A search beside the named trials."""

    num_trials: int = Field(
        default=40, ge=1, le=MAX_SAMPLED, description="number of sampled trials; the named ones come on top"
    )
    parameters: dict[str, Parameter] = Field(min_length=1, description="fields that are searched, by name")
    searcher: Searcher = Field(default_factory=Searcher, description="how the next configuration is chosen: TPE")
    scheduler: Scheduler = Field(default_factory=Scheduler, description="how trials are stopped early")
    fidelity: Fidelity | None = Field(
        default=None, description="what the search trains at a lower cost; absent: it trains as the final stage does"
    )
    final: Final = Field(default_factory=Final, description="what is trained again when the search has ended")
    demo: SearchDemo = Field(default_factory=SearchDemo, description="what the demo profile changes of the search")


class SpaceFile(Section):
    """The content of a search-space file."""

    name: str = Field(pattern=NAME, max_length=60, description="name of the space: the file's name without .yaml")
    description: Text = Field(description="what the space is for and what is to be known about it")
    notes: list[Note] = Field(
        default_factory=list,
        description="sentences that a report prints: what is true of these models or of their dataset, and what was "
        "chosen where nothing is documented",
    )
    plugins: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        description="Python files (paths relative to this one) or modules that register losses, metrics, decoders, … "
        "of your own; their code runs when the space is run, and never when it is only shown",
    )
    trackers: list[str] | None = Field(
        default=None,
        description="where the epochs of a run are logged, by name: tensorboard, or what a plugin registers; empty: "
        "nowhere; absent: tensorboard; --tracker overrides it",
    )
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
        max_length=MAX_NAMED_TRIALS,
        json_schema_extra={"uniqueItems": True},
        description="each named trial is run once with each of these; the search uses the first",
    )
    objective: MetricName = Field(
        default="dice-loss",
        description="metric of the validation split that is optimised: it chooses each trial's best epoch, ranks the "
        "trials, and is what the search and early stopping follow",
    )
    trials: dict[Name, Trial] = Field(default_factory=dict, description="named trials by name, in order")
    search: Search | None = Field(default=None, description="absent: nothing but the named trials is run")


_NO_MAPPING = "must be a mapping (key: value), got {got}"
_WORDS: Mapping[str, str] = {
    "value_error": "{message}",  # ours: it names what it is about
    "missing": "must be given",
    "bool_type": "must be true or false, got {got}",
    "string_pattern_mismatch": "must be lower-case letters, digits and single '-', '_' or '.' between them, got {got}",
    "list_type": "must be a list, got {got}{as_list}",
    "too_short": "must not be empty, got {got}",
    "too_long": "must have at most {max_length} entries, got {actual_length}",
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), _NO_MAPPING),
}
"""What to say of a mistake in the structure of a file, by pydantic's type of error."""


def _places(section: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every key of a section and of those below it, with the path of the mapping that it belongs in."""
    for name, field in section.model_fields.items():
        key = field.alias or name
        yield key, path
        below = f"{path}.{key}".lstrip(".")
        for kind in _sections(field.annotation):
            yield from _places(kind, f"{below}.<name>" if get_origin(field.annotation) is dict else below)


def _sections(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [kind for one in get_args(annotation) for kind in _sections(one)]


_FIELDS_OF: Mapping[type[Section], str] = {Trial: "config", Search: "parameters", SpaceFile: "defaults"}
"""The key of a section below which fields of a configuration stand."""

_NEAR = 0.8
"""From here on, a key is a slip of the finger, whatever it may be called elsewhere."""


def _belongs(section: type[Section], key: str) -> str:
    """Return where a key belongs that is unknown in a section; see `parameter.Belongs`."""
    own = [field.alias or name for name, field in section.model_fields.items()]
    if difflib.get_close_matches(key[:_LONGEST_KEY], own, cutoff=_NEAR):
        return ""
    fields = set(known_fields()) - set(OF_THE_SPACE)
    if key not in fields and (place := _in_fields(key)):
        return place
    name = SYNONYMS.get(key.lower(), key)
    if name not in fields:
        return ""
    meant = "" if name == key else f" Did you mean {name!r}?"
    if section not in _FIELDS_OF or (section is Search and name in NOT_SEARCHED):
        return f"{meant} It belongs in a configuration, such as 'defaults:'."
    return f"{meant} It belongs under '{_FIELDS_OF[section]}:' here."


def _in_fields(key: str) -> str:
    """Return where a key belongs that is no field of a configuration."""
    places = list(dict.fromkeys(path for known, path in _places(SpaceFile) if known == key))
    if not places:
        return ""
    told = " or ".join(f"under '{path}:'" if path else "at the top of the file" for path in places)
    return f" It belongs {told}."


_LONGEST_KEY = 100


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
        file = SpaceFile.model_validate(content, context=_belongs)
    except ValidationError as error:
        raise ConfigError(f"{where}: {explain(error, words=_WORDS)}") from None
    if len(set(file.seeds)) < len(file.seeds):
        raise ConfigError(f"{where}: seeds: every seed must be given once, got {quoted(file.seeds)}.")
    if not (file.trials or file.include or file.search):
        raise ConfigError(f"{where}: has nothing to run; give 'trials', 'include' or 'search'.")
    for name in file.trials:
        for prefix, others in RESERVED.items():
            if name.startswith(prefix):
                raise ConfigError(f"{where}: trials.{name}: must not begin with '{prefix}', as {others} do.")
    trials = {
        name: trial.model_copy(
            update={
                "config": check_fields(trial.config, f"{where}: trials.{name}.config", _in_fields),
                "demo": check_fields(trial.demo, f"{where}: trials.{name}.demo", _in_fields),
            }
        )
        for name, trial in file.trials.items()
    }
    search = file.search
    if search:
        search = search.model_copy(
            update={"parameters": check_parameters(search.parameters, f"{where}: search.parameters", _in_fields)}
        )
        for name in search.fidelity.fields if search.fidelity else ():
            if name in search.parameters:
                raise ConfigError(f"{where}: search.fidelity.{name}: is searched too; leave one of the two out.")
    return file.model_copy(
        update={
            "defaults": check_fields(file.defaults, f"{where}: defaults", _in_fields),
            "demo": check_fields(file.demo, f"{where}: demo", _in_fields),
            "trials": trials,
            "search": search,
        }
    )
