"""What a trial leaves on disk: its last state, to go on from, and its best weights, to be used."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bts_tune.config import Precision, TrialConfig
from bts_tune.data.prepared.prepare import Level, read_level
from bts_tune.errors import RunError
from bts_tune.models.build import build_model
from bts_tune.models.weights import EncoderWeights
from bts_tune.plugins import loaded_plugins, missing_plugins
from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.model_files import CARD, LAST, WEIGHTS
from bts_tune.text import first_line, quoted

if TYPE_CHECKING:
    from bts_tune.training.trial import Trial


def save(trial: Trial, *, improved: bool) -> None:
    """Keep the state after the trial's latest epoch, and its weights if they are the best so far."""
    assert trial.folder is not None
    if improved:
        save_model(trial)
    state = {
        "config_id": trial.config.config_id,
        "model": trial.model.state_dict(),
        "optimizer": trial.optimizer.state_dict(),
        "schedule": trial.schedule.state_dict(),
        "scaler": trial.amp.scaler.state_dict(),
        "rows": [row.to_dict() for row in trial.done],
    }
    if trial.average is not None:
        state["average"] = trial.average.state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(trial.folder / LAST, buffer.getbuffer())


def load_last(folder: Path, config: TrialConfig) -> dict[str, Any] | None:
    """Return the last state, or None where there is none.

    Raises:
        RunError: it cannot be read, or belongs to another configuration; the text is a clause about the trial.
    """
    file = folder / LAST
    if not file.is_file():
        return None
    try:
        # torch.load does not look at the checksums of the archive, so that a changed bit would be trained on.
        with zipfile.ZipFile(file) as archive:
            if archive.testzip() is not None:
                raise zipfile.BadZipFile
        state = torch.load(file, map_location="cpu", weights_only=True)
        found = state["config_id"]
    except Exception:  # zip, pickle and key errors of a damaged file, whose texts say less than this
        raise RunError("its checkpoint is broken") from None
    if found != config.config_id:
        raise RunError(f"its checkpoint is of another configuration ({quoted(found)}, not {config.config_id})")
    return state


def save_model(trial: Trial) -> None:
    """Write the weights as safetensors and, beside them, all that is needed to use them on new images."""
    from safetensors.torch import save

    assert trial.folder is not None
    tensors = {key: tensor.contiguous().cpu() for key, tensor in trial.evaluated.state_dict().items()}
    card = {
        "config": trial.config.to_dict(),
        "config_id": trial.config.config_id,
        "mean": trial.data.mean,
        "std": trial.data.std,
        "epoch": trial.done[-1].epoch,
        "metrics": trial.done[-1].to_dict(),
        "plugins": [plugin.describe() for plugin in loaded_plugins()],
    }
    if trial.config.precision == "auto" and trial.amp.device.type == "cpu":
        card["cpu_precision"] = trial.amp.precision  # in which it is used from here on, too
    weights = save(tensors, metadata={"epoch": str(card["epoch"])})
    card["sha256"] = hashlib.sha256(weights).hexdigest()
    write_atomically(trial.folder / WEIGHTS, weights)
    write_atomically(trial.folder / CARD, json.dumps(card, indent=2, allow_nan=False) + "\n")


@dataclass(frozen=True)
class SavedModel:
    """A trained network and what is needed to use it.

    Attributes:
        model: in evaluation mode, on the CPU.
        config: the configuration that it was trained with.
        mean: of the training split's pixels, which images are standardised with; in 0..255; of several channels one
            each.
        std: their standard deviation.
        epoch: the epoch that the weights are from.
        cpu_precision: what `precision: auto` was when it was trained on a CPU, and is when it is used on one.
    """

    model: nn.Module
    config: TrialConfig
    mean: Level
    std: Level
    epoch: int
    cpu_precision: Precision = "float32"


def load_model(folder: Path) -> SavedModel:
    """Read what `save_model` wrote.

    Raises:
        RunError: a file is missing, cannot be read, or does not fit.
    """
    from safetensors.torch import load

    card: Any = {}
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        data = (folder / WEIGHTS).read_bytes()
        # An earlier version wrote no digest; its weights are checked by their names and shapes alone.
        if "sha256" in card and hashlib.sha256(data).hexdigest() != card["sha256"]:
            raise ValueError(f"{WEIGHTS} is not the file that {CARD} was written for (its SHA-256 differs)")
        tensors = load(data)
        config = TrialConfig.parse(card["config"], str(folder / CARD))
        model = build_model(config, EncoderWeights(config.encoder))
        model.load_state_dict(tensors, strict=True)
        mean, std = (read_level(card[key], config.channels) for key in ("mean", "std"))
        cpu_precision: Precision = "bfloat16" if card.get("cpu_precision") == "bfloat16" else "float32"
        return SavedModel(model.eval(), config, mean, std, int(card["epoch"]), cpu_precision)
    except Exception as error:  # missing, truncated and foreign files raise errors of four libraries
        hint = missing_plugins(card.get("plugins") if isinstance(card, dict) else None)
        lacking = error.filename if isinstance(error, FileNotFoundError | NotADirectoryError) else None
        cause = f"there is no {Path(str(lacking)).name} in it." if lacking else first_line(error)
        raise RunError(f"{folder}: the saved model cannot be read: {cause} {hint}".rstrip()) from None
