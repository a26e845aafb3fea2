"""The file of a benchmark: its keys, what each allows, and the runs that it asks for.

A benchmark is a product: configurations x datasets x splits x seeds. Each dataset and split is one ordinary run, with
every configuration as a named trial, so that all of them are measured on the same images.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from bts_tune.config import MetricName, TrialConfig, explain, override
from bts_tune.data.splits.groups import table_of_patients
from bts_tune.errors import BtsTuneError, ConfigError
from bts_tune.experiment.planning.options import OF_A_DATASET, RunOptions
from bts_tune.paths import user_path
from bts_tune.plugins import full_name, load_plugins
from bts_tune.registry import SPLIT_METHODS
from bts_tune.results.find import find_run
from bts_tune.results.ranking.configurations import configurations
from bts_tune.results.record.run_folder import holds_run
from bts_tune.space import Space, load_space
from bts_tune.space.file import Name, Seed, parse_space_file
from bts_tune.space.layers import with_paths_beside
from bts_tune.space.parameter import OF_THE_SPACE, Prose, Section, check_fields
from bts_tune.space.yaml_reader import read_yaml
from bts_tune.text import nearest, quoted

MAX_RUNS = 1000


class Configured(Section):
    """One configuration: a named trial of a space, the winner of an earlier run, or fields given here."""

    space: str | None = Field(default=None, description="a search space, by name or by the path of its file")
    trial: str | None = Field(
        default=None,
        description="of a space: one of its named trials (the configuration's own name); of a run: what its ranking "
        "calls the configuration (the one that is ranked first)",
    )
    run: str | None = Field(default=None, description="an earlier run, its folder or its name in the results folder")
    config: dict[str, Any] | None = Field(default=None, description="fields that differ from their defaults")
    set_: dict[str, Any] = Field(default_factory=dict, alias="set", description="fields to change, by name")


class BenchmarkFile(Section):
    """The content of a benchmark's file; paths in it begin at the file's own folder."""

    name: Name = Field(description="name of the benchmark, and of its folder")
    description: Prose = Field(default="", description="what it is for")
    plugins: list[str] = Field(
        default_factory=list,
        description="Python files or modules with losses, decoders, … of your own; their code runs",
    )
    configurations: dict[Name, Configured] = Field(min_length=2, description="what is compared, by name")
    datasets: dict[Name, str | dict[str, Any]] = Field(
        min_length=1, description="by name, a folder, or a mapping with 'data' and how it is read"
    )
    splits: list[str] = Field(
        default_factory=list, description="split methods that each dataset is split by; empty: its own split"
    )
    seeds: Annotated[int, Field(ge=1, le=1000)] | list[Seed] = Field(
        default=3, description="how many seeds each configuration is trained with, counted from 0, or the seeds"
    )
    folds: Annotated[int, Field(ge=2, le=1000)] | None = Field(
        default=None, description="folds of a cross-validation, on every dataset and split"
    )
    objective: MetricName = Field(default="dice-loss", description="metric that chooses best epochs and ranks")
    set_: dict[str, Any] = Field(
        default_factory=dict, alias="set", description="fields of every configuration to change, by name"
    )


@dataclass(frozen=True)
class ChosenConfiguration:
    """A configuration of a benchmark, as it is trained.

    Attributes:
        config: its fields, without those that the benchmark gives to all.
        origin: where it is from, in words.
        changed: the fields in which it is not what it was there.
        chosen_on: of the winner of a run, what names the images that it was chosen on.
        published: metrics that others reported for it, where it is unchanged.
        description: what it is, for a reader.
    """

    config: dict[str, Any]
    origin: str
    changed: tuple[str, ...] = ()
    chosen_on: str | None = None
    published: dict[str, Any] | None = None
    description: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, in plain JSON types."""
        return {
            "config": self.config,
            "origin": self.origin,
            "changed": list(self.changed),
            "chosen_on": self.chosen_on,
            "published": self.published,
            "description": self.description,
        }

    @classmethod
    def from_dict(cls, recorded: Mapping[str, Any]) -> ChosenConfiguration:
        """Return what `to_dict` recorded."""
        return cls(**{**recorded, "changed": tuple(recorded["changed"])})


@dataclass(frozen=True)
class PlannedRun:
    """One run of a benchmark: all configurations on one dataset and split.

    Attributes:
        name: of its folder.
        dataset: the dataset's name.
        split: the split method; None for the dataset's own.
        options: of the run, by name, but for those of how it is carried out.
    """

    name: str
    dataset: str
    split: str | None
    options: dict[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as it is run.

    Attributes:
        source: its file.
        file: what that says.
        seeds: the seeds of each configuration.
        configurations: by name.
        runs: one for each dataset and split, in order.
        definition: what must not change once it has begun.
    """

    source: Path
    file: BenchmarkFile
    seeds: list[int]
    configurations: dict[str, ChosenConfiguration]
    runs: list[PlannedRun]
    definition: dict[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """Its name."""
        return self.file.name

    def space(self) -> Space:
        """Return the search space of its runs: each configuration as a named trial, and no search.

        All are baselines, so that every training is kept, scored image by image and measured on the test split.
        """
        content = {
            "name": self.name,
            "description": self.file.description or f"Benchmark {self.name}.",
            "seeds": self.seeds,
            "objective": self.file.objective,
            "trials": {
                name: {
                    "baseline": True,
                    "description": one.description or f"From {one.origin}.",
                    "config": one.config,
                    **({} if one.published is None else {"published": one.published}),
                }
                for name, one in self.configurations.items()
            },
        }
        return Space.of_file(parse_space_file(content, str(self.source)), self.source, str(self.source))

    def to_dict(self) -> dict[str, Any]:
        """Return what `benchmark.json` keeps."""
        return {
            "benchmark": self.name,
            "description": self.file.description,
            "source": str(self.source),
            "definition": self.definition,
            "configurations": {name: one.to_dict() for name, one in self.configurations.items()},
            "runs": {
                run.name: {"dataset": run.dataset, "split": run.split, "options": run.options} for run in self.runs
            },
        }


def read_benchmark(path: Path, *, run_plugins: bool = False) -> BenchmarkFile:
    """Read a benchmark's file, each field by itself.

    Args:
        path: the file.
        run_plugins: whether the code of the plugins that it names may run.

    Raises:
        ConfigError: one sentence with the file, the field, its value and what is allowed.
    """
    content = with_paths_beside(read_yaml(path), path.resolve().parent)
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path}: must be a mapping with the keys {', '.join(_keys())}.")
    named = content.get("plugins")
    if run_plugins and isinstance(named, list) and all(isinstance(name, str) and name for name in named):
        load_plugins(named, relative_to=path.resolve().parent)  # its objective may be of one of them
    try:
        return BenchmarkFile.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}") from None


def load_benchmark(
    path: Path, results: Path, recorded: Mapping[str, Any] | None = None, *, run_plugins: bool = False
) -> Benchmark:
    """Return the benchmark of a file, with every configuration found.

    Args:
        path: the file.
        results: where the runs are that it names.
        run_plugins: whether the code of the plugins that it and its spaces name may run. Without them, a benchmark that
            uses what they register is refused.
        recorded: the `benchmark.json` of one that goes on, whose winners of earlier runs stay what they were.

    Raises:
        ConfigError, RunError: something that it names is not there or not allowed, or it is not what began.
    """
    file = read_benchmark(path, run_plugins=run_plugins)
    source = path.resolve()
    plugins = [full_name(plugin, relative_to=source.parent) for plugin in file.plugins]
    seeds = list(range(file.seeds)) if isinstance(file.seeds, int) else list(file.seeds)
    if len(set(seeds)) < len(seeds) or not seeds:
        raise ConfigError(f"{path}: seeds: must be one or more different numbers, got {quoted(file.seeds)}.")
    for_all = check_fields(file.set_, f"{path}: set")
    folders = _folders(recorded, source)
    chosen = {}
    given = {}
    for name, one in file.configurations.items():
        where = f"{path}: configurations.{name}"
        words = one.model_dump(mode="json", by_alias=True, exclude_none=True)
        kept = ((recorded or {}).get("definition") or {}).get("configurations", {}).get(name)
        if one.run is not None and recorded is not None and _same(kept, words, folders):
            chosen[name] = ChosenConfiguration.from_dict(recorded["configurations"][name])
        else:
            chosen[name] = _chosen(name, one, source.parent, results, where, run_plugins)
        # A trial of a space that is no longer the same is told by its fields; the winner of a run stays what it was.
        given[name] = words if one.run is not None else {**words, "config": chosen[name].config}
    definition = {
        "configurations": given,
        "seeds": seeds,
        "folds": file.folds,
        "objective": file.objective,
        "set": for_all,
        "plugins": list(file.plugins),
    }
    shared = {"folds": file.folds, "overrides": for_all, "plugins": plugins}
    benchmark = Benchmark(source, file, seeds, chosen, list(_runs(file, path, source.parent, shared)), definition)
    if len(benchmark.runs) > MAX_RUNS:
        raise ConfigError(f"{path}: makes {len(benchmark.runs)} runs; at most {MAX_RUNS} are allowed.")
    if recorded is not None:
        _refuse_changed(benchmark, recorded, path)
    benchmark.space().resolve(overrides=for_all)
    return benchmark


def _keys() -> list[str]:
    return [info.alias or name for name, info in BenchmarkFile.model_fields.items()]


def _chosen(
    name: str, one: Configured, beside: Path, results: Path, where: str, run_plugins: bool
) -> ChosenConfiguration:
    sources = [key for key in ("space", "run", "config") if getattr(one, key) is not None]
    if len(sources) != 1:
        got = " and ".join(sources) or "none of them"
        raise ConfigError(f"{where}: must have one of 'space', 'run' and 'config', got {got}.")
    if one.trial is not None and one.config is not None:
        raise ConfigError(f"{where}.trial: goes with 'space' or 'run', not with 'config'.")
    if one.space is not None:
        found = _of_space(one.space, one.trial or name, beside, where, run_plugins)
    elif one.run is not None:
        found = _of_run(one.run, one.trial, beside, results, where)
    else:
        fields = TrialConfig.parse(check_fields(one.config or {}, f"{where}.config"), f"{where}.config").to_dict()
        found = ChosenConfiguration(_without_seed(fields), "the benchmark's file")
    changes = check_fields(one.set_, f"{where}.set")
    config = _without_seed(TrialConfig.parse(override(found.config, changes), where).to_dict())
    changed = tuple(field for field, value in config.items() if found.config.get(field) != value)
    published = None if changed else found.published
    return ChosenConfiguration(config, found.origin, changed, found.chosen_on, published, found.description)


def _without_seed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a configuration but for those that the benchmark gives to all."""
    return {name: value for name, value in fields.items() if name not in OF_THE_SPACE}


def _of_space(named: str, trial: str, beside: Path, where: str, run_plugins: bool) -> ChosenConfiguration:
    is_path = "/" in named or named.endswith((".yaml", ".yml"))
    try:
        space = load_space(str(beside / user_path(named)) if is_path else named, run_plugins=run_plugins)
    except ConfigError as error:
        raise ConfigError(f"{where}.space: {error}") from None
    if trial not in space.file.trials:
        known = list(space.file.trials)
        raise ConfigError(
            f"{where}: space {named!r} has no named trial {trial!r}.{nearest(trial, known)} Its named trials: "
            f"{', '.join(known) or 'none'}."
        )
    found = space.file.trials[trial]
    published = found.published.model_dump(exclude_none=True) if found.published else None
    origin = f"space {space.name}, trial {trial}"
    return ChosenConfiguration(dict(found.config), origin, (), None, published, found.description)


def _of_run(named: str, name: str | None, beside: Path, results: Path, where: str) -> ChosenConfiguration:
    near = beside / user_path(named, f"{where}.run")
    try:
        folder = find_run(str(near) if holds_run(near) else named, results)
        run, trials = folder.read_run(), folder.trials()
    except BtsTuneError as error:
        raise ConfigError(f"{where}.run: {error}") from None
    ranked = configurations(trials)
    if name is not None:
        ranked = [one for one in ranked if name in (one.name, *(record.trial for record in one.trials))]
    if not ranked:
        what = "no configuration is ranked yet" if name is None else f"no ranked configuration is {name!r}"
        raise ConfigError(f"{where}.run: {folder}: {what}.")
    best = ranked[0]
    recorded = f"{where}.run: {folder}"
    # In full, where the search was at a lower fidelity.
    fields = TrialConfig.parse(_without_seed(best.best.config), recorded).replaced(best.best.full, recorded).to_dict()
    what = "winner" if name is None else f"configuration {best.name}"
    unfinished = "" if run.get("status") == "complete" else ", which was not complete"
    content = (run.get("dataset") or {}).get("content")
    return ChosenConfiguration(
        _without_seed(fields),
        f"run {run.get('run') or folder.path.name}, its {what}{unfinished}",
        chosen_on=content if isinstance(content, str) else None,
    )


def _runs(file: BenchmarkFile, path: Path, beside: Path, shared: Mapping[str, Any]) -> Iterator[PlannedRun]:
    """Yield the run of each dataset and split; two hyphens below each other cannot be in either's name."""
    if len(set(file.splits)) < len(file.splits):
        raise ConfigError(f"{path}: splits: every split must be given once, got {quoted(file.splits)}.")
    for method in file.splits:
        if method not in SPLIT_METHODS:
            raise ConfigError(
                f"{path}: splits: unknown split method {method!r}.{nearest(method, SPLIT_METHODS.names())} "
                f"{SPLIT_METHODS.allowed()}"
            )
    for dataset, given in file.datasets.items():
        options = _dataset_options(given, f"{path}: datasets.{dataset}", beside)
        for method in file.splits or [""]:
            split = method or None
            chosen = {} if split is None else {"split": split}
            name = dataset if split is None else f"{dataset}__{split}"
            yield PlannedRun(name, dataset, split, {"space": file.name, **options, **chosen, **shared})


def _dataset_options(given: str | Mapping[str, Any], where: str, beside: Path) -> dict[str, Any]:
    options: dict[str, Any] = {"data": given} if isinstance(given, str) else dict(given)
    for name in options:
        if name not in OF_A_DATASET:
            raise ConfigError(
                f"{where}: unknown key {quoted(name)}.{nearest(str(name), OF_A_DATASET)} Known keys: "
                f"{', '.join(OF_A_DATASET)}."
            )
    if not isinstance(options.get("data"), str):
        raise ConfigError(f"{where}.data: must be the dataset's folder, got {quoted(options.get('data'))}.")
    options["data"] = str((beside / user_path(options["data"], f"{where}.data")).absolute())
    group_by = options.get("group_by")
    if isinstance(group_by, str) and (table := table_of_patients(group_by, beside)) is not None:
        options["group_by"] = str(table.absolute())
    if not Path(options["data"]).is_dir():
        raise ConfigError(f"{where}.data: there is no folder {options['data']}.")
    try:
        checked = RunOptions.parse({"space": "benchmark", **options})
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return {name: getattr(checked, name) for name in options}


def _refuse_changed(benchmark: Benchmark, recorded: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on with what did not begin so; datasets and splits may be added."""
    before, now = recorded["definition"], benchmark.definition
    folders = _folders(recorded, benchmark.source)
    changed = [key for key in now if not _same(before.get(key), now[key], folders)]
    if "configurations" in changed:
        names = sorted({*before["configurations"], *now["configurations"]})
        pairs = {name: (before["configurations"].get(name), now["configurations"].get(name)) for name in names}
        differ = [name for name, pair in pairs.items() if not _same(*pair, folders)]
        changed = [f"configurations.{differ[0]}"] if differ else ["configurations"]
    runs = {run.name: run for run in benchmark.runs}
    for name, one in recorded["runs"].items():
        if name not in runs:
            changed.append(f"the run {name}, whose dataset or split is missing,")
        elif not _same(_fixed(one["options"]), _fixed(runs[name].options), folders):
            changed.append(f"datasets.{one['dataset']}")
    if changed:
        raise ConfigError(
            f"{path}: {changed[0]} is not as it was when the benchmark began; put it back, or give the file another "
            "'name' for a new benchmark. Datasets and splits may be added."
        )


def _fixed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a run that may not change: a dataset may move, and its content is checked."""
    return {name: value for name, value in options.items() if name not in ("data", "plugins")}


def _folders(recorded: Mapping[str, Any] | None, source: Path) -> tuple[Path, Path]:
    """Return the folder that the benchmark's file was in when it was recorded, and the one that it is in now."""
    return Path(str((recorded or {}).get("source") or source)).parent, source.parent


def _same(before: Any, now: Any, folders: tuple[Path, Path]) -> bool:
    """Whether two values say the same, where the benchmark's file was in the first folder and now is in the second.

    A path that was given relative to the file is recorded in full: moved with the file, it names the same.
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return before.keys() == now.keys() and all(_same(before[name], now[name], folders) for name in now)
    if isinstance(before, list | tuple) and isinstance(now, list | tuple):
        return len(before) == len(now) and all(_same(*pair, folders) for pair in zip(before, now, strict=True))
    if before == now or not isinstance(before, str) or not isinstance(now, str):
        return bool(before == now)
    if not os.path.isabs(before) or not os.path.isabs(now):
        return False
    return os.path.relpath(before, folders[0]) == os.path.relpath(now, folders[1])
