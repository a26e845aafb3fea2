from __future__ import annotations

import pytest
import torch
from torch import nn

from bts_tune.config import OptimizationPart
from bts_tune.training.optimizer import build_optimizer


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_optimizers(name: str, kind: type) -> None:
    fields = {"optimizer": name, "learning_rate": 0.02, "weight_decay": 0.3, "momentum": 0.7}
    optimizer = build_optimizer(OptimizationPart.model_validate(fields), nn.Linear(2, 1))
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.02, 0.3)
    assert group.get("momentum") == (0.7 if name == "sgd" else None)


def test_adam_decays_through_the_gradient_and_adamw_beside_it() -> None:
    """Without a gradient from the loss, AdamW shrinks a weight by lr x decay; Adam steps by lr whatever its size."""
    after = {}
    for name in ("adam", "adamw"):
        weight = nn.Parameter(torch.tensor([8.0]))
        module = nn.Module()
        module.weight = weight
        fields = {"optimizer": name, "learning_rate": 0.1, "weight_decay": 0.5}
        optimizer = build_optimizer(OptimizationPart.model_validate(fields), module)
        weight.grad = torch.zeros(1)
        optimizer.step()
        after[name] = float(weight)
    assert after["adam"] == pytest.approx(8 - 0.1, abs=1e-5)
    assert after["adamw"] == pytest.approx(8 - 0.1 * 0.5 * 8, abs=1e-5)
