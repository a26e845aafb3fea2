"""Device and precision of a trial."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from bts_tune.config import Precision
from bts_tune.errors import ConfigError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """Return the device of a name: 'auto' is the first GPU where there is one, else the CPU.

    Raises:
        ConfigError: no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name!r}: unknown; allowed are auto, cpu, cuda and cuda:N.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {name!r}: not there; this machine has {torch.cuda.device_count()} GPUs.")
    return device


@dataclass(frozen=True)
class MixedPrecision:
    """How the forward pass computes on a device. The loss and the metrics are always float32 and wider."""

    device: torch.device
    precision: str
    scaler: torch.amp.GradScaler

    @classmethod
    def choose(cls, device: torch.device, precision: Precision, on_cpu: Precision = "float32") -> MixedPrecision:
        """Resolve 'auto': bfloat16 on a GPU that has it, else float32.

        Args:
            device: where.
            precision: of the configuration.
            on_cpu: what 'auto' is on a CPU, where a run has found bfloat16 faster; see `training/bfloat16.py`.

        Raises:
            ConfigError: float16 on a CPU, which has no loss scaling.
        """
        if precision == "float16" and device.type == "cpu":
            raise ConfigError("precision: float16 needs a GPU; on a CPU use float32, bfloat16 or auto.")
        if precision == "auto":
            has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            precision = on_cpu if device.type == "cpu" else "bfloat16" if has_bfloat16 else "float32"
        scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
        return cls(device, precision, scaler)

    @classmethod
    def for_inference(cls, device: torch.device, precision: Precision, on_cpu: Precision = "float32") -> MixedPrecision:
        """As `choose`, but what was trained in float16 on a GPU runs in float32 on a CPU."""
        return cls.choose(device, "float32" if precision == "float16" and device.type == "cpu" else precision, on_cpu)

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Run the enclosed forward pass in the chosen precision."""
        dtype = _DTYPES[self.precision]
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32):
            yield

    def describe(self) -> str:
        """Return the device's name for the record."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"

    def loader_threads(self, threads: int) -> int:
        """Return how many threads read batches ahead: the CPU computes on the cores, a GPU does not."""
        if self.device.type == "cpu":
            return 1
        return max(1, (threads or os.cpu_count() or 1) - 1)


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Let this process keep the memory that tensors free, for the next ones.

    By default glibc gives blocks above 32 MiB back to the system at once and fetches them anew, page by page and filled
    with zeros, several times in every step (mallopt(3)). Where malloc is another library's, nothing happens.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


def give_back_memory() -> None:
    """Give what `keep_freed_memory` kept, and nothing uses, back to the system."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
