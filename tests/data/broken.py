"""Broken datasets: each spoils a dataset in order in one way, and says what the user is to read of it."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image

from tests.data.builders import (
    coco_content,
    compressed,
    noise,
    read_json,
    rectangle,
    uncompressed,
    write_coco,
    write_image,
    write_json,
    write_pairs,
)

HEIGHT, WIDTH = 40, 60
SQUARE = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
SQUARE[5:20, 10:30] = 1


@dataclass(frozen=True)
class Broken:
    """One kind of broken dataset.

    Attributes:
        name: what it is.
        spoil: takes the folder of a dataset in order and breaks it.
        sentence: what the check says, in part.
        code: exit code of the check: 2 cannot be read, 1 has errors, 0 is read as it should be.
        prepares: whether arrays can be made of it all the same.
        folders: whether it is an image/mask folder rather than a COCO export.
        forbidden: the path that may not be read; nothing is wrong for a super-user, who can read it all the same.
    """

    name: str
    spoil: Callable[[Path], object]
    sentence: str
    code: int
    prepares: bool
    folders: bool = False
    forbidden: str = ""

    def build(self, root: Path) -> Path:
        if self.folders:
            for number, split in enumerate(("train", "valid", "test")):
                write_pairs(root / split, 3, seed=10 * number)
        else:
            write_coco(root)
        self.spoil(root)
        return root


KINDS: list[Broken] = []


def _add(name: str, sentence: str, spoil: Callable[[Path], object], code: int = 1, **how: Any) -> None:
    KINDS.append(Broken(name, spoil, sentence, code, how.pop("prepares", code == 0), **how))


def _file(data: bytes) -> Callable[[Path], object]:
    return lambda root: (root / "train" / "_annotations.coco.json").write_bytes(data)


def _json(change: Callable[[dict[str, Any]], object], split: str = "train") -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        content = read_json(root / split)
        change(content)
        write_json(root / split, content)

    return spoil


def _image(data: bytes | Callable[[Path], object]) -> Callable[[Path], object]:
    """Replace the second training image."""

    def spoil(root: Path) -> None:
        path = root / "train" / "1.png"
        path.unlink()
        if isinstance(data, bytes):
            path.write_bytes(data)
        else:
            data(path)

    return spoil


def _segmentation(value: Any) -> Callable[[Path], object]:
    return _json(lambda content: content["annotations"][1].update(segmentation=value))


def _renamed(name: str, split: str = "train") -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        os.rename(root / split / "1.png", root / split / name)
        _json(lambda content: content["images"][1].update(file_name=name), split)(root)

    return spoil


def _points_to(name: str) -> Callable[[Path], object]:
    return _json(lambda content: content["images"][1].update(file_name=name))


def _linked(target: Callable[[Path], Path | str]) -> Callable[[Path], object]:
    """Put a link in place of the second training image."""

    def spoil(root: Path) -> None:
        path = root / "train" / "1.png"
        path.unlink()
        path.symlink_to(target(root))

    return spoil


def _elsewhere(root: Path) -> Path:
    return write_image(root.parent / "elsewhere" / "secret.png", noise())


def _moved_behind_a_link(root: Path) -> None:
    outside = root.parent / "elsewhere"
    os.rename(root / "train", outside)
    (root / "train").symlink_to(outside)


def _png(width: int, height: int, *more: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of one pixel's data whose header claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    chunks = [chunk(kind, data) for kind, data in (*more, (b"IDAT", zlib.compress(bytes(2))), (b"IEND", b""))]
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks)


def _encoded(suffix: str, pixels: np.ndarray) -> bytes:
    return bytes(cv2.imencode(suffix, pixels)[1])


def _pages(path: Path) -> None:
    tifffile.imwrite(path, np.stack([noise()] * 3), photometric="minisblack")


def _animated(kind: str) -> Callable[[Path], object]:
    frames = [Image.fromarray(noise(seed=number)) for number in range(3)]
    return lambda path: frames[0].save(path, format=kind, save_all=True, append_images=frames[1:])


def _inks(kind: str) -> Callable[[Path], object]:
    return lambda path: Image.fromarray(noise()).convert("CMYK").save(path, format=kind)


def _tiff(pixels: np.ndarray) -> Callable[[Path], object]:
    return lambda path: tifffile.imwrite(path, pixels)


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


def _sparse_file(root: Path) -> None:
    _sparse(root / "valid" / "_annotations.coco.json")


def _loop_of_folders(root: Path) -> None:
    for name in ("again", "and", "others"):
        (root / "train" / name).symlink_to(root / "train", target_is_directory=True)


def _emptied(split: str) -> Callable[[Path], object]:
    return lambda root: write_json(root / split, coco_content([], []))


def _removed(split: str) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        for path in (root / split).iterdir():
            path.unlink()
        (root / split).rmdir()

    return spoil


def _case(root: Path) -> None:
    os.rename(root / "train" / "1.png", root / "train" / "A.png")
    os.rename(root / "train" / "2.png", root / "train" / "a.png")

    def rename(content: dict[str, Any]) -> None:
        content["images"][1]["file_name"], content["images"][2]["file_name"] = "A.png", "a.png"

    _json(rename)(root)


def _line_break(root: Path) -> None:
    _renamed("a\nb\x1b[2J.png")(root)
    _json(lambda content: content["annotations"].pop(1))(root)


def _one_class(root: Path) -> None:
    for split in ("train", "valid", "test"):
        _json(lambda content: content.update(categories=[{"id": 1, "name": "tumour"}]), split)(root)


def _mask(pixels: np.ndarray) -> Callable[[Path], object]:
    return lambda root: write_image(root / "train" / "masks" / "s001.png", pixels)


def _all_masks_empty(root: Path) -> None:
    for path in (root / "train" / "masks").iterdir():
        write_image(path, np.zeros((HEIGHT, WIDTH), dtype=np.uint8))


def _blank(root: Path) -> None:
    for path in (root / "train").glob("*.png"):
        write_image(path, np.full((HEIGHT, WIDTH), 9, dtype=np.uint8))


def _not_utf8(root: Path) -> None:
    for kind in ("images", "masks"):
        path = root / "train" / kind / "s001.png"
        os.rename(path, os.fsencode(path.parent) + b"/s\xff.png")


# The annotation file
_add("not JSON", "_annotations.coco.json: is not JSON: Expecting property name", _file(b"{images: []}"), 2)
_add("empty file", "_annotations.coco.json: is not JSON: Expecting value", _file(b""), 2)
_add("cut-off file", "_annotations.coco.json: is not JSON", _file(b'{"categories": [{"id": 1, "na'), 2)
_add("not text", "_annotations.coco.json: is not JSON", _file(b"\xff\xfe\x00\x01"), 2)
_add("UTF-16", "_annotations.coco.json: categories: field required", _file("{}".encode("utf-16")), 2)
_add("nested too deeply", "it is nested too deeply", _file(b"[" * 200_000), 2)
_add("a list", "is not a COCO file: it holds a list", _file(b"[]"), 2)
_add("a number", "is not a COCO file: it holds a int", _file(b"3"), 2)
_add("a number of 5000 digits", "is not JSON: Exceeds the limit", _file(b"9" * 5000), 2)
_add("a file of a tebibyte", "has 1099511627776 bytes; at most", _sparse_file, 2)
_add("missing file", "missing; every split of a COCO export has one", lambda root: _unlink(root, "valid"), 2)
for _key in ("images", "annotations", "categories"):
    _add(f"no {_key}", f"{_key}: field required", _json(lambda content, key=_key: content.pop(key)), 2)  # type: ignore[misc]
_add("images is a mapping", "images: input should be a valid list", _json(lambda c: c.update(images={})), 2)
_add("an image is null", "images[0]: input should be a valid dictionary", _json(lambda c: c.update(images=[None])), 2)
_add("width is a word", "images[1].width: input should be", _json(lambda c: c["images"][1].update(width="wide")), 2)
_add("height is negative", "images[1].height: input should be", _json(lambda c: c["images"][1].update(height=-1)), 2)
_add("no file name", "images[1].file_name: field required", _json(lambda c: c["images"][1].pop("file_name")), 2)
_add("empty file name", "images[1].file_name: string should have at least", _points_to(""), 2)
_add("half a character", "images[1].file_name: ", _points_to("\ud800.png"), 2)
_add("category id is a word", "categories[1].id: input", _json(lambda c: c["categories"][1].update(id="one")), 2)
_add("an annotation is a number", "annotations[1]: input", _json(lambda c: c["annotations"].__setitem__(1, 5)), 2)
_add(
    "categories that disagree",
    "categories: id 1 is named 'cyst' here and '0' in another place",
    _json(lambda c: c["categories"][1].update(name="cyst"), "valid"),
    2,
)

# What the entries say
_add("image id twice", "id 0 is that of another image too", _json(lambda c: c["images"][1].update(id=0)))
_add("image listed twice", "file_name '0.png' is listed twice", _points_to("0.png"))
_add(
    "annotation id twice",
    "another annotation has this id",
    _json(lambda c: c["annotations"][1].update(id=0)),
    0,
)
_add(
    "annotation of an unknown image",
    "annotations[1]: image_id 77 is not the id of an image",
    _json(lambda c: c["annotations"][1].update(image_id=77)),
)
_add(
    "annotation of an unknown category",
    "annotations[1]: category_id 77 is not the id of a category",
    _json(lambda c: c["annotations"][1].update(category_id=77)),
)
_add("annotation without an image", "image_id: field required", _json(lambda c: c["annotations"][1].pop("image_id")))
_add(
    "category id is a fraction",
    "category_id: input should be a valid integer, got 1.5",
    _json(lambda c: c["annotations"][1].update(category_id=1.5)),
)
_add(
    "gigantic size declared",
    "1000000 x 1000000 pixels are declared; at most",
    _json(lambda c: c["images"][1].update(width=10**6, height=10**6)),
)
_add(
    "wrong size declared",
    "the image has 60 x 40 pixels, its entry declares 61 x 40",
    _json(lambda c: c["images"][1].update(width=61)),
)

# Paths
_OUTSIDE = "is not a path inside the dataset's folder"
_add("path that goes up", _OUTSIDE, _points_to("../../elsewhere/secret.png"))
_add("path that goes up in the middle", _OUTSIDE, _points_to("a/../../../secret.png"))
_add("absolute path", _OUTSIDE, _points_to("/etc/hostname"))
_add("zero byte in a path", _OUTSIDE, _points_to("a\0.png"))
_add("link out of the dataset", "link that leads out of the dataset's folder", _linked(_elsewhere))
_add("link to a system file", "link that leads out of the dataset's folder", _linked(lambda _: "/etc/hostname"))
_add("split behind a link", "link that leads out of the dataset's folder", _moved_behind_a_link)
_add("link to itself", "train/1.png: the file does not exist", _linked(lambda _: "1.png"))
_add("link to nothing", "train/1.png: the file does not exist", _linked(lambda root: root / "nothing.png"))
_add("links to folders in a loop", "Errors: none", _loop_of_folders, 0)
_add("name of 800 characters", "the file does not exist", _points_to("x" * 800))
_add("path of 5000 characters", _OUTSIDE, _points_to("x/" * 2500))
_add("name with spaces", "Errors: none", _renamed("a  b .png"), 0)
_add("name in Unicode", "Errors: none", _renamed("опухоль 腫瘍 🧠.png"), 0)
_add("name with a line break", r"train/a\nb\x1b[2J.png: nothing is annotated", _line_break, 0)
_add("names that differ in case", "train/a.png: its name differs from train/A.png in case only", _case, 0)

# Files of images
_add("missing image", "train/1.png: the file does not exist", lambda root: (root / "train" / "1.png").unlink())
_add("folder in place of an image", "train/1.png: the file does not exist", _image(lambda path: path.mkdir()))
_add("pipe in place of an image", "train/1.png: the file does not exist", _image(lambda path: os.mkfifo(path)))
_add("empty image", "train/1.png: is empty: the file has 0 bytes", _image(b""))
_add("text in place of an image", "is not an image that can be read", _image(b"<svg/>"))
_add("animated GIF", "has 3 pages; an image of one slice is needed", _image(_animated("GIF")))
_add("cut-off PNG", "is broken, truncated or of a pixel type", _image(_encoded(".png", noise())[:900]))
_add("cut-off JPEG", "is broken, truncated or of a pixel type", _image(_encoded(".jpg", noise())[:900]))
_add("cut-off TIFF", "train/1.png: is ", _image(_encoded(".tif", noise())[:900]))
_add("signature alone", "is not an image that can be read", _image(b"\x89PNG\r\n\x1a\n"))
_add("zero-sized image", "train/1.png: ", _image(_png(0, 40)))
_add("decompression bomb", "has more than 100000000 pixels", _image(_png(100_000, 100_000)))
_add("too large by a row", "has 10001 x 10000 pixels; at most", _image(_png(10_001, 10_000)))
_add("image of a tebibyte", "has 1099511627776 bytes; at most", _image(_sparse))
_add("image of another size", "the image has 50 x 40 pixels", _image(_encoded(".png", noise(40, 50))))
_add("several pages", "has 3 pages; an image of one slice is needed", _image(_pages))
_add("animated PNG", "has 3 pages; an image of one slice is needed", _image(_animated("PNG")))
_add("JPEG in inks", "has its colours as CMYK; convert it to grey or RGB", _image(_inks("JPEG")))
_add("TIFF in inks", "has its colours as CMYK; convert it to grey or RGB", _image(_inks("TIFF")))
_add("alpha", "colour 8-bit with alpha", _image(_encoded(".png", np.dstack([noise()] * 4))), 0)
_add("16 bit", "grey 16-bit", _image(_encoded(".png", noise().astype(np.uint16) * 257)), 0)
_add("floating point", "grey 32-bit float", _image(_tiff(noise().astype(np.float32) / 255)), 0)
_add(
    "floats that are not numbers",
    "holds values that are infinite or not numbers",
    _image(_tiff(np.full((HEIGHT, WIDTH), np.nan, dtype=np.float32))),
)
_add("blank images", "all pixels have the same value", _blank, 0, prepares=False)

# Outlines and run lengths
_add("odd count of numbers", "segmentation[0] has 7 numbers; x and y", _segmentation([[1, 2, 3, 4, 5, 6, 7]]))
_add("NaN in a polygon", "input should be a finite number, got nan", _segmentation([[float("nan"), 2, 3, 4, 5, 6]]))
_add("infinity in a polygon", "finite number, got inf", _segmentation([[float("inf"), 2, 3, 4, 5, 6]]))
_add("word in a polygon", "segmentation[0][2]: input should be", _segmentation([[1, 2, "x", 4, 5, 6]]))
_add("polygon out of bounds", "lies outside the image of 60 x 40 pixels", _segmentation([rectangle(900, 1, 5, 5)]))
_add("polygon partly out of bounds", "it reaches beyond the image", _segmentation([rectangle(50, 20, 30, 10)]), 0)
_add("two points", "segmentation has no polygon of 3 points", _segmentation([[1, 1, 20, 20]]))
_add("polygon without an inside", "it covers no pixel", _segmentation([[1, 1, 20, 20, 30, 30]]), 0)
_add("polygon that crosses itself", "its outline crosses itself", _segmentation([[5, 5, 30, 30, 30, 5, 5, 30]]), 0)
_add("no outline", "segmentation is missing; a box alone is not drawn", _segmentation([]))
_add("empty outline", "segmentation has no polygon of 3 points", _segmentation([[]]))
_add("run lengths too short", "do not add up to the 2400 pixels", _segmentation({"size": [40, 60], "counts": [2399]}))
_add("negative run length", "greater than or equal to 0", _segmentation({"size": [40, 60], "counts": [-1, 2401]}))
_add("gigantic run length", "less than or equal to", _segmentation({"size": [40, 60], "counts": [10**12]}))
_add("broken compressed run lengths", "do not add up", _segmentation({"size": [40, 60], "counts": "oooooooo"}))
_add(
    "compressed run lengths of another image",
    "segmentation.size is [40, 61], the image's is [40, 60]",
    _segmentation(compressed(np.zeros((40, 61), dtype=np.uint8))),
)
_add("run lengths without counts", "segmentation.counts: field required", _segmentation({"size": [40, 60]}))
_add("run lengths in order", "Errors: none", _segmentation(uncompressed(SQUARE)), 0)

# Splits and classes
_add("empty training split", "train: the split holds no usable image", _emptied("train"))
_add("empty validation split", "valid: the split holds no usable image", _emptied("valid"))
_add("empty test split", "test: the split holds no usable image", _emptied("test"), 0)
_add("no training split", "has no train split; train/ is needed", _removed("train"), 2)
_add("both valid and val", "has both valid/ and val/", lambda root: (root / "val").mkdir(), 2)
_add(
    "no tumour in training",
    "no image of the split holds a tumour",
    _json(lambda c: c.update(annotations=[])),
    prepares=True,
)
_add("one class only", "Errors: none", _one_class, 0)
_add("same file in two splits", "the valid split is not independent of train", lambda root: _copied(root), 0)

# Image/mask folders
_add("mask of another size", "the mask has 30 x 20 pixels, its image 60 x 40", _mask(SQUARE[:20, :30]), folders=True)
_add(
    "missing mask",
    "no mask of the stem 's001' in masks/",
    lambda root: (root / "train" / "masks" / "s001.png").unlink(),
    folders=True,
)
_add("all masks empty", "no image of the split holds a tumour", _all_masks_empty, prepares=True, folders=True)
_add("mask that is all tumour", "every pixel of the mask is tumour", _mask(SQUARE * 0 + 1), 0, folders=True)
_add(
    "broken mask",
    "s001.png: is not an image that can be read",
    lambda root: (root / "train" / "masks" / "s001.png").write_bytes(b"no mask"),
    folders=True,
)
_add(
    "two images of one stem",
    "several files share the stem 's001'",
    lambda root: write_image(root / "train" / "images" / "s001.jpg", noise()),
    folders=True,
)
_add(
    "no folder of masks",
    "has no folder masks/",
    lambda root: os.rename(root / "valid" / "masks", root / "valid" / "elsewhere"),
    2,
    folders=True,
)
_add("mask behind a link", "link that leads out of the dataset's folder", lambda root: _linked_mask(root), folders=True)
_add("name that is not UTF-8", r"the name of s\udcff.png is not UTF-8", _not_utf8, folders=True)

# Permissions
for _name, _path, _code, _folders in (
    ("image that may not be read", "train/1.png", 1, False),
    ("file that may not be read", "train/_annotations.coco.json", 2, False),
    ("folder that may not be listed", "train/images", 2, True),
):
    _forbid: Callable[[Path], object] = lambda root, path=_path: (root / path).chmod(0)  # type: ignore[misc]  # noqa: E731
    _add(_name, "Permission denied", _forbid, _code, folders=_folders, forbidden=_path)


def _unlink(root: Path, split: str) -> None:
    (root / split / "_annotations.coco.json").unlink()


def _copied(root: Path) -> None:
    (root / "valid" / "1.png").write_bytes((root / "train" / "0.png").read_bytes())


def _linked_mask(root: Path) -> None:
    path = root / "train" / "masks" / "s001.png"
    path.unlink()
    path.symlink_to(write_image(root.parent / "elsewhere" / "mask.png", SQUARE))
