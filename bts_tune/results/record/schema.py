"""The lines of a run's record, checked: what `trials.jsonl`, `rows.jsonl` and `run.json` may say.

A run folder may come from somewhere else, be edited by hand or be damaged. Whatever reads the record relies on what is
checked here: numbers are finite and of sane size, names are safe as names of files, and text can be written again.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, NotRequired, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model, with_config
from typing_extensions import TypedDict

from bts_tune.config import CHOOSERS, Part, TrialConfig, explain
from bts_tune.errors import RunError
from bts_tune.results.record.objective import metric_keys
from bts_tune.results.record.status import TrialStatus
from bts_tune.text import quoted

Stage = Literal["search", "final"]
"""Search: one seed on one split, early stopping. Final: chosen configurations again, full budget, fresh seeds."""

MAX_LINE_BYTES = 2**20
MAX_RUN_FILE_BYTES = 2**24
_MAX_DEPTH = 50

TrialId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
"""Names files and folders, so it can neither leave its folder nor hide."""

_Number = Annotated[float, Field(ge=-1e100, le=1e100)]
_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Epoch = Annotated[int, Field(ge=1, le=1_000_000)]


# Further fields are kept: another version may have recorded more.
_LINE = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, protected_namespaces=())


class _Line(BaseModel):
    model_config = _LINE


class _Event(_Line):
    event: str
    trial: TrialId


class _StrictPart(Part):
    model_config = ConfigDict(strict=True)


# A trial's configuration as recorded: any of the fields, each of which must be a value that its field allows. The names
# of implementations may be those of plugins, which are not loaded to read a record.
_Config = create_model(  # type: ignore[call-overload]
    "_Config",
    __base__=_StrictPart,
    **{
        name: (Annotated[str, Field(max_length=200)], info.default)
        if name in (*CHOOSERS, "augmentation", "objective")
        else (info.annotation, info)
        for name, info in TrialConfig.model_fields.items()
    },
)


class _Planned(_Event):
    name: Annotated[str, Field(min_length=1, max_length=200)]
    index: _Count
    baseline: bool
    changed: list[str]
    published: dict[str, _Number | str | None] | None
    config: dict[str, Any]
    config_id: str
    recipe_id: str
    stage: Stage = "search"
    origin: TrialId | None = None
    fold: Annotated[int, Field(ge=1, le=1000)] | None = None
    full: dict[Literal["image_size", "train_share", "epochs"], _Number] = Field(default_factory=dict)


class _Opened(_Event):
    device: str | None = None
    parameters: _Count | None = None
    trainable_parameters: _Count | None = None
    kept_epochs: _Count | None = None
    lost: str = ""


class _Ended(_Event):
    status: TrialStatus
    reason: str = ""


class _Retried(_Event):
    reason: str = ""


class _Evaluated(_Event):
    metrics: dict[str, _Number | None]


class _Variant(_Evaluated):
    variant: Literal["tta", "ensemble", "ensemble-tta", "postprocessed"]
    seconds: _Number
    members: list[TrialId]
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    smallest_region: Annotated[float, Field(ge=0, le=1)] | None = None


_ROW_COLUMNS: dict[str, Any] = {
    "trial": TrialId,
    "epoch": _Epoch,
    **{f"val_{key}": NotRequired[_Number | None] for key in metric_keys()},
    # Whatever the objective is, these two are shown.
    "val_dice_loss": _Number,
    "val_iou": _Number,
    "train_loss": NotRequired[_Number | None],
    "train_dice_loss": NotRequired[_Number | None],
    "val_loss": NotRequired[_Number | None],
    **{f"best_val_{key}": NotRequired[_Number | None] for key in metric_keys()},
    "best_epoch": NotRequired[_Count | None],
    "learning_rate": NotRequired[_Number | None],
    "trainable_parameters": NotRequired[_Count | None],
    "seconds": NotRequired[_Number | None],
    "train_seconds": NotRequired[_Number | None],
    "images_per_second": NotRequired[_Number | None],
    "time": NotRequired[_Number | None],
}


def _row_adapter(name: str, extra: Literal["allow", "forbid"]) -> TypeAdapter[dict[str, Any]]:
    typed_dict = cast(Any, TypedDict)  # of names that are not literals
    return TypeAdapter(with_config(ConfigDict(**{**_LINE, "extra": extra}))(typed_dict(name, _ROW_COLUMNS)))


# Most rows of a trial have the value of the row before: of a long run, one object for all of them saves much memory.
_SELDOM_CHANGING = ("learning_rate", "trainable_parameters", *(f"best_val_{key}" for key in metric_keys()))

_ROW = _row_adapter("_Row", "allow")
_USUAL_ROW = _row_adapter("_UsualRow", "forbid")


class _Changes(_Line):
    time: str
    changed: list[str]


class _Extension(_Line):
    time: str
    trials: _Count


class _SplitLeak(_Line):
    images: _Count | None = None
    related_share: _Number | None = None
    look_alike_share: _Number | None = None
    identical: _Count | None = None
    identical_turned: _Count | None = None
    identical_in_valid: _Count | None = None
    same_scan: _Count | None = None
    similar: _Count | None = None


class _Leak(_Line):
    leaks: bool = False
    splits: dict[str, _SplitLeak] = {}


class _Groups(_Line):
    count: _Count | None = None
    largest: _Count | None = None
    median: _Number | None = None
    in_several_splits: _Count | None = None


class _SplitPart(_Line):
    images: _Count | None = None
    groups: _Count | None = None
    largest_group: _Count | None = None
    tumor_share: _Number | None = None


class _Split(_Line):
    method: str = ""
    hash: str = ""
    group_by: str | None = None
    groups: _Groups = _Groups()
    splits: dict[str, _SplitPart] = {}
    leak: _Leak = _Leak()


class _CheckedSplit(_Line):
    images: _Count | None = None
    without_tumor: _Count | None = None
    several_annotations: _Count | None = None
    sizes: dict[str, _Count] = {}
    tumor_share: dict[str, _Number] = {}


class _Masks(_Line):
    rule: Literal["nonzero", "half", "labels"] = "nonzero"
    cut: _Number | None = None
    labels: list[_Number] = []
    ignored: list[_Number] = []
    says: str = ""


class _Agreement(_Line):
    pairs: _Count
    different: _Count
    median: _Number | None = None


class _CheckedLeak(_Line):
    masks_of_identical: _Agreement | None = None


class _DataCheck(_Line):
    leak: _CheckedLeak | None = None
    masks: _Masks | None = None
    errors: dict[str, _Count] = {}
    warnings: dict[str, _Count] = {}
    splits: dict[str, _CheckedSplit] = {}


class _TrainShare(_Line):
    share: Annotated[float, Field(gt=0, lt=1)]
    images: Annotated[list[_Count], Field(min_length=1)]


class _Dataset(_Line):
    masks: _Masks | None = None
    split: _Split = _Split()
    train_shares: list[_TrainShare] = []
    check: _DataCheck | None = None


_Share = Annotated[float, Field(ge=0, le=1)]
_File = Annotated[str, Field(min_length=1, max_length=5000)]


class _LeakRow(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)  # numbers are text in a CSV file

    file: _File
    split: Literal["valid", "test"]
    train_file: _File
    correlation: _Share
    orientation: _File
    relation: Literal["identical", "same scan", "similar"]
    correlation_256: _Share | None
    mask_dice: _Share | None


class _WarmStart(_Line):
    run: str
    trials: list[Any]


class _Plugin(_Line):
    name: str
    kind: str = ""
    sha256: str


class _Objective(_Line):
    metric: Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=100)]
    direction: Literal["minimize", "maximize"]
    title: Annotated[str, Field(min_length=1, max_length=100)]
    worst: _Number
    perfect: _Number


class _LeftOut(_Line):
    encoders: list[str] = []
    trials: list[str] = []


class _Run(_Line):
    run: str = ""
    status: str = ""
    profile: str = ""
    command: list[str] = []
    dataset: _Dataset = _Dataset()
    space: dict[str, Any] = {}
    options: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    hardware: dict[str, Any] = {}
    plugins: list[_Plugin] = []
    objective: _Objective | None = None
    losses: dict[str, str] = {}
    metrics_defined: dict[str, str] = {}
    changes: list[_Changes] = []
    extensions: list[_Extension] = []
    extensions_closed: Annotated[int, Field(ge=0)] = 0
    warm_start: _WarmStart | None = None
    left_out: _LeftOut | None = None


_EVENTS: Mapping[str, type[_Event]] = {
    "planned": _Planned,
    "opened": _Opened,
    "retried": _Retried,
    "ended": _Ended,
    "evaluated": _Evaluated,
    "variant": _Variant,
}


def read_events(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield place (file and line) and content of every event of `trials.jsonl`, checked.

    Raises:
        RunError: a line before the last cannot be read, lacks a field or holds what a field does not allow; it plans a
            trial twice, or is about one that was never planned.
    """
    planned: set[str] = set()
    for number, line in _read_lines(path):
        where = _place(path, number)
        event = _parse(line, where)
        _check(_EVENTS.get(str(event.get("event")), _Event).model_validate, event, where)
        if event["event"] == "planned":
            if event["trial"] in planned:
                raise RunError(f"{where}: trial {event['trial']!r} is planned a second time.")
            planned.add(event["trial"])
            known = {name: value for name, value in event["config"].items() if name in TrialConfig.model_fields}
            _check(_Config.model_validate, known, f"{where}: config")
            # Their names and words are the same in every trial: one string for all.
            event["config"] = {
                sys.intern(name): sys.intern(value) if type(value) is str else value
                for name, value in event["config"].items()
            }
        elif event["trial"] not in planned:
            raise RunError(f"{where}: trial {event['trial']!r} was never planned.")
        yield where, event


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield number of the line, from 1, and content of every row of `rows.jsonl`, checked.

    Raises:
        RunError: a line before the last cannot be read, lacks a field or holds what a field does not allow.
    """
    before: dict[str, dict[str, Any]] = {}
    validate = _USUAL_ROW.validator.validate_json
    for number, line in _read_lines(path):
        try:
            # Parsed and checked in one go, which of a long run saves half of the time. It refuses more than what is
            # wrong, such as a field of a later version, and its own sentences on broken JSON are others.
            row = validate(line)
        except ValidationError:
            where = _place(path, number)
            row = _parse(line, where)
            _check(_ROW.validate_python, row, where)
            row = {sys.intern(name): content for name, content in row.items()}
        # One string for each trial, as for each column, not one a row: of a long run they would take much memory.
        trial = row["trial"] = sys.intern(row["trial"])
        if (last := before.get(trial)) is not None:
            for column in _SELDOM_CHANGING:
                kept = last.get(column)
                if kept is not None and (value := row.get(column)) == kept and type(value) is type(kept):
                    row[column] = kept
        before[trial] = row
        yield number, row


def read_run_file(path: Path) -> dict[str, Any]:
    """Return the content of `run.json`, checked.

    Raises:
        RunError: it cannot be read, is too large, is no JSON object, or a field has the wrong type.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RUN_FILE_BYTES + 1)
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}.") from None
    if len(data) > MAX_RUN_FILE_BYTES:
        raise RunError(f"{path}: is larger than {MAX_RUN_FILE_BYTES} bytes, hence not what a run writes.")
    run = _parse(data, str(path))
    _check(_Run.model_validate, run, str(path))
    return run


def check_leak(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a row of `leaks.csv` with its numbers.

    Raises:
        RunError: a field holds what it does not allow.
    """
    try:
        return _LeakRow.model_validate(row).model_dump()
    except ValidationError as error:
        raise RunError(f"{where}: {explain(error)}") from None


def _place(path: Path, number: int) -> str:
    return f"{path}, line {number}"


def _read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of every whole line; a last one that a kill left half-written is passed over."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                if line.endswith(b"\n"):
                    yield number, line
                elif len(line) == MAX_LINE_BYTES:
                    raise RunError(f"{_place(path, number)}: cannot be read: it is longer than {MAX_LINE_BYTES} bytes.")
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}.") from None


def _parse(data: bytes, where: str) -> dict[str, Any]:
    try:
        content = json.loads(data, parse_constant=_refuse_constant)
        _check_bounds(content)
    except RecursionError:
        raise RunError(f"{where}: cannot be read: it is nested too deeply.") from None
    except ValueError as error:
        raise RunError(f"{where}: cannot be read: {error}.") from None
    if not isinstance(content, dict):
        raise RunError(f"{where}: cannot be read: not a JSON object.")
    return content


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _check_bounds(content: Any, depth: int = 0) -> None:
    """Raise a ValueError where something could not be written again, or would exhaust whatever walks through it."""
    if isinstance(content, dict | list):
        if depth == _MAX_DEPTH:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")
        for inner in (*content, *content.values()) if isinstance(content, dict) else content:
            # A long run has millions of values: most are told to be harmless here, without a call for each.
            kind = type(inner)
            if kind is float:
                if not math.isfinite(inner):
                    raise ValueError("a number is too large")
            elif not (kind is int or inner is None or (kind is str and inner.isascii())):
                _check_bounds(inner, depth + 1)
    elif isinstance(content, str):
        try:
            content.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{quoted(content)} is no valid Unicode") from None
    elif isinstance(content, float) and not math.isfinite(content):
        raise ValueError("a number is too large")


def _check(validate: Callable[[Any], object], content: Mapping[str, Any], where: str) -> None:
    try:
        validate(content)
    except ValidationError as error:
        raise RunError(f"{where}: {explain(error)}") from None
