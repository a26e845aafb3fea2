"""A search as it is run: sampling configurations, and everything that a sampled one can have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bts_tune.config import PreprocessingPart, TrialConfig, override, unused_with
from bts_tune.errors import ConfigError
from bts_tune.space.parameter import Parameter, SupportsSuggest

MAX_EDGES = 10_000
"""Most configurations that are tried to check a space, and most kinds of data or encoder that a search may ask for."""


@dataclass(frozen=True)
class ResolvedSearch:
    """A search as it is run. It can be pickled.

    Attributes:
        num_trials: number of trials to sample; the named ones come on top.
        startup_trials: trials that have ended, named ones included, before TPE begins to learn; random until then.
        sampler_seed: seed of the sampler.
        grace_period: epochs before ASHA may stop a trial; at most `epochs`.
        reduction_factor: at each of ASHA's rungs one trial in this many goes on.
        outlook_after: complete trials from which on learning curves stop trials too; 0: never.
        parameters: what is drawn, by field, in order; a condition names earlier ones only.
        fields: the whole configuration's fields where nothing is drawn. On their own they may contradict each other,
            as `freeze: stages` does without the number that is drawn for it.
        where: file and section, for an error's sentence.
        full: those of `fields` that a lower fidelity has replaced, as the final stage has them; empty without one.
    """

    num_trials: int
    startup_trials: int
    sampler_seed: int
    grace_period: int
    reduction_factor: float
    outlook_after: int
    parameters: dict[str, Parameter]
    fields: dict[str, Any]
    where: str
    full: dict[str, Any] = field(default_factory=dict)

    @property
    def in_full(self) -> ResolvedSearch:
        """The search as the final stage trains what it finds: with its own fields in place of a lower fidelity's."""
        return replace(self, fields={**self.fields, **self.full}, full={})

    @property
    def epochs(self) -> int:
        """The full budget of a sampled trial."""
        return int(self.fields["epochs"])

    def sample(self, trial: SupportsSuggest) -> TrialConfig:
        """Draw a configuration; a parameter whose conditions do not hold is not drawn."""
        return self._made(self._draw(trial))

    def _draw(self, trial: SupportsSuggest) -> dict[str, Any]:
        drawn: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if parameter.holds(drawn):
                drawn[name] = parameter.suggest(name, trial)
        return drawn

    def _made(self, drawn: Mapping[str, Any]) -> TrialConfig:
        return TrialConfig.parse(override(self.fields, drawn), self.where)

    def values_of(self, config: TrialConfig) -> dict[str, Any] | None:
        """Return what would have to be drawn to get `config`, or None where it cannot be drawn.

        Only fields that are drawn count. TPE models them alone, so that a baseline tells it something whatever its
        other fields are: in a space that is about architectures, a baseline with another batch size is still a
        measured point, and a far better one than none.
        """
        fields = config.to_dict()
        drawn: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if parameter.holds(drawn):
                # A baseline with another loss lacks the parameters of the one that is searched.
                if name not in fields or not parameter.contains(fields[name]):
                    return None
                drawn[name] = fields[name]
        return drawn

    def all_preprocessing(self) -> list[PreprocessingPart]:
        """Return every preprocessing that a sampled trial can have, each once."""
        return [PreprocessingPart(**fields) for fields in self._combinations(tuple(PreprocessingPart.model_fields))]

    def all_encoders(self) -> list[tuple[str, str]]:
        """Return every encoder with every kind of weights that a sampled trial can have, each once."""
        pairs = self._combinations(("encoder", "encoder_weights"))
        return [(fields["encoder"], fields["encoder_weights"]) for fields in pairs]

    def all_sizes(self) -> list[dict[str, Any]]:
        """Return every combination of the fields that a sampled trial's memory depends on, each once."""
        return self._combinations(("decoder", "encoder", "image_size", "channels", "batch_size", "precision"))

    def all_weight_averages(self) -> set[str]:
        """Return every average of the weights that a sampled trial can keep."""
        return {fields["weight_average"] for fields in self._combinations(("weight_average",))}

    def all_batches(self) -> list[tuple[float, int]]:
        """Return every share of the training images with every batch size that a sampled trial can have, each once."""
        pairs = self._combinations(("train_share", "batch_size"))
        return [(fields["train_share"], fields["batch_size"]) for fields in pairs]

    def all_steps(self) -> list[dict[str, Any]]:
        """Return every combination of the fields that the time of a sampled trial's step depends on, each once."""
        return self._combinations(("decoder", "encoder", "image_size", "channels", "batch_size", "freeze", "precision"))

    def all_models(self) -> list[tuple[str, str]]:
        """Return every decoder with every encoder that a sampled trial can have, each once."""
        pairs = self._combinations(("decoder", "encoder"))
        return [(fields["decoder"], fields["encoder"]) for fields in pairs]

    def _combinations(self, names: Sequence[str]) -> list[dict[str, Any]]:
        needed = set(names)
        for name in reversed(self.parameters):  # a condition names earlier ones only
            if name in needed:
                needed.update(self.parameters[name].when)
        drawn: list[dict[str, Any]] = [{}]
        for name, parameter in self.parameters.items():
            if name in needed:
                values = parameter.values()
                if len(drawn) * len(values) > MAX_EDGES:
                    raise ConfigError(f"{self.where}: has more than {MAX_EDGES} combinations of {', '.join(names)}.")
                drawn = [
                    {**before, **chosen}
                    for before in drawn
                    for chosen in ([{name: v} for v in values] if parameter.holds(before) else [{}])
                ]
        combinations: dict[tuple[Any, ...], dict[str, Any]] = {}
        for one in drawn:
            combination = {name: one.get(name, self.fields[name]) for name in names}
            combinations.setdefault(tuple(combination.values()), combination)
        return list(combinations.values())

    def check(self, *, unused_allowed: bool = False) -> None:
        """Raise a `ConfigError` where a configuration at an edge of the space contradicts itself, or leaves one unused.

        A field that is drawn and not used makes one configuration look like many, and a ranking of them is noise.
        Every parameter is tried at its extremes, in each way in which its conditions can hold, with the others at
        their lowest and at their highest.

        Args:
            unused_allowed: whether what is drawn may be without effect.
        """
        ways: dict[str, int] = {}
        for name, parameter in self.parameters.items():
            ways[name] = math.prod(ways[parent] * len(allowed) for parent, allowed in parameter.when.items())
        edges = sum(ways[name] * len(parameter.extremes()) for name, parameter in self.parameters.items())
        if edges > MAX_EDGES:
            raise ConfigError(
                f"{self.where}: its choices and conditions make {edges} edge cases; at most {MAX_EDGES} are allowed."
            )
        for name, parameter in self.parameters.items():
            for way in self._ways(name):
                for value in parameter.extremes():
                    for end in (0, -1):
                        drawn = self._draw(_EdgeTrial({**way, name: value}, end))
                        if not unused_allowed:
                            self._refuse_unused(drawn)
                        try:
                            self._made(drawn)
                        except ConfigError as error:
                            reason = str(error).removeprefix(f"{self.where}: ")
                            raise ConfigError(f"{self.where}: parameters.{name} at {value!r}: {reason}") from None

    def _refuse_unused(self, drawn: Mapping[str, Any]) -> None:
        fields = override(self.fields, drawn)
        for name in drawn:
            found = unused_with(name, fields)
            if found is None:
                continue
            parent, values = found
            searched = self.parameters[parent].choices or [] if parent in self.parameters else []
            suited = [value for value in searched if unused_with(name, {parent: value}) is None] or values[:1]
            cure = f"draw it only where it is used: when: {{{parent}: [{', '.join(suited)}]}}"
            names = list(self.parameters)
            if parent not in names:
                cure = f"set {parent}: {values[0]} in 'defaults', or search {parent} before it and {cure}"
            elif names.index(parent) > names.index(name):
                cure = f"search {parent} before it and {cure}"
            raise ConfigError(
                f"{self.where}: parameters.{name}: has no effect with {parent}: {fields[parent]}, so that equal "
                f"configurations would be ranked as different ones; {cure}."
            )

    def _ways(self, name: str) -> list[dict[str, Any]]:
        """Return the values of earlier parameters that make the conditions of one hold."""
        ways: list[dict[str, Any]] = [{}]
        for parent, allowed in self.parameters[name].when.items():
            above = self._ways(parent)
            ways = [{**way, **other, parent: value} for way in ways for other in above for value in allowed]
        return ways


class _EdgeTrial:
    """Draws given values, and elsewhere always the lowest (`end` 0) or always the highest (`end` -1)."""

    def __init__(self, given: Mapping[str, Any], end: int) -> None:
        self._given = given
        self._end = end

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._given.get(name, (low, high)[self._end]))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self._given.get(name, (low, high)[self._end]))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        ordered = choices if isinstance(choices[0], str) else sorted(choices)
        return self._given.get(name, ordered[self._end])
