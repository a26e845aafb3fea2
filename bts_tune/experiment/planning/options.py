"""What a run was asked to do: the command line's words as one value, kept in `run.json` for a resume."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bts_tune.config import explain
from bts_tune.errors import ConfigError
from bts_tune.experiment.execution.retries import DEFAULT_MAX_FAILURES
from bts_tune.registry import SPLIT_METHODS
from bts_tune.space.file import MAX_FINAL

AUTO = "auto"
"""Of `--gpus-per-trial`: as small a share as the memory allows; see `packing`."""


class RunOptions(BaseModel):
    """Options of `bts-tune --space …`.

    The first group is what the run is and never changes, but for the final stage, which `bts-tune final` may add; the
    second is how it is carried out, and may be given anew with `--resume`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: str
    data: str | None = None
    tumor_categories: list[str] | None = None
    split: str = "provided"
    group_by: str | None = None
    split_seed: Annotated[int, Field(ge=0)] = 0
    overrides: dict[str, Any] = {}
    only: list[str] = []
    seeds: Annotated[int, Field(ge=1, le=1000)] | None = None
    folds: Annotated[int, Field(ge=2, le=1000)] | None = None
    num_trials: int | None = None
    final_top: Annotated[int, Field(ge=0, le=MAX_FINAL)] | None = None
    final_seeds: Annotated[int, Field(ge=1, le=MAX_FINAL)] | None = None
    weights_dir: str | None = None
    warm_start: str | None = None

    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpus_per_trial: float | str | None = None
    concurrent: Annotated[int, Field(ge=1)] | None = None
    address: str | None = None
    time_budget: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(default=None, description="seconds")
    max_failures: Annotated[int, Field(ge=0, le=100)] = DEFAULT_MAX_FAILURES
    trial_timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, description="seconds"
    )
    cache: str | None = None
    dashboard: bool = True
    verbose: bool = False

    @field_validator("split")
    @classmethod
    def _known_split_method(cls, method: str) -> str:
        if method in SPLIT_METHODS:
            return method
        raise ValueError(f"must be one of {', '.join(map(repr, SPLIT_METHODS))}")

    @field_validator("gpus_per_trial")
    @classmethod
    def _share_of_a_gpu(cls, share: float | str | None) -> float | str | None:
        if share is None or share == AUTO or (isinstance(share, float) and 0 < share < math.inf):
            return share
        raise ValueError(f"must be a number above 0, or {AUTO!r}")

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> Self:
        """Validate options.

        Raises:
            ConfigError: one sentence with the option, its value and what is allowed.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            name, colon, rest = explain(error).partition(":")
            raise ConfigError(f"--{name.replace('_', '-')}{colon}{rest}") from None

    def seed_list(self, seeds: list[int]) -> list[int] | None:
        """Return as many seeds as were asked for, counted up from the space's first; None for the space's own."""
        return None if self.seeds is None else list(range(seeds[0], seeds[0] + self.seeds))
