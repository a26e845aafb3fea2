from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel import orientations

from bts_tune.data.volumes.nifti import (
    count_volumes,
    has_affine,
    is_nifti,
    like_nifti,
    new_nifti,
    read_header,
    read_nifti,
    volume_stem,
)
from bts_tune.errors import DataError

OBLIQUE = np.array([[-0.9, 0.1, 0.0, 3.0], [0.1, 0.9, 0.05, 4.0], [0.0, 0.05, -2.5, 7.0], [0.0, 0.0, 0.0, 1.0]])


def save(path: Path, values: np.ndarray, affine: np.ndarray | None = OBLIQUE) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


@pytest.mark.parametrize(
    ("name", "stem"), [("a.nii", "a"), ("a.b.nii.gz", "a.b"), ("A.NII.GZ", "A"), ("a.gz", None), ("a.nii.png", None)]
)
def test_names_of_volumes(name: str, stem: str | None) -> None:
    path = Path("folder") / name
    assert is_nifti(path) == (stem is not None)
    if stem is not None:
        assert volume_stem(path) == stem


@given(st.permutations("RAS"), st.lists(st.booleans(), min_size=3, max_size=3), st.integers(0, 1000))
def test_a_mask_of_the_bodys_axes_is_written_on_the_grid_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], turned: list[bool], seed: int
) -> None:
    """By nibabel's own account, whatever the order and the direction of the file's axes."""
    opposite = {"R": "L", "A": "P", "S": "I"}
    codes = [opposite[axis] if turn else axis for axis, turn in zip(order, turned, strict=True)]
    random = np.random.default_rng(seed)
    file = tmp_path_factory.mktemp("volume") / "v.nii.gz"
    plain = nibabel.Nifti1Image(random.integers(0, 100, (4, 5, 6)).astype(np.int16), np.diag([1.0, 2.0, 3.0, 1.0]))
    turn = orientations.ornt_transform(nibabel.io_orientation(plain.affine), orientations.axcodes2ornt(codes))
    nibabel.save(plain.as_reoriented(turn), file)

    volume, stored = read_nifti(file)
    assert np.array_equal(volume.values, np.asarray(plain.dataobj))
    assert volume.spacing == (1.0, 2.0, 3.0)
    mask = (volume.values > 50).astype(np.uint8)
    written = nibabel.Nifti1Image.from_bytes(gzip.decompress(like_nifti(mask, stored)))
    assert np.allclose(written.affine, stored.affine)
    assert written.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(written.dataobj), np.asarray(stored.dataobj) > 50)


def test_a_header_is_that_of_the_turned_volume(tmp_path: Path) -> None:
    file = save(tmp_path / "v.nii", np.zeros((4, 5, 6), dtype=np.int16))
    header, (volume, _) = read_header(file), read_nifti(file)
    assert header.shape == volume.values.shape
    assert header.spacing == pytest.approx(volume.spacing)
    assert np.allclose(header.affine, volume.affine)


def test_a_new_volume_has_the_affine_that_it_is_given() -> None:
    mask = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    written = nibabel.Nifti1Image.from_bytes(gzip.decompress(new_nifti(mask, OBLIQUE)))
    assert np.array_equal(np.asarray(written.dataobj), mask)
    assert np.allclose(written.affine, OBLIQUE)
    assert written.header.get_xyzt_units()[0] == "mm"
    assert new_nifti(mask, OBLIQUE) == new_nifti(mask, OBLIQUE)  # no time in it


def test_one_of_several_volumes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 100, (4, 5, 6, 3)).astype(np.int16)
    file = save(tmp_path / "v.nii.gz", values, np.eye(4) * [2, 2, 2, 1])
    assert count_volumes(file) == 3
    assert np.array_equal(read_nifti(file, 2)[0].values, values[..., 2])
    with pytest.raises(DataError, match="holds 3 volumes of 4 x 5 x 6 voxels"):
        read_nifti(file)
    with pytest.raises(DataError, match="holds 3 volumes, none of which has the number 3"):
        read_nifti(file, 3)


@pytest.mark.parametrize(("affine", "known"), [(OBLIQUE, True), (np.eye(4), False), (None, False)])
def test_whether_a_file_says_where_its_voxels_lie(tmp_path: Path, affine: np.ndarray | None, known: bool) -> None:
    assert has_affine(save(tmp_path / "v.nii", np.zeros((2, 2, 2), dtype=np.int16), affine)) is known


@pytest.mark.parametrize(
    "content",
    [b"", b"no volume", gzip.compress(b"\0" * 348, mtime=0)],
    ids=["empty", "of another kind", "a header of zeros"],
)
def test_what_is_no_nifti_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "v.nii.gz"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"v\.nii\.gz: is no NIfTI file that can be read: .+\.$") as refused:
        read_nifti(file)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("unit", "mm"), [("unknown", 2.0), ("mm", 2.0), ("micron", 0.002), ("meter", 2000.0)])
def test_the_size_of_a_voxel_is_in_mm_whatever_the_unit_of_the_file(tmp_path: Path, unit: str, mm: float) -> None:
    image = nibabel.Nifti1Image(np.zeros((2, 3, 4), dtype=np.int16), np.diag([2.0, 2.0, 2.0, 1.0]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "v.nii")
    assert read_header(tmp_path / "v.nii").spacing == pytest.approx((mm,) * 3)
    assert read_nifti(tmp_path / "v.nii")[0].spacing == pytest.approx((mm,) * 3)
