"""Folders that no reader recognises: what they hold instead, and what to do with it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bts_tune.data.layout.names import examples
from bts_tune.data.layout.split_folders import subfolders
from bts_tune.data.left_out import ARCHIVES
from bts_tune.data.records import IMAGE_SUFFIXES, image_files
from bts_tune.text import printable

_NOT_READ = {
    (".h5", ".hdf5"): "HDF5 files",
    (".parquet", ".arrow"): "Parquet or Arrow files",
    (".tfrecord", ".tfrecords"): "TFRecord files",
    (".npy", ".npz"): "arrays that are no pairs of image and mask",
    (".xlsx", ".xls", ".ods"): "spreadsheets",
    (".pkl", ".pickle", ".pt", ".pth"): "pickled files",
}
_LOOKED_AT = 2000
_FOLDERS = 100
"""Files of a folder, and folders, that are looked at."""


def what_else_to_do(root: Path) -> str | None:
    """Return what a folder holds that no reader reads, and what to do with it; None where there is nothing to say."""
    names = sorted(path.name for path in islice(root.iterdir(), _LOOKED_AT) if not path.name.startswith("."))
    archives = [name for name in names if name.lower().endswith(ARCHIVES)]
    backslashes = [name for name in names if "\\" in name]
    if backslashes:
        return (
            f"holds files with backslashes in their names ({printable(examples(backslashes))}), as archives from "
            "Windows leave them; unpack it anew with 7z, or with Python's zipfile."
        )
    if archives and not any(name.lower().endswith(IMAGE_SUFFIXES) for name in names):
        return f"holds archives ({printable(examples(archives))}), which are not opened; unpack them."
    via = [name for name in names if name.lower().startswith("via_") and name.lower().endswith(".json")]
    if via:
        return f"holds {printable(via[0])}, of the VGG Image Annotator (VIA); export it from there as COCO."
    inner = [path.name for folder in subfolders(root)[:_FOLDERS] for path in islice(folder.iterdir(), _LOOKED_AT)]
    for suffixes, what in _NOT_READ.items():
        found = [name for name in (*names, *sorted(inner)) if name.lower().endswith(suffixes)]
        if found:
            return (
                f"holds {what} ({printable(examples(found))}), which are not read; save each slice and each mask as a "
                "file of its own: PNG, NPY or NIfTI, or all outlines as a COCO file."
            )
    stems = {Path(name).stem for name in names if name.lower().endswith(IMAGE_SUFFIXES)}
    for suffix, what in ((".json", "LabelMe"), (".xml", "Pascal VOC"), (".txt", "YOLO")):
        beside = [name for name in names if name.lower().endswith(suffix) and Path(name).stem in stems]
        if beside:
            return (
                f"holds {printable(beside[0])} beside an image of its name: outlines or boxes in one file an image "
                f"({what}) are not read; export masks, or a COCO file."
            )
    image = next((path for folder in _folders(root) for path in image_files(folder)), None)
    if image is not None:
        return (
            f"is not a dataset: it holds images, such as {printable(image.relative_to(root).as_posix())}, and neither "
            "names that say where masks are (masks/ beside images/, or x_mask.png beside x.png) nor a COCO file; "
            "folders of kinds of tumour alone are for classification."
        )
    return None


def _folders(root: Path) -> Iterator[Path]:
    """Yield a folder, the first ones in it, and those in them: `Training/glioma/`."""
    yield root
    for folder in subfolders(root)[:_FOLDERS]:
        yield folder
        yield from subfolders(folder)[:_FOLDERS]
