"""The parts of a search space: fields of a configuration, and parameters that such fields are drawn from.

A parameter is drawn through the `suggest_*` methods of `optuna.Trial`, but nothing here needs Optuna.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo

from bts_tune.config import FIELDS, Part, TrialConfig, check_field, explain, field_info
from bts_tune.errors import ConfigError
from bts_tune.text import nearest, quoted

# Fields of `TrialConfig` that no search may vary, and where they are set instead.
NOT_SEARCHED = {
    "epochs": "it is the full budget of every trial; set it in 'defaults'",
    "seed": "it tells repetitions apart; set it in 'seeds'",
    "objective": "all trials have the same; set it at the top of the space",
    "train_share": "trials on more images would always win; set it in 'defaults', or in 'search.fidelity'",
}

OF_THE_SPACE = {"seed": "seeds", "objective": "objective"}
"""Fields of `TrialConfig` that a space gives to all of its trials, by the key at its top that does."""

# The fields of `TrialConfig`, without the rules between several of them: what a part of a configuration may say. Those
# that the space gives to all of its trials are not among them.
TrialFields = create_model(  # type: ignore[call-overload]
    "TrialFields",
    __base__=Part,
    **{name: (info.annotation, info) for name, info in TrialConfig.model_fields.items() if name not in OF_THE_SPACE},
)


class SupportsSuggest(Protocol):
    """What a search samples from: the part of `optuna.Trial` that draws values."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Draw a float between `low` and `high`, both included."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Draw an integer between `low` and `high`, both included."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Draw one of `choices`."""


Prose = Annotated[str, StringConstraints(strip_whitespace=True)]
"""Text for readers; a block of YAML ends with a line break that nobody means."""


Belongs = Callable[[Any, str], str]
"""Gives a sentence, after a blank, on a key that is unknown in a section (its class, or where its fields stand) and
belongs elsewhere; else nothing."""


class Section(BaseModel):
    """A mapping in the file: unknown keys are refused with the nearest names, and nothing is converted silently.

    But 40.0 is the whole number 40, as in a JSON Schema and in the fields of a configuration.

    The context of a validation may be a `Belongs`, for keys that stand in another mapping than their own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any, info: ValidationInfo) -> Any:
        belongs: Belongs = info.context or (lambda section, key: "")
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in data if isinstance(data, Mapping) else ():
            if key not in known:
                hint = belongs(cls, str(key)) or nearest(str(key), known)
                raise ValueError(f"unknown key {quoted(key)}.{hint} Known keys: {', '.join(known)}")
        if not isinstance(data, Mapping):
            return data
        whole = {field.alias or name for name, field in cls.model_fields.items() if _holds_integers(field.annotation)}
        return {key: _with_integers(value) if key in whole else value for key, value in data.items()}


def _holds_integers(annotation: Any) -> bool:
    return annotation is int or any(map(_holds_integers, get_args(annotation)))


def _with_integers(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_integers(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Parameter(Section):
    """What a search draws one field of the configuration from: exactly one of `float`, `int` and `choices`."""

    float_: list[Any] | None = Field(default=None, alias="float", description="[lowest, highest], both included")
    int_: list[Any] | None = Field(default=None, alias="int", description="[lowest, highest], both included")
    choices: list[Any] | None = Field(
        default=None, min_length=1, max_length=1000, description="the values to choose from"
    )
    log: bool = Field(default=False, description="draw evenly on a logarithmic scale")
    step: float | None = Field(default=None, gt=0.0, description="draw multiples of this above the lowest value")
    when: dict[str, list[Any]] = Field(
        default_factory=dict,
        description="earlier parameters with choices, and those of their values for which this one is drawn; "
        "all of them must hold. Where one does not, the field keeps the space's default",
    )
    description: Prose = Field(default="", description="why this is searched, for a reader of the space")

    @property
    def bounds(self) -> tuple[Any, Any] | None:
        """The lowest and the highest value, or None where it has choices."""
        ends = self.float_ or self.int_
        return (ends[0], ends[1]) if ends else None

    def holds(self, drawn: Mapping[str, Any]) -> bool:
        """Return whether the conditions hold after the earlier parameters have been `drawn`."""
        return all(parent in drawn and drawn[parent] in allowed for parent, allowed in self.when.items())

    def suggest(self, name: str, trial: SupportsSuggest) -> Any:
        """Draw a value."""
        if self.float_:
            return trial.suggest_float(name, *self.float_, step=self.step, log=self.log)
        if self.int_:
            return trial.suggest_int(name, *self.int_, step=int(self.step or 1), log=self.log)
        return trial.suggest_categorical(name, self.choices or ())

    def contains(self, value: Any) -> bool:
        """Return whether `value` can be drawn."""
        if self.bounds is None:
            return value in (self.choices or ())
        low, high = self.bounds
        if self.step is None:
            return bool(low <= value <= high)
        # A float on the grid was rounded when it was drawn, so it may lie a hair beside it.
        steps = (value - low) / self.step
        return abs(steps - round(steps)) < 1e-8 and 0 <= round(steps) <= round((high - low) / self.step)

    def values(self) -> list[Any]:
        """Return every value that can be drawn, in order.

        Raises:
            TypeError: it is a range of floats.
        """
        if self.float_:
            raise TypeError("a range of floats has no list of values")
        if self.int_:
            return list(range(self.int_[0], self.int_[1] + 1, int(self.step or 1)))
        return list(self.choices or ())

    def extremes(self) -> list[Any]:
        """Return the values that stand for all of them in a check: every choice, or both ends and the lowest's next."""
        if self.bounds is None:
            return list(self.choices or ())
        low, high = self.bounds
        # The lowest's next shows whether a field that takes multiples only (image_size) is stepped over as it needs.
        return [low, min(low + int(self.step or 1), high), high] if self.int_ else [low, high]


def check_fields(
    fields: Mapping[str, Any], where: str, belongs: Callable[[str], str] = lambda name: ""
) -> dict[str, Any]:
    """Return some fields of a configuration in their own types, each checked by itself.

    Args:
        fields: by name.
        where: they stand, for an error's sentence.
        belongs: as of `config.check_field`.

    Raises:
        ConfigError: a name is not a field, or is one of `OF_THE_SPACE`, or a value is not allowed for its field.
    """
    for name in fields:
        check_field(str(name), where, belongs)
        if name in OF_THE_SPACE:
            key = OF_THE_SPACE[name]
            raise ConfigError(f"{where}.{name}: must not be given here; the space's {key!r} sets it.")
    try:
        return fields_model(fields).model_validate(dict(fields)).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise ConfigError(f"{where}.{explain(error)}") from None


def check_value(name: str, value: Any, where: str) -> Any:
    """Return a value of one field in the field's own type.

    Raises:
        ConfigError: it is not allowed; the sentence begins with `where`.
    """
    try:
        return getattr(fields_model([name]).model_validate({name: value}), name)
    except ValidationError as error:
        raise ConfigError(f"{where}: {explain(error).removeprefix(f'{name}: ')}") from None


def fields_model(names: Iterable[str]) -> type[Part]:
    """Return `TrialFields`, with those of `names` besides that are parameters of a loss or decoder."""
    own = tuple((name, field_info(name)) for name in names if name not in FIELDS)
    return _with_parameters(own) if own else TrialFields


@functools.lru_cache(maxsize=256)
def _with_parameters(own: tuple[tuple[str, FieldInfo], ...]) -> type[Part]:
    # Kept, since pydantic takes 5 ms to make one. A declaration is equal to itself alone, whoever uses its name later.
    added = {name: (info.annotation, info) for name, info in own}
    return create_model("TrialFields", __base__=TrialFields, **added)  # type: ignore[call-overload]


def check_parameters(
    parameters: Mapping[str, Parameter], where: str, belongs: Callable[[str], str] = lambda name: ""
) -> dict[str, Parameter]:
    """Return parameters with every value in the type of its field, each checked by itself and against its conditions.

    Args:
        parameters: by name.
        where: they stand, for an error's sentence.
        belongs: as of `config.check_field`.

    Raises:
        ConfigError: one sentence with the field's path below `where`, its value and what is allowed.
    """
    checked: dict[str, Parameter] = {}
    for name, parameter in parameters.items():
        check_field(name, where, belongs)
        path = f"{where}.{name}"
        if name in NOT_SEARCHED:
            raise ConfigError(f"{path}: cannot be searched; {NOT_SEARCHED[name]}.")
        kinds = [kind for kind in ("float", "int", "choices") if getattr(parameter, _attribute(kind)) is not None]
        suited = [kind for kind in (range_kind(name), "choices") if kind]
        if len(kinds) != 1 or kinds[0] not in suited:
            got = " and ".join(kinds) or "none of them"
            raise ConfigError(f"{path}: must have {' or '.join(map(repr, suited))}, got {got}.")
        update: dict[str, Any] = {"when": _check_conditions(name, parameter, checked, path)}
        if kinds[0] == "choices":
            update["choices"] = _check_choices(name, parameter, path)
        else:
            update[_attribute(kinds[0])] = _check_range(name, kinds[0], parameter, path)
        checked[name] = parameter.model_copy(update=update)
    return checked


def _check_choices(name: str, parameter: Parameter, path: str) -> list[Any]:
    if parameter.log or parameter.step is not None:
        raise ConfigError(f"{path}: 'log' and 'step' go with a range only, not with 'choices'.")
    choices = [check_value(name, choice, f"{path}.choices") for choice in parameter.choices or ()]
    if len(set(choices)) < len(choices):
        raise ConfigError(f"{path}.choices: every value must be given once, got {quoted(parameter.choices)}.")
    return choices


def _check_range(name: str, kind: str, parameter: Parameter, path: str) -> list[Any]:
    given = getattr(parameter, _attribute(kind))
    path = f"{path}.{kind}"
    if len(given) != 2:
        raise ConfigError(f"{path}: must be [lowest, highest], got {quoted(given)}.")
    low, high = (check_value(name, end, path) for end in given)
    if not low < high:
        raise ConfigError(
            f"{path}: the lowest must be below the highest, got {quoted(given)}; fix a field in 'defaults'."
        )
    step = parameter.step
    if parameter.log and step is not None:
        raise ConfigError(f"{path}: 'log' and 'step' cannot go together.")
    if parameter.log and low <= 0:
        raise ConfigError(f"{path}: the lowest must be above 0 with 'log', got {low!r}.")
    if step is not None:
        if kind == "int" and step != int(step):
            raise ConfigError(f"{path}: 'step' must be a whole number, got {step!r}.")
        steps = (high - low) / step
        if not math.isfinite(steps) or round(steps) < 1 or not math.isclose(steps, round(steps), rel_tol=1e-9):
            raise ConfigError(
                f"{path}: the highest must lie whole steps above the lowest, got {quoted(given)} with step {step!r}."
            )
    multiple = next((int(rule.multiple_of) for rule in field_info(name).metadata if hasattr(rule, "multiple_of")), 1)
    if kind == "int" and int(step or 1) % multiple:
        got = "none" if step is None else f"{step:g}"
        raise ConfigError(f"{path}: only multiples of {multiple} are allowed; write step: {multiple}, got {got}.")
    for value in parameter.model_copy(update={_attribute(kind): [low, high]}).extremes():
        check_value(name, value, path)
    return [low, high]


def _check_conditions(
    name: str, parameter: Parameter, earlier: Mapping[str, Parameter], path: str
) -> dict[str, list[Any]]:
    conditions = {}
    parents = [other for other, candidate in earlier.items() if candidate.choices]
    for parent, allowed in parameter.when.items():
        if parent not in parents:
            known = ", ".join(parents) or "none"
            raise ConfigError(
                f"{path}.when: {quoted(parent)} is not an earlier parameter with choices.{nearest(parent, parents)} "
                f"Those before {name!r}: {known}."
            )
        choices = earlier[parent].choices or []
        for value in allowed:
            if isinstance(value, bool) or value not in choices:
                raise ConfigError(
                    f"{path}.when.{parent}: must be among its choices {_listed(choices)}, got {quoted(value)}."
                    f"{nearest(str(value), [str(choice) for choice in choices])}"
                )
        if not allowed:
            raise ConfigError(f"{path}.when.{parent}: must list at least one of {_listed(choices)}.")
        conditions[parent] = list(allowed)
    return conditions


def _listed(values: Sequence[Any], limit: int = 20) -> str:
    more = f" and {len(values) - limit} more" if len(values) > limit else ""
    return ", ".join(str(value)[:80] for value in values[:limit]) + more


def _attribute(kind: str) -> str:
    return kind if kind == "choices" else f"{kind}_"


def range_kind(name: str) -> Literal["float", "int"] | None:
    """Return the kind of range that suits a field, or None where it takes words."""
    annotation = field_info(name).annotation
    return "float" if annotation is float else "int" if annotation is int else None
