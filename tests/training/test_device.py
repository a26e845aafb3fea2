from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from bts_tune.errors import ConfigError
from bts_tune.training.device import MixedPrecision, resolve_device

CPU = torch.device("cpu")


def test_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:x", "", "meta"])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--device '{name}': unknown; allowed are auto, cpu, cuda and cuda:N"):
        resolve_device(name)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="'cuda:2': not there; this machine has 2 GPUs"):
        resolve_device("cuda:2")


def test_auto_is_float32_on_a_cpu() -> None:
    amp = MixedPrecision.choose(CPU, "auto")
    assert amp.precision == "float32"
    assert not amp.scaler.is_enabled()
    with amp.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize(("has_it", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_bfloat16_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch, has_it: bool, precision: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_it)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert MixedPrecision.choose(torch.device("cuda"), "auto").precision == precision


def test_bfloat16_on_a_cpu() -> None:
    with MixedPrecision.choose(CPU, "bfloat16").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_float16_on_a_cpu_is_refused_for_training_and_replaced_for_inference() -> None:
    with pytest.raises(ConfigError, match="float16 needs a GPU"):
        MixedPrecision.choose(CPU, "float16")
    assert MixedPrecision.for_inference(CPU, "float16").precision == "float32"
    assert MixedPrecision.for_inference(CPU, "bfloat16").precision == "bfloat16"


def test_loader_threads() -> None:
    assert MixedPrecision.choose(CPU, "auto").loader_threads(8) == 1
    gpu = MixedPrecision(torch.device("cuda"), "float32", torch.amp.GradScaler("cpu", enabled=False))
    assert gpu.loader_threads(8) == 7
    assert gpu.loader_threads(1) == 1
    assert gpu.loader_threads(0) >= 1


def test_describe() -> None:
    assert MixedPrecision.choose(CPU, "auto").describe() == "cpu"


KEEPING = """
import resource
import torch
from bts_tune.training.device import give_back_memory, keep_freed_memory

MIB = 2**20

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // MIB

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.zeros(64 * MIB, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
fetched = faults()
keep_freed_memory()
first, kept = faults(), faults()
tensors = [torch.ones(8 * MIB, dtype=torch.uint8) for _ in range(32)]
del tensors
full = resident()
give_back_memory()
print(fetched, kept, full, resident())
"""


def test_memory_is_kept_from_step_to_step_and_given_back_at_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", KEEPING], capture_output=True, text=True, check=True)
    fetched, kept, full, left = (int(figure) for figure in done.stdout.split())
    assert kept < fetched / 10
    assert left < full - 200
