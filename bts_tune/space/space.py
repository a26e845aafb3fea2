"""A search space and the trials that it makes.

A `Space` is what its file says. `Space.resolve` lays the demo profile and the command line's overrides over it and
gives a `ResolvedSpace`: the trials as they are run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bts_tune.config import TrialConfig, check_field, explain, override
from bts_tune.errors import ConfigError
from bts_tune.space.file import MAX_NAMED_TRIALS, MAX_SAMPLED, Final, SpaceFile, Trial, parse_space_file
from bts_tune.space.layers import cheaper_fields, scaled_grace_period, still_searched, within_budget
from bts_tune.space.parameter import OF_THE_SPACE, check_value
from bts_tune.space.search import ResolvedSearch
from bts_tune.text import nearest, quoted


@dataclass(frozen=True)
class NamedTrial:
    """A fixed configuration with a name, and with one of the seeds.

    Attributes:
        trial: unique in the space and safe as a file's name: the name, and '-seed<n>' where there are several seeds.
        name: the trial's name in the space.
        baseline: whether it is one of the baselines, which are never stopped early.
        description: what it is, for a reader.
        published: metrics that others reported for it (`dice_loss`, `iou`, `source`), or None.
        config: the configuration.
        full: those of its fields that the search's lower fidelity has replaced, as the final stage has them.
        changed: the fields that an override or the demo profile changed, in order; never one of `OF_THE_SPACE`.
    """

    trial: str
    name: str
    baseline: bool
    description: str
    published: dict[str, Any] | None
    config: TrialConfig
    changed: tuple[str, ...]
    full: dict[str, Any] = field(default_factory=dict)

    @property
    def in_full(self) -> TrialConfig:
        """The configuration as the final stage trains it."""
        return self.config.replaced(self.full) if self.full else self.config


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
    """A search space: the content of its file, with the trials that it includes, and where it came from.

    Attributes:
        file: its content.
        source: the file.
        recorded: whether it is that of a run, which goes on as it began where a new one is refused: for a search over
            fields that nothing uses, and for named trials with the same configuration.
    """

    file: SpaceFile
    source: Path
    recorded: bool = field(default=False, compare=False)

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
    def of_file(
        cls, file: SpaceFile, source: Path, where: str, included: Sequence[Space] = (), *, recorded: bool = False
    ) -> Space:
        """Return the space of a file: trials and notes after those included, each trial with its whole configuration.

        Args:
            file: the content of the file, or of a recorded document.
            source: the file.
            where: the file or document, for the errors' sentences.
            included: the spaces that it includes, in order.
            recorded: whether it is that of a run.

        Raises:
            ConfigError: trials contradict each other or themselves, in the demo profile too.
        """
        named = (len(file.trials) + sum(len(other.file.trials) for other in included)) * len(file.seeds)
        if named > MAX_NAMED_TRIALS:
            raise ConfigError(f"{where}: makes {named} named trials; at most {MAX_NAMED_TRIALS} are allowed.")
        trials: dict[str, Trial] = {}
        for other in included:
            for name, trial in other.file.trials.items():
                if trials.setdefault(name, trial) != trial:
                    raise ConfigError(
                        f"{where}: include: two of the included spaces have different trials named {name!r}."
                    )
        for name, trial in file.trials.items():
            if name in trials:
                raise ConfigError(
                    f"{where}: trials.{name}: an included space has a trial of this name; choose another."
                )
            config = TrialConfig.parse(override(file.defaults, trial.config), f"{where}: trials.{name}.config")
            fields = {field: value for field, value in config.to_dict().items() if field not in OF_THE_SPACE}
            trials[name] = trial.model_copy(update={"config": fields})
        notes = list(dict.fromkeys([*(note for other in included for note in other.file.notes), *file.notes]))
        if file.search and file.search.fidelity:
            own = override(TrialConfig().to_dict(), file.defaults)
            for name, value in file.search.fidelity.fields.items():
                if value >= own[name]:
                    raise ConfigError(
                        f"{where}: search.fidelity.{name}: must be below the space's own {own[name]}, got {value}."
                    )
        space = cls(file.model_copy(update={"include": [], "notes": notes, "trials": trials}), source, recorded)
        space.resolve(to_run=False)
        space.resolve(demo=True, to_run=False)
        return space

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Space:
        """Return the space that `document` was made from.

        Raises:
            ConfigError: it is not the document of a space.
        """
        content = dict(document) if isinstance(document, Mapping) else {}
        source = content.pop("source", None)
        if not isinstance(source, str):
            raise ConfigError("the document of a search space must name its 'source'.")
        where = f"{source} (as recorded)"
        return cls.of_file(parse_space_file(content, where), Path(source), where, recorded=True)

    def resolve(
        self,
        *,
        overrides: Mapping[str, Any] | None = None,
        only: str | Sequence[str] = (),
        seeds: Sequence[int] | None = None,
        demo: bool = False,
        num_trials: int | None = None,
        final_top: int | None = None,
        final_seeds: int | None = None,
        to_run: bool = True,
    ) -> ResolvedSpace:
        """Return the trials of this space as they are run.

        The space's `demo` fields are laid over every trial where `demo` is given, a named trial's own `demo` fields
        over those, and the overrides over all of them. What the space's `demo` and the overrides set is fixed: a
        parameter of that field is not searched, nor is one whose conditions can no longer hold.
        A layer that sets `freeze` resets the count of another mode to 0, and a budget below the space's own shortens
        the range of `freeze_epochs` to what is below it.

        Where the space names a `fidelity` and searches, the search and the named trials beside it have its fields in
        place of their own, wherever those are not lower already; the final stage has their own.

        Args:
            overrides: fields of the configuration by name. `seed` stands for `seeds` with that seed alone,
                `objective` for the space's.
            only: name, or names, of the named trials to run; the search is then left out. Empty: all, and the search.
            seeds: seeds of each named trial, in place of the space's; the search uses the first.
            demo: whether this is the demo profile.
            num_trials: number of trials to sample, in place of the space's.
            final_top, final_seeds: of the final stage, in place of the space's. Where there is no search, there is a
                final stage only if one of them is given; a `final_top` of 0 always leaves it out.
            to_run: whether they are to be trained, so that no two named trials may be the same; else they are only
                looked at.

        Raises:
            ConfigError: an override or a name is unknown, a configuration would be invalid, or two named trials would
                have the same one.
        """
        overrides = {} if overrides is None else overrides
        if not isinstance(overrides, Mapping):
            raise ConfigError(f"--set: must be a mapping of fields to their values, got {quoted(overrides)}.")
        overrides = dict(overrides)
        only = [only] if isinstance(only, str) or not isinstance(only, Iterable) else list(only)
        chosen_seeds = self._seeds(overrides, seeds)
        overrides.pop("seed", None)
        how = " in the demo profile" if demo else ""
        if overrides:
            how += " with " + ", ".join(f"{name}={value}" for name, value in overrides.items())
        objective = overrides.pop("objective", self.file.objective)
        layers = [self.file.demo if demo else {}, _checked(overrides)]
        fidelity: dict[str, Any] = {}
        if self.file.search and self.file.search.fidelity and not only:
            fidelity = self.file.search.fidelity.fields
        named = tuple(
            self._named(name, seed, objective, len(chosen_seeds) > 1, layers, demo, how, fidelity)
            for name in self._chosen(only)
            for seed in chosen_seeds
        )
        if to_run and not self.recorded:
            self._refuse_the_same(named, how)
        if num_trials is not None:
            self._check_num_trials(num_trials, only)
        search = None if only else self._search(layers, chosen_seeds[0], objective, demo, num_trials, how, fidelity)
        final = self._final(search is not None, demo, final_top, final_seeds)
        if fidelity and final is None:
            raise ConfigError(
                f"{self.source}: search.fidelity{how}: needs a final stage, which trains in full what the search "
                "finds; the number of its configurations is 0 and must be at least 1 (search.final.top, --final-top)."
            )
        return ResolvedSpace(named, search, final)

    def _seeds(self, overrides: Mapping[str, Any], seeds: Sequence[int] | None) -> list[int]:
        if "seed" in overrides:
            if seeds is not None:
                raise ConfigError("--set seed and --seeds are both given; give one of them.")
            return [TrialConfig.parse({"seed": overrides["seed"]}, "--set").seed]
        if seeds is None:
            return self.file.seeds
        if not isinstance(seeds, list | tuple | range) or not seeds or len(set(seeds)) < len(seeds):
            raise ConfigError(f"seeds: must be one or more different numbers, got {quoted(seeds)}.")
        return [TrialConfig.parse({"seed": seed}, "seeds").seed for seed in seeds]

    def _chosen(self, only: Sequence[str]) -> list[str]:
        names = list(self.file.trials)
        for name in only:
            if name not in names:
                known = ", ".join(names) or "none"
                raise ConfigError(
                    f"space {self.name!r} has no named trial {name!r}.{nearest(str(name), names)} Its named trials: "
                    f"{known}."
                )
        return [name for name in names if not only or name in only]

    def _refuse_the_same(self, named: Sequence[NamedTrial], how: str) -> None:
        """Refuse what would be trained twice: the ranking knows configurations, and would show one of the two.

        Baselines are ranked by their names, whatever an override makes of them.
        """
        first: dict[str, str] = {}
        for one in (one for one in named if not one.baseline):
            other = first.setdefault(one.in_full.config_id, one.name)
            if other != one.name:
                raise ConfigError(
                    f"{self.source}: trials.{other} and trials.{one.name}{how}: have the same configuration, which "
                    "would be trained twice; change one of them, or leave one out (--only picks trials, --seeds "
                    "repeats them)."
                )

    def _check_num_trials(self, num_trials: int, only: Sequence[str]) -> None:
        if not self.file.search:
            raise ConfigError(f"--num-trials: space {self.name!r} has no search; it runs its named trials alone.")
        if only:
            raise ConfigError("--num-trials: named trials are picked, so nothing is sampled; leave one of the two out.")
        if isinstance(num_trials, bool) or not isinstance(num_trials, int):
            raise ConfigError(f"--num-trials: must be a whole number, got {quoted(num_trials)}.")
        if num_trials < 1:
            raise ConfigError(f"--num-trials: must be at least 1, got {num_trials!r}.")
        if num_trials > MAX_SAMPLED:
            raise ConfigError(f"--num-trials: must be at most {MAX_SAMPLED}, got {quoted(num_trials)}.")

    def own_final(self, *, demo: bool) -> Final:
        """Return the final stage that the file asks for; the usual one where it has no search."""
        search = self.file.search
        if search is None:
            return Final()
        changes = {"top": search.demo.final_top, "seeds": search.demo.final_seeds} if demo else {}
        return search.final.model_copy(update={name: value for name, value in changes.items() if value is not None})

    def _final(self, searches: bool, demo: bool, top: int | None, seeds: int | None) -> Final | None:
        if not searches and top is None and seeds is None:
            return None
        own = self.own_final(demo=demo)
        given = {"top": own.top if top is None else top, "seeds": own.seeds if seeds is None else seeds}
        try:
            final = Final.model_validate(given)
        except ValidationError as error:
            raise ConfigError(f"final stage: {explain(error)}") from None
        return final if final.top else None

    def _named(
        self,
        name: str,
        seed: int,
        objective: Any,
        several: bool,
        layers: Sequence[Mapping[str, Any]],
        demo: bool,
        how: str,
        fidelity: Mapping[str, Any],
    ) -> NamedTrial:
        trial = self.file.trials[name]
        fields = {**trial.config, "seed": seed, "objective": objective}
        of_space, overrides = layers
        for layer in (of_space, trial.demo if demo else {}, overrides):
            fields = override(fields, layer)
        where = f"{self.source}: trials.{name}{how}"
        config = TrialConfig.parse(fields, where)
        cheaper = cheaper_fields(config.to_dict(), fidelity)
        return NamedTrial(
            trial=f"{name}-seed{seed}" if several else name,
            name=name,
            baseline=trial.baseline,
            description=trial.description,
            published=trial.published.model_dump(exclude_none=True) if trial.published else None,
            config=config.replaced(cheaper, f"{where} with search.fidelity") if cheaper else config,
            changed=tuple(
                field
                for field, value in config.to_dict().items()
                if field not in OF_THE_SPACE and trial.config.get(field) != value
            ),
            full={name: getattr(config, name) for name in cheaper},
        )

    def _search(
        self,
        layers: Sequence[Mapping[str, Any]],
        seed: int,
        objective: Any,
        demo: bool,
        num_trials: int | None,
        how: str,
        fidelity: Mapping[str, Any],
    ) -> ResolvedSearch | None:
        search = self.file.search
        if search is None:
            return None
        documented = override({**TrialConfig().to_dict(), "seed": seed, "objective": objective}, self.file.defaults)
        fields = documented
        for layer in layers:
            fields = override(fields, layer)
        parameters = search.parameters
        if fields["epochs"] < documented["epochs"]:
            parameters = within_budget(parameters, fields["epochs"])
        fixed = {name for layer in layers for name in layer}
        parameters = still_searched(parameters, fields, fixed)
        where = f"{self.source}: search{how}"
        if not parameters:
            raise ConfigError(f"{where}: every searched parameter is fixed, so nothing is left to search.")
        cheaper = cheaper_fields(fields, fidelity)
        full = {name: fields[name] for name in cheaper}
        fields = {**fields, **cheaper}
        short = search.demo.model_dump(exclude_none=True) if demo else {}
        resolved = ResolvedSearch(
            num_trials=num_trials or short.get("num_trials", search.num_trials),
            startup_trials=short.get("startup_trials", search.searcher.startup_trials),
            sampler_seed=search.searcher.seed,
            grace_period=min(short["grace_period"], fields["epochs"])
            if "grace_period" in short
            else scaled_grace_period(search.scheduler.grace_period, fields["epochs"], documented["epochs"]),
            reduction_factor=search.scheduler.reduction_factor,
            outlook_after=search.scheduler.outlook_after,
            parameters=parameters,
            fields=fields,
            where=where,
            full=full,
        )
        resolved.check(unused_allowed=self.recorded)
        return resolved


def _checked(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return overrides in the types of their fields."""
    for name in overrides:
        check_field(str(name), "--set")
    return {name: check_value(name, value, f"--set {name}") for name, value in overrides.items()}
