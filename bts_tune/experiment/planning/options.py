"""What a run is asked to do: each option declared once, for the command line, the Python API and `run.json`.

An option is a field of `RunOptions`: its type and default, what it allows, and the words of the command line. Nothing
heavy is imported to read them, so that `--help` is quick; pydantic checks values when there are some.
"""

from __future__ import annotations

import functools
import math
import operator
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from bts_tune.data.volumes.planes import Plane
from bts_tune.errors import ConfigError
from bts_tune.paths import user_path
from bts_tune.registry import READERS, SPLIT_METHODS
from bts_tune.text import nearest, quoted, texts

if TYPE_CHECKING:
    from pydantic import TypeAdapter

AUTO = "auto"
"""Of `gpus_per_trial`: as small a share as the memory allows; see `execution.packing`."""

DEFAULT_MAX_FAILURES = 2
"""A death by chance rarely strikes one trial twice; a trial that kills its own process does so each time, and each
attempt costs the start of a process and at most one epoch."""

OF_A_DATASET = (
    "data",
    "reader",
    "plane",
    "empty_slices",
    "sequence",
    "tumor_categories",
    "tumor_labels",
    "group_by",
    "split_seed",
)
"""The options of a run that belong to a dataset, by their fields' names."""

Kind = Literal["text", "path", "integer", "number", "time", "texts", "settings", "switch", "off-switch", "share"]


@dataclass(frozen=True)
class Between:
    """What a number must lie in; `low_open` leaves the lowest value itself out."""

    low: float
    high: float = math.inf
    low_open: bool = False


@dataclass(frozen=True)
class Option:
    """How the command line has an option.

    Attributes:
        help: a line of `--help`.
        metavar: what stands for the value; empty for a switch.
        kind: how the value is read.
        group: `what` a run is, or `how` it is carried out.
        anew: whether a run that goes on may be given it anew; `how` always may.
        flag: the option's name, where it is not the field's.
    """

    help: str
    metavar: str = ""
    kind: Kind = "text"
    group: Literal["what", "how"] = "what"
    anew: bool = False
    flag: str = ""


def option(help: str, metavar: str = "", *, default: Any = None, **words: Any) -> Any:
    """Return a field of `RunOptions`."""
    metadata = {"option": Option(help, metavar, **words)}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of a run: the keyword arguments of `bts_tune.tune` and, as `--name`, those of `bts-tune --space …`.

    The first group is what the run is and never changes, but for the final stage, which `bts-tune final` may add; the
    second is how it is carried out, and may be given anew with `--resume`.
    """

    space: str = field(
        metadata={"option": Option("search space: baseline, extended, or the path of a YAML file", "NAME")}
    )
    plugins: list[str] = option(
        "Python file or module with losses, metrics, decoders, … of your own; its code runs (may be repeated)",
        "FILE",
        default=[],
        kind="texts",
        anew=True,
        flag="--plugin",
    )
    data: str | None = option(
        "dataset; without it, a demo on generated slices. With --resume: where it is now",
        "DIR",
        kind="path",
        anew=True,
    )
    reader: str | None = option("how the dataset's folder is laid out (found by itself)", "NAME")
    plane: Plane = option(
        "axial, coronal or sagittal: how volumes are cut into slices (axial)", "NAME", default="axial"
    )
    empty_slices: Annotated[float, Between(0, 1)] = option(
        "of a volume's slices, the share without a tumour; 1: all (0.2)", "X", default=0.2, kind="share"
    )
    sequence: str | None = option("of several MRI sequences, the one to read, or all as channels", "NAME")
    tumor_categories: list[str] | None = option("COCO categories that count as tumour (all)", "NAME", kind="texts")
    tumor_labels: list[str] | None = option(
        "values of mask files that are tumour (the masks tell)", "VALUE", kind="texts"
    )
    split: str | None = option(
        "provided, grouped (related slices stay together) or a method of a plugin (the dataset's own; else grouped)",
        "HOW",
    )
    group_by: str | None = option("patients: a regular expression on file names, a CSV file, or none", "HOW")
    split_seed: Annotated[int, Between(0, 2**31 - 1)] = option(
        "seed of a split that the dataset does not have (0)", "N", default=0, kind="integer"
    )
    overrides: dict[str, Any] = option(
        "set any field of every trial", "KEY=VALUE", default={}, kind="settings", flag="--set"
    )
    only: list[str] = option("of the named trials, run these; no search", "NAME", default=[], kind="texts")
    seeds: Annotated[int, Between(1, 1000)] | None = option("run each named trial with N seeds", "N", kind="integer")
    folds: Annotated[int, Between(2, 1000)] | None = option(
        "cross-validate the named trials over K folds; no search", "K", kind="integer"
    )
    num_trials: int | None = option("trials that the search tries, or --extend adds", "N", kind="integer")
    final_top: Annotated[int, Between(0, 1000)] | None = option(
        "best configurations that are trained again; 0: no final stage", "N", kind="integer"
    )
    final_seeds: Annotated[int, Between(1, 1000)] | None = option(
        "fresh seeds of each of them and each baseline", "N", kind="integer"
    )
    warm_start: str | None = option("let the search learn from an earlier run of the same space", "RUN")
    skip_missing_weights: bool = option(
        "go on without the named trials, baselines too, whose encoder's weights cannot be had",
        default=False,
        kind="switch",
    )
    weights_dir: str | None = option(
        "folder with <encoder>.safetensors or .pth files. With --resume: where it is now", "DIR", kind="path", anew=True
    )
    storage: str | None = option(
        "keep models and checkpoints of the running trials at s3://…, gs://… or in a folder (in the run's own)", "URI"
    )

    time_budget: Annotated[float, Between(0, low_open=True)] | None = option(
        "end named trials and search after this time (90m, 8h, 1.5d); a final stage follows, however long it takes",
        "TIME",
        kind="time",
        group="how",
    )
    device: Literal["auto", "cpu", "cuda"] = option("auto, cpu or cuda (auto)", "NAME", default="auto", group="how")
    gpus_per_trial: float | str | None = option(
        "GPUs, or the fraction of one, of a trial; or auto (1)", "X", kind="share", group="how"
    )
    concurrent: Annotated[int, Between(1)] | None = option(
        "trials at a time (as many as the GPUs or cores take)", "N", kind="integer", group="how"
    )
    cpus_per_trial: Annotated[int, Between(1)] | None = option(
        "cores, and CPU threads, of a trial (what its node has, divided)", "N", kind="integer", group="how"
    )
    memory_per_trial: Annotated[float, Between(0, low_open=True)] | None = option(
        "GiB of a node's memory that a trial has to itself (not counted)", "GIB", kind="number", group="how"
    )
    address: str | None = option(
        "Ray cluster to run on; 'auto' finds one, 'local' is a Ray of the run's own (local)", "HOST:PORT", group="how"
    )
    autoscaling: bool = option(
        "nodes will come for what waits; goes with --concurrent and --cpus-per-trial",
        default=False,
        kind="switch",
        group="how",
    )
    polite: bool = option(
        "run trials at low priority, so that other programs go first", default=False, kind="switch", group="how"
    )
    max_failures: Annotated[int, Between(0, 100)] = option(
        f"attempts after a trial's process has died ({DEFAULT_MAX_FAILURES})",
        "N",
        default=DEFAULT_MAX_FAILURES,
        kind="integer",
        group="how",
    )
    trial_timeout: Annotated[float, Between(0, low_open=True)] | None = option(
        "end a trial without a new epoch for this long", "TIME", kind="time", group="how"
    )
    tracker: list[str] | None = option(
        "where epochs are logged: tensorboard, mlflow, wandb, trackio, one of a plugin, or none (tensorboard; may be "
        "repeated)",
        "NAME",
        kind="texts",
        group="how",
        flag="--tracker",
    )
    cache: str | None = option("folder of prepared data and downloaded weights", "DIR", kind="path", group="how")
    tta: bool = option("measure the models with test-time augmentation too", default=False, kind="switch", group="how")
    ensemble: bool = option(
        "measure the winner's trainings as one model too, and keep them all", default=False, kind="switch", group="how"
    )
    ensemble_top: Annotated[int, Between(1)] | None = option(
        "the same with all trainings of the N best configurations (1)", "N", kind="integer", group="how"
    )
    postprocess: bool = option(
        "choose threshold and smallest region on the validation split, and measure with them too",
        default=False,
        kind="switch",
        group="how",
    )
    dashboard: bool = option("no Ray dashboard", default=True, kind="off-switch", group="how", flag="--no-dashboard")
    verbose: bool = option("show Ray's own messages", default=False, kind="switch", group="how")

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Self:
        """Validate options.

        Raises:
            ConfigError: one sentence with the option, its value and what is allowed.
        """
        from pydantic import ValidationError

        from bts_tune.config import explain

        declared = declarations()
        for name in given:
            if name not in declared:
                raise ConfigError(f"{name}: is no option of a run; those are {', '.join(declared)}.")
        checked = {}
        for name, value in given.items():
            kind = declared[name].kind
            try:
                checked[name] = _adapter(name).validate_python(texts(value) if kind == "texts" else value)
            except ValidationError as error:
                raise ConfigError(explain(error, flag(name))) from None
            if kind == "path" and value is not None:
                checked[name] = str(user_path(value, flag(name)))
        if checked.get("gpus_per_trial") is not None:
            _require_share(checked["gpus_per_trial"])
        return cls(**checked)

    def require_known_names(self) -> None:
        """Refuse the names of implementations that are not there; the plugins must have been loaded.

        Raises:
            ConfigError: one sentence with the option, its value and what is allowed.
        """
        if self.split is not None and self.split not in SPLIT_METHODS:
            raise ConfigError(
                f"{flag('split')}: unknown split method {self.split!r}.{nearest(self.split, SPLIT_METHODS.names())} "
                f"{SPLIT_METHODS.allowed()}"
            )
        if self.reader is not None and self.reader not in READERS:
            raise ConfigError(
                f"{flag('reader')}: unknown reader {self.reader!r}.{nearest(self.reader, READERS.names())} "
                f"{READERS.allowed()}"
            )

    def replaced(self, **changes: Any) -> Self:
        """Return the same options but for some, which are not checked."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return every option by name, in plain JSON types."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def seed_list(self, seeds: list[int]) -> list[int] | None:
        """Return as many seeds as were asked for, counted up from the space's first; None for the space's own."""
        return None if self.seeds is None else list(range(seeds[0], seeds[0] + self.seeds))


def declarations() -> dict[str, Option]:
    """Return how the command line has each option, by the field's name, in order."""
    return {one.name: one.metadata["option"] for one in fields(RunOptions)}


def flag(name: str) -> str:
    """Return what an option is called on the command line."""
    return declarations()[name].flag or "--" + name.replace("_", "-")


@cache
def _hints() -> dict[str, Any]:
    return get_type_hints(RunOptions, include_extras=True)


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(_with_bounds(_hints()[name]))


def _with_bounds(hint: Any) -> Any:
    """Return a type hint with pydantic's own bounds in place of `Between`."""
    from pydantic import Field

    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        for one in extras:
            low = {"gt" if one.low_open else "ge": one.low}
            high = {"le": one.high} if math.isfinite(one.high) else {}
            inner = Annotated[inner, Field(allow_inf_nan=False if inner is float else None, **low, **high)]
        return inner
    if get_origin(hint) in (types.UnionType, Union):  # `Annotated[…] | None` makes the latter
        return functools.reduce(operator.or_, map(_with_bounds, get_args(hint)))
    return hint


def _require_share(share: float | str) -> None:
    if share != AUTO and not (isinstance(share, float) and 0 < share < math.inf):
        raise ConfigError(f"{flag('gpus_per_trial')}: must be a number above 0, or {AUTO!r}, got {quoted(share)}.")
