from __future__ import annotations

import os
import pickle
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bts_tune.errors import ConfigError, WeightsError
from bts_tune.models import weights as weights_module
from bts_tune.models.encoders import build_encoder
from bts_tune.models.weights import EncoderWeights, load_encoder, resolve_weights

LITE0 = "tu-tf_efficientnet_lite0"


def smp_encoder(name: str = "resnet18", channels: int = 3, seed: int = 1) -> Any:
    torch.manual_seed(seed)
    return smp.encoders.get_encoder(name, in_channels=channels).eval()


def write(path: Path, state: Mapping[str, torch.Tensor]) -> Path:
    state = {key: tensor.contiguous().clone() for key, tensor in state.items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def loaded(encoder: str, file: Path) -> Any:
    """Return an encoder with the weights of a file, found and loaded as a run does it."""
    built = build_encoder(encoder)
    load_encoder(built, resolve_weights(encoder, str(file)))
    return built.eval()


def image(channels: int = 1, size: int = 64) -> torch.Tensor:
    return torch.randn(2, 1, size, size, generator=torch.Generator().manual_seed(0)).repeat(1, channels, 1, 1)


def refused(encoder: str, file: Path, match: str) -> None:
    with pytest.raises(WeightsError, match=match) as error:
        resolve_weights(encoder, str(file))
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


# --- files ---


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_loads_every_tensor_of_a_file(tmp_path: Path, suffix: str) -> None:
    source = smp_encoder(channels=1)
    for tensor in source.state_dict().values():
        tensor.add_(1)  # batch statistics too are no longer what a new encoder has
    found = loaded("resnet18", write(tmp_path / f"w{suffix}", source.state_dict()))
    assert all(torch.equal(found.state_dict()[key], tensor) for key, tensor in source.state_dict().items())


@pytest.mark.parametrize("encoder", ["resnet18", "efficientnet-b0", "mit_b0", "tu-test_efficientnet"])
def test_one_channel_sees_what_three_equal_channels_saw(tmp_path: Path, encoder: str) -> None:
    """The sum over the input channels gives a grey image the features that it had as a colour image."""
    source = smp_encoder(encoder)
    found = loaded(encoder, write(tmp_path / "w.safetensors", source.state_dict()))
    for grey, colour in zip(found(image())[1:], source(image(3))[1:], strict=True):
        torch.testing.assert_close(grey, colour, rtol=1e-3, atol=1e-4)


def test_one_channel_as_smp_does_it(tmp_path: Path) -> None:
    source = smp_encoder("efficientnet-b0")
    found = loaded("efficientnet-b0", write(tmp_path / "w.safetensors", source.state_dict()))
    source.set_in_channels(1, pretrained=True)
    torch.testing.assert_close(found._conv_stem.weight, source._conv_stem.weight)


def test_one_channel_as_timm_does_it(tmp_path: Path) -> None:
    source = timm.create_model("test_resnet", pretrained=False)
    file = write(tmp_path / "w.safetensors", source.state_dict())
    expected = timm.create_model("test_resnet", in_chans=1, checkpoint_path="", pretrained=False)
    adapted = timm.models.adapt_input_conv(1, source.state_dict()["conv1.0.weight"])
    assert adapted.shape == expected.state_dict()["conv1.0.weight"].shape
    torch.testing.assert_close(loaded("tu-test_resnet", file).state_dict()["model.conv1.0.weight"], adapted)


def test_weights_of_a_whole_smp_model(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = smp.Unet("resnet18", encoder_weights=None, in_channels=1, classes=1).eval()
    found = loaded("resnet18", write(tmp_path / "model.safetensors", model.state_dict()))
    assert torch.equal(found(image())[-1], model.encoder(image())[-1])


def test_wrapped_in_state_dict(tmp_path: Path) -> None:
    source = smp_encoder(channels=1)
    torch.save({"state_dict": source.state_dict(), "epoch": 3}, tmp_path / "w.pth")
    assert torch.equal(loaded("resnet18", tmp_path / "w.pth").conv1.weight, source.conv1.weight)


@pytest.mark.parametrize("name", ["resnet18", "test_convnext", "mobilenetv3_small_050", "tf_efficientnet_lite0"])
def test_timms_names_head_and_all(tmp_path: Path, name: str) -> None:
    torch.manual_seed(4)
    source: Any = timm.create_model(name, pretrained=False).eval()
    found = loaded(f"tu-{name}", write(tmp_path / "w.safetensors", source.state_dict()))
    deepest = source.forward_intermediates(image(3), intermediates_only=True)[-1]
    torch.testing.assert_close(found(image())[-1], deepest, rtol=1e-3, atol=1e-4)


def test_timms_names_of_a_plain_transformer(tmp_path: Path) -> None:
    file = write(tmp_path / "w.safetensors", timm.create_model("test_vit", pretrained=False).state_dict())
    found = loaded("tu-test_vit", file)
    assert torch.equal(
        found.state_dict()["model.blocks.0.attn.qkv.weight"], load_file(file)["blocks.0.attn.qkv.weight"]
    )


def test_batch_counters_may_be_missing(tmp_path: Path) -> None:
    state = {k: v for k, v in smp_encoder().state_dict().items() if not k.endswith("num_batches_tracked")}
    loaded("resnet18", write(tmp_path / "w.safetensors", state))


def test_stages_that_the_decoder_does_not_use_are_passed_over(tmp_path: Path) -> None:
    source = timm.create_model("test_convnext", pretrained=False)
    found = resolve_weights("tu-test_convnext", str(write(tmp_path / "w.safetensors", source.state_dict())))
    shallow: Any = smp.PSPNet("tu-test_convnext", encoder_weights=None, in_channels=1).encoder
    load_encoder(shallow, found)
    assert torch.equal(shallow.state_dict()["model.stem_1.weight"], source.state_dict()["stem.1.weight"])


# --- what does not fit ---


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "w.safetensors", smp_encoder("mobilenet_v2").state_dict())
    refused(
        "resnet18", file, r"does not fit encoder 'resnet18': \d+ of 120 tensors are missing, such as 'conv1.weight'"
    )


def test_one_missing_tensor_is_refused(tmp_path: Path) -> None:
    state = smp_encoder().state_dict()
    del state["layer3.0.bn1.running_var"]
    refused("resnet18", write(tmp_path / "w.pth", state), r"1 of 120 tensors are missing, such as 'layer3.0.bn1.runn")


def test_another_width_is_refused(tmp_path: Path) -> None:
    state = smp_encoder().state_dict()
    state["layer2.0.conv1.weight"] = torch.zeros(96, 64, 3, 3)
    refused(
        "resnet18",
        write(tmp_path / "w.pth", state),
        r"tensor 'layer2.0.conv1.weight' has shape \(96, 64, 3, 3\), the encoder needs \(128, 64, 3, 3\)",
    )


@pytest.mark.parametrize(("larger", "encoder"), [("resnet34", "resnet18"), ("mit_b2", "mit_b1")])
def test_a_larger_encoder_that_holds_all_tensors_is_refused(tmp_path: Path, larger: str, encoder: str) -> None:
    file = write(tmp_path / "w.safetensors", smp_encoder(larger).state_dict())
    refused(encoder, file, f"does not fit encoder '{encoder}': it holds tensor .*, which belongs to a larger one")


def test_a_larger_encoder_by_timms_names_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "w.safetensors", timm.create_model("resnet34", pretrained=False).state_dict())
    refused("tu-resnet18", file, "belongs to a larger one")


class _Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path, wrapped: bool) -> None:
    file, marker = tmp_path / "w.pth", tmp_path / "was_here"
    if wrapped:
        torch.save({"conv1.weight": _Hostile(marker)}, file)
    else:
        file.write_bytes(pickle.dumps(_Hostile(marker)))
    refused("resnet18", file, "not a file of weights that can be read safely")
    assert not marker.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 cut off"])
def test_a_broken_file_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"w{suffix}"
    file.write_bytes(content)
    refused("resnet18", file, "not a file of weights")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    for suffix in (".safetensors", ".pth"):
        file = write(tmp_path / f"w{suffix}", smp_encoder().state_dict())
        file.write_bytes(file.read_bytes()[:-1000])
        refused("resnet18", file, "not a file of weights")


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": 1}, {"state_dict": {"a": "b"}}, torch.zeros(2)])
def test_something_else_than_named_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pth")
    refused("resnet18", tmp_path / "w.pth", "it must map names to tensors")


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"no such file: '.*imagenett'; allowed are 'imagenet', 'none' or the path"):
        resolve_weights("resnet18", "imagenett")


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.ckpt").write_bytes(b"x")
    refused("resnet18", tmp_path / "w.ckpt", r"ends in '\.ckpt'; allowed: \.safetensors, \.pth, \.pt")


def test_weights_that_changed_since_the_plan_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "w.safetensors", smp_encoder(seed=1).state_dict())
    found = resolve_weights("resnet18", str(file))
    write(file, smp_encoder(seed=2).state_dict())
    with pytest.raises(WeightsError, match="changed since the run was planned"):
        load_encoder(build_encoder("resnet18"), found)


def test_weights_that_went_away_since_the_plan_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "w.safetensors", smp_encoder().state_dict())
    found = resolve_weights("resnet18", str(file))
    file.unlink()
    with pytest.raises(WeightsError, match="cannot be read: No such file"):
        load_encoder(build_encoder("resnet18"), found)


def test_unknown_encoder_is_refused_even_without_weights() -> None:
    with pytest.raises(ConfigError, match="unknown encoder 'resnet-18'"):
        resolve_weights("resnet-18", "none")


# --- where they come from ---


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BTS_TUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Point the hub's client at a port where nobody listens, and at an empty cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_none_is_random_weights() -> None:
    assert resolve_weights("resnet18", "none") == EncoderWeights("resnet18")
    built: Any = build_encoder("resnet18")
    before = built.conv1.weight.clone()
    load_encoder(built, EncoderWeights("resnet18"))
    assert torch.equal(built.conv1.weight, before)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_weights_dir_is_looked_in_first(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"resnet18{suffix}", smp_encoder().state_dict())
    assert resolve_weights("resnet18", "imagenet", tmp_path).path == str(file)


def test_weights_dir_comes_before_the_package(tmp_path: Path) -> None:
    source = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    file = write(tmp_path / f"{LITE0}.safetensors", source.state_dict())
    assert resolve_weights(LITE0, "imagenet", tmp_path).path == str(file)


def test_weights_dir_must_exist(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"--weights-dir .*nowhere: no such folder"):
        resolve_weights("resnet18", "imagenet", tmp_path / "nowhere")


def test_a_wrong_file_in_weights_dir_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "resnet18.safetensors", smp_encoder("mobilenet_v2").state_dict())
    with pytest.raises(WeightsError, match="does not fit encoder 'resnet18'"):
        resolve_weights("resnet18", "imagenet", tmp_path)


@pytest.mark.usefixtures("cache", "unreachable")
@pytest.mark.parametrize("encoder", ["efficientnet-b0", "tu-resnet18"])
def test_an_unreachable_hub_is_one_sentence_with_the_ways_out(
    encoder: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    with pytest.raises(WeightsError) as error:
        resolve_weights(encoder, "imagenet", tmp_path)
    assert time.monotonic() - started < 15
    sentence = str(error.value)
    for way_out in (
        f"--weights-dir DIR with the file {encoder}.safetensors",
        "--set encoder_weights=FILE",
        f"--set encoder={LITE0}",
        "--set encoder_weights=none",
        f"{tmp_path} holds no {encoder}.safetensors",
    ):
        assert way_out in sentence
    assert "\n" not in sentence
    assert capfd.readouterr() == ("", "")


def test_the_hubs_client_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    before = constants.HF_HUB_OFFLINE
    with weights_module._quiet_hub():
        assert constants.HF_HUB_OFFLINE
    assert before == constants.HF_HUB_OFFLINE


@pytest.mark.usefixtures("cache", "unreachable")
def test_an_encoder_without_imagenet_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(smp.encoders.encoders["resnet18"], "pretrained_settings", {"instagram": {}})
    with pytest.raises(WeightsError, match="'resnet18' has no ImageNet weights in SMP; give a file"):
        resolve_weights("resnet18", "imagenet")
    with pytest.raises(WeightsError, match="'tu-botnet50ts_256' has no ImageNet weights in timm; give a file"):
        resolve_weights("tu-botnet50ts_256", "imagenet")


@pytest.mark.parametrize("encoder", ["resnet18", "tu-test_resnet"])
def test_a_download_is_kept_as_a_file_and_used_from_there(
    encoder: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = []
    get_encoder, create_model = smp.encoders.get_encoder, timm.create_model

    def smp_download(name: str, *args: Any, weights: Any = None, **options: Any) -> nn.Module:
        if weights is not None:
            downloads.append(name)
        return get_encoder(name, *args, **options)

    def timm_download(name: str, *args: Any, pretrained: bool = False, **options: Any) -> nn.Module:
        if pretrained:
            downloads.append(f"tu-{name}")
        return create_model(name, *args, **options)

    monkeypatch.setattr(weights_module, "_quiet_hub", lambda: weights_module.contextlib.nullcontext())
    monkeypatch.setattr(smp.encoders, "get_encoder", smp_download)
    monkeypatch.setattr(timm, "create_model", timm_download)
    first = resolve_weights(encoder, "imagenet")
    assert downloads == [encoder]
    assert first.path == str((cache / "weights" / f"{encoder}.safetensors").resolve())
    assert resolve_weights(encoder, "imagenet") == first
    # A cache of one's own is looked into first, and what is there already is not downloaded once more.
    own = tmp_path / "own"
    assert resolve_weights(encoder, "imagenet", None, own) == first
    (own / "weights").mkdir(parents=True)
    assert first.path is not None
    copy = shutil.copy(first.path, own / "weights")
    assert resolve_weights(encoder, "imagenet", None, own).path == str(copy)
    assert downloads == [encoder]
    load_encoder(build_encoder(encoder), first)
