"""Small datasets on disk for the tests of `bts_tune.data`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask

CATEGORIES = [{"id": 0, "name": "Tumor"}, {"id": 1, "name": "0"}, {"id": 2, "name": "1"}]


def noise(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    """Return random uint8 [height, width]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def write_image(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def rectangle(x: float, y: float, width: float, height: float) -> list[float]:
    """Return a closed rectangle as one COCO polygon, as Roboflow writes it."""
    return [x, y, x + width, y, x + width, y + height, x, y + height, x, y]


def annotation(number: int, image: int, segmentation: Any, category: int = 1) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": category, "segmentation": segmentation}


def coco_content(
    images: Sequence[Mapping[str, Any]], annotations: Sequence[Mapping[str, Any]], categories: Any = None
) -> dict[str, Any]:
    return {
        "info": {},
        "categories": CATEGORIES if categories is None else categories,
        "images": list(images),
        "annotations": list(annotations),
    }


def write_coco_split(
    folder: Path,
    *,
    count: int = 3,
    annotations: Sequence[Mapping[str, Any]] | None = None,
    height: int = 40,
    width: int = 60,
    seed: int = 0,
    categories: Any = None,
) -> Path:
    """Write `count` images `0.png`, `1.png`, … with their annotation file; by default one rectangle an image."""
    for index in range(count):
        write_image(folder / f"{index}.png", noise(height, width, seed + index))
    images = [
        {"id": index, "file_name": f"{index}.png", "width": width, "height": height, "license": 1}
        for index in range(count)
    ]
    if annotations is None:
        annotations = [annotation(index, index, [rectangle(10, 5, 20, 15)]) for index in range(count)]
    return write_json(folder, coco_content(images, annotations, categories))


def write_json(folder: Path, content: Any, *, bom: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "_annotations.coco.json"
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + json.dumps(content).encode())
    return path


def read_json(folder: Path) -> Any:
    return json.loads((folder / "_annotations.coco.json").read_bytes())


def write_coco(root: Path, **train: Any) -> Path:
    """Write a COCO dataset of three splits; `train` goes to `write_coco_split` for the training split."""
    write_coco_split(root / "train", **train)
    write_coco_split(root / "valid", count=2, seed=100)
    write_coco_split(root / "test", count=1, seed=200)
    return root


def write_pairs(folder: Path, count: int, *, seed: int = 0, height: int = 40, width: int = 60) -> Path:
    """Write `images/` and `masks/` with one rectangle of tumour an image."""
    for index in range(count):
        mask = np.zeros((height, width), dtype=np.uint8)
        mask[5:20, 10:30] = 1 + index % 255
        write_image(folder / "images" / f"s{index:03}.png", noise(height, width, seed + index))
        write_image(folder / "masks" / f"s{index:03}.png", mask)
    return folder


def compressed(mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(mask.shape), "counts": rle["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict[str, Any]:
    """Count the runs column by column, beginning with zeros, as COCO defines it."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": ([0] if flat[0] else []) + runs}


def write_slices(root: Path, *names: tuple[str, str]) -> Path:
    """Write a slice and its mask under each pair of names; the mask of number n has 10 (n + 1) pixels."""
    for number, (image, mask) in enumerate(names):
        write_image(root / image, noise(seed=number))
        drawn = np.zeros((40, 60), dtype=np.uint8)
        drawn[5 : 6 + number, 10:20] = 255
        write_image(root / mask, drawn)
    return root


def areas(root: Path) -> dict[str, int]:
    return {record.name: int(read_mask(record).sum()) for record in open_dataset(root)}
