"""What a run was made with: versions and hardware, for the record."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bts_tune.data.parallel import available_cpus

_PACKAGES = (
    "bts-tune",
    "torch",
    "segmentation-models-pytorch",
    "timm",
    "ray",
    "optuna",
    "albumentations",
    "opencv-python-headless",
    "numpy",
    "pandas",
)

# One of them is there where torch can find a GPU: of NVIDIA, of AMD, or of either below Windows.
_GPU_DEVICES = ("nvidia*", "nvhost*", "nvmap", "kfd", "dxg")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that figures depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that is not installed
            found[package] = "unknown"
    return found


def hardware() -> dict[str, Any]:
    """Return the machine's processor, cores, memory and GPUs."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cpu_cores": available_cpus(),
        "memory_gib": round(memory / 2**30, 1),
        "gpus": _gpus(),
        "system": platform.platform(),
    }


def _gpus() -> list[dict[str, Any]]:
    if not any(path for pattern in _GPU_DEVICES for path in Path("/dev").glob(pattern)):
        return []  # without importing torch, which takes seconds
    import torch

    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": gpu.name, "memory_gib": round(gpu.total_memory / 2**30, 1)} for gpu in found]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
