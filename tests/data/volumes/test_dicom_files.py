from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_slice
from bts_tune.data.volumes import dicom_files
from bts_tune.errors import DataError
from tests.data.readers.test_dicom import compress
from tests.data.volumes.dicoms import stack, write_segmentation, write_series


def test_deflated_files_and_swollen_pixels_are_refused(tmp_path: Path) -> None:
    image, mask = stack()
    files = write_series(tmp_path, image)
    write_segmentation(tmp_path / "seg.dcm", files, mask)
    swollen = pydicom.dcmread(files[0])
    swollen.PixelData = bytes(3 * 2**20)
    swollen.save_as(files[0])
    record = open_dataset(tmp_path).records["train"][0]
    with pytest.raises(DataError, match="bytes of pixels, where at most 240 are needed"):
        read_slice(record)
    deflated = pydicom.dcmread(files[1])
    deflated.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    deflated.save_as(files[1], enforce_file_format=True)
    (error,) = (one for one in open_dataset(tmp_path).errors if one.file == files[1].name)
    assert "deflated as a whole" in error.message


def test_compressed_frames_must_have_the_size_of_the_header(tmp_path: Path) -> None:
    image, mask = stack()
    files = write_series(tmp_path, image)
    write_segmentation(tmp_path / "seg.dcm", files, mask)
    compress(files, pydicom.uid.JPEGLSLossless)
    content = pydicom.dcmread(files[0])
    place = content.PixelData.index(b"\xff\xf7")
    content.PixelData = content.PixelData[: place + 5] + b"\xff\xff\xff\xff" + content.PixelData[place + 9 :]
    content.save_as(files[0])
    record = open_dataset(tmp_path).records["train"][0]
    with pytest.raises(DataError, match="frame 1 has 65535 x 65535 pixels, its header says 10 x 12"):
        read_slice(record)


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_the_size_of_a_frame_is_read_from_it(kind: str) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((12, 10), dtype=np.uint8)).save(file, kind, no_jp2=True)
    assert dicom_files._size_of_jpeg(file.getvalue()) == (12, 10)
    assert dicom_files._size_of_jpeg(b"\0" * 100) is None


@pytest.mark.parametrize(
    ("syntax", "cure"),
    [
        (pydicom.uid.JPEG2000Lossless, "for which no decoder is installed: pip install python-gdcm"),
        (pydicom.uid.JPEGLSLossless, "for which no decoder is installed: pip install python-gdcm"),
        (pydicom.uid.HTJ2KLossless, "for which no decoder is installed: pip install pylibjpeg pylibjpeg-openjpeg"),
        (pydicom.uid.MPEG2MPML, "compressed as MPEG2 Main Profile / Main Level, which is not read"),
    ],
)
def test_a_compression_without_a_decoder_is_told_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: pydicom.uid.UID, cure: str
) -> None:
    """As where pydicom is installed alone."""
    image, mask = stack()
    files = write_series(tmp_path, image)
    write_segmentation(tmp_path / "seg.dcm", files, mask)
    content = pydicom.dcmread(files[0])
    content.file_meta.TransferSyntaxUID = syntax
    content.PixelData = pydicom.encaps.encapsulate([b"\0" * 64])
    content["PixelData"].VR = "OB"
    content.save_as(files[0], enforce_file_format=True)
    if syntax != pydicom.uid.MPEG2MPML:
        decoder = pydicom.pixels.get_decoder(syntax)
        monkeypatch.setattr(decoder, "_available", {})
    record = open_dataset(tmp_path).records["train"][0]
    with pytest.raises(DataError) as caught:
        read_slice(record)
    assert cure in str(caught.value)
