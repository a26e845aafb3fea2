from __future__ import annotations

import warnings

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tiny images gain nothing from more threads, and equal figures need an equal number of them."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    warnings.filterwarnings("ignore", module=r"(segmentation_models_pytorch|timm)\.")
