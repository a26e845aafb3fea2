"""`TrialConfig`: everything one trial depends on, as a frozen value that round-trips through YAML and JSON.

The fields form one flat namespace, which is what `--set key=value`, a search space and a CSV column need. They are
declared in parts (`ModelPart`, `PreprocessingPart`, …), and a function takes the part that it depends on: a model is
built from a `ModelPart`, a prepared dataset is keyed by a `PreprocessingPart`.

A loss or a decoder may have parameters of its own, which it declares in its own file as `Parameters`, a `Part`. They
are fields too, but only of the configurations that choose it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo

from bts_tune.errors import ConfigError
from bts_tune.registry import AUGMENTATION_STEPS, DECODERS, LOSSES, METRICS, Registry
from bts_tune.text import nearest, printable, quoted

Freeze = Literal["none", "all", "stages", "epochs"]
POLICIES: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "light": ("horizontal-flip", "affine", "brightness-contrast", "gamma"),
    "medium": ("horizontal-flip", "affine", "elastic", "brightness-contrast", "gamma", "noise", "blur"),
    "strong": (
        *("horizontal-flip", "vertical-flip", "affine", "elastic", "grid-distortion", "brightness-contrast", "gamma"),
        *("illumination", "noise", "blur", "downscale"),
    ),
}
"""The steps of each augmentation policy; `augmentation.policies` has their magnitudes."""

Equalization = Literal["none", "histogram", "clahe"]
AugmentationKind = Literal["geometry", "intensity", "both"]
Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "cosine", "one-cycle", "plateau"]
WeightAverageKind = Literal["none", "ema", "swa"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]

MAX_CHANNELS = 16
"""Most channels that an image may have."""

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


def _registered(registry: Registry[Any], name: str) -> str:
    if name not in registry:
        hint = nearest(name, registry.names()).strip()
        raise ValueError(f"should be one of {', '.join(registry.names())}{f' ({hint})' if hint else ''}")
    return name


def _known_augmentation(text: str) -> str:
    policy, *steps = text.split("+")
    if policy not in POLICIES:
        raise ValueError(f"should be one of {', '.join(POLICIES)}, with '+' and the name of a step or without")
    for place, step in enumerate(steps):
        _registered(AUGMENTATION_STEPS, step)
        if step in POLICIES[policy]:
            raise ValueError(f"the policy {policy!r} has the step {step!r} already; leave '+{step}' out")
        if step in steps[:place]:
            raise ValueError(f"the step {step!r} is named twice; name it once")
    return text


DecoderName = Annotated[str, AfterValidator(functools.partial(_registered, DECODERS))]
LossName = Annotated[str, AfterValidator(functools.partial(_registered, LOSSES))]
MetricName = Annotated[str, AfterValidator(functools.partial(_registered, METRICS))]
Augmentation = Annotated[str, AfterValidator(_known_augmentation)]


class Part(BaseModel):
    """A group of configuration fields: frozen, unknown keys rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _as_it_was_meant(cls, value: Any, info: ValidationInfo) -> Any:
        # No field is a yes or no; pydantic would read `epochs: true` and `epochs: '1'` as 1.
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool):
            meant = "a whole number" if kind is int else "a number" if kind is float else "a word"
            raise ValueError(f"should be {meant}")
        if isinstance(value, str) and kind in (int, float):
            raise ValueError(f"input should be a valid {'integer' if kind is int else 'number'}")
        return value


class PreprocessingPart(Part):
    """What the prepared arrays depend on, beside the files themselves."""

    image_size: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] = Field(
        default=224, description="side of the square images in pixels; a multiple of 32, as SMP's encoders need"
    )
    equalization: Equalization = Field(default="histogram", description="histogram equalisation before resizing")
    channels: Annotated[int, Field(ge=1, le=MAX_CHANNELS)] = Field(
        default=1,
        description="of an image: 1, grey, or as many as the files hold, such as 3 MRI sequences stored as red, green "
        "and blue; a grey image is repeated",
    )
    train_share: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=1.0,
        description="share of the training images that a trial is trained on, whole groups of them, the same ones for "
        "every seed; validation and test stay whole",
    )

    @model_serializer(mode="wrap")
    def _as_it_always_was(self, serialize: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Leave one channel and all images out of the JSON of keys: it is what was before there was a choice."""
        fields: dict[str, Any] = serialize(self)
        if info.mode == "json" and type(self) is PreprocessingPart:
            for name in ("channels", "train_share"):
                if fields.get(name) == PreprocessingPart.model_fields[name].default:
                    del fields[name]
        return fields


class ModelPart(Part):
    """What the network depends on, beside `channels`: those of its input. It always has one output class."""

    decoder: DecoderName = Field(
        default="unet", description="architecture: one of SMP's, or one that a plugin registers"
    )
    encoder: Annotated[str, Field(min_length=1)] = Field(
        default="efficientnet-b0", description="SMP encoder name; 'tu-' names are taken from timm"
    )
    encoder_weights: Annotated[str, Field(min_length=1)] = Field(
        default="imagenet", description="'imagenet', 'none', or a .safetensors/.pth file"
    )
    freeze: Freeze = Field(
        default="none",
        description="what of the encoder is not trained: nothing, all of it, its first `freeze_stages` stages, "
        "or all of it for the first `freeze_epochs` epochs",
    )
    freeze_stages: Annotated[int, Field(ge=0, le=5)] = Field(
        default=0, description="number of frozen stages; above 0 if and only if freeze is 'stages'"
    )
    freeze_epochs: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=0, description="number of frozen epochs; above 0 if and only if freeze is 'epochs'"
    )
    decoder_dropout: Fraction = Field(default=0.0, description="dropout after each decoder block but the last")
    batch_norm_momentum: Fraction = Field(
        default=0.0,
        description="weight of a new batch in batch norm's running statistics; 0 keeps the architecture's own, which "
        "is 0.01 in SMP's EfficientNets (too slow for a short training from random weights), 0.1 in most others",
    )
    head_dropout: Fraction = Field(default=0.0, description="dropout before the segmentation head")

    @model_validator(mode="after")
    def _freeze_counts_match(self) -> Self:
        for mode, field in (("stages", "freeze_stages"), ("epochs", "freeze_epochs")):
            if (self.freeze == mode) != (getattr(self, field) > 0):
                raise ValueError(
                    f"{field} is {getattr(self, field)} with freeze: {self.freeze}; "
                    f"it is above 0 if and only if freeze is '{mode}'"
                )
        return self


class AugmentationPart(Part):
    """What the random changes of a training image depend on."""

    augmentation: Augmentation = Field(
        default="none",
        description="augmentation policy: none, light, medium or strong; '+' and the name of a step adds that step",
    )
    augmentation_kind: AugmentationKind = Field(
        default="both", description="which transforms of the policy apply: geometry, intensity or both"
    )
    augmentation_strength: Annotated[float, Field(ge=0.0, le=3.0)] = Field(
        default=1.0, description="multiplies the magnitudes of the policy; 1 is the policy as documented"
    )


class OptimizationPart(Part):
    """What the weights' updates depend on."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = Field(default=35, description="the full budget")
    batch_size: Annotated[int, Field(ge=2, le=4096)] = Field(default=16, description="images per step")
    optimizer: Optimizer = Field(default="adam", description="how gradients become steps")
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = Field(
        default=1e-3, description="step size; the highest one where the schedule varies it"
    )
    weight_decay: NonNegative = Field(default=0.0, description="L2 penalty (Adam, SGD) or decoupled decay (AdamW)")
    momentum: Fraction = Field(default=0.9, description="momentum of SGD; the Adams ignore it")
    schedule: Schedule = Field(
        default="constant", description="learning-rate schedule; its length is always `epochs`, the full budget"
    )
    loss: LossName = Field(default="dice-bce", description="training loss")
    dice_weight: NonNegative = Field(default=1.0, description="weight of the Dice loss; of loss: dice-bce")
    bce_weight: NonNegative = Field(default=1.0, description="weight of binary cross-entropy; of loss: dice-bce")
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.0,
        description="how far the truth that the loss is trained on is moved from 0 and 1 towards one half: tumour is "
        "1 - label_smoothing / 2, the rest label_smoothing / 2; what is measured stays 0 and 1",
    )
    weight_average: WeightAverageKind = Field(
        default="none",
        description="what is validated and kept in place of the last weights: 'ema', their exponential moving average "
        "over the steps, or 'swa', the mean over the last epochs",
    )
    ema_decay: Fraction = Field(
        default=0.99, description="of weight_average: ema; the average reaches back over about 1 / (1 - decay) steps"
    )
    swa_start: Fraction = Field(
        default=0.75, description="of weight_average: swa; the share of the budget after which epochs are averaged"
    )
    objective: MetricName = Field(
        default="dice-loss",
        description="metric of the validation split that chooses the best epoch, and that trials are ranked by; the "
        "same for all trials of a run, so a space names it at its top",
    )
    precision: Precision = Field(
        default="auto",
        description="type of the forward pass; 'auto': bfloat16 where a GPU has it, and where long runs on one machine "
        "find its CPU a tenth faster in it, else float32",
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(default=0, description="seeds every random choice of the trial")

    @model_validator(mode="after")
    def _weights_of_dice_bce(self) -> Self:
        if self.loss != "dice-bce":
            for field in ("dice_weight", "bce_weight"):
                if getattr(self, field) != type(self).model_fields[field].default:
                    raise ValueError(
                        f"{field} is {getattr(self, field)} with loss: {self.loss}; it is a parameter of dice-bce alone"
                    )
        elif self.dice_weight == 0 and self.bce_weight == 0:
            raise ValueError("dice_weight and bce_weight are both 0; at least one of them must be above 0")
        return self


# The fields that choose an implementation which may have parameters of its own.
CHOOSERS: Mapping[str, Registry[Any]] = {"loss": LOSSES, "decoder": DECODERS}


PartT = TypeVar("PartT", bound=Part)


class TrialConfig(ModelPart, PreprocessingPart, AugmentationPart, OptimizationPart):
    """Everything a trial depends on, its seed included.

    The defaults must never change their meaning: `config_id` hashes only what differs from them, so that a field added
    later with a default that keeps the old behaviour leaves the identifiers of earlier runs as they were. The same
    holds for the parameters of losses and decoders.
    """

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="after")
    def _thaws_within_budget(self) -> Self:
        if self.freeze == "epochs" and self.freeze_epochs >= self.epochs:
            raise ValueError(
                f"freeze_epochs is {self.freeze_epochs} with epochs: {self.epochs}; "
                "it must be below epochs, or use freeze: all"
            )
        return self

    @model_validator(mode="after")
    def _smooths_what_may_be_soft(self) -> Self:
        if self.label_smoothing and self.loss != LOSS_WITHOUT_IMPORT and not LOSSES.get(self.loss).takes_soft_truth:
            raise ValueError(
                f"label_smoothing is {self.label_smoothing} with loss: {self.loss}, which takes a truth of 0 and 1 "
                "alone; it must be 0"
            )
        return self

    @model_validator(mode="after")
    def _own_parameters(self) -> Self:
        given = self.__pydantic_extra__
        assert given is not None
        # Without further fields, nothing but a plugin or another than the default loss can have parameters.
        if not given and self.loss == LOSS_WITHOUT_IMPORT and not DECODERS.is_plugin(self.decoder):
            return self
        values: dict[str, Any] = {}
        for chooser, registry in CHOOSERS.items():
            parameters = parameters_of(registry, getattr(self, chooser))
            own = {name: given[name] for name in parameters.model_fields if name in given}
            values |= parameters.model_validate(own).model_dump()
        for name in given:
            if name not in values:
                owner = _owner(name)
                if owner is None:
                    raise ValueError(f"{name} is no field")
                chooser = owner[0]
                raise ValueError(
                    f"{name} is given with {chooser}: {getattr(self, chooser)}; it is a parameter of {chooser}: "
                    f"{owner[1]}"
                )
        given.clear()
        given.update(values)
        return self

    @property
    def config_id(self) -> str:
        """Twelve hexadecimal digits that name this configuration, seed included."""
        return _digest(self._changed())

    @property
    def recipe_id(self) -> str:
        """Twelve hexadecimal digits that name this configuration without its seed: the same for all its seeds."""
        changed = self._changed()
        changed.pop("seed", None)
        return _digest(changed)

    def _changed(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults."""
        changed = self.model_dump(exclude_defaults=True)
        for name, value in (self.__pydantic_extra__ or {}).items():
            if value == field_info(name).default:
                changed.pop(name, None)
        return changed

    def part(self, kind: type[PartT]) -> PartT:
        """Return the fields that `kind` declares, as a value of that part alone."""
        return kind.model_validate({name: getattr(self, name) for name in kind.model_fields})

    def to_dict(self) -> dict[str, Any]:
        """Return every field by name; plain JSON types only."""
        return self.model_dump(mode="json")

    @classmethod
    def parse(cls, fields: Mapping[str, Any], where: str = "configuration") -> TrialConfig:
        """Validate `fields`.

        Args:
            fields: values by field name; missing ones take their defaults.
            where: what the fields belong to, for the error's sentence.

        Raises:
            ConfigError: one sentence with the field, its value and what is allowed.
        """
        if not isinstance(fields, Mapping):
            raise ConfigError(f"{where}: must be a mapping of fields to their values, got {quoted(fields)}.")
        for name in fields:
            check_field(str(name), where)
        try:
            return cls.model_validate(dict(fields))
        except ValidationError as error:
            raise ConfigError(f"{where}: {explain(error)}") from None

    def replaced(self, changes: Mapping[str, Any], where: str = "configuration") -> TrialConfig:
        """Return this configuration with `changes` applied and validated."""
        return self.parse(override(self.to_dict(), changes), where)


FIELDS: tuple[str, ...] = tuple(TrialConfig.model_fields)
"""The fields of every configuration; `known_fields` has the parameters of losses and decoders besides."""

LOSS_WITHOUT_IMPORT = "dice-bce"
"""The default loss, whose parameters are fields of every configuration: to check one, torch need not be imported."""

# The counts that go with a mode of freezing; each is 0 in every other mode.
_FREEZE_COUNTS = {"freeze_stages": "stages", "freeze_epochs": "epochs"}

_USED_WITH: Mapping[str, tuple[str, tuple[str, ...]]] = {
    **{count: ("freeze", (mode,)) for count, mode in _FREEZE_COUNTS.items()},
    **dict.fromkeys(("augmentation_kind", "augmentation_strength"), ("augmentation", tuple(POLICIES)[1:])),
    **dict.fromkeys(("dice_weight", "bce_weight"), ("loss", (LOSS_WITHOUT_IMPORT,))),
    "momentum": ("optimizer", ("sgd",)),
    "ema_decay": ("weight_average", ("ema",)),
    "swa_start": ("weight_average", ("swa",)),
}
"""Fields of every configuration that only some of them use: the field that decides it, and its values that do."""


def override(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `fields` with `changes` applied, and without what no longer belongs to them.

    Another mode of freezing resets the count of the one before it to 0; another loss or decoder drops the parameters of
    the one before it.
    """
    merged = {**fields, **changes}
    if "freeze" in changes:
        for count, mode in _FREEZE_COUNTS.items():
            if changes["freeze"] != mode and count not in changes:
                merged[count] = 0
    if changes.get("loss", LOSS_WITHOUT_IMPORT) != LOSS_WITHOUT_IMPORT:
        weights = {name for name in ("dice_weight", "bce_weight") if name in fields and name not in changes}
        merged |= {name: FIELD_DEFAULTS[name] for name in weights}
    for name in fields:
        if name not in FIELDS and name not in changes and (owner := _owner(name)) is not None:
            chooser, before = owner
            if merged.get(chooser) != before:
                del merged[name]
    return merged


FIELD_DEFAULTS: Mapping[str, Any] = {name: info.default for name, info in TrialConfig.model_fields.items()}


class _NoParameters(Part):
    """The parameters of an implementation that has none."""


def parameters_of(registry: Registry[Any], name: str) -> type[Part]:
    """Return the parameters that an implementation declares; this imports it."""
    return getattr(registry.get(name), "Parameters", None) or _NoParameters


def _parameters() -> Iterator[tuple[str, FieldInfo, str, str]]:
    """Yield every parameter of a loss or decoder: name, declaration, the field that chooses its owner, its owner."""
    for chooser, registry in CHOOSERS.items():
        for owner in registry.names():
            for name, info in parameters_of(registry, owner).model_fields.items():
                yield name, info, chooser, owner


def _owner(name: str) -> tuple[str, str] | None:
    """Return whose parameter a name is, such as ('loss', 'focal'); None where it is nobody's."""
    return next(((chooser, owner) for known, _, chooser, owner in _parameters() if known == name), None)


def check_parameters(registry: Registry[Any], name: str, entry: Any) -> None:
    """Raise a `ConfigError` where a loss or decoder has a parameter that is not its own by name, or another one's."""
    begin = _beginning(name)
    for parameter in (getattr(entry, "Parameters", None) or _NoParameters).model_fields:
        if not parameter.startswith(begin) or parameter in FIELDS:
            raise ConfigError(
                f"{registry.kind} {name!r}: its parameter {parameter!r} must have a name that begins with {begin!r} "
                "and is no field of every configuration, because all of them share one namespace."
            )
        for other in CHOOSERS.values():
            for owner in other.names():
                # Only of those whose names begin it: others need not be imported.
                may_own = (other.kind, owner) != (registry.kind, name) and parameter.startswith(_beginning(owner))
                if may_own and parameter in parameters_of(other, owner).model_fields:
                    raise ConfigError(
                        f"{registry.kind} {name!r}: its parameter {parameter!r} is one of {other.kind} {owner!r} too; "
                        "choose another name."
                    )


def _beginning(owner: str) -> str:
    """Return what the names of a loss's or decoder's parameters begin with."""
    return re.sub(r"\W", "_", owner) + "_"


def unused_with(name: str, fields: Mapping[str, Any]) -> tuple[str, tuple[str, ...]] | None:
    """Return the field whose value leaves a field without effect, and those of its values that use it.

    Args:
        name: a field, or a parameter of a loss or decoder.
        fields: a configuration's; the field that decides must be among them.

    Returns:
        Such as `('weight_average', ('ema',))` of `ema_decay`; None where the field is used.
    """
    if name in _USED_WITH:
        parent, values = _USED_WITH[name]
    elif name not in FIELDS and (owner := _owner(name)) is not None:
        parent, values = owner[0], owner[1:]
    else:
        return None
    # What is no known word uses the field: of an augmentation, 'none+blur'.
    return (parent, values) if fields[parent] in set(allowed_values(parent) or ()) - set(values) else None


def known_fields() -> tuple[str, ...]:
    """Return every field of a configuration, and every parameter of a loss or decoder; this imports all of those."""
    return tuple(dict.fromkeys((*FIELDS, *(name for name, *_ in _parameters()))))


def field_info(name: str) -> FieldInfo:
    """Return the declaration of a field, or of a parameter of a loss or decoder.

    Raises:
        KeyError: there is no such field.
    """
    if name in TrialConfig.model_fields:
        return TrialConfig.model_fields[name]
    for known, info, _, _ in _parameters():
        if known == name:
            return info
    raise KeyError(name)


SYNONYMS: Mapping[str, str] = {
    "arch": "decoder",
    "architecture": "decoder",
    "aug": "augmentation",
    "backbone": "encoder",
    "batchsize": "batch_size",
    "bs": "batch_size",
    "criterion": "loss",
    "dropout": "decoder_dropout",
    "ema": "weight_average",
    "img_size": "image_size",
    "imgsz": "image_size",
    "lr": "learning_rate",
    "lr_scheduler": "schedule",
    "model": "decoder",
    "n_epochs": "epochs",
    "num_epochs": "epochs",
    "opt": "optimizer",
    "pretrained": "encoder_weights",
    "resolution": "image_size",
    "scheduler": "schedule",
    "swa": "weight_average",
    "wd": "weight_decay",
    "weights": "encoder_weights",
}
"""Short names that are usual elsewhere, and the fields that they stand for."""


def check_field(name: str, where: str, belongs: Callable[[str], str] = lambda name: "") -> None:
    """Raise a `ConfigError` that names the nearest fields where `name` is not a field of a configuration.

    Args:
        name: what was given.
        where: of what, for the error's sentence.
        belongs: gives a sentence, after a blank, on a key that belongs elsewhere; else nothing.
    """
    if name in FIELDS:
        return
    known = known_fields()
    if name not in known:
        meant = f" Did you mean {SYNONYMS[name.lower()]!r}?" if name.lower() in SYNONYMS else ""
        hint = meant or belongs(name) or nearest(name, known)
        raise ConfigError(f"{where}: unknown key {quoted(name)}.{hint} Known keys: {', '.join(known)}.")


def allowed_values(field: str) -> tuple[str, ...] | None:
    """Return the words that a field allows, or None where it is a number or free text."""
    if field in CHOOSERS:
        return CHOOSERS[field].names()
    if field == "objective":
        return METRICS.names()
    if field == "augmentation":
        return tuple(POLICIES)
    annotation = field_info(field).annotation
    return get_args(annotation) if getattr(annotation, "__origin__", None) is Literal else None


_LONGEST_STEP = 100


def explain(error: ValidationError, field: str = "", words: Mapping[str, str] | None = None) -> str:
    """Return one sentence for the first mistake of a pydantic error: the field, its value and what is allowed.

    Args:
        error: pydantic's.
        field: what was checked, where it was a value by itself.
        words: what to say of some of pydantic's types of error, without a full stop; `{message}` stands for its own
            words, `{got}` for the value, `{as_list}` for how to write it as a list.
    """
    first = error.errors()[0]
    kind, message = first["type"], first["msg"].removeprefix("Value error, ")
    # A key of a user's may be of any length.
    steps = (step if len(step) <= _LONGEST_STEP else f"{step[:_LONGEST_STEP]} …" for step in map(str, first["loc"]))
    path = field or ".".join(steps)
    usual = "{message}, got {got}" if path and kind != "missing" else "{message}"
    if path:
        message = message[:1].lower() + message[1:]
    given = first["input"]
    # A number of any size may stand there, which Python may not even print.
    short = isinstance(given, str) and len(given) <= _LONGEST_STEP
    number = isinstance(given, int | float) and not isinstance(given, bool) and abs(given) < 2**31
    as_list = f"; write [{printable(str(given))}]" if short or number else ""
    told = (
        (words or {})
        .get(kind, usual)
        .format(message=message, got=quoted(given), as_list=as_list, **first.get("ctx", {}))
    )
    return f"{path}: {told}." if path else f"{told}."


def _digest(fields: Mapping[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
