"""What an export is made from: a run, and of its models the one that is exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from bts_tune.errors import ConfigError
from bts_tune.results.find import best_model, ensemble_models
from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.training.prediction.ensemble import load_segmenter
from bts_tune.training.prediction.segmenter import Segmenter


class ExportContext:
    """A run to export. Whatever is asked of it is read when it is first asked for.

    Attributes:
        folder: the run.
        trial: the trial whose model was asked for; None for the run's best.
        ensemble: whether all trainings of the winner are asked for, as one model.
        tta: whether test-time augmentation is asked for: the mean over flips of an image.
    """

    def __init__(
        self, folder: RunFolder, trial: str | None = None, *, ensemble: bool = False, tta: bool = False
    ) -> None:
        if ensemble and trial is not None:
            raise ConfigError("--ensemble and --trial: give one of the two.")
        self.folder, self.trial, self.ensemble, self.tta = folder, trial, ensemble, tta

    @property
    def run_name(self) -> str:
        """What the run is called."""
        return str(self.run.get("run") or self.folder.path.resolve().name)

    @cached_property
    def run(self) -> Mapping[str, Any]:
        """The content of `run.json`."""
        return self.folder.read_run()

    @cached_property
    def trials(self) -> Sequence[TrialRecord]:
        """Every trial of the run, in the order of planning."""
        return self.folder.trials()

    @cached_property
    def model_folder(self) -> Path:
        """The folder of the model: `model.safetensors` and `model.json`.

        Raises:
            RunError: no trial, or not the one that was asked for, has left a model.
        """
        return best_model(self.folder, self.trial)

    @cached_property
    def model_folders(self) -> Sequence[Path]:
        """The folders of all models that are asked for: of an ensemble its members, else `model_folder` alone.

        Raises:
            RunError: no trial, or not the one that was asked for, has left a model, or too few for an ensemble.
        """
        return ensemble_models(self.folder) if self.ensemble else [self.model_folder]

    @property
    def name(self) -> str:
        """What the exported model is called: its trial, and what is made of it."""
        return "-".join([self.model_folder.name, *["ensemble"] * self.ensemble, *["tta"] * self.tta])

    @property
    def record(self) -> TrialRecord | None:
        """The record of the model's trial; None where the run has lost it."""
        return next((record for record in self.trials if record.trial == self.model_folder.name), None)

    @cached_property
    def segmenter(self) -> Segmenter:
        """The model with its preprocessing, on the CPU.

        Raises:
            RunError: it cannot be read, or needs a plugin that is not loaded.
        """
        return load_segmenter(self.model_folders, "cpu", tta=self.tta)
