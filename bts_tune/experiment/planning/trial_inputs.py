"""The inputs of the trials: prepared data, encoder weights and model sizes, ready before the first one starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bts_tune.config import PreprocessingPart, TrialConfig
from bts_tune.experiment.planning.cpu_precision import CpuPrecision
from bts_tune.models.weights import EncoderWeights


@dataclass(frozen=True)
class TrialInputs:
    """The inputs of the trials, ready before the first one starts.

    Attributes:
        prepared: the folder of the prepared dataset for each preprocessing and fold (None without folds).
        weights: the encoder weights for each (encoder, encoder_weights).
        parameters: how many each (decoder, encoder) has.
        cpu_precision: what `precision: auto` is on CPUs.
    """

    prepared: Mapping[tuple[PreprocessingPart, int | None], str]
    weights: Mapping[tuple[str, str], EncoderWeights]
    parameters: Mapping[tuple[str, str], int]
    cpu_precision: CpuPrecision = field(default_factory=CpuPrecision)

    def prepared_for(self, config: TrialConfig, fold: int | None) -> str:
        """Return the folder of the data that a trial is trained and validated on."""
        return self.prepared[config.part(PreprocessingPart), fold]
