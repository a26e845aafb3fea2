"""A search space (one YAML file) and the configurations that it makes: named trials, and a search to sample from.

A `Space` is what the file says. `Space.resolve` lays the demo profile and the command line's overrides over it and
gives a `ResolvedSpace`: the trials that are run as they are run. The format of the file is `space_file.py`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bts_tune.config import FIELDS, PreprocessingPart, TrialConfig
from bts_tune.errors import ConfigError, nearest, quoted
from bts_tune.space_file import (
    MAX_NAMED_TRIALS,
    MAX_SAMPLED,
    Final,
    SpaceFile,
    Trial,
    parse_space_file,
    read_yaml,
    schema,
)
from bts_tune.space_parameter import Parameter, SupportsSuggest, check_fields

__all__ = [
    "Final",
    "NamedTrial",
    "Parameter",
    "ResolvedSearch",
    "ResolvedSpace",
    "Space",
    "SupportsSuggest",
    "list_spaces",
    "load_space",
    "schema",
    "space_folders",
]

MAX_EDGES = 10_000
"""Most configurations that are tried to check a space, and most kinds of data or encoder that a search may ask for."""

_MAX_INCLUDE_DEPTH = 10

# The counts that go with a mode of freezing; each is 0 in every other mode.
_FREEZE_COUNTS = {"freeze_stages": "stages", "freeze_epochs": "epochs"}


@dataclass(frozen=True)
class NamedTrial:
    """A fixed configuration with a name, and with one of the seeds.

    Attributes:
        trial: unique in the space and safe as a file's name: the name, and '-seed<n>' where there are several seeds.
        name: the trial's name in the space.
        baseline: whether it is one of the baselines, which are never stopped early.
        description: what it is, for a reader.
        published: figures that others reported for it (`dice_loss`, `iou`, `source`), or None.
        config: the configuration.
        changed: the fields that an override or the demo profile changed, in order; never the seed.
    """

    trial: str
    name: str
    baseline: bool
    description: str
    published: dict[str, Any] | None
    config: TrialConfig
    changed: tuple[str, ...]


@dataclass(frozen=True)
class ResolvedSearch:
    """A search as it is run. It can be pickled.

    Attributes:
        num_trials: number of trials to sample; the named ones come on top.
        startup_trials: trials drawn at random before TPE begins to learn.
        sampler_seed: seed of the sampler.
        grace_period: epochs before ASHA may stop a trial; at most `epochs`.
        reduction_factor: at each of ASHA's rungs one trial in this many goes on.
        parameters: what is drawn, by field, in order; a condition names earlier ones only.
        fields: the whole configuration's fields where nothing is drawn. On their own they may contradict each other,
            as `freeze: stages` does without the number that is drawn for it.
        where: file and section, for an error's sentence.
    """

    num_trials: int
    startup_trials: int
    sampler_seed: int
    grace_period: int
    reduction_factor: float
    parameters: dict[str, Parameter]
    fields: dict[str, Any]
    where: str

    @property
    def epochs(self) -> int:
        """The full budget of a sampled trial."""
        return int(self.fields["epochs"])

    def sample(self, trial: SupportsSuggest) -> TrialConfig:
        """Draw a configuration; a parameter whose conditions do not hold is not drawn."""
        drawn: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if parameter.holds(drawn):
                drawn[name] = parameter.suggest(name, trial)
        return TrialConfig.parse(_laid_over(self.fields, drawn), self.where)

    def values_of(self, config: TrialConfig) -> dict[str, Any] | None:
        """Return what would have to be drawn to get `config`, or None where it cannot be drawn.

        Only fields that are drawn count. TPE models them alone, so that a baseline tells it something whatever its
        other fields are: in a space that is about architectures, a baseline with another batch size is still a
        measured point, and a far better one than none.
        """
        drawn: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if parameter.holds(drawn):
                value = getattr(config, name)
                if not parameter.contains(value):
                    return None
                drawn[name] = value
        return drawn

    def all_preprocessing(self) -> list[PreprocessingPart]:
        """Return every preprocessing that a sampled trial can have, each once."""
        return [PreprocessingPart(**fields) for fields in self._combinations(tuple(PreprocessingPart.model_fields))]

    def all_encoders(self) -> list[tuple[str, str]]:
        """Return every encoder with every kind of weights that a sampled trial can have, each once."""
        pairs = self._combinations(("encoder", "encoder_weights"))
        return [(fields["encoder"], fields["encoder_weights"]) for fields in pairs]

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

    def check(self) -> None:
        """Raise a `ConfigError` where a configuration at an edge of the space contradicts itself.

        Every parameter is tried at its extremes, in each way in which its conditions can hold, with the others at
        their lowest and at their highest.
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
                        try:
                            self.sample(_Corner({**way, name: value}, end))
                        except ConfigError as error:
                            reason = str(error).removeprefix(f"{self.where}: ")
                            raise ConfigError(f"{self.where}: parameters.{name} at {value!r}: {reason}") from None

    def _ways(self, name: str) -> list[dict[str, Any]]:
        """Return the values of earlier parameters that make the conditions of one hold."""
        ways: list[dict[str, Any]] = [{}]
        for parent, allowed in self.parameters[name].when.items():
            above = self._ways(parent)
            ways = [{**way, **other, parent: value} for way in ways for other in above for value in allowed]
        return ways


@dataclass(frozen=True)
class ResolvedSpace:
    """The trials of a space as they are run.

    Attributes:
        named: the named trials, in the order of the file.
        search: the search, where there is one.
        final: what is trained again at the end, where there is a final stage.
    """

    named: tuple[NamedTrial, ...]
    search: ResolvedSearch | None
    final: Final | None = None


@dataclass(frozen=True)
class Space:
    """A search space: the content of its file, with the trials that it includes, and where it came from."""

    file: SpaceFile
    source: Path

    @property
    def name(self) -> str:
        """The space's name."""
        return self.file.name

    @property
    def description(self) -> str:
        """What the space is for."""
        return self.file.description

    @property
    def document(self) -> dict[str, Any]:
        """The whole space as plain JSON types: no other file and no default of this version is needed to read it."""
        return {"source": str(self.source), **self.file.model_dump(mode="json", by_alias=True, exclude_none=True)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Space:
        """Return the space that `document` was made from.

        Raises:
            ConfigError: it is not the document of a space.
        """
        content = dict(document)
        source = content.pop("source", None)
        if not isinstance(source, str):
            raise ConfigError("the document of a search space must name its 'source'.")
        where = f"{source} (as recorded)"
        return _complete(parse_space_file(content, where), Path(source), where)

    def resolve(
        self,
        *,
        overrides: Mapping[str, Any] | None = None,
        only: Sequence[str] = (),
        seeds: Sequence[int] | None = None,
        demo: bool = False,
        num_trials: int | None = None,
        final_top: int | None = None,
        final_seeds: int | None = None,
    ) -> ResolvedSpace:
        """Return the trials of this space as they are run.

        The space's `demo` fields are laid over every trial where `demo` is given, and the overrides over that. Both
        fix what they set: a parameter of that field is not searched, nor is one whose conditions can no longer hold.
        A layer that sets `freeze` resets the count of another mode to 0, and a budget below the space's own shortens
        the range of `freeze_epochs` to what is below it.

        Args:
            overrides: fields of the configuration by name. `seed` stands for `seeds` with that seed alone.
            only: names of the named trials to run; the search is then left out. Empty: all of them, and the search.
            seeds: seeds of each named trial, in place of the space's; the search uses the first.
            demo: whether this is the demo profile.
            num_trials: number of trials to sample, in place of the space's.
            final_top, final_seeds: of the final stage, in place of the space's. Where there is no search, there is a
                final stage only if one of them is given; a `final_top` of 0 always leaves it out.

        Raises:
            ConfigError: an override or a name is unknown, or a configuration would be invalid.
        """
        overrides = dict(overrides or {})
        chosen_seeds = self._seeds(overrides, seeds)
        overrides.pop("seed", None)
        layers = [self.file.demo if demo else {}, check_fields(overrides, "override")]
        how = " in the demo profile" if demo else ""
        if overrides:
            how += " with " + ", ".join(f"{name}={value}" for name, value in overrides.items())
        named = tuple(
            self._named(name, seed, len(chosen_seeds) > 1, layers, how)
            for name in self._chosen(only)
            for seed in chosen_seeds
        )
        if num_trials is not None:
            self._check_num_trials(num_trials, only)
        search = None if only else self._search(layers, chosen_seeds[0], demo, num_trials, how)
        return ResolvedSpace(named, search, self._final(search is not None, demo, final_top, final_seeds))

    def _seeds(self, overrides: Mapping[str, Any], seeds: Sequence[int] | None) -> list[int]:
        if "seed" in overrides:
            if seeds is not None:
                raise ConfigError("override: seed and seeds are both given; give one of them.")
            return [TrialConfig.parse({"seed": overrides["seed"]}, "override").seed]
        if seeds is None:
            return self.file.seeds
        if not seeds or len(set(seeds)) < len(seeds):
            raise ConfigError(f"seeds: must be one or more different numbers, got {list(seeds)!r}.")
        return [TrialConfig.parse({"seed": seed}, "seeds").seed for seed in seeds]

    def _chosen(self, only: Sequence[str]) -> list[str]:
        names = list(self.file.trials)
        for name in only:
            if name not in names:
                known = ", ".join(names) or "none"
                raise ConfigError(
                    f"space {self.name!r} has no named trial {name!r}.{nearest(name, names)} Its named trials: {known}."
                )
        return [name for name in names if not only or name in only]

    def _check_num_trials(self, num_trials: int, only: Sequence[str]) -> None:
        if not self.file.search:
            raise ConfigError(f"num_trials: space {self.name!r} has no search; it runs its named trials alone.")
        if only:
            raise ConfigError("num_trials: named trials are picked, so nothing is sampled; leave one of the two out.")
        if num_trials < 1:
            raise ConfigError(f"num_trials: must be at least 1, got {num_trials!r}.")
        if num_trials > MAX_SAMPLED:
            raise ConfigError(f"num_trials: must be at most {MAX_SAMPLED}, got {quoted(num_trials)}.")

    def _final(self, searches: bool, demo: bool, top: int | None, seeds: int | None) -> Final | None:
        if not searches and top is None and seeds is None:
            return None
        search = self.file.search
        own = search.final if search else Final()
        if search and demo:
            changes = {"top": search.demo.final_top, "seeds": search.demo.final_seeds}
            own = own.model_copy(update={name: value for name, value in changes.items() if value is not None})
        final = Final(top=own.top if top is None else top, seeds=own.seeds if seeds is None else seeds)
        return final if final.top else None

    def _named(self, name: str, seed: int, several: bool, layers: Iterable[Mapping[str, Any]], how: str) -> NamedTrial:
        trial = self.file.trials[name]
        fields = {**trial.config, "seed": seed}
        for layer in layers:
            fields = _laid_over(fields, layer)
        config = TrialConfig.parse(fields, f"{self.source}: trials.{name}{how}")
        return NamedTrial(
            trial=f"{name}-seed{seed}" if several else name,
            name=name,
            baseline=trial.baseline,
            description=trial.description,
            published=trial.published.model_dump(exclude_none=True) if trial.published else None,
            config=config,
            changed=tuple(f for f in FIELDS if f != "seed" and getattr(config, f) != trial.config[f]),
        )

    def _search(
        self, layers: Sequence[Mapping[str, Any]], seed: int, demo: bool, num_trials: int | None, how: str
    ) -> ResolvedSearch | None:
        search = self.file.search
        if search is None:
            return None
        documented = _laid_over({**TrialConfig().to_dict(), "seed": seed}, self.file.defaults)
        fields = documented
        for layer in layers:
            fields = _laid_over(fields, layer)
        parameters = search.parameters
        if fields["epochs"] < documented["epochs"]:
            parameters = _within_budget(parameters, fields["epochs"])
        fixed = {name for layer in layers for name in layer}
        parameters = _still_searched(parameters, fields, fixed)
        where = f"{self.source}: search{how}"
        if not parameters:
            raise ConfigError(f"{where}: every searched parameter is fixed, so nothing is left to search.")
        short = search.demo.model_dump(exclude_none=True) if demo else {}
        resolved = ResolvedSearch(
            num_trials=num_trials or short.get("num_trials", search.num_trials),
            startup_trials=short.get("startup_trials", search.searcher.startup_trials),
            sampler_seed=search.searcher.seed,
            grace_period=min(short["grace_period"], fields["epochs"])
            if "grace_period" in short
            else _scaled(search.scheduler.grace_period, fields["epochs"], documented["epochs"]),
            reduction_factor=search.scheduler.reduction_factor,
            parameters=parameters,
            fields=fields,
            where=where,
        )
        resolved.check()
        return resolved


def space_folders() -> list[Path]:
    """Return the folders that spaces are found in by name: the installed package's, and that of a checkout."""
    package = Path(__file__).resolve().parent
    folders = [package / "search_spaces"]
    if (package.parent / "pyproject.toml").is_file():
        folders.append(package.parent / "search_spaces")
    return [folder for folder in folders if folder.is_dir()]


def list_spaces() -> list[Space]:
    """Return every space that is found by name, in alphabetical order."""
    return [load_space(name) for name in sorted(_by_name())]


def load_space(name_or_path: str) -> Space:
    """Return a space by its name, or by the path of its file (which ends in .yaml or .yml, or holds a slash).

    Raises:
        ConfigError: it does not exist, or the file has a mistake: one sentence with the file, the field's path, its
            value and what is allowed.
    """
    return _load(_find(name_or_path), (), {})


def _by_name() -> dict[str, Path]:
    return {path.stem: path for folder in reversed(space_folders()) for path in folder.glob("*.yaml")}


def _find(name_or_path: str, beside: Path | None = None) -> Path:
    if "/" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        path = Path(name_or_path).expanduser()
        return beside.parent / path if beside else path
    known = _by_name()
    if name_or_path not in known:
        where = f"{beside}: include: " if beside else ""
        names = sorted(known)
        raise ConfigError(
            f"{where}there is no search space {quoted(name_or_path)}.{nearest(name_or_path, names)} "
            f"Known: {', '.join(names)}, or the path of a .yaml file."
        )
    return known[name_or_path]


def _load(path: Path, chain: tuple[Path, ...], loaded: dict[Path, Space]) -> Space:
    source = path.resolve()
    if source in chain:
        circle = " -> ".join(step.name for step in (*chain[chain.index(source) :], source))
        raise ConfigError(f"{chain[-1]}: include: spaces include each other in a circle: {circle}.")
    if source in loaded:
        return loaded[source]
    if len(chain) > _MAX_INCLUDE_DEPTH:
        raise ConfigError(f"{chain[-1]}: include: spaces include each other more than {_MAX_INCLUDE_DEPTH} deep.")
    file = parse_space_file(read_yaml(path), str(path))
    if source.parent in space_folders() and file.name != source.stem:
        raise ConfigError(f"{path}: name: must be {source.stem!r}, as the file is, got {file.name!r}.")
    included = [_load(_find(entry, beside=path), (*chain, source), loaded) for entry in file.include]
    loaded[source] = _complete(file, source, str(path), included)
    return loaded[source]


def _complete(file: SpaceFile, source: Path, where: str, included: Sequence[Space] = ()) -> Space:
    """Return the space of a file: its trials after those included, each with its whole configuration, all checked."""
    named = (len(file.trials) + sum(len(other.file.trials) for other in included)) * len(file.seeds)
    if named > MAX_NAMED_TRIALS:
        raise ConfigError(f"{where}: makes {named} named trials; at most {MAX_NAMED_TRIALS} are allowed.")
    trials: dict[str, Trial] = {}
    for other in included:
        for name, trial in other.file.trials.items():
            if trials.setdefault(name, trial) != trial:
                raise ConfigError(f"{where}: include: two of the included spaces have different trials named {name!r}.")
    for name, trial in file.trials.items():
        if name in trials:
            raise ConfigError(f"{where}: trials.{name}: an included space has a trial of this name; choose another.")
        config = TrialConfig.parse(_laid_over(file.defaults, trial.config), f"{where}: trials.{name}.config")
        fields = {field: value for field, value in config.to_dict().items() if field != "seed"}
        trials[name] = trial.model_copy(update={"config": fields})
    space = Space(file.model_copy(update={"include": [], "trials": trials}), source)
    space.resolve()
    space.resolve(demo=True)
    return space


def _laid_over(fields: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return `fields` with `layer` over them; a new mode of freezing resets the count of another one."""
    merged = {**fields, **layer}
    if "freeze" in layer:
        for count, mode in _FREEZE_COUNTS.items():
            if layer["freeze"] != mode and count not in layer:
                merged[count] = 0
    return merged


def _within_budget(parameters: Mapping[str, Parameter], epochs: int) -> dict[str, Parameter]:
    """Leave of `freeze_epochs` what is below the budget; if nothing is, thawing is not among the choices."""
    shortened = dict(parameters)
    thaw = shortened.get("freeze_epochs")
    if thaw is None:
        return shortened
    left = [value for value in thaw.values() if value < epochs]
    if left:
        key, values = ("int_", [left[0], left[-1]]) if thaw.int_ else ("choices", left)
        shortened["freeze_epochs"] = thaw.model_copy(update={key: values})
        return shortened
    freeze = shortened.get("freeze")
    if freeze is not None and freeze.choices != ["epochs"]:
        choices = [mode for mode in freeze.choices or () if mode != "epochs"]
        shortened["freeze"] = freeze.model_copy(update={"choices": choices})
        del shortened["freeze_epochs"]
    return shortened


def _scaled(grace_period: int, epochs: int, documented: int) -> int:
    """Return the same share of a smaller budget; otherwise a short search would end before its first rung."""
    if epochs >= documented:
        return grace_period
    return max(1, round(grace_period * epochs / documented))


def _still_searched(
    parameters: Mapping[str, Parameter], fields: Mapping[str, Any], fixed: set[str]
) -> dict[str, Parameter]:
    """Return the parameters that are not fixed and whose conditions can hold, with what is left of the conditions."""
    searched: dict[str, Parameter] = {}
    for name, parameter in parameters.items():
        if name in fixed:
            continue
        when: dict[str, list[Any]] = {}
        for parent, allowed in parameter.when.items():
            choices = searched[parent].choices or [] if parent in searched else []
            possible = [value for value in allowed if value in choices]
            if possible:
                when[parent] = possible
            elif parent not in fixed or fields[parent] not in allowed:
                break
        else:
            searched[name] = parameter.model_copy(update={"when": when})
    return searched


class _Corner:
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
