from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from bts_tune.data.prepared.images import decode, to_grey
from bts_tune.errors import DataError
from tests.data.builders import noise


def saved(array: Any, **how: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **how)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "i4", "i8", "f4", "f8", ">u2", ">f4"])
def test_numbers_of_any_type_show_the_same_image(kind: str) -> None:
    image = noise()
    image[0, :2] = 0, 255
    assert np.array_equal(to_grey(decode(saved(image.astype(kind)), "x"), "x"), image)


def test_channels_first_and_last_are_red_green_blue() -> None:
    colour = np.dstack([noise(seed=seed) for seed in range(3)])
    for array in (colour, np.moveaxis(colour, 2, 0)):
        assert np.array_equal(decode(saved(array), "x"), colour[..., ::-1])
    assert np.array_equal(decode(saved(noise()[None]), "x"), noise())
    assert np.array_equal(decode(saved(noise()[..., None]), "x"), noise())


def test_booleans_are_black_and_white() -> None:
    assert np.array_equal(decode(saved(noise() > 99), "x"), (noise() > 99) * np.uint8(255))


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("the file was unpickled",)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (saved(np.array([[Trap()]], dtype=object), allow_pickle=True), "holds object"),
        (saved(np.array([["a"]])), "an image holds integers"),
        (saved(np.zeros((2, 2), complex)), "an image holds integers"),
        (saved(np.zeros(5)), "holds an array of 5; an image is"),
        (saved(np.zeros((4, 5, 6, 7))), "holds an array of 4 x 5 x 6 x 7"),
        (saved(np.zeros((7, 8, 9))), "holds an array of 7 x 8 x 9"),
        (saved(np.zeros((0, 5))), "an image needs at least one"),
        (saved(noise())[:-5], "is broken or truncated"),
        (saved(noise())[:20], "its header cannot be read"),
        (saved(noise()).replace(b"(40, 60)", b"(4000000000, 6000000000)"), "x"),
    ],
)
def test_what_is_no_image_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        decode(data, "x")
