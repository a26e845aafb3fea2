from __future__ import annotations

import pytest

from bts_tune.training.row import Row


def row(**validation: float | None) -> Row:
    return Row(
        3,
        0.5,
        0.5,
        {"val_loss": 0.7, "val_dice_loss": 0.4, **validation},
        {"best_val_iou": 0.6},
        1,
        1e-3,
        10,
        1.0,
        0.5,
        20.0,
    )


def test_a_row_is_columns_and_back() -> None:
    one = row(val_iou=0.5, val_area_error=None)
    columns = one.to_dict()
    assert (columns["epoch"], columns["val_iou"], columns["val_area_error"]) == (3, 0.5, None)
    assert columns["best_val_iou"] == 0.6
    assert not {"validation", "best"} & columns.keys()
    assert Row.from_dict(columns) == one
    assert one.val_dice_loss == 0.4


def test_what_is_no_row_is_refused() -> None:
    with pytest.raises(TypeError):
        Row.from_dict({"epoch": 1})
